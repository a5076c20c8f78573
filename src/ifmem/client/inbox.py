"""The verbs of the inbox: what waits for a person, and what a person decides."""

from __future__ import annotations

from collections.abc import Sequence

from ifmem.client.loop import Loop
from ifmem.client.overview import Overview
from ifmem.client.tasks import default_worker
from ifmem.wire.inbox_calls import (
    ConflictsCall,
    ConflictShape,
    InboxCall,
    InboxItem,
    InboxItemCall,
    InboxResolveCall,
)
from ifmem.wire.shapes import Page


class InboxVerbs(Overview):
    """A connected memory, as far as a person decides about it."""

    async def inbox(
        self, *, kind: str | None = None, all: bool = False, after: str = "", limit: int = 100
    ) -> Page[InboxItem]:
        """What waits for a person, a page at a time.

        Args:
            kind: only items of this kind, such as ``conflict``.
            all: also what was decided.
            after: the ``next`` of the page before.
            limit: items of the page.

        Raises:
            Invalid: an unknown kind, or a cursor that no page gave.

        Example:
            for item in await memory.inbox():
                print(item.kind, item.rationale, item.next)
        """
        call = InboxCall(kind=kind, all=all, after=after, limit=limit)
        return await self._call("inbox", call, Page[InboxItem])

    async def inbox_item(self, item: str) -> InboxItem:
        """One item with the findings it is about and what they cite.

        Raises:
            NotFound: nothing of that id waits, or waited, for a person.
        """
        return await self._call("inbox_item", InboxItemCall(item), InboxItem)

    async def resolve(
        self,
        item: str,
        *,
        keep: str | Sequence[str] = (),
        both: bool = False,
        dismiss: bool = False,
        reason: str = "",
        by: str | None = None,
    ) -> InboxItem:
        """Decide an item of the inbox; tasks that it blocked can be claimed again.

        Args:
            item: its id, or that of the finding it is about.
            keep: the findings of a conflict that stand; the others are superseded by the first.
            both: all of them stand.
            dismiss: there is nothing to decide; needs a reason.
            reason: kept with the decision.
            by: who decides; by default the user on this host.

        Raises:
            Invalid: not exactly one of ``keep``, ``both`` and ``dismiss``.
            Refused: it was resolved before.

        Example:
            (conflict,) = await memory.conflicts()
            await memory.resolve(
                conflict.conflict_id, keep=conflict.sides[0].finding_id, reason="measured again"
            )
        """
        call = InboxResolveCall(
            item=item,
            actor=by or default_worker(),
            keep=(keep,) if isinstance(keep, str) else tuple(keep),
            both=both,
            dismiss=dismiss,
            reason=reason,
        )
        return await self._call("inbox_resolve", call, InboxItem, item=item)

    async def conflicts(
        self,
        *,
        all: bool = False,
        topic: str | None = None,
        after: str = "",
        limit: int = 100,
    ) -> Page[ConflictShape]:
        """What disagrees, with both sides and what they cite.

        Args:
            all: also what was resolved.
            topic: only about this topic.
            after: the ``next`` of the page before.
            limit: conflicts of the page.
        """
        call = ConflictsCall(all=all, topic=topic, after=after, limit=limit)
        return await self._call("conflicts", call, Page[ConflictShape])


class BlockingInbox:
    """The same verbs, each waiting for its result."""

    _memory: InboxVerbs
    _loop: Loop

    def inbox(
        self, *, kind: str | None = None, all: bool = False, after: str = "", limit: int = 100
    ) -> Page[InboxItem]:
        """What waits for a person, a page at a time."""
        return self._loop.run(self._memory.inbox(kind=kind, all=all, after=after, limit=limit))

    def inbox_item(self, item: str) -> InboxItem:
        """One item with the findings it is about and what they cite."""
        return self._loop.run(self._memory.inbox_item(item))

    def resolve(
        self,
        item: str,
        *,
        keep: str | Sequence[str] = (),
        both: bool = False,
        dismiss: bool = False,
        reason: str = "",
        by: str | None = None,
    ) -> InboxItem:
        """Decide an item of the inbox; tasks that it blocked can be claimed again."""
        return self._loop.run(
            self._memory.resolve(item, keep=keep, both=both, dismiss=dismiss, reason=reason, by=by)
        )

    def conflicts(
        self,
        *,
        all: bool = False,
        topic: str | None = None,
        after: str = "",
        limit: int = 100,
    ) -> Page[ConflictShape]:
        """What disagrees, with both sides and what they cite."""
        return self._loop.run(
            self._memory.conflicts(all=all, topic=topic, after=after, limit=limit)
        )
