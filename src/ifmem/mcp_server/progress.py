"""Progress of a call: told to the client as it can be sent, the latest first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from ifmem.errors import IfMemError
from ifmem.mcp_server.invocation import Report

Send = Callable[[float, float | None, str | None], Awaitable[None]]


@asynccontextmanager
async def reporting(send: Send) -> AsyncIterator[Report]:
    """A function that notes progress and returns at once; what is noted is sent meanwhile.

    A client that reads slowly is told less often: only the latest is kept. That one is sent before
    the block ends, unless it fails; nothing is sent after, and no sender is started before there
    is something to send.
    """
    noted: list[tuple[float, float, str]] = []
    news = asyncio.Event()

    failure: IfMemError | None = None
    is_done = False

    async def pass_on() -> None:
        while noted or not is_done:
            await news.wait()
            news.clear()
            if noted:
                await send(*noted.pop())

    async with asyncio.TaskGroup() as tasks:
        sender: list[asyncio.Task[None]] = []

        def report(done: float, total: float, message: str) -> None:
            noted[:] = [(done, total, message)]
            news.set()
            if not sender:
                sender.append(tasks.create_task(pass_on()))

        try:
            yield report
            is_done = True
            news.set()
        except IfMemError as error:
            # A group would wrap it, and whoever asked would not know it again.
            failure = error
        finally:
            if not is_done:
                for task in sender:
                    task.cancel()
    if failure is not None:
        raise failure
