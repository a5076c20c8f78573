"""Errors of Google's SDK, and of the service behind it, in the words of ``llm.port``.

    what comes                                      becomes
    400 API_KEY_INVALID, 401, 403                   NotPermitted
    404                                             NotFound
    400, 403 that name a CachedContent              NotFound: of the object, not of the model
    400 "token count exceeds the maximum"           ContextOverflow
    429                                             RateLimited, with the wait of its RetryInfo
    408, 409, 499, 5xx                              Unavailable
    other 4xx                                       Failed
    no connection was made                          Unavailable
    anything after an answer had begun              OutcomeUnknown

Sources: ai.google.dev, "Troubleshooting" and google.rpc's ``error_details`` (RetryInfo, ErrorInfo).
The wording of the overflow and of the smallest object is what the service says, written down
nowhere; where it changes, the error is ``Failed`` with the service's own sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ifmem.domain.model import ModelCard
from ifmem.errors import (
    ContextOverflow,
    Failed,
    IfMemError,
    NotFound,
    NotPermitted,
    OutcomeUnknown,
    RateLimited,
    Unavailable,
)

if TYPE_CHECKING:
    from google.genai.errors import APIError

_LONGEST_REASON = 300
_OVERFLOW = re.compile(r"token count \((\d+)\) exceeds the maximum number of tokens.*?\((\d+)\)")
_TOO_SMALL = re.compile(r"cached content is too small", re.IGNORECASE)
_OBJECT = re.compile(r"cached_?\s?contents?", re.IGNORECASE)
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


class TooSmall(Failed):
    """A prefix below the least that the service makes an object of; nothing was made or billed."""


@dataclass(frozen=True, slots=True)
class Translator:
    """Says for one model what an error of the SDK means to the caller."""

    card: ModelCard
    key_name: str

    def translate(self, error: Exception) -> IfMemError:
        """The error to raise instead."""
        import httpx2
        from google.genai import errors

        # Nothing was sent: no connection came about, or none was free in time.
        never = (
            httpx2.ConnectError,
            httpx2.ConnectTimeout,
            httpx2.PoolTimeout,
            httpx2.ProxyError,
            httpx2.UnsupportedProtocol,
            httpx2.LocalProtocolError,
        )
        if isinstance(error, errors.APIError):
            if _inside_an_answer(error):
                return self.cut_short(f"broke off its answer: {_short(str(error.message))}")
            return self._of_status(error)
        if isinstance(error, never):
            return Unavailable(
                f"Gemini cannot be reached for {self.card.ref}: look at the network and at its "
                f"base_url ({_short(str(error)) or type(error).__name__})",
                model=str(self.card.ref),
            )
        if isinstance(error, httpx2.HTTPError):
            return self.cut_short("ended the connection before its answer was whole")
        return self.cut_short("sent a piece of answer that cannot be understood")

    def cut_short(self, what: str) -> OutcomeUnknown:
        """The answer ended before its usage was told; ``what`` goes on from the vendor's name."""
        model = str(self.card.ref)
        return OutcomeUnknown(
            f"Gemini {what}; {model} may have been billed for the call", model=model
        )

    def _of_status(self, error: APIError) -> IfMemError:
        ref, status, reason = self.card.ref, error.code, _short(str(error.message))
        facts: dict[str, object] = {"model": str(ref), "status": status}
        if found := _OVERFLOW.search(reason):
            return ContextOverflow(
                f"{ref} takes {found[2]} tokens and was sent {found[1]}: give it less, or choose a "
                f"model with a larger window",
                model=str(ref),
                needed=int(found[1]),
                window=int(found[2]),
            )
        if _TOO_SMALL.search(reason):
            return TooSmall(f"Gemini keeps no object so small for {ref}: {reason}", **facts)
        if status in {400, 403, 404} and _OBJECT.search(reason):
            return NotFound(f"the cache object of {ref} cannot be used: {reason}", **facts)
        if status in {401, 403} or "API_KEY_INVALID" in _reasons(error):
            return NotPermitted(
                f"Gemini refuses the key in {self.key_name} for {ref}: {reason}", **facts
            )
        if status == 404:
            return NotFound(f"Gemini has no model {ref.model} (any more): {reason}", **facts)
        return self._of_load(error, facts, reason)

    def _of_load(self, error: APIError, facts: dict[str, object], reason: str) -> IfMemError:
        ref, status = self.card.ref, error.code
        wait = _retry_after_s(error)
        when = "" if wait is None else f" in {wait:g} s"
        if status == 429:
            return RateLimited(
                f"Gemini asks to wait for {ref}: ask again{when}", **facts, retry_after_s=wait
            )
        if status in {408, 409, 499} or status >= 500:
            return Unavailable(
                f"Gemini could not serve {ref} ({status}): ask again{when}",
                **facts,
                retry_after_s=wait,
            )
        return Failed(f"Gemini would not take the request for {ref} ({status}): {reason}", **facts)


def _inside_an_answer(error: APIError) -> bool:
    """It came as an event of a stream, whose own status was 200, or has no status at all."""
    code: object = error.code
    return getattr(error.response, "status_code", None) == 200 or not isinstance(code, int)


def _details(error: APIError) -> Iterator[Mapping[str, Any]]:
    body = error.details
    told = body.get("error", body) if isinstance(body, Mapping) else None
    details = told.get("details") if isinstance(told, Mapping) else None
    yield from (each for each in details or () if isinstance(each, Mapping))


def _reasons(error: APIError) -> set[str]:
    return {str(detail.get("reason")) for detail in _details(error)}


def _retry_after_s(error: APIError) -> float | None:
    """The wait of ``google.rpc.RetryInfo``, a protobuf duration: ``34.07s``."""
    for detail in _details(error):
        found = _SECONDS.fullmatch(str(detail.get("retryDelay")))
        if found:
            return float(found[1])
    return None


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_REASON else line[: _LONGEST_REASON - 1] + "…"
