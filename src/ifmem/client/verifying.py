"""Verifying in the library: citations and audit checked again, page by page."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from ifmem.client import naming
from ifmem.client.loop import Loop
from ifmem.client.overview import OnProgress, Overview, Progress
from ifmem.wire.citation_records import CitationRecord
from ifmem.wire.verify_calls import (
    AuditVerdict,
    CheckedCitation,
    Counts,
    Verification,
    VerifyAuditCall,
    VerifyCall,
    VerifyPage,
)


class VerifyVerbs(Overview):
    """A connected memory, as far as it checks what it holds."""

    _directory: Path

    async def verify(
        self,
        *,
        source: str | os.PathLike[str] | None = None,
        finding: str | None = None,
        since: str = "0",
        problems_only: bool = False,
        checkpoint: Mapping[str, Any] | None = None,
        public_key: str = "",
        on_progress: OnProgress | None = None,
    ) -> Verification:
        """Every citation looked up in its source again, and the chain of the audit walked.

        Args:
            source: only citations of this path, and of what lies below it, or of this URL.
            finding: only those of this finding.
            since: a cursor; only those of later findings.
            problems_only: list those that are not verified; the others are counted.
            checkpoint: of ``ifmem audit checkpoint``: the audit must still have its row.
            public_key: that the checkpoint must be signed with; empty for the one it names.
            on_progress: called with the findings done.

        Example:
            checked = await memory.verify()
            print(checked.verified, checked.stale, checked.audit.intact, checked.holds())
        """
        checked = await self.verify_citations(
            source=source,
            finding=finding,
            since=since,
            problems_only=problems_only,
            on_progress=on_progress,
        )
        counts = checked.counts
        verdict = await self.verify_audit(checkpoint=checkpoint, public_key=public_key)
        return Verification(
            citations=checked.items,
            verified=counts.verified,
            stale=counts.stale,
            missing=counts.missing,
            disputed=counts.disputed,
            unverified=counts.unverified,
            revoked=counts.revoked,
            findings=checked.findings,
            audit=verdict.audit,
            checkpoint=verdict.checkpoint,
        )

    async def verify_citations(
        self,
        *,
        source: str | os.PathLike[str] | None = None,
        finding: str | None = None,
        since: str = "0",
        problems_only: bool = False,
        on_progress: OnProgress | None = None,
    ) -> VerifyPage:
        """The same without the audit, all pages as one."""
        call = self._verify_call(source, finding, since, problems_only=problems_only)
        items: list[CheckedCitation] = []
        counts, findings = Counts(), 0
        async for page in self._verify_pages(call, on_progress):
            items += page.items
            counts += page.counts
            findings += page.findings
        return VerifyPage(items, counts, findings, next=None)

    async def verify_audit(
        self, *, checkpoint: Mapping[str, Any] | None = None, public_key: str = ""
    ) -> AuditVerdict:
        """Whether the chain of the audit holds, and still has a checkpoint's row."""
        given = None if checkpoint is None else dict(checkpoint)
        call = VerifyAuditCall(checkpoint=given, public_key=public_key)
        return await self._call("verify_audit", call, AuditVerdict)

    async def citation_records(
        self,
        *,
        source: str | os.PathLike[str] | None = None,
        finding: str | None = None,
        since: str = "0",
        on_progress: OnProgress | None = None,
    ) -> AsyncIterator[CitationRecord]:
        """Every citation, checked now, as a signed Citation v1.0 record.

        Example:
            async for record in memory.citation_records():
                print(record.citation_id, record.status)
        """
        call = self._verify_call(source, finding, since, problems_only=True, records=True)
        async for page in self._verify_pages(call, on_progress):
            for record in page.records:
                yield record

    async def _verify_pages(
        self, call: VerifyCall, on_progress: OnProgress | None
    ) -> AsyncIterator[VerifyPage]:
        done, total = 0, 0
        while True:
            page = await self._call("verify", call, VerifyPage)
            done += page.findings
            total = total if page.total is None else page.total
            if on_progress is not None:
                on_progress(Progress(done, max(done, total)))
            yield page
            if page.next is None:
                return
            call = VerifyCall(
                since=page.next,
                source=call.source,
                finding=call.finding,
                problems_only=call.problems_only,
                records=call.records,
            )

    def _verify_call(
        self,
        source: str | os.PathLike[str] | None,
        finding: str | None,
        since: str,
        *,
        problems_only: bool,
        records: bool = False,
    ) -> VerifyCall:
        named = () if source is None else (naming.source_name(os.fspath(source), self._directory),)
        return VerifyCall(
            since=since,
            source=named,
            finding=None if finding is None else finding.removeprefix("finding:"),
            problems_only=problems_only,
            records=records,
            total=True,
        )


class BlockingVerify:
    """The same for code that is not async."""

    _memory: VerifyVerbs
    _loop: Loop

    def verify(
        self,
        *,
        source: str | os.PathLike[str] | None = None,
        finding: str | None = None,
        since: str = "0",
        problems_only: bool = False,
        checkpoint: Mapping[str, Any] | None = None,
        public_key: str = "",
        on_progress: OnProgress | None = None,
    ) -> Verification:
        """Every citation looked up in its source again, and the chain of the audit walked."""
        verb = self._memory.verify(
            source=source,
            finding=finding,
            since=since,
            problems_only=problems_only,
            checkpoint=checkpoint,
            public_key=public_key,
            on_progress=on_progress,
        )
        return self._loop.run(verb)

    def verify_audit(
        self, *, checkpoint: Mapping[str, Any] | None = None, public_key: str = ""
    ) -> AuditVerdict:
        """Whether the chain of the audit holds, and still has a checkpoint's row."""
        verb = self._memory.verify_audit(checkpoint=checkpoint, public_key=public_key)
        return self._loop.run(verb)

    def citation_records(
        self,
        *,
        source: str | os.PathLike[str] | None = None,
        finding: str | None = None,
        since: str = "0",
    ) -> Iterator[CitationRecord]:
        """Every citation, checked now, as a signed Citation v1.0 record."""
        records = self._memory.citation_records(source=source, finding=finding, since=since)

        async def following() -> CitationRecord | None:
            return await anext(records, None)

        while (record := self._loop.run(following())) is not None:
            yield record

    def verify_citations(
        self,
        *,
        source: str | os.PathLike[str] | None = None,
        finding: str | None = None,
        since: str = "0",
        problems_only: bool = False,
        on_progress: OnProgress | None = None,
    ) -> VerifyPage:
        """The same as ``verify`` without the audit, all pages as one."""
        verb = self._memory.verify_citations(
            source=source,
            finding=finding,
            since=since,
            problems_only=problems_only,
            on_progress=on_progress,
        )
        return self._loop.run(verb)
