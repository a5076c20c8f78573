"""What goes wrong with Anthropic's API, in the words of ``llm/port.py``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from ifmem import clock
from ifmem.domain.model import RateLimits
from ifmem.errors import (
    ConfigError,
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
    import anthropic

MOST_SAID = 300
"""Characters of the vendor's own message that are passed on."""
_HEAD = "anthropic-ratelimit-"
# The API gives no code for it, only these sentences (docs build-with-claude/context-windows).
_TOO_LONG = re.compile(r"prompt is too long: (\d+) tokens > (\d+)")
_NO_ROOM = re.compile(r"exceed context limit: (\d+) \+ (\d+) > (\d+)")

_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""docs api/errors; SDK 2.12's ``types/shared/error_type.py``."""

_OF_THE_ACCOUNT = frozenset(
    {"enforced_spend_limit_reached", "contract_spend_limit_reached", "organization_on_hold"}
)
"""Codes of 429 and 400 that no waiting helps; SDK 2.12's ``types/shared/*_error_details.py``."""


def translated(
    error: anthropic.AnthropicError, *, model: str, key: str, key_name: str
) -> IfMemError:
    """The error to raise ``from`` the SDK's.

    Args:
        key: never shown, also where the vendor repeats it.
        key_name: names the key to the person who must change it.
    """
    import anthropic

    if isinstance(error, anthropic.APIStatusError):
        return _of_status(error, model=model, key=key, key_name=key_name)
    if isinstance(error, anthropic.APIConnectionError):
        return _of_connection(error, model)
    if isinstance(error, anthropic.APIResponseValidationError):
        return unreadable(model)
    if isinstance(error, anthropic.CredentialsError):
        return ConfigError(
            f"the key of {model} could not be read: set {key_name}", model=model, key_name=key_name
        )
    if isinstance(error, anthropic.RetryableError):
        return Unavailable(f"{model} could not be asked: try again", model=model)
    return Failed(f"{model} could not be asked: {said(error, key)}", model=model)


def unreadable(model: str, **facts: object) -> OutcomeUnknown:
    """A whole answer came that is not in the API's form: it was served, and may be billed."""
    return OutcomeUnknown(
        f"{model} answered something that is not its protocol: check base_url",
        model=model,
        **facts,
    )


def said(error: BaseException, key: str) -> str:
    """The vendor's words, bounded and without the key."""
    words = getattr(error, "api_message", None) or str(error)
    words = " ".join(str(words).split())[:MOST_SAID]
    return words.replace(key, "[key]") if key else words


def limits_left(headers: Mapping[str, str]) -> RateLimits | None:
    """What the headers say is left (docs api/rate-limits); None when they say nothing."""
    requests = _number(headers, f"{_HEAD}requests-remaining")
    tokens = _number(headers, f"{_HEAD}input-tokens-remaining")
    if tokens is None:
        tokens = _number(headers, f"{_HEAD}tokens-remaining")
    resets = [
        moment
        for kind in ("requests", "input-tokens", "tokens")
        if (moment := _moment(headers.get(f"{_HEAD}{kind}-reset"))) is not None
    ]
    if requests is None and tokens is None and not resets:
        return None
    now = clock.now()
    resets_in = max(timedelta(0), max(resets) - now) if resets else None
    return RateLimits(requests_left=requests, tokens_left=tokens, resets_in=resets_in)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the vendor asks to wait; None when it does not say."""
    milliseconds = _float(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1_000
    value = headers.get("retry-after")
    seconds = _float(value)
    if seconds is not None or value is None:
        return seconds
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, clock.in_seconds(moment - clock.now()))


def _of_status(
    error: anthropic.APIStatusError, *, model: str, key: str, key_name: str
) -> IfMemError:
    status = error.status_code
    if status < 400:
        # Told as an event of a stream that was accepted: only the type says what it is.
        status = _STATUS_OF_TYPE.get(error.type or "", 500)
    words = said(error, key)
    facts = {"model": model, "status": status, "request_id": error.request_id}
    if error.error_code in _OF_THE_ACCOUNT:
        message = f"the account of the key in {key_name} may not use {model} now: {words}"
        return NotPermitted(message, key_name=key_name, **facts)
    match status:
        case 401:
            message = f"the key in {key_name} is not accepted for {model}: set one that is"
            return NotPermitted(message, key_name=key_name, **facts)
        case 402:
            message = f"the account of the key in {key_name} cannot pay for {model}: {words}"
            return NotPermitted(message, key_name=key_name, **facts)
        case 403:
            message = f"the key in {key_name} may not use {model}: {words}"
            return NotPermitted(message, key_name=key_name, **facts)
        case 404:
            message = f"there is no model {model} (any more) for this key: choose another one"
            return NotFound(message, **facts)
        case 413:
            message = f"the prompt is larger than {model} takes: send less of the shard"
            return ContextOverflow(message, **facts)
        case 429:
            return _rate_limited(error, model, facts)
        case 499:
            message = f"the request to {model} was closed before its answer: it may be billed"
            return OutcomeUnknown(message, **facts)
        case 408 | 409:
            return Unavailable(f"{model} did not take the request now: {words}", **facts)
        case _ if status >= 500:
            wait = retry_after(error.response.headers)
            message = f"{model} cannot serve now ({status}): try again, or name a fall-back"
            return Unavailable(message, retry_after_s=wait, **facts)
        case 400 if (overflow := _overflow(words)) is not None:
            needed, window = overflow
            message = f"the prompt needs {needed} tokens and {model} takes {window}: send less"
            return ContextOverflow(message, needed=needed, window=window, **facts)
    return Failed(f"{model} refused the request ({status}): {words}", **facts)


def _rate_limited(
    error: anthropic.APIStatusError, model: str, facts: Mapping[str, object]
) -> RateLimited:
    wait = retry_after(error.response.headers)
    when = "later" if wait is None else f"in {wait:g} s"
    message = f"the limit of requests or tokens of {model} is reached: ask again {when}"
    return RateLimited(message, retry_after_s=wait, **facts)


def _of_connection(error: anthropic.APIConnectionError, model: str) -> IfMemError:
    """Refused before anything was sent, or lost after: only the first is surely not billed."""
    import httpx2

    unsent = (
        httpx2.ConnectError,
        httpx2.ConnectTimeout,
        httpx2.PoolTimeout,
        httpx2.ProxyError,
        httpx2.UnsupportedProtocol,
        httpx2.LocalProtocolError,
    )
    if isinstance(error.__cause__, unsent):
        message = f"{model} cannot be reached: check the network and base_url, then ask again"
        return Unavailable(message, model=model)
    message = f"the connection to {model} ended before its answer: the call may be billed"
    return OutcomeUnknown(message, model=model)


def _overflow(words: str) -> tuple[int, int] | None:
    if found := _TOO_LONG.search(words):
        return int(found[1]), int(found[2])
    if found := _NO_ROOM.search(words):
        return int(found[1]) + int(found[2]), int(found[3])
    return None


def _number(headers: Mapping[str, str], name: str) -> int | None:
    value = headers.get(name, "")
    return int(value) if value.isdecimal() else None


def _float(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _moment(value: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
