"""The verbs that bring documents in, in the session that the memory was opened with."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ifmem.client import naming
from ifmem.client.overview import OnProgress, Overview
from ifmem.wire import calls
from ifmem.wire.shapes import LoadReport


class LoadVerbs(Overview):
    """A connected memory, as far as it reads documents."""

    _directory: Path

    async def load(
        self, *paths: str | os.PathLike[str], on_progress: OnProgress | None = None
    ) -> LoadReport:
        """Read files and trees into the shards; returns once they are stored and found.

        Unchanged files are not read again, and documents whose file is gone are removed. What
        finds no room is named in ``report.skipped`` and counted in ``report.refused``.
        Cancelling it stops it; what was stored until then stays.

        Example:
            report = await memory.load("src/", "docs/")
            print(report.documents, report.skipped)

        Raises:
            NotFound: a path does not exist; nothing was loaded.
            Refused: the run that the memory was opened with was ended as a session.
        """
        call = calls.LoadCall(
            # Not resolved: the daemon decides what a link means.
            paths=tuple(str(self._directory / path) for path in paths),
            ingest=self.settings.ingest,
            placement=self.settings.placement,
            run=self.settings.run,
        )
        with self._stops_when_cancelled():
            return await self._call("load", call, LoadReport, on_progress=on_progress)

    async def load_text(self, text: str, *, source: str, group: str | None = None) -> LoadReport:
        """Store a text that is no file: a page, a tool's output, a chat.

        Args:
            text: what it says.
            source: a URL, ``chat:<id>`` or a path; the same source again replaces the text.
            group: what it belongs to, for filters.

        Example:
            await memory.load_text(transcript, source="chat:2026-01-02", group="launch")
        """
        call = calls.LoadTextCall(
            text=text,
            source=naming.source_name(source, self._directory),
            group=group,
            run=self.settings.run,
        )
        return await self._call("load_text", call, LoadReport)

    async def load_rows(
        self,
        rows: Iterable[calls.Row],
        *,
        source: str,
        group: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> LoadReport:
        """Store the rows of a labelled set as the passages of one document, in order."""
        call = calls.LoadRowsCall(
            source=source, rows=tuple(rows), group=group, run=self.settings.run
        )
        with self._stops_when_cancelled():
            return await self._call("load_rows", call, LoadReport, on_progress=on_progress)

    @contextmanager
    def _stops_when_cancelled(self) -> Iterator[None]:
        # The daemon goes on with an abandoned call until the connection ends.
        try:
            yield
        except asyncio.CancelledError:
            self._connection.abandon()
            raise
