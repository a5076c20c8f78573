"""The contexts this worker holds: fetched from the bus, checked, and kept while they stay true."""

from __future__ import annotations

from ifmem.bus.bus import Bus
from ifmem.bus.state import Context
from ifmem.wire.blob import LoadedPart

MOST_HELD = 64
"""Shards whose contexts stay in memory, some 2 MB each; the one unused longest goes first."""


class Contexts:
    """Shard contexts in memory.

    A blob never changes, so what is held stays valid: a fetch asks the bus for the manifest and
    only for the blobs that are not held; those that it no longer names are dropped.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._contexts: dict[int, Context] = {}
        self._blobs: dict[int, dict[str, list[LoadedPart]]] = {}

    async def fetch(self, number: int) -> Context:
        """A shard's context as the bus has it now.

        Raises:
            IntegrityError: a blob is missing or altered.
            Unavailable: the bus did not answer.
        """
        (context,), blobs = await self._bus.load_contexts([number], self._blobs.get(number, {}))
        held = self._contexts.get(number)
        if held is not None and (held.generation, held.blobs) == (
            context.generation,
            context.blobs,
        ):
            context = held
        self._keep(context, blobs)
        return context

    def _keep(self, context: Context, blobs: dict[str, list[LoadedPart]]) -> None:
        # Taken out and put back: a dict's order is then that of the last use.
        self._contexts.pop(context.shard, None)
        self._contexts[context.shard], self._blobs[context.shard] = context, blobs
        while len(self._contexts) > MOST_HELD:
            unused = next(iter(self._contexts))
            del self._contexts[unused], self._blobs[unused]
