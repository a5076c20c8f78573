"""Doctor: what is wrong with a space, found by a real round trip and a scan of its own keys."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from ifmem import clock
from ifmem.bus.access import acl_line
from ifmem.bus.connection import Server
from ifmem.bus.inspection import ForeignKey, foreign_keys, record, remove_keys
from ifmem.errors import Unavailable
from ifmem.runtime.attaching import publish_space
from ifmem.runtime.forgetting import forget
from ifmem.runtime.recalling import recall
from ifmem.runtime.remembering import remember
from ifmem.runtime.space import Space
from ifmem.wire import keys
from ifmem.wire.calls import DoctorCall, ForgetCall, RecallCall, RememberCall
from ifmem.wire.shapes import Check, Checkup


async def diagnose(space: Space, server: Server, call: DoctorCall) -> Checkup:
    """Check the daemon's side; with ``repair``, remove foreign keys and publish anew."""
    foreign = await foreign_keys(server.client, space.bus.keys)
    repaired: list[str] = []
    if call.repair:
        repaired = [key.name for key in foreign]
        await _repair(space, server, repaired)
    checks = [
        Check("bus", True, f"{server.version}, {'embedded' if server.embedded else 'external'}"),
        await _check_store(space),
        await _check_round_trip(space),
    ]
    checks += [await _check_sum(space), _check_types(foreign, repaired=call.repair)]
    if not server.embedded:
        checks.append(Check("access", True, f"a restricted user: {acl_line(space.bus.keys)}"))
    await record(
        server.client,
        space.bus.keys,
        at=clock.now(),
        scan=clock.new_id(),
        foreign=foreign,
        actions=repaired,
    )
    return Checkup(checks)


async def _repair(space: Space, server: Server, foreign: Sequence[str]) -> None:
    """Remove foreign keys and write everything anew; after that as after the loss of a bus."""
    if foreign:
        # Without its position the bus counts as lost, and the bridge builds it from the store.
        position = space.bus.keys.of(keys.LOG_STATE)
        await remove_keys(server.client, [*foreign, position])
        space.mark_lost("keys of another type were removed")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(space.settings.bus.outage_seconds):
                await space.attached.wait()
    else:
        await publish_space(space)


async def _check_store(space: Space) -> Check:
    result = await space.read(lambda c: c.execute("PRAGMA quick_check(1)").fetchone()[0])
    return Check("store", result == "ok", f"{space.database.path}: {result}")


async def _check_round_trip(space: Space) -> Check:
    """Store a finding, find it again, remove it."""
    word = f"doctor{clock.new_id().replace('-', '')}"
    try:
        stored = await remember(space, RememberCall({"claim": f"round trip {word}"}))
        found = await recall(space, RecallCall(word, max_tokens=1_000))
        await forget(space, ForgetCall(stored.finding_id))
    except Unavailable as error:
        return Check("round trip", False, error.message)
    ok = any(one.finding_id == stored.finding_id for one in found.findings)
    return Check("round trip", ok, f"remember, recall, forget in {found.elapsed_ms} ms of recall")


async def _check_sum(space: Space) -> Check:
    name = space.bus.keys.of(keys.CONTEXT_ACTIVE)
    try:
        active, states = await space.bus.shards()
    except Unavailable as error:
        # A foreign type among the keys it reads: told here, and named by the check of types.
        return Check(name, False, error.message)
    summed = sum(state.tokens for state in states if state.active)
    if active == summed:
        return Check(name, True, f"{active} tokens, the sum over active shards")
    return Check(
        name,
        False,
        f"{active}, but the active shards hold {summed}: run `ifmem doctor --repair`",
    )


def _check_types(foreign: list[ForeignKey], *, repaired: bool) -> Check:
    if not foreign:
        return Check("key types", True, "every key of ours has its type")
    listed = ", ".join(f"{key.name} ({key.found}, not {key.wanted})" for key in foreign[:5])
    if repaired:
        return Check("key types", True, f"removed and written anew: {listed}")
    return Check("key types", False, f"{listed}: run `ifmem doctor --repair` to replace them")
