"""llama.cpp in this process: evaluates tokens in slots, saves and restores them.

Everything here blocks, so it runs in threads of ``LocalModel``. Completions are calls in the
process; what the binding lacks (tokens, templates, slots) goes over the engine's own HTTP server,
on a Unix socket in a private directory.
"""

from __future__ import annotations

import http.client
import importlib
import json
import os
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ifmem import clock
from ifmem.errors import ConfigError, Failed
from ifmem.llm.local_saved_slots import runs
from ifmem.model_settings import LocalSettings
from ifmem.sockets import socket_path

BATCH_TOKENS = 64
"""Evaluated at once: another slot's question, a save or a cancellation waits for no more than
these. 64 to 2,048 are equally fast with one thread (SmolLM2-135M, 2026-11)."""

_SOCKET = "engine-"
_ROLES = ("system", "user")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What came of one evaluation, in the engine's own counts."""

    text: str
    cut: bool
    """It ended at the limit, not at the end of the answer."""
    prompt: int
    reused: int
    """Of ``prompt``: were already in the slot."""
    generated: int
    first_token_at: int | None
    """A ``stopwatch_ns``; None when no text came."""
    request_id: str


class Stopped(Exception):
    """The evaluation was stopped by its caller."""


class Engine:
    """A loaded model with its slots.

    Args:
        directory: where slots are saved and the socket lies; private to this user.

    Raises:
        ConfigError: the extra is missing, or the engine does not take the weights or the settings.
    """

    def __init__(self, weights: Path, settings: LocalSettings, directory: Path) -> None:
        xllamacpp = binding()
        self._directory = directory
        self._socket = _free_socket(directory)
        self._key = secrets.token_urlsafe(32)
        try:
            self._server = xllamacpp.Server(self._parameters(xllamacpp, weights, settings))
        except RuntimeError as error:
            self._socket.unlink(missing_ok=True)
            raise ConfigError(
                f"llama.cpp cannot load {weights}: the file may be cut short, or of a model newer "
                f"than xllamacpp {xllamacpp.__version__}",
                path=str(weights),
            ) from error
        trained = int(self._ask("GET", "/v1/models")["data"][0]["meta"]["n_ctx_train"])
        if settings.context > trained:
            self.close()
            raise ConfigError(
                f"local.context is {settings.context:,} and {weights.name} was trained for "
                f"{trained:,} tokens: set it to {trained:,} or less",
                context=settings.context,
                trained=trained,
            )

    def close(self) -> None:
        """Stop the engine and free its memory; nothing may be under way."""
        del self._server
        self._socket.unlink(missing_ok=True)

    def evaluate(
        self,
        slot: int,
        tokens: Sequence[int],
        *,
        most: int,
        begun: Callable[[], object],
        stopped: Callable[[], bool],
    ) -> Evaluated:
        """Evaluate a prompt in a slot, which keeps it, and generate at most ``most`` tokens.

        The engine generates one token even when none are asked for.

        Args:
            begun: called once, at the first token of the answer or at its end.
            stopped: asked at every batch and every token.

        Raises:
            Stopped: ``stopped`` said so.
            Failed: the engine refused.
        """
        stream = _Stream(begun, stopped)
        self._server.handle_completions(
            {
                "prompt": tokens,
                "n_predict": most,
                "id_slot": slot,
                "cache_prompt": True,
                "stream": True,
                "return_progress": True,
                # The most probable token each time: the same question has the same answer.
                "temperature": 0,
                "samplers": ["temperature"],
            },
            stream,
        )
        return stream.evaluated()

    def tokenize(self, text: str, markup: bool, start: bool) -> list[int]:
        """The tokens of a text.

        Args:
            markup: control tokens written out in it are control tokens. Never for recalled text.
            start: with what the model wants at the start of a prompt.
        """
        given = {"content": text, "parse_special": markup, "add_special": start}
        tokens: list[int] = self._ask("POST", "/tokenize", given)["tokens"]
        return tokens

    def template(self, system: str, user: str) -> str:
        """The prompt of two messages by the model's own chat template.

        Raises:
            Failed: the template takes no such messages.
        """
        contents = zip(_ROLES, (system, user), strict=True)
        messages = [{"role": role, "content": content} for role, content in contents if content]
        prompt: str = self._ask("POST", "/apply-template", {"messages": messages})["prompt"]
        return prompt

    def save(self, slot: int, name: str) -> int:
        """Write a slot to a file in the directory; the tokens in it."""
        return int(self._ask("POST", f"/slots/{slot}?action=save", {"filename": name})["n_saved"])

    def restore(self, slot: int, name: str) -> int:
        """Read a slot from a file in the directory, whole and of this engine; its tokens."""
        told = self._ask("POST", f"/slots/{slot}?action=restore", {"filename": name})
        return int(told["n_restored"])

    def erase(self, slot: int) -> None:
        """Forget what a slot holds."""
        self._ask("POST", f"/slots/{slot}?action=erase", {})

    def _parameters(self, xllamacpp: ModuleType, weights: Path, settings: LocalSettings) -> Any:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(weights)
        parameters.n_parallel = settings.slots
        parameters.n_ctx = settings.slots * settings.context
        # Each slot has room of its own, so no other one pushes a prefix out.
        parameters.kv_unified = False
        parameters.swa_full = True
        parameters.cpuparams.n_threads = settings.threads
        parameters.cpuparams_batch.n_threads = settings.threads
        parameters.n_batch = parameters.n_ubatch = BATCH_TOKENS
        # On processors it is made for long prompts: 7,000 tokens cold were 1.7 times faster with
        # it, and each question after them 2.3 times slower, each token of an answer 2.0 times.
        disabled = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        parameters.flash_attn_type = disabled
        # A second cache in memory, of 8 GiB, for prefixes that lost their slot: we have files.
        parameters.cache_ram_mib, parameters.cache_idle_slots = 0, False
        parameters.fit_params = parameters.ui = False
        parameters.verbosity = -1
        parameters.hostnames, parameters.api_keys = [str(self._socket)], [self._key]
        parameters.n_threads_http = settings.slots + 2
        parameters.slot_save_path, parameters.endpoint_slots = f"{self._directory}/", True
        return parameters

    def _ask(self, method: str, path: str, given: Mapping[str, Any] | None = None) -> Any:
        connection = _Connection(self._socket)
        try:
            body = None if given is None else json.dumps(given)
            headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            told = json.loads(reply.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Failed(f"the local model's engine does not answer: {error}") from error
        finally:
            connection.close()
        if reply.status != http.HTTPStatus.OK:
            raise _refusal(told.get("error"))
        return told


def binding() -> ModuleType:
    """The binding of llama.cpp.

    Raises:
        ConfigError: the extra is not installed.
    """
    try:
        return importlib.import_module("xllamacpp")
    except ImportError as error:
        raise ConfigError(
            "the local model needs an extra: pip install 'ifmem[local]'",
            install="pip install 'ifmem[local]'",
        ) from error


class _Stream:
    """Takes the chunks of one evaluation; returning true stops it."""

    def __init__(self, begun: Callable[[], object], stopped: Callable[[], bool]) -> None:
        self._begun = begun
        self._stopped = stopped
        self._was_stopped = False
        self._error: Any = None
        self._texts: list[str] = []
        self._first_token_at: int | None = None
        self._last: Mapping[str, Any] = {}
        self._cut = False

    def __call__(self, chunk: Mapping[str, Any]) -> bool:
        # An exception here would be lost in the engine, so none may be raised.
        if "error" in chunk:
            self._error = chunk["error"]
            return True
        for choice in chunk.get("choices") or ():
            if text := choice.get("text"):
                if self._first_token_at is None:
                    self._first_token_at = clock.stopwatch_ns()
                    self._begun()
                self._texts.append(text)
            self._cut = self._cut or choice.get("finish_reason") == "length"
        if "usage" in chunk:
            self._last = chunk
        self._was_stopped = self._stopped()
        return self._was_stopped

    def evaluated(self) -> Evaluated:
        if self._error is not None:
            raise _refusal(self._error)
        if not self._last:
            if self._was_stopped:
                raise Stopped
            raise Failed("the local model's engine ended without an answer: ask again")
        if self._first_token_at is None:
            self._begun()
        usage = self._last["usage"]
        return Evaluated(
            text="".join(self._texts),
            cut=self._cut,
            prompt=usage["prompt_tokens"],
            reused=usage["prompt_tokens_details"]["cached_tokens"],
            generated=usage["completion_tokens"],
            first_token_at=self._first_token_at,
            request_id=self._last["id"],
        )


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def _refusal(error: Any) -> Failed:
    said = error.get("message") if isinstance(error, Mapping) else error
    return Failed(f"the local model's engine refused: {said}")


def _free_socket(directory: Path) -> Path:
    """A path for this engine's socket; those of processes that are gone are removed."""
    name = f"{_SOCKET}{os.getpid()}-{secrets.token_hex(4)}.sock"
    path = socket_path(directory, name)
    prefix = path.name.removesuffix(name) + _SOCKET
    for old in path.parent.glob(f"{prefix}*.sock"):
        owner = old.name.removeprefix(prefix).partition("-")[0]
        if not owner.isdigit() or not runs(int(owner)):
            old.unlink(missing_ok=True)
    return path
