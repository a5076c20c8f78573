"""Work that runs beside the body of a context, whose errors come out as they are."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any


class Beside:
    """Runs work beside the body of a context; what the body raises comes out as it is."""

    def __init__(self, *work: Coroutine[Any, Any, None]) -> None:
        self._work = work
        self._running: set[asyncio.Task[None]] = set()
        self._group = asyncio.TaskGroup()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run this too, until it or the context ends."""
        task = self._group.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The context."""
        failure: BaseException | None = None
        try:
            async with self._group:
                for one in self._work:
                    self.start(one)
                try:
                    yield
                except BaseException as error:
                    failure = error
                finally:
                    for task in self._running:
                        task.cancel()
        except BaseExceptionGroup as failures:
            raise _first(failures) from None
        if failure is not None:
            raise failure


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
