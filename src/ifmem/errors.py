"""Every error ifmem raises, arranged by what the caller can do about it.

    IfMemError                exit
      Failed                   1   this call did not work
        Refused                1   trying again unchanged changes nothing
          BudgetExceeded       1   a spending limit would be passed
          QuotaExhausted       1   no librarian may be asked before a reset
          ContextOverflow      1   the prompt does not fit the model's window
        IntegrityError         1   bytes do not match their checksum, or are missing
      Invalid                  2   the input breaks a stated rule
        ConfigError            2   a setting is wrong
      NotFound                 3   nothing has that name
      Unavailable              4   the daemon, the bus or a model cannot be reached
        RateLimited            4   a model's provider asks to wait
        OutcomeUnknown         4   it may or may not have happened: repeat with the same id
      NotPermitted             5   somebody else owns it, or it lies outside the fence

A message is one sentence a person can act on; the fields carry the same facts as data, and
``to_wire``/``from_wire`` take both across the daemon's socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class IfMemError(Exception):
    """The base of every error of this package.

    Args:
        message: one sentence that says what happened and what to do next.
        facts: the values in the message, by name, as JSON-compatible data.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts


class Failed(IfMemError):
    """The call did not work; what a load had stored before stays, the rest is as it was."""


class Refused(Failed):
    """The call is understood and will not be done; trying again unchanged changes nothing."""


class BudgetExceeded(Refused):
    """A spending limit would be passed; ``so_far`` is what was found before, when anything was."""


class QuotaExhausted(Refused):
    """No librarian may be asked before ``resets_at``; the question is kept as ``query_id``."""


class ContextOverflow(Refused):
    """The prompt does not fit the model's window: ``needed`` and ``window`` tokens."""


class IntegrityError(Failed):
    """Stored bytes do not match their checksum, or part of them is missing."""


class Invalid(IfMemError):
    """The input breaks a stated rule."""

    exit_code = 2


class ConfigError(Invalid):
    """A setting is wrong; the message names it and where it was read."""


class NotFound(IfMemError):
    """Nothing has that name."""

    exit_code = 3


class Unavailable(IfMemError):
    """The daemon, the bus or a model cannot be reached; waiting may help."""

    exit_code = 4


class RateLimited(Unavailable):
    """A model's provider asks to wait; ``retry_after_s`` says how long, when it told."""


class OutcomeUnknown(Unavailable):
    """The connection ended before the answer: repeat with the same id to be sure."""


class NotPermitted(IfMemError):
    """Somebody else owns it, or it lies outside what the caller may touch."""

    exit_code = 5


_BY_NAME: Mapping[str, type[IfMemError]] = {
    kind.__name__: kind
    for kind in (
        Failed,
        Refused,
        BudgetExceeded,
        QuotaExhausted,
        ContextOverflow,
        IntegrityError,
        Invalid,
        ConfigError,
        NotFound,
        Unavailable,
        RateLimited,
        OutcomeUnknown,
        NotPermitted,
    )
}


def to_wire(error: IfMemError) -> dict[str, object]:
    """The error as JSON-compatible data: ``{error, message, exit_code, facts}``."""
    return {
        "error": type(error).__name__,
        "message": error.message,
        "exit_code": error.exit_code,
        "facts": error.facts,
    }


def from_wire(data: Mapping[str, object]) -> IfMemError:
    """The error that ``to_wire`` wrote; a name this version does not know becomes ``Failed``."""
    kind = _BY_NAME.get(str(data.get("error")), Failed)
    facts = data.get("facts")
    return kind(str(data.get("message")), **(facts if isinstance(facts, dict) else {}))
