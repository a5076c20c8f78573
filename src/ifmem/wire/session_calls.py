"""Sessions on the wire: listed, shown, ended."""

from __future__ import annotations

from typing import Literal

import msgspec

SessionState = Literal["open", "ended"]


class SessionsCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sessions, those that began last first."""

    state: SessionState | None = None
    """None: both."""
    after: str = ""
    """``next`` of the page before."""
    limit: int = 100
    """1,000 at most."""


class SessionCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str


class SessionEndCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    actor: str | None = None
    """Who ends it; None: the daemon's own name."""


class SessionShape(msgspec.Struct, frozen=True):
    """A session, and what belongs to it now."""

    session_id: str
    state: SessionState
    agent: str
    """Who stored the first of it."""
    started_at: str
    last_at: str
    """When something was stored in it last."""
    ended_at: str | None
    ended_by: str | None
    """None while it is open, and when it ended because it was idle."""
    findings: int
    documents: int
    """Those it loaded; one that others loaded too is counted for each."""


class SessionDetail(SessionShape, frozen=True):
    """A session with what its work was."""

    authors: dict[str, int] = {}
    """How many of its findings each author said."""
    tasks: dict[str, int] = {}
    """How many of its tasks are in each state."""
    archived_documents: int = 0


class EndedSession(msgspec.Struct, frozen=True):
    """What an ending did."""

    session_id: str
    outcome: str
    """``ended``, or ``known`` when it had ended before."""
    ended_at: str
    ended_by: str | None
    findings: int = 0
    """How many were archived now."""
    documents: int = 0
    """How many texts went to the archive now; those that others use stay live."""
    tasks: int = 0
    """How many of its open tasks were cancelled now."""
