"""The verbs that forget: by id, by description, what was captured; and that let it come back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from ifmem import clock
from ifmem.client import naming
from ifmem.client.loop import Loop
from ifmem.client.overview import Overview
from ifmem.errors import Invalid
from ifmem.wire.agent_calls import ForgetCapturedCall, ForgottenCaptured
from ifmem.wire.calls import ForgetCall
from ifmem.wire.forget_calls import (
    ForgetMatchingCall,
    ForgottenCall,
    ForgottenFinding,
    ForgottenReport,
    LiftCall,
    Lifted,
)
from ifmem.wire.shapes import Forgotten, Page

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"(\d{1,6})([smhdw])")


class ForgetVerbs(Overview):
    """A connected memory, as far as it forgets."""

    _directory: Path

    async def forget(self, id: str) -> Forgotten:
        """Remove a finding, a passage or a document, so that nothing returns it any more.

        What quoted it loses the quote. Offered again it is refused, until ``lift`` says otherwise.

        Example:
            await memory.forget(found.passages[0].id)

        Raises:
            NotFound: nothing has that id.
        """
        return await self._call("forget", ForgetCall(id), Forgotten, id=id)

    async def forget_matching(
        self,
        *,
        source: str | Sequence[str] = (),
        session: str | None = None,
        older_than: timedelta | str | None = None,
        everything: bool = False,
        dry_run: bool = False,
    ) -> ForgottenReport:
        """Remove all that fits; what is given must all fit. Interrupted, it is repeated.

        Args:
            source: documents at these paths and below, URLs, or patterns with ``*``.
            session: documents and findings that were stored in it, and by nobody else.
            older_than: loaded or said longer ago: a duration, ``30d``, or a date.
            everything: the whole space, with its tasks and messages; alone.
            dry_run: only tell what would go.

        Example:
            report = await memory.forget_matching(source="secrets/", dry_run=True)
            print(report.documents, report.examples)

        Raises:
            Invalid: nothing says what, or ``everything`` comes with more.
        """
        sources = (source,) if isinstance(source, str) else tuple(source)
        call = ForgetMatchingCall(
            source=tuple(naming.source_name(one, self._directory) for one in sources),
            session=session,
            before=None if older_than is None else moment_before(older_than),
            everything=everything,
            dry_run=dry_run,
        )
        return await self._call("forget_matching", call, ForgottenReport)

    async def lift(
        self, id: str | None = None, *, session: str | None = None, everything: bool = False
    ) -> Lifted:
        """Let what was forgotten be stored again; it does not come back by itself.

        Args:
            id: of a finding or passage, a source, or the sha256 of a text.
            session: or a session.
            everything: or all that was ever forgotten in this space.

        Example:
            await memory.lift("notes/plan.md")
            await memory.load("notes/plan.md")

        Raises:
            NotFound: nothing of that name was forgotten.
        """
        if id is not None and (self._directory / id).exists():
            id = naming.source_name(id, self._directory)
        call = LiftCall(id=id, session=session, everything=everything)
        return await self._call("lift", call, Lifted, id=id)

    async def forgotten(
        self, since: str | None = None, *, limit: int = 1_000
    ) -> Page[ForgottenFinding]:
        """Findings that were forgotten, for who keeps copies; ``follow`` tells of more as it goes.

        Args:
            since: a date or time: only those forgotten then or later.
            limit: at most so many; ``next`` is the moment to go on from.

        Example:
            for gone in (await memory.forgotten(since=last_look)).items:
                copies.pop(gone.id, None)
        """
        call = ForgottenCall(since=naming.moment(since) if since else "", limit=limit)
        return await self._call("forgotten", call, Page[ForgottenFinding])

    async def forget_captured(self, since: str | None = None) -> ForgottenCaptured:
        """Remove what hooks of agents captured for this space, here and in its local space.

        Args:
            since: a date or time; only what was captured from then on.

        Example:
            await memory.forget_captured(since="2026-01-01")
        """
        call = ForgetCapturedCall(naming.moment(since) if since else None)
        return await self._call("forget_captured", call, ForgottenCaptured)


def moment_before(older_than: timedelta | str) -> str:
    """The moment before which something is older than that.

    Raises:
        Invalid: it is neither a duration nor a date.
    """
    if isinstance(older_than, str):
        age = _AGE.fullmatch(older_than.strip())
        if age is None:
            if naming.is_moment(older_than):
                return naming.moment(older_than)
            raise Invalid(
                f"{older_than!r} is no age: write 30d, 12h, 2w, or a date", older_than=older_than
            )
        older_than = timedelta(seconds=int(age[1]) * _UNITS[age[2]])
    if older_than < timedelta(0):
        raise Invalid("an age is not negative: it lies in the future")
    try:
        return clock.stamp(clock.now() - older_than)
    except OverflowError as error:
        raise Invalid("nothing is as old as that: give a smaller age") from error


class BlockingForget:
    """The same verbs for code that is not async."""

    _memory: ForgetVerbs
    _loop: Loop

    def forget(self, id: str) -> Forgotten:
        """Remove a finding, a passage or a document."""
        return self._loop.run(self._memory.forget(id))

    def forget_matching(
        self,
        *,
        source: str | Sequence[str] = (),
        session: str | None = None,
        older_than: timedelta | str | None = None,
        everything: bool = False,
        dry_run: bool = False,
    ) -> ForgottenReport:
        """Remove all that fits; what is given must all fit."""
        return self._loop.run(
            self._memory.forget_matching(
                source=source,
                session=session,
                older_than=older_than,
                everything=everything,
                dry_run=dry_run,
            )
        )

    def lift(
        self, id: str | None = None, *, session: str | None = None, everything: bool = False
    ) -> Lifted:
        """Let what was forgotten be stored again."""
        return self._loop.run(self._memory.lift(id, session=session, everything=everything))

    def forgotten(self, since: str | None = None, *, limit: int = 1_000) -> Page[ForgottenFinding]:
        """Findings that were forgotten, for who keeps copies."""
        return self._loop.run(self._memory.forgotten(since, limit=limit))

    def forget_captured(self, since: str | None = None) -> ForgottenCaptured:
        """Remove what hooks of agents captured for this space, here and in its local space."""
        return self._loop.run(self._memory.forget_captured(since))
