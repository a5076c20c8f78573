"""A memory of its own for one measurement: a fresh home with its daemon, gone afterwards."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from ifmem.client import launch
from ifmem.client.memory import Memory
from ifmem.settings import RetrievalSettings, Settings


@dataclass(frozen=True, slots=True)
class Throwaway:
    """A memory in a temporary directory, with room for files beside its home."""

    memory: Memory
    directory: Path


@asynccontextmanager
async def throwaway(
    settings: Settings | None = None, *, semantic: bool = False
) -> AsyncIterator[Throwaway]:
    """A memory with default settings or these; on the way out nothing of it is left.

    The user's own configuration is not read, so that a figure means the same everywhere. Nor does
    it depend on what is installed: the extra ``semantic`` takes part only when asked for.
    """
    directory = Path(tempfile.mkdtemp(prefix="ifmem-"))
    given = msgspec.structs.replace(
        settings or Settings(),
        home=str(directory / "home"),
        retrieval=RetrievalSettings(semantic="auto" if semantic else "off"),
    )
    try:
        async with Memory.open(settings=given) as memory:
            yield Throwaway(memory, directory)
    finally:
        # Shielded: an interrupted run must not leave a daemon behind.
        await _to_the_end(_clean(given, directory))


async def _clean(settings: Settings, directory: Path) -> None:
    try:
        await launch.stop(settings)
    finally:
        await asyncio.to_thread(shutil.rmtree, directory, onerror=_pass_over_missing)


async def _to_the_end(work: Any) -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.shield(task)
            raise


def _pass_over_missing(
    function: object,
    path: str,
    caught: tuple[type[BaseException], BaseException, TracebackType],
) -> None:
    if not isinstance(caught[1], FileNotFoundError):
        raise caught[1]
