"""Closing a space: what was begun for somebody ends first, and nothing waits in vain."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any


def test_a_write_whose_caller_went_away_is_committed_before_the_store_closes(desk: Any) -> None:
    async def story() -> None:
        async with asyncio.timeout(15), desk() as here:
            # As closing does first; the log is read by nobody from here on.
            for bridge in here.service._bridges:
                bridge.cancel()
            await asyncio.wait(here.service._bridges)
            caller = asyncio.ensure_future(here.call("remember", finding={"claim": "It rains."}))
            assert await here.space.bus.log.read("0-0", count=1, block_ms=10_000)
            caller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await caller
        async with desk() as again:
            (line,) = (await again.call("findings")).items
            assert line.finding["claim"] == "It rains."

    asyncio.run(story())
