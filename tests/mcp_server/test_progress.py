"""Progress of a call: the latest is told, and told before the call has its answer."""

from __future__ import annotations

import asyncio

import pytest

from ifmem.errors import Refused
from ifmem.mcp_server.progress import reporting


def test_what_was_noted_last_is_sent_before_the_block_ends() -> None:
    sent: list[float] = []

    async def send(done: float, total: float | None, message: str | None) -> None:
        sent.append(done)

    async def story() -> None:
        async with reporting(send) as report:
            report(1, 3, "a")
            report(2, 3, "b")
        assert sent == [2]
        async with reporting(send):
            pass
        assert sent == [2]

    asyncio.run(story())


def test_a_call_that_fails_says_nothing_more() -> None:
    async def send(done: float, total: float | None, message: str | None) -> None:
        raise AssertionError("it is over")

    async def story() -> None:
        with pytest.raises(Refused):
            async with reporting(send) as report:
                report(1, 2, "a")
                raise Refused("no")

    asyncio.run(story())
