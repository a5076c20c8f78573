"""A stand-in for one's own server, as vLLM and llama.cpp's run: a block cache, and no promises.

Sources: [V] docs.vllm.ai, design document "Automatic prefix caching", and vLLM's API server ·
[O] vllm-ascend pull request 9911 (2026-06), which quotes the code of vLLM itself · [L] llama.cpp,
tools/server · [M] measured with xllamacpp 2026.10 · all read 2026-11.

- Full blocks of 16 tokens are kept by the hash of all that stands before them, so equal prefixes
  share them, whoever asks [V].
- A prefix can be read by others when it is computed, which is when its answer begins [V].
- Nothing has a lifetime: when there is no room, the block unused longest goes, of equally old ones
  that at the end of the longest prefix [V].
- The last token is always computed, so a repeated prompt never hits in full [V].
- ``prompt_tokens_details`` comes only with ``--enable-prompt-tokens-details``, and not when nothing
  was cached [O]. llama.cpp always reports it, and ``timings`` with ``cache_n`` [M].
- A prompt that does not fit: vLLM answers 400 with its error at the top level, llama.cpp 400 with
  ``exceed_context_size_error`` and both sizes [V, L].
- Content as one string: templates of many models take no parts [L]. Some older servers refuse
  every field they do not know.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from threading import Lock
from typing import Literal

from ifmem import clock as system_clock
from ifmem.testing.chat_protocol import Chat, ChatServer, Problem, Prompted
from ifmem.testing.prefix_cache import BYTES_PER_TOKEN, quick_count

BLOCK = 16
"""Tokens."""
KNOWN = frozenset(
    {"model", "messages", "max_tokens", "stream", "stream_options", "response_format"}
)
"""The fields that a strict server takes."""

_MODELS = {"smol": 32_768}


class BlockCache:
    """Full blocks by what precedes them, the longest unused gone first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._blocks: OrderedDict[bytes, None] = OrderedDict()
        self._lock = Lock()

    def read(self, prompt: bytes) -> int:
        """Tokens of the prompt that need not be computed."""
        # The last token is computed in any case, and with it its block.
        usable = _hashes(prompt)[: max(0, (len(prompt) - 1) // (BLOCK * BYTES_PER_TOKEN))]
        known = 0
        with self._lock:
            for block in usable:
                if block not in self._blocks:
                    break
                known += 1
        return known * BLOCK

    def keep(self, prompt: bytes) -> None:
        """All of the prompt is computed: keep it, and let go of the oldest."""
        with self._lock:
            # Backwards: what stands at the end of a prefix is the first to go.
            for block in reversed(_hashes(prompt)):
                self._blocks[block] = None
                self._blocks.move_to_end(block)
            while len(self._blocks) > self._capacity:
                self._blocks.popitem(last=False)


class PlainOpenAIServer(ChatServer):
    """See the module.

    Args:
        flavour: whose errors and figures it has.
        blocks: how many it can keep.
        reports_cache: it was started with the option that tells of cached tokens.
        reports_usage: it knows ``include_usage``; some do not, and tell nothing.
        strict: it refuses every field that is not in ``takes``.
    """

    def __init__(
        self,
        *,
        flavour: Literal["vllm", "llamacpp"] = "vllm",
        models: Mapping[str, int] = _MODELS,
        key: str = "",
        clock: Callable[[], datetime] = system_clock.now,
        blocks: int = 100_000,
        reports_cache: bool = True,
        reports_usage: bool = True,
        strict: bool = False,
        takes: Collection[str] = KNOWN,
    ) -> None:
        super().__init__(models=models, key=key, clock=clock)
        self.flavour = flavour
        self.reports_cache = reports_cache
        self.reports_usage = reports_usage
        self.strict = strict
        self.takes = takes
        self.cache = BlockCache(blocks)

    def problem(
        self, status: int, message: str, code: str | None = None, param: str | None = None
    ) -> Problem:
        if self.flavour == "llamacpp":
            error = {"code": status, "message": message, "type": code or "invalid_request_error"}
            return Problem(status, {"error": error})
        kind = "NotFoundError" if status == 404 else "BadRequestError"
        body = {"object": "error", "message": message, "type": kind, "param": param, "code": status}
        return Problem(status, body)

    def check(self, chat: Chat) -> None:
        unknown = sorted(set(chat.body) - set(self.takes))
        if self.strict and unknown:
            raise self.problem(400, f"Extra inputs are not permitted: {', '.join(unknown)}")
        if any(not isinstance(message["content"], str) for message in chat.body["messages"]):
            raise self.problem(400, "the chat template takes content as a string only")

    def overflow(self, chat: Chat, needed: int, window: int) -> Problem:
        if self.flavour == "vllm":
            message = (
                f"This model's maximum context length is {window} tokens. However, you requested"
                f" {needed + chat.max_output} tokens ({needed} in the messages,"
                f" {chat.max_output} in the completion)."
            )
            return self.problem(400, message)
        error = {
            "code": 400,
            "message": f"request ({needed} tokens) exceeds the available context size"
            f" ({window} tokens), try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": needed,
            "n_ctx": window,
        }
        return Problem(400, {"error": error})

    def prompted(self, chat: Chat) -> Prompted:
        prompt = chat.prompt
        total, read = quick_count(prompt), self.cache.read(prompt)
        prompted = Prompted(usage={}, begun=lambda: self.cache.keep(prompt))
        if not self.reports_usage:
            return prompted
        details: dict[str, object] = {"prompt_tokens_details": {"cached_tokens": read}}
        if self.flavour == "llamacpp":
            timings = {"cache_n": read, "prompt_n": total - read, "prompt_ms": 1.0}
            prompted.extra = {"timings": timings}
        elif not (self.reports_cache and read):
            details = {}
        prompted.usage = {"prompt_tokens": total} | details
        return prompted


def _hashes(prompt: bytes) -> list[bytes]:
    """The name of each full block: a digest of it and of all that stands before it."""
    step = BLOCK * BYTES_PER_TOKEN
    digest, names = hashlib.sha256(), []
    for end in range(step, len(prompt) + 1, step):
        digest.update(prompt[end - step : end])
        names.append(digest.copy().digest())
    return names
