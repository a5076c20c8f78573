"""Grants on their way to the audit: a row for each token that is made or revoked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from ifmem import clock
from ifmem.store import audit
from ifmem.store.database import Database

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GrantNote:
    """What was granted to whom, or taken from him."""

    action: Literal["token_create", "token_revoke"]
    name: str
    terms: str
    """What the token may do."""


NoteGrant = Callable[[GrantNote], Awaitable[None]]
"""Writes a row of the audit; it is durable on return."""


def grants_into_store(database: Database) -> NoteGrant:
    """Notes grants in the audit of a space.

    The tokens lie in a file of their own, so that the row is written first: a token that nobody can
    find in the audit must not be; a row without its token says no more than that one was asked for.
    """

    async def note(grant: GrantNote) -> None:
        row = partial(
            audit.note,
            entry=clock.new_id(),
            at=clock.stamp(clock.now()),
            type=audit.GRANT,
            severity=audit.WARNING,
            action=grant.action,
            actor="user",
            subject=grant.name,
            reason=grant.terms,
        )
        await asyncio.wrap_future(database.write(row))

    return note


async def grants_into_log(grant: GrantNote) -> None:
    """Notes grants in the daemon's log, where there is no store."""
    log.warning("%s for %s: %s", grant.action, grant.name, grant.terms)
