"""``load --watch``: load, then load again whenever something below the paths changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from ifmem.clock import now
from ifmem.entrypoints.cli import render
from ifmem.entrypoints.cli.paper import Dim, count
from ifmem.entrypoints.cli.progress import shown
from ifmem.entrypoints.cli.session import Session
from ifmem.errors import NotFound

_LOOK_MS = 200


async def watch(session: Session, paths: Sequence[str]) -> int:
    """Follow the paths until interrupted, which is how it normally ends: 0."""
    home = session.settings().home_path
    for path in paths:
        if not (session.directory / path).exists():
            raise NotFound(f"{path} does not exist, so it cannot be watched", path=path)
    try:
        await _follow(session, paths, home)
    except asyncio.CancelledError:
        session.note("stopped watching")
    return 0


async def _follow(session: Session, paths: Sequence[str], home: Path) -> None:
    from watchfiles import awatch

    started = False
    # The empty first report says that the watch is on: what changes while the first load runs
    # is reported after it, and nothing falls between.
    async for changes in awatch(
        *(session.directory / path for path in paths),
        rust_timeout=_LOOK_MS,
        yield_on_timeout=True,
        watch_filter=lambda _, path: _matters(path, home),
        raise_interrupt=False,
    ):
        if started and not changes:
            continue
        await _load(session, paths, len(changes))
        started = True


async def _load(session: Session, paths: Sequence[str], changed: int) -> None:
    # Each load opens the memory anew, so a daemon that ended in between is started again.
    with shown(session, "loading") as advance:
        async with session.memory() as memory:
            report = await memory.load(*paths, on_progress=advance)
    what = f"{count(changed, 'path')} changed" if changed else "watching"
    when = now().astimezone().strftime("%H:%M:%S")
    session.give(report, lambda paper: paper.line(Dim(when), f"  {what}: {render.loaded(report)}"))


def _matters(path: str, home: Path) -> bool:
    """Loading changes the home itself; git's own files say nothing before a commit's log does."""
    parts = Path(path).parts
    return not Path(path).is_relative_to(home) and ".git" not in parts
