"""The librarians as others see them: their keys on the bus, the status board, the audit."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ifmem import clock
from ifmem.archive_settings import LibrarianEntry
from ifmem.bus.state import LibrarianState
from ifmem.domain.quota import Allowance, Refusal, Remaining, Reset
from ifmem.engine.quotas import reason
from ifmem.errors import IfMemError
from ifmem.runtime.allowances import librarians_of
from ifmem.runtime.archived import archive_tokens
from ifmem.runtime.space import Space
from ifmem.store import audit
from ifmem.wire.shapes import LibrarianShape

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A librarian at one moment."""

    entry: LibrarianEntry
    allowance: Allowance
    remaining: Remaining
    offline: str | None

    @property
    def status(self) -> str:
        denied = self.remaining.denied
        if self.offline is not None:
            return "offline"
        if not self.remaining.calls:
            return "exhausted"
        # The minute is over before anybody could act on it.
        return "offline" if denied and denied.refusal is Refusal.BACKING_OFF else "active"


async def show_librarians(
    space: Space, *, tokens: int | None = None, everything: bool = False
) -> None:
    """Have the bus show each librarian as it is; the store audits a day of calls that began.

    Cheap when nothing has changed: it is done after every call, and by the clock.

    Args:
        tokens: of the archive, where the caller knows.
        everything: whatever was shown before, as after the bus was away.
    """
    seen = await _seen(space)
    if tokens is None:
        tokens = await archive_tokens(space)
    states = [_state(one, tokens) for one in seen]
    board = space.librarian_board
    changed = (
        states if everything else [one for one in states if one != board.shown.get(one.number)]
    )
    if changed:
        await space.bus.put_librarians(changed, count=len(states) if everything else None)
        board.shown.update({one.number: one for one in changed})
    await _audit_resets(space)


async def hide_librarians(space: Space) -> None:
    """Have the bus show them offline: nobody answers for the space any more."""
    board = space.librarian_board
    states = [one._replace(status="offline") for one in board.shown.values()]
    await space.bus.put_librarians(states)
    board.shown.clear()


async def librarian_shapes(space: Space, *, on_bus: bool) -> list[LibrarianShape]:
    """The rows of the status board.

    Args:
        space: whose librarians.
        on_bus: as its keys show them; else, while the bus is away, as the quotas do.
    """
    seen = await _seen(space)
    if on_bus:
        await show_librarians(space)
        states: Sequence[LibrarianState] = await space.bus.librarians(len(seen))
    else:
        tokens = await archive_tokens(space)
        states = [_state(one, tokens) for one in seen]
    return [_shape(one, state) for one, state in zip(seen, states, strict=True)]


async def _seen(space: Space) -> list[_Seen]:
    quotas, board = space.quotas, space.librarian_board
    allowances = quotas.allowances(space.name)
    damaged: str | None = None
    try:
        remaining = await quotas.remaining(space.name)
    except IfMemError as error:
        # What counts no calls goes on: the memory does not end with its quotas.
        damaged = error.message
        log.warning("quotas: %s", damaged)
        remaining = [
            Remaining(one.librarian, one.daily if one.quota is None else 0, None, None)
            for one in allowances
        ]
    entries = librarians_of(space.settings)
    return [
        _Seen(
            entries[one.librarian],
            one,
            left,
            board.offline.get(one.librarian) or (damaged if one.quota is not None else None),
        )
        for one, left in zip(allowances, remaining, strict=True)
    ]


def _state(one: _Seen, tokens: int) -> LibrarianState:
    return LibrarianState(
        one.entry.number, one.status, one.remaining.calls, min(tokens, one.entry.capacity)
    )


def _shape(one: _Seen, state: LibrarianState) -> LibrarianShape:
    denied, resets_at = one.remaining.denied, one.remaining.resets_at
    return LibrarianShape(
        librarian=state.number,
        status=state.status,
        quota=state.quota,
        capacity=state.capacity,
        model=one.entry.model,
        pool=None if one.allowance.quota is None else one.allowance.quota.name,
        daily=one.allowance.daily,
        resets_at=None if resets_at is None else clock.stamp(resets_at),
        why=reason(denied, one.offline) or None,
        until=None if denied is None or one.offline is not None else clock.stamp(denied.until),
    )


async def _audit_resets(space: Space) -> None:
    noted = space.librarian_board.noted
    # What cannot be read or written now is noted at the next look.
    with contextlib.suppress(IfMemError):
        for reset in await space.quotas.newest_resets():
            if noted.get(reset.pool) != reset.day:
                await space.write(partial(_note, reset=reset, actor=space.worker_id))
                noted[reset.pool] = reset.day


def _note(connection: sqlite3.Connection, *, reset: Reset, actor: str) -> None:
    audit.note(
        connection,
        entry=f"quota:{reset.pool}:{reset.day}",
        at=reset.at,
        type=audit.DECISION,
        severity=audit.INFO,
        action="quota_reset",
        actor=actor,
        subject=reset.pool,
        reason=f"a day of calls began at {reset.day}; {reset.used:,} were used of the one before",
    )
