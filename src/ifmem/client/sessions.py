"""The verbs of sessions: listed, shown, ended."""

from __future__ import annotations

from ifmem.client.loop import Loop
from ifmem.client.overview import Overview
from ifmem.client.tasks import default_worker
from ifmem.wire.session_calls import (
    EndedSession,
    SessionCall,
    SessionDetail,
    SessionEndCall,
    SessionsCall,
    SessionShape,
    SessionState,
)
from ifmem.wire.shapes import Page


class SessionVerbs(Overview):
    """A connected memory, as far as its work belongs to sessions."""

    async def sessions(
        self, *, state: SessionState | None = None, after: str = "", limit: int = 100
    ) -> Page[SessionShape]:
        """Sessions, those that began last first, a page at a time.

        Args:
            state: only those that are ``open``, or have ``ended``.
            after: the ``next`` of the page before.
            limit: sessions of the page, 1,000 at most.

        Example:
            for session in await memory.sessions(state="ended"):
                print(session.session_id, session.agent, session.findings)
        """
        call = SessionsCall(state=state, after=after, limit=limit)
        return await self._call("sessions", call, Page[SessionShape])

    async def session(self, id: str) -> SessionDetail:
        """One session with its authors and its tasks.

        Raises:
            NotFound: nothing was ever stored in a session of that name.
        """
        return await self._call("session", SessionCall(id), SessionDetail, id=id)

    async def end_session(self, id: str, *, by: str | None = None) -> EndedSession:
        """End a session: what is its alone goes to the archive, its open tasks are cancelled.

        Ending it again changes nothing; ``outcome`` says so.

        Args:
            id: its name: the run that the work was done in.
            by: who ends it; by default the user on this host.

        Example:
            ended = await memory.end_session("nightly-2026-01-02")
            print(ended.findings, ended.documents)

        Raises:
            NotFound: nothing was ever stored in a session of that name.
        """
        call = SessionEndCall(id, actor=by or default_worker())
        return await self._call("session_end", call, EndedSession, id=id)


class BlockingSessions:
    """The same verbs, each waiting for its result."""

    _memory: SessionVerbs
    _loop: Loop

    def sessions(
        self, *, state: SessionState | None = None, after: str = "", limit: int = 100
    ) -> Page[SessionShape]:
        """Sessions, those that began last first, a page at a time."""
        return self._loop.run(self._memory.sessions(state=state, after=after, limit=limit))

    def session(self, id: str) -> SessionDetail:
        """One session with its authors and its tasks."""
        return self._loop.run(self._memory.session(id))

    def end_session(self, id: str, *, by: str | None = None) -> EndedSession:
        """End a session: what is its alone goes to the archive, its open tasks are cancelled."""
        return self._loop.run(self._memory.end_session(id, by=by))
