"""A progress bar on stderr, for people at a terminal who have waited for a second."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ifmem.entrypoints.cli.paper import one_line, visible

if TYPE_CHECKING:
    from ifmem.client.overview import OnProgress, Progress
    from ifmem.entrypoints.cli.session import Session

PATIENCE_S = 1.0


@contextmanager
def shown(session: Session, what: str) -> Iterator[OnProgress]:
    """Gives a function that takes how far it has come; shows nothing where nobody looks."""
    bar = _Bar(what)
    if session.options.quiet or not sys.stderr.isatty():
        yield bar.advance
        return
    timer = asyncio.get_running_loop().call_later(PATIENCE_S, bar.appear)
    try:
        yield bar.advance
    finally:
        timer.cancel()
        bar.vanish()


class _Bar:
    def __init__(self, what: str) -> None:
        self._what = what
        self._latest: Progress | None = None
        self._rich: Any = None
        self._task: Any = None

    def appear(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._rich = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[path]}", markup=False, style="dim"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._rich.add_task(self._what, total=None, path="")
        self._rich.start()
        if self._latest is not None:
            self.advance(self._latest)

    def advance(self, progress: Progress) -> None:
        self._latest = progress
        if self._rich is not None:
            self._rich.update(
                self._task,
                completed=progress.done,
                total=progress.total or None,
                path=visible(one_line(progress.path.rsplit("/", 1)[-1], 40)),
            )

    def vanish(self) -> None:
        if self._rich is not None:
            self._rich.stop()
