"""``findings --follow``: each finding as it comes, written out before the next is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ifmem.entrypoints.cli.session import Session
from ifmem.errors import Invalid

if TYPE_CHECKING:
    from ifmem.wire.shapes import FindingLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which findings are followed, as the command line says it."""

    since: str | None = None
    consumer: str | None = None
    topic: str | None = None
    task: str | None = None
    worker: str | None = None
    tag: str | None = None
    run: str | None = None
    source: Sequence[str] = ()
    until: str | None = None


async def follow(
    session: Session, wanted: Wanted, limit: int | None, write: Callable[[FindingLine], None]
) -> None:
    """Write findings until interrupted, or until so many were written."""
    if wanted.until is not None:
        raise Invalid("--until ends before --follow begins: leave one of them out")
    left = limit
    async with session.memory() as memory:
        lines = memory.follow(
            wanted.since,
            consumer=wanted.consumer,
            topic=wanted.topic,
            task=wanted.task,
            worker=wanted.worker,
            tag=wanted.tag,
            run=wanted.run,
            source=tuple(wanted.source),
        )
        async with contextlib.aclosing(lines):
            while left is None or left > 0:
                # Asking for the next acknowledges this one: it must have left the process.
                write(await anext(lines))
                sys.stdout.flush()
                left = None if left is None else left - 1
            with contextlib.suppress(TimeoutError):
                # The last one is acknowledged as well; what comes now is left for the next time.
                async with asyncio.timeout(0):
                    await anext(lines)
