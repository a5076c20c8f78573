"""The contexts this worker holds: fetched from the bus, checked, and kept while they stay true."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ifmem.bus.bus import Bus
from ifmem.bus.state import Context, Look
from ifmem.errors import IntegrityError
from ifmem.runtime.together import Together
from ifmem.wire.blob import LoadedPart, decode_manifest

MOST_HELD = 64
"""Shards whose contexts stay in memory, some 2 MB each; the one unused longest goes first."""
_LOOKS_SHARED = 1_000
"""Questions that share one look at the bus."""


class Contexts:
    """Shard contexts in memory.

    A blob never changes, so what is held stays valid: a fetch asks the bus for the manifest and
    only for the blobs that are not held; those that it no longer names are dropped.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._contexts: dict[int, Context] = {}
        self._blobs: dict[int, dict[str, list[LoadedPart]]] = {}
        self._shown: dict[int, bytes] = {}
        """The bytes of the manifest that the context is held for."""
        self._looks: Together[None, Look] = Together(self._look, most=_LOOKS_SHARED)

    async def look(self) -> Look:
        """What the bus shows now, by a round trip that begins after this call.

        Raises:
            Unavailable: the bus did not answer, or has lost the keys of the space.
        """
        return await self._looks(None)

    def held(self, number: int, look: Look) -> Context | None:
        """A shard's context when what is held is what the bus shows, otherwise None."""
        context = self._contexts.get(number)
        manifest = look.manifests.get(number)
        if context is None or manifest is None:
            return None
        if manifest != self._shown.get(number):
            if not _is_of(context, manifest):
                return None
            self._shown[number] = manifest
        self._keep(context, self._blobs[number])
        return context

    async def fetch(self, number: int) -> Context:
        """A shard's context as the bus has it now.

        Raises:
            IntegrityError: a blob is missing or altered.
            Unavailable: the bus did not answer.
        """
        (context,), blobs = await self._bus.load_contexts([number], self._blobs.get(number, {}))
        held = self._contexts.get(number)
        if held is not None and _named(held) == _named(context):
            context = held
        self._keep(context, blobs)
        return context

    def let_go(self, numbers: Iterable[int]) -> None:
        """Keep nothing of these shards."""
        for number in numbers:
            self._contexts.pop(number, None)
            self._blobs.pop(number, None)
            self._shown.pop(number, None)

    async def _look(self, askers: Sequence[None]) -> list[Look]:
        return [await self._bus.look()] * len(askers)

    def _keep(self, context: Context, blobs: dict[str, list[LoadedPart]]) -> None:
        # Taken out and put back: a dict's order is then that of the last use.
        self._contexts.pop(context.shard, None)
        self._contexts[context.shard], self._blobs[context.shard] = context, blobs
        while len(self._contexts) > MOST_HELD:
            unused = next(iter(self._contexts))
            del self._contexts[unused], self._blobs[unused]
            self._shown.pop(unused, None)


def _is_of(context: Context, manifest: bytes) -> bool:
    try:
        named = decode_manifest(manifest)
    except IntegrityError:
        # To fetch it tells what is wrong.
        return False
    return (named.generation, tuple(one.sha256 for one in named.blobs)) == _named(context)


def _named(context: Context) -> tuple[int, tuple[str, ...]]:
    return context.generation, context.blobs
