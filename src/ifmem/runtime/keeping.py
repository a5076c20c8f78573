"""Keeping the bus true: heartbeats, and healing after the server was away or lost its data."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from ifmem.errors import IfMemError, Unavailable
from ifmem.runtime.opening import publish_space
from ifmem.runtime.space import Space

log = logging.getLogger(__name__)


async def keep(
    spaces: Callable[[], Iterable[Space]],
    reconnect: Callable[[], Awaitable[None]],
    *,
    interval: float,
    woken: asyncio.Event,
) -> None:
    """Beat for every open space each ``interval`` seconds, and at once when ``woken`` is set.

    A space whose bus did not answer, or no longer carries its store's id, is reconnected and
    published anew from the store.
    """
    while True:
        try:
            async with asyncio.timeout(interval):
                await woken.wait()
        except TimeoutError:
            pass
        woken.clear()
        for space in list(spaces()):
            await _keep_one(space, reconnect)


async def heal(space: Space, reconnect: Callable[[], Awaitable[None]]) -> None:
    """Reconnect and publish a space anew.

    Raises:
        Unavailable: the bus still does not answer.
        NotPermitted: another store has taken the keys meanwhile.
    """
    await reconnect()
    await space.bus.claim(space.store_id, adopt=False)
    await publish_space(space)
    log.info("bus of space %s is true again", space.name)


async def _keep_one(space: Space, reconnect: Callable[[], Awaitable[None]]) -> None:
    try:
        if await _is_true(space):
            await space.bus.beat(
                space.worker_id, expiry_seconds=space.settings.worker.expiry_seconds
            )
        else:
            await heal(space, reconnect)
    except IfMemError as error:
        space.degraded = error.message
        log.warning("bus of space %s: %s", space.name, error.message)


async def _is_true(space: Space) -> bool:
    """True when the bus answers and shows what this store put there."""
    if space.degraded is not None:
        return False
    try:
        return await space.bus.owner() == space.store_id
    except Unavailable:
        return False
