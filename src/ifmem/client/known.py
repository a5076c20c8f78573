"""The verbs about what is known already: one finding, and the brief of a project."""

from __future__ import annotations

import os
from pathlib import Path

from ifmem.client import naming
from ifmem.client.loop import Loop
from ifmem.client.overview import Overview
from ifmem.wire.agent_calls import Brief, BriefCall, FindingCall
from ifmem.wire.shapes import FindingLine


class KnownVerbs(Overview):
    """A connected memory, as far as it tells what is known already."""

    _directory: Path

    async def finding(self, id: str) -> FindingLine:
        """One finding with its cursor.

        Example:
            line = await memory.finding(remembered.finding_id)
            print(line.finding["claim"])

        Raises:
            NotFound: there is none of that id, or it was forgotten.
        """
        return await self._call("finding", FindingCall(id), FindingLine, id=id)

    async def brief(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        max_tokens: int = 1_000,
        topic: str | None = None,
    ) -> Brief:
        """What an agent should know before it begins: the newest findings, fenced as data.

        Args:
            root: a project's directory: findings that cite files elsewhere are left out.
            max_tokens: o200k tokens of the text at most.
            topic: only findings about it.

        Example:
            known = await memory.brief(".")
            print(known.text)
        """
        directory = None if root is None else naming.source_name(os.fspath(root), self._directory)
        call = BriefCall(root=directory, max_tokens=max_tokens, topic=topic)
        return await self._call("brief", call, Brief)


class BlockingKnown:
    """The same verbs, each waiting for its result."""

    _memory: KnownVerbs
    _loop: Loop

    def finding(self, id: str) -> FindingLine:
        """One finding with its cursor."""
        return self._loop.run(self._memory.finding(id))

    def brief(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        max_tokens: int = 1_000,
        topic: str | None = None,
    ) -> Brief:
        """What an agent should know before it begins."""
        return self._loop.run(self._memory.brief(root, max_tokens=max_tokens, topic=topic))
