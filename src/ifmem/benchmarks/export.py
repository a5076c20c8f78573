"""A back-up of a live memory and its restoring: seconds, bytes, whether the content is equal."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from ifmem import clock
from ifmem.benchmarks import filled_store
from ifmem.benchmarks.texts import copy_from_trees, machine_trees
from ifmem.client import launch
from ifmem.client.memory import Memory
from ifmem.settings import RetrievalSettings, Settings

_TOKENS = 1_000_000
_QUESTION = "How many pounds does a crate weigh?"


class RoundTrip(msgspec.Struct, frozen=True):
    """An export under writes, restored into another home, and that one exported again."""

    findings: int
    documents: int
    tokens: int
    """o200k tokens of the documents and of the findings' claims."""
    bytes: int
    """Of the file."""
    export_s: float
    """As the daemon measured it, from the call to the file in its place."""
    import_s: float
    """As the daemon measured it: checked, stored, indexed, and on the bus."""
    written_during_export: int
    """Findings acknowledged while it ran, by one writer."""
    slowest_write_ms: float
    """The longest that one of those took."""
    written_during_import: int
    slowest_write_during_import_ms: float
    content_sha256: str
    restored_sha256: str
    is_equal: bool
    """The restored space has the very content that was exported."""


def measure(
    *,
    findings: int = 100_000,
    tokens: int = _TOKENS,
    note: Callable[[str], None] = lambda _: None,
) -> RoundTrip:
    """Export a memory while somebody writes to it, and import it into a fresh one."""
    with tempfile.TemporaryDirectory(prefix="ifmem-") as directory:
        return asyncio.run(_measure(Path(directory), findings, tokens, note))


async def _measure(
    directory: Path, findings: int, tokens: int, note: Callable[[str], None]
) -> RoundTrip:
    source, target = (_settings(directory / name) for name in ("source", "target"))
    note("filling the store")
    await asyncio.to_thread(filled_store.fill, Path(source.home), findings, note)
    texts = directory / "texts"
    await asyncio.to_thread(copy_from_trees, machine_trees(), texts, at_least=tokens)
    file, again = directory / "export.tar", directory / "again.tar"
    try:
        async with Memory.open(settings=source) as memory:
            note("loading the documents")
            await memory.load(texts)
            note("exporting")
            async with _Writer(memory) as exporting:
                exported = await memory.export(file)
        await launch.stop(source)
        async with Memory.open(settings=target) as memory:
            note("importing")
            # In another space of the home: what it writes is no part of what is compared.
            beside = msgspec.structs.replace(target, space="beside")
            async with Memory.open(settings=beside) as other, _Writer(other) as importing:
                imported = await memory.import_(file)
            note("exporting what was imported")
            restored = await memory.export(again)
    finally:
        for settings in (source, target):
            await launch.stop(settings)
    return RoundTrip(
        findings=exported.findings,
        documents=exported.documents,
        tokens=exported.tokens,
        bytes=exported.bytes,
        export_s=exported.seconds,
        import_s=imported.seconds,
        written_during_export=exporting.written,
        slowest_write_ms=exporting.slowest_ms,
        written_during_import=importing.written,
        slowest_write_during_import_ms=importing.slowest_ms,
        content_sha256=exported.content_sha256,
        restored_sha256=restored.content_sha256,
        is_equal=exported.content_sha256 == restored.content_sha256,
    )


def _settings(home: Path) -> Settings:
    return Settings(home=str(home), retrieval=RetrievalSettings(semantic="off"))


class _Writer:
    """Somebody who stores findings, one after the other, for as long as it is entered."""

    def __init__(self, memory: Memory) -> None:
        self.written = 0
        self.slowest_ms = 0.0
        self._memory = memory
        self._group = asyncio.TaskGroup()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> _Writer:
        await self._group.__aenter__()
        self._task = self._group.create_task(self._write())
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._group.__aexit__(None, None, None)

    async def _write(self) -> None:
        while True:
            began = clock.stopwatch_ns()
            await self._memory.remember(f"Crate n{self.written} was moved to the gate")
            self.slowest_ms = max(self.slowest_ms, clock.milliseconds_since(began))
            self.written += 1
