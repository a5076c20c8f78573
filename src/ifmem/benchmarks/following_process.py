"""A process that follows findings: ``python -m ifmem.benchmarks.following_process ORDER``.

Each of its followers writes what it sees into a file of its own, and ends with the last finding.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from ifmem import clock
from ifmem.benchmarks.seen_findings import Seen, SeenLog
from ifmem.client.memory import Memory
from ifmem.client.worker import Worker
from ifmem.errors import IntegrityError
from ifmem.settings import RedisSettings, Settings
from ifmem.wire.shapes import FindingLine

Way = Literal["daemon", "bus"]
"""``daemon``: ``Memory.follow`` with a consumer whose cursor the store keeps, each over its own
connection to the daemon. ``bus``: ``Worker.follow``, each member with its own subscription."""

_NAMESPACE = 0x5EED << 112
END = -1
"""Number of the finding after which a follower leaves."""


class FollowOrder(msgspec.Struct, frozen=True):
    """What a process is told on its command line."""

    settings: Settings
    """Of the memory."""
    url: str
    """Of its bus."""
    way: Way
    run: str
    """Whose findings are followed."""
    consumers: list[str]
    files: list[str]
    """Of each consumer."""


def id_of(run: str, number: int) -> str:
    """The id of a finding of a run: told again, it must be told under this one."""
    return str(uuid.uuid5(uuid.UUID(int=_NAMESPACE), f"{run}/{number}"))


async def follow(order: FollowOrder) -> None:
    """Follow until each follower has come to the end.

    Raises:
        IntegrityError: a finding came under another id than it was published with.
    """
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for consumer, file in zip(order.consumers, order.files, strict=True):
            lines = await stack.enter_async_context(_lines(order, consumer))
            group.create_task(_write(order.run, lines, Path(file)))


@asynccontextmanager
async def _lines(order: FollowOrder, consumer: str) -> AsyncIterator[AsyncIterator[FindingLine]]:
    if order.way == "daemon":
        async with (
            Memory.open(settings=order.settings) as memory,
            aclosing(memory.follow("0", consumer=consumer, run=order.run)) as lines,
        ):
            yield lines
    else:
        joining = msgspec.structs.replace(order.settings, redis=RedisSettings(url=order.url))
        async with (
            Worker.join(settings=joining) as worker,
            aclosing(worker.follow("0", run=order.run)) as lines,
        ):
            yield lines


async def _write(run: str, lines: AsyncIterator[FindingLine], file: Path) -> None:
    with SeenLog(file) as log:
        async for line in lines:
            now = clock.stopwatch_ns()
            told: dict[str, Any] = line.finding["bench"]
            number = told["number"]
            if number == END:
                return
            if line.finding["finding_id"] != id_of(run, number):
                raise IntegrityError(f"finding {number} came under another id than its own")
            log.append(Seen(number, told["published_ns"], now))


if __name__ == "__main__":
    logging.getLogger("ifmem").setLevel(logging.ERROR)
    asyncio.run(follow(msgspec.json.decode(sys.argv[1], type=FollowOrder)))
