"""The verbs of the audit: its rows, whether its chain holds, and what a checkpoint signs."""

from __future__ import annotations

from ifmem.client import naming
from ifmem.client.loop import Loop
from ifmem.client.overview import Overview
from ifmem.client.tasks import default_worker
from ifmem.wire.audit_calls import (
    AcceptBreakCall,
    AuditCall,
    AuditCheck,
    AuditLine,
    Checkpoint,
)
from ifmem.wire.shapes import Page


class AuditVerbs(Overview):
    """A connected memory, as far as it tells who did what."""

    async def audit(
        self,
        *,
        agent: str | None = None,
        task: str | None = None,
        since: str | None = None,
        until: str | None = None,
        type: str | None = None,
        severity: str | None = None,
        action: str | None = None,
        subject: str | None = None,
        after: str = "",
        limit: int = 100,
    ) -> Page[AuditLine]:
        """Rows of the audit, newest first, a page at a time.

        Args:
            agent: who did it, or tried to.
            task: only what belongs to this task.
            since: a date or time.
            until: the same, a date with its whole day.
            type: ``write``, ``refusal``, ``grant`` or ``decision``.
            severity: ``info``, ``warning`` or ``critical``.
            action: the verb, such as ``remember``.
            subject: the id of what it was done to.
            after: the ``next`` of the page before.
            limit: rows of the page, 1,000 at most.

        Raises:
            Invalid: an unknown type or severity, or a cursor that no page gave.

        Example:
            for row in await memory.audit(type="refusal", since="2026-01-01"):
                print(row.at, row.actor, row.action, row.reason)
        """
        call = AuditCall(
            agent=agent,
            task=task,
            since=naming.moment(since) if since else None,
            until=naming.moment(until, end_of_day=True) if until else None,
            type=type,
            severity=severity,
            action=action,
            subject=subject,
            after=after,
            limit=limit,
        )
        return await self._call("audit", call, Page[AuditLine])

    async def audit_chain(self) -> AuditCheck:
        """Whether every row of the audit is as it was written, and none is missing.

        Raises:
            Failed: the file is damaged.
        """
        return await self._call("audit_chain", None, AuditCheck)

    async def accept_break(self, reason: str, *, by: str | None = None) -> AuditCheck:
        """Note that you have looked into the first break; from now on the check goes on behind it.

        Args:
            reason: why it is one you know of, such as a store restored from a copy.
            by: who decides; by default you, on this host.

        Raises:
            Refused: nothing is broken.
        """
        call = AcceptBreakCall(reason, by or default_worker())
        return await self._call("audit_accept", call, AuditCheck)

    async def audit_checkpoint(self) -> Checkpoint:
        """The last row of the audit at this moment, unsigned.

        Raises:
            Failed: the audit is not intact.
        """
        return await self._call("audit_checkpoint", None, Checkpoint)


class BlockingAudit:
    """The same verbs, each waiting for its result."""

    _memory: AuditVerbs
    _loop: Loop

    def audit(
        self,
        *,
        agent: str | None = None,
        task: str | None = None,
        since: str | None = None,
        until: str | None = None,
        type: str | None = None,
        severity: str | None = None,
        action: str | None = None,
        subject: str | None = None,
        after: str = "",
        limit: int = 100,
    ) -> Page[AuditLine]:
        """Rows of the audit, newest first, a page at a time."""
        return self._loop.run(
            self._memory.audit(
                agent=agent,
                task=task,
                since=since,
                until=until,
                type=type,
                severity=severity,
                action=action,
                subject=subject,
                after=after,
                limit=limit,
            )
        )

    def audit_chain(self) -> AuditCheck:
        """Whether every row of the audit is as it was written, and none is missing."""
        return self._loop.run(self._memory.audit_chain())

    def accept_break(self, reason: str, *, by: str | None = None) -> AuditCheck:
        """Note that you have looked into the first break."""
        return self._loop.run(self._memory.accept_break(reason, by=by))

    def audit_checkpoint(self) -> Checkpoint:
        """The last row of the audit at this moment, unsigned."""
        return self._loop.run(self._memory.audit_checkpoint())
