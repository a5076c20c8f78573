"""Keeping every shard within what its model can take, in the background.

Receivers are published before givers: for a moment a document may be in two contexts, never in
none. Each context by itself is the old or the new one.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from ifmem.domain.model import EXTRACTIVE
from ifmem.domain.shard import Shard, Speciality
from ifmem.engine.repacking import FILLED, HeldPart, PackedShard, plan_packing
from ifmem.engine.shard_budgets import shard_capacity
from ifmem.engine.shard_models import model_of
from ifmem.errors import IfMemError
from ifmem.index.sentence_encoder import NAME
from ifmem.runtime.shard_prompts import budget_of
from ifmem.runtime.space import Space
from ifmem.store import contents, embeddings, shards

log = logging.getLogger(__name__)

_REST_SECONDS = 60.0
"""After a failure, and between looks that nobody asked for."""


@dataclass(frozen=True, slots=True)
class Packed:
    """What a packing did."""

    takers: frozenset[int] = frozenset()
    givers: frozenset[int] = frozenset()
    resized: frozenset[int] = frozenset()
    """Shards whose capacity changed."""
    removed: list[int] = field(default_factory=list)
    added: list[list[int]] = field(default_factory=list)
    """Ids of the passages of each part that moved."""


async def keep_packed(space: Space) -> None:
    """Pack whenever a load or a call has changed something, until cancelled."""
    while True:
        try:
            await repack(space)
        except IfMemError as error:
            # Nobody waits for this: questions are answered from what is packed as it is.
            log.warning("packing space %s: %s", space.name, error.message)
        await _due(space)


async def _due(space: Space) -> None:
    try:
        async with asyncio.timeout(_REST_SECONDS):
            await space.packing_due.wait()
    except TimeoutError:
        return
    space.packing_due.clear()


async def repack(space: Space) -> Packed:
    """Cut what has outgrown its model; what was done."""
    if not _has_models(space):
        return Packed()
    async with space.loading:
        return await space.finish(_repack(space))


def bound_of(space: Space, number: int, speciality: Speciality) -> int | None:
    """o200k tokens that the model of a shard can take; None when no model bounds it."""
    name, _ = model_of(space.settings.models, number, speciality)
    if name == EXTRACTIVE:
        return None
    budget = budget_of(space, space.settings.models, speciality, space.models.card(name))
    configured = space.settings.shards.capacity
    # Where the model bounds nothing, or is too small for shards of its own, nothing is packed.
    return budget if shard_capacity(configured, budget) < configured else None


def capacities(space: Space) -> dict[Speciality, int]:
    """o200k tokens that a new shard of each speciality may hold."""
    found = {}
    for speciality in Speciality:
        # A new shard has no number yet: an entry of the table that names one is not meant.
        budget = bound_of(space, 0, speciality)
        found[speciality] = (
            space.settings.shards.capacity if budget is None else int(FILLED * budget)
        )
    return found


def _has_models(space: Space) -> bool:
    models = space.settings.models
    named = (models.default, *(entry.model for entry in models.shards))
    return any(name != EXTRACTIVE for name in named)


async def _repack(space: Space) -> Packed:
    packed = await space.write(partial(_pack, space))
    if packed.givers or packed.resized:
        await asyncio.to_thread(_index, space, packed)
        await space.tell_bus(space.publisher.publish(packed.takers | packed.resized))
        await space.tell_bus(space.publisher.publish(packed.givers))
        space.warmth.stir()
        log.info(
            "space %s packed anew: shards %s cut, %s took over",
            space.name,
            sorted(packed.givers),
            sorted(packed.takers),
        )
    return packed


def _pack(space: Space, connection: sqlite3.Connection) -> Packed:
    held = shards.all_shards(connection)
    planned = plan_packing(
        [_packed_shard(space, one, connection) for one in held],
        budgets={
            speciality: int(capacity / FILLED) for speciality, capacity in capacities(space).items()
        },
        limit=space.settings.shards.limit,
    )
    for number, speciality in planned.opened.items():
        shards.open_sibling(connection, number, speciality, planned.capacities[number])
    before = {one.number: one.capacity for one in held}
    larger = {n: c for n, c in planned.capacities.items() if c > before.get(n, c)}
    for number, capacity in larger.items():
        shards.set_capacity(connection, number, capacity)
    removed: list[int] = []
    added: list[list[int]] = []
    for move in planned.moves:
        gone, renewed = shards.move_part(connection, move.part.part_id, move.taker)
        removed += gone
        added.append(renewed)
    # A capacity shrinks after what it no longer holds has left.
    for number, capacity in planned.capacities.items():
        if number not in larger:
            shards.set_capacity(connection, number, capacity)
    return Packed(
        takers=planned.takers,
        givers=planned.givers - planned.takers,
        resized=frozenset(planned.capacities),
        removed=removed,
        added=added,
    )


def _packed_shard(space: Space, shard: Shard, connection: sqlite3.Connection) -> PackedShard:
    budget = bound_of(space, shard.number, shard.speciality)
    too_large = budget is not None and shard.tokens > budget
    # Only a shard that is cut needs its parts told apart: the others are looked at in passing.
    parts: Sequence[HeldPart] = (
        [HeldPart(one.part_id, one.tokens) for one in shards.parts_of(connection, shard.number)]
        if too_large
        else [HeldPart(0, shard.tokens)]
    )
    return PackedShard(shard.number, shard.speciality, shard.capacity, budget, tuple(parts))


def _index(space: Space, packed: Packed) -> None:
    space.index.remove(packed.removed)
    for ids in packed.added:
        passages = space.database.read(partial(contents.passages_by_id, ids=ids))
        space.index.add(list(passages.values()))
    if space.sentences is not None:
        moved = [passage_id for ids in packed.added for passage_id in ids]
        read = partial(embeddings.of_passages, encoder=NAME, ids=moved)
        space.index.add_embedded(space.database.read(read))
