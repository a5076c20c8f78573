"""The verbs that back a memory up and restore it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ifmem.client.loop import Loop
from ifmem.client.overview import OnProgress, Overview
from ifmem.wire.export_calls import ExportCall, Exported, ImportCall, Imported


class ExportVerbs(Overview):
    """A connected memory, as far as it is written to a file and read from one."""

    _directory: Path

    async def export(
        self,
        path: str | os.PathLike[str],
        *,
        force: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Exported:
        """Write everything that the space knows at this moment into one file; writes go on.

        Args:
            path: the file, relative to where the memory was opened.
            force: replace a file that is there.
            on_progress: is told how far it has come.

        Example:
            exported = await memory.export("ifmem.tar")
            print(exported.content_sha256, exported.bytes)

        Raises:
            Refused: the file exists.
            Failed: there is no room for it; nothing is left of it.
            NotPermitted: this daemon has no store: export where the store lies.
        """
        call = ExportCall(self._absolute(path), force=force)
        return await self._call("export", call, Exported, on_progress=on_progress)

    async def import_(
        self,
        path: str | os.PathLike[str],
        *,
        moved: Mapping[str, str] | None = None,
        dry_run: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Imported:
        """Take an export into this space, all of it or nothing: restored where the space is empty,
        else merged with what is there.

        Args:
            path: the file, relative to where the memory was opened.
            moved: by directory as it was there, where it is here.
            dry_run: check everything, and say what would be done.
            on_progress: is told how far it has come.

        Example:
            imported = await memory.import_("ifmem.tar", moved={"/home/ann/src": "/srv/src"})
            print(imported.outcome, imported.findings)

        Raises:
            IntegrityError: a byte of the file is not as it was written; nothing was stored.
            Invalid: it is no export, or one of a newer ifmem; nothing was stored.
            Refused: a document finds no room; nothing was stored.
        """
        there = {old: self._absolute(new) for old, new in (moved or {}).items()}
        call = ImportCall(self._absolute(path), moved=there, dry_run=dry_run)
        return await self._call("import", call, Imported, on_progress=on_progress)

    def _absolute(self, path: str | os.PathLike[str]) -> str:
        return os.path.normpath(self._directory / path)


class BlockingExports:
    """The same verbs, each waiting for its result."""

    _memory: ExportVerbs
    _loop: Loop

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        force: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Exported:
        """Write everything that the space knows into one file."""
        return self._loop.run(self._memory.export(path, force=force, on_progress=on_progress))

    def import_(
        self,
        path: str | os.PathLike[str],
        *,
        moved: Mapping[str, str] | None = None,
        dry_run: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Imported:
        """Take an export into this space, all of it or nothing."""
        return self._loop.run(
            self._memory.import_(path, moved=moved, dry_run=dry_run, on_progress=on_progress)
        )
