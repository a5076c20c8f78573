"""A stand-in for DeepSeek's API that keeps to its rule of whole prefix units as we read it.

Sources: [G] api-docs.deepseek.com, guide "Context caching", read 2026-11 · [R] its API reference
and list of error codes, read 2026-11 · [I] errors as users report them in public issues.

- Caching is on for everybody and asks for nothing; writes are free [G].
- What is kept are *units*, each a whole prefix; a request hits a unit only by containing all of
  it [G]. A unit ends where a request's input ended, where its output ended, where several requests
  stopped being the same, and at fixed intervals of long inputs and outputs [G].
- So after A+B, A+C misses: the unit is A+B. Now both are seen to share A, A becomes a unit, and
  A+D hits it [G, its second example].
- Units are built after the answer ("takes seconds" [G]); here they can be read when it has ended.
- They go when unused for "a few hours to a few days" [G]; here three hours after the last use.
- The guide does not say how long the fixed intervals are, nor the least unit; 8,192 tokens here,
  and 64, which was the step of the older cache.
- Usage has ``prompt_cache_hit_tokens`` and ``prompt_cache_miss_tokens``, which sum to
  ``prompt_tokens`` [R]. A message's content is one string, and ``response_format`` knows ``text``
  and ``json_object`` [R]. Without credit it answers 402, to parameters it does not like 422 [R].
- A model it does not serve and a prompt too long are both 400 with the code
  ``invalid_request_error``; only the words differ [I].
- While a request waits, comments ``: keep-alive`` come in the stream [R].
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

from ifmem import clock as system_clock
from ifmem.testing.chat_protocol import KEY, Chat, ChatServer, Problem, Prompted, Script
from ifmem.testing.loopback import Event
from ifmem.testing.prefix_cache import BYTES_PER_TOKEN, quick_count

UNUSED = timedelta(hours=3)
INTERVAL = 8_192
"""Tokens between the units of a long text."""
LEAST_TOKENS = 64

_MODELS = {"deepseek-flash": 1_000_000, "deepseek-v4-pro": 1_000_000}
_REMEMBERED = 64
"""Requests that the next one is compared with."""


class PrefixUnits:
    """The units of one model and account; safe to use from several threads."""

    def __init__(self, clock: Callable[[], datetime], *, interval: int = INTERVAL) -> None:
        self._clock = clock
        self._interval = interval
        self._ends: dict[bytes, datetime] = {}
        self._seen: deque[bytes] = deque(maxlen=_REMEMBERED)
        self._lock = Lock()

    def hit(self, prompt: bytes) -> int:
        """Tokens of the longest unit that the prompt contains whole."""
        now = self._clock()
        with self._lock:
            self._ends = {unit: ends for unit, ends in self._ends.items() if now < ends}
            found = max(filter(prompt.startswith, self._ends), key=len, default=b"")
            if found:
                self._ends[found] = now + UNUSED
        return quick_count(found)

    def store(self, prompt: bytes, output: bytes) -> None:
        """Keep what one request and its answer leave behind."""
        with self._lock:
            shared = {_whole(_shared(prompt, other)) for other in self._seen}
            self._seen.append(prompt)
            for unit in {prompt, prompt + output, *shared, *self._steps(prompt + output)}:
                if quick_count(unit) >= LEAST_TOKENS:
                    self._ends[unit] = self._clock() + UNUSED

    def _steps(self, text: bytes) -> Iterator[bytes]:
        step = self._interval * BYTES_PER_TOKEN
        for end in range(step, len(text) + 1, step):
            yield text[:end]


@dataclass(frozen=True, slots=True)
class KeepAlive(Event):
    """A comment: no event at all to who reads the stream as it is meant."""

    def encode(self) -> bytes:
        return b": keep-alive\n\n"


class DeepSeekServer(ChatServer):
    """See the module.

    Args:
        credit: requests it still answers; None: any number.
        waits: every stream begins with a keep-alive comment.
    """

    def __init__(
        self,
        *,
        models: Mapping[str, int] = _MODELS,
        key: str = KEY,
        clock: Callable[[], datetime] = system_clock.now,
        interval: int = INTERVAL,
        credit: int | None = None,
        waits: bool = False,
    ) -> None:
        super().__init__(models=models, key=key, clock=clock)
        self.credit = credit
        self.waits = waits
        self._units = {name: PrefixUnits(clock, interval=interval) for name in models}

    def check(self, chat: Chat) -> None:
        if self.credit is not None:
            if self.credit < 1:
                raise self.problem(402, "Insufficient Balance", "invalid_request_error")
            self.credit -= 1
        if any(not isinstance(message["content"], str) for message in chat.body["messages"]):
            raise self.problem(422, "Failed to deserialize: content: expected a string")
        if (chat.body.get("response_format") or {}).get("type") == "json_schema":
            raise self.problem(400, "This response_format type is unavailable now")

    def unknown_model(self, chat: Chat) -> Problem:
        return self.problem(400, "Model Not Exist", "invalid_request_error")

    def overflow(self, chat: Chat, needed: int, window: int) -> Problem:
        message = (
            f"This model's maximum context length is {window} tokens. However, you requested"
            f" {needed + chat.max_output} tokens ({needed} in the messages, {chat.max_output} in"
            " the completion). Please reduce the length of the messages or completion."
        )
        return self.problem(400, message, "invalid_request_error")

    def prompted(self, chat: Chat) -> Prompted:
        units = self._units[chat.model]
        total, hit = quick_count(chat.prompt), units.hit(chat.prompt)
        return Prompted(
            usage={
                "prompt_tokens": total,
                "prompt_cache_hit_tokens": hit,
                "prompt_cache_miss_tokens": total - hit,
            },
            ended=lambda said: units.store(chat.prompt, said),
        )

    def _events(self, chat: Chat, prompted: Prompted, script: Script) -> Iterator[Event]:
        if self.waits:
            yield KeepAlive("")
        yield from super()._events(chat, prompted, script)


def _shared(one: bytes, other: bytes) -> bytes:
    """What both begin with, found by halving: texts of a megabyte are compared with many."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return one[:low]


def _whole(text: bytes) -> bytes:
    """A prefix cut back to whole tokens: half a token is none."""
    return text[: len(text) - len(text) % BYTES_PER_TOKEN]
