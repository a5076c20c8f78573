"""Steps that may be repeated while the bus is away, and their end at the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ifmem import clock
from ifmem.errors import OutcomeUnknown, Refused, Unavailable
from ifmem.wire.log_entries import Verdict

T = TypeVar("T")

REBUILDING = "the bus is being rebuilt from the store"
NOT_OPENED = "no bridge has opened this space here yet"
"""What the functions on the server answer before, and after a loss, until a bridge attaches."""


async def insist(
    step: Callable[[], Awaitable[T]],
    *,
    within: float,
    recovered: Callable[[Unavailable], Awaitable[object]],
) -> T:
    """The result of a step that may be repeated; when the bus is away, once it is back.

    Args:
        within: seconds after which it is given up.
        recovered: returns when it is worth trying again.

    Raises:
        Unavailable: the bus was away for longer, or takes nothing new.
    """
    deadline = clock.monotonic() + within
    while True:
        try:
            return await step()
        except OutcomeUnknown:
            raise
        except Unavailable as error:
            left = deadline - clock.monotonic()
            if left <= 0 or not passes(error):
                raise
            failure = error
        try:
            async with asyncio.timeout(left):
                await recovered(failure)
        except TimeoutError:
            raise failure from None


def passes(error: Unavailable) -> bool:
    """True when the same step may succeed by itself a little later."""
    if not error.facts.get("outcome"):
        return True
    return error.facts.get("reason") in (REBUILDING, NOT_OPENED)


async def committed(waiting: Awaitable[Verdict | None], **facts: object) -> Verdict | None:
    """What the store decided of an entry that is waited for; None for a plain yes.

    Args:
        facts: what to repeat when that stays unknown; given with the error.

    Raises:
        Refused: the store would not have it.
        OutcomeUnknown: it was not committed in time.
    """
    try:
        verdict = await waiting
    except OutcomeUnknown as error:
        raise OutcomeUnknown(error.message, **{**error.facts, **facts}) from None
    if verdict is not None and verdict.outcome != "known":
        raise Refused(verdict.message, **{**verdict.facts, **facts})
    return verdict
