"""Errors of OpenAI's SDK, and of the servers behind it, in the words of ``llm.port``.

    what comes                                      becomes
    401, 403                                        NotPermitted
    402; 429 with insufficient_quota                NotPermitted: no credit is left
    404, model_not_found, "Model Not Exist"         NotFound
    context_length_exceeded and its relatives       ContextOverflow
    429                                             RateLimited
    429 for one request above the minute's tokens   Refused
    408, 409, 5xx                                   Unavailable
    other 4xx                                       Failed
    no connection was made                          Unavailable
    the connection or the stream ended too early    OutcomeUnknown, also of one's own server: that
                                                    it costs nothing, only the settings know

An account without credit answers 429 at OpenAI and 402 at DeepSeek. No waiting ends that, a person
does, so it is not a limit of rate: the key may not buy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ifmem import clock
from ifmem.domain.model import ModelCard
from ifmem.errors import (
    ContextOverflow,
    Failed,
    IfMemError,
    NotFound,
    NotPermitted,
    OutcomeUnknown,
    RateLimited,
    Refused,
    Unavailable,
)
from ifmem.llm.openai_dialects import Dialect
from ifmem.llm.openai_headers import retry_after_s

if TYPE_CHECKING:
    from openai import APIConnectionError, APIStatusError, OpenAIError

_LONGEST_REASON = 300
_OVERFLOW_CODES = {"context_length_exceeded", "exceed_context_size_error"}
_OVERFLOW = re.compile(
    r"maximum context length|available context size|tokens exceed the configured limit",
    re.IGNORECASE,
)
"""OpenAI, vLLM and DeepSeek; llama.cpp; OpenAI again. Not all of them send a code."""
_NEEDED = re.compile(r"(?:resulted in|requested|request \()\s*(\d{1,12})\b", re.IGNORECASE)
_WINDOW = re.compile(
    r"(?:context length is|context size \(|configured limit of)\s*(\d{1,12})\b", re.IGNORECASE
)
_NO_CREDIT = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
_NO_MODEL = re.compile(r"model (does )?not exist", re.IGNORECASE)
"""DeepSeek's 400, whose code is that of every other wrong request."""
_TOO_MUCH_AT_ONCE = re.compile(r"request too large", re.IGNORECASE)
"""OpenAI's 429 for a request that alone is above the account's tokens per minute."""


@dataclass(frozen=True, slots=True)
class Translator:
    """Says for one model what an error of the SDK means to the caller."""

    card: ModelCard
    dialect: Dialect
    key_name: str
    key: str = field(default="", repr=False)
    """Never in a message, also where the server repeats it."""

    def translate(self, error: OpenAIError) -> IfMemError:
        """The error to raise instead."""
        import openai

        match error:
            case openai.APIStatusError():
                return self._of_status(error)
            case openai.APIResponseValidationError():
                return self.cut_short("answered what the SDK does not understand")
            case openai.APIConnectionError():
                return self._of_connection(error)
            case openai.APIError():
                # The server told of it inside a stream that had begun.
                return self.cut_short(f"broke off its answer: {self._quoted(error.message)}")
            case _:
                return self.cut_short(f"could not be understood: {self._quoted(str(error))}")

    def cut_short(self, what: str) -> OutcomeUnknown:
        """The answer ended before its usage was told; ``what`` goes on from the server's name."""
        model = str(self.card.ref)
        return OutcomeUnknown(
            f"{self._title} {what}; {model} may have been billed for the call", model=model
        )

    @property
    def _title(self) -> str:
        return self.dialect.title

    def _quoted(self, words: str) -> str:
        return _short(words.replace(self.key, "…") if self.key else words)

    def _of_status(self, error: APIStatusError) -> IfMemError:
        model = str(self.card.ref)
        reason = self._quoted(error.message)
        status = error.status_code
        if _is_overflow(error):
            return self._overflow(error)
        if status == 402 or error.code in _NO_CREDIT or error.type in _NO_CREDIT:
            return NotPermitted(
                f"the account at {self._title} behind {self.key_name} has no credit left: add"
                f" some, or choose another model than {model}",
                model=model,
                status=status,
            )
        if status in {401, 403}:
            return NotPermitted(
                f"{self._title} refuses the key in {self.key_name} for {model}: {reason}",
                model=model,
                status=status,
            )
        if _is_no_model(error):
            return NotFound(
                f"{self._title} has no model {self.card.ref.model}, or not at this address:"
                f" {reason}",
                model=model,
                status=status,
            )
        return self._of_load(error, reason)

    def _of_load(self, error: APIStatusError, reason: str) -> IfMemError:
        model, status = str(self.card.ref), error.status_code
        wait = retry_after_s(error.response.headers, now=clock.now())
        facts: dict[str, object] = {"model": model, "status": status, "retry_after_s": wait}
        when = "" if wait is None else f" in {wait:g} s"
        if status == 429 and _TOO_MUCH_AT_ONCE.search(error.message):
            return Refused(
                f"{model} may not be sent so many tokens in a minute: {reason}",
                model=model,
                status=status,
            )
        if status == 429:
            return RateLimited(f"{self._title} asks to wait for {model}: ask again{when}", **facts)
        if status in {408, 409} or status >= 500:
            return Unavailable(
                f"{self._title} could not serve {model} ({status}): ask again{when}", **facts
            )
        return Failed(
            f"{self._title} would not take the request for {model} ({status}): {reason}",
            model=model,
            status=status,
        )

    def _of_connection(self, error: APIConnectionError) -> IfMemError:
        import httpx2

        # Nothing was sent: no connection came about, or none was free in time.
        never = (
            httpx2.ConnectError,
            httpx2.ConnectTimeout,
            httpx2.PoolTimeout,
            httpx2.ProxyError,
            httpx2.UnsupportedProtocol,
            httpx2.LocalProtocolError,
        )
        if isinstance(error.__cause__, never):
            return Unavailable(
                f"{self._title} cannot be reached for {self.card.ref}: look at the network and at"
                f" its base_url ({_short(str(error.__cause__)) or type(error.__cause__).__name__})",
                model=str(self.card.ref),
            )
        return self.cut_short("ended the connection before its answer was whole")

    def _overflow(self, error: APIStatusError) -> ContextOverflow:
        needed, window = _sizes(error)
        window = window or self.card.window
        size = "more" if needed is None else f"{needed} tokens"
        return ContextOverflow(
            f"{self.card.ref} takes {window} tokens, prompt and answer together, and was sent"
            f" {size}: give it less, or choose a model with a larger window",
            model=str(self.card.ref),
            needed=needed,
            window=window,
        )


def _is_overflow(error: APIStatusError) -> bool:
    if error.code in _OVERFLOW_CODES or error.type in _OVERFLOW_CODES:
        return True
    return error.status_code in {400, 413, 422} and bool(_OVERFLOW.search(error.message))


def _is_no_model(error: APIStatusError) -> bool:
    if error.status_code == 404 or error.code == "model_not_found":
        return True
    return error.status_code == 400 and bool(_NO_MODEL.search(error.message))


def _sizes(error: APIStatusError) -> tuple[int | None, int | None]:
    """Tokens that were sent and that the window holds, where the server says it."""
    return _found(_NEEDED, error.message), _found(_WINDOW, error.message)


def _found(pattern: re.Pattern[str], text: str) -> int | None:
    match = pattern.search(text)
    return int(match[1]) if match else None


def _short(text: str) -> str:
    """A server's own words on one line, and not all of them: some answer with a page."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_REASON else line[: _LONGEST_REASON - 1] + "…"
