"""The log on a real server: published, committed, trimmed, owned by one bridge."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from ifmem.bus.bus import Bus
from ifmem.bus.connection import connect
from ifmem.bus.log import Committed
from ifmem.bus.ownership import Lease
from ifmem.errors import NotPermitted, Unavailable
from ifmem.settings import RedisSettings
from ifmem.wire.log_entries import Verdict, read_entry

PATIENCE_S = 60
A_MINUTE = timedelta(minutes=1)
HEAD = '{"tracking_id":"t","contents":{}'


def run(url: str, work: Callable[[Bus], Awaitable[None]]) -> None:
    """Does ``work`` with the bus of the default space, and fails when it takes too long."""

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S):
            server = await connect(RedisSettings(url=url), Path("unused"))
            try:
                await work(Bus(server.client))
            finally:
                await server.aclose()

    asyncio.run(main())


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


async def claimed(bus: Bus, *, limit: int = 100, last: int = 0, skipped: int = 0) -> Lease:
    """A bridge that owns the space, its log open."""
    lease = await claim(bus, "store-1")
    await bus.log.set_position(
        lease, epoch=1, drained="0-0", limit=limit, last=last, skipped=skipped
    )
    return lease


async def claim(bus: Bus, store: str, *, adopt: bool = False) -> Lease:
    return await bus.ownership.claim(
        store, bridge=f"b-{store}", name=f"host-{store}", duration=A_MINUTE, adopt=adopt
    )


async def publish(bus: Bus, *numbers: int) -> list[str]:
    entries = []
    for n in numbers:
        body = b'{"durable":false,"n":%d}' % n
        entries.append((await bus.findings.publish(uuid(n), body, HEAD)).entry)
    return entries


async def commit(bus: Bus, lease: Lease, *, window: int = 100, stored: int = 0) -> list[str]:
    """What a drainer does with a store that takes everything as it comes."""
    entries = [read_entry(*raw) for raw in await bus.log.read("0-0", count=1_000)]
    found = [(e.text("id"), e.integer("sequence")) for e in entries]
    await bus.log.drained(lease, Committed(entries[-1].id, found, {}, stored), window=window)
    return [finding_id for finding_id, _ in found]


# Publishing


def test_a_finding_is_read_with_a_plain_get_and_wakes_who_listens(
    server_url: str, plain: redis.Redis
) -> None:
    listener = plain.pubsub(ignore_subscribe_messages=True)
    listener.subscribe("channel:findings")
    listener.get_message(timeout=PATIENCE_S)

    async def work(bus: Bus) -> None:
        await claimed(bus)
        await publish(bus, 7, 8)

    run(server_url, work)
    heard = [json.loads(listener.get_message(timeout=PATIENCE_S)["data"]) for _ in range(2)]
    listener.close()
    assert [(one["previous"], one["cursor"], one["finding"]["n"]) for one in heard] == [
        ("0", "1", 7),
        ("1", "2", 8),
    ]
    assert heard[0]["tracking_id"] == "t"
    assert heard[0]["dispatched_at"].endswith("Z")
    assert plain.get(f"finding:{uuid(7)}") == '{"durable":false,"n":7}'


def test_a_large_finding_does_not_ride_on_the_channel(server_url: str, plain: redis.Redis) -> None:
    listener = plain.pubsub(ignore_subscribe_messages=True)
    listener.subscribe("channel:findings")
    listener.get_message(timeout=PATIENCE_S)

    async def work(bus: Bus) -> None:
        await claimed(bus)
        await bus.findings.publish(uuid(1), b'{"durable":false,"x":"' + b"y" * 9_000 + b'"}', HEAD)

    run(server_url, work)
    heard = json.loads(listener.get_message(timeout=PATIENCE_S)["data"])
    listener.close()
    assert "finding" not in heard
    assert heard["cursor"] == "1"


def test_publishing_an_id_again_changes_nothing(server_url: str, plain: redis.Redis) -> None:
    async def work(bus: Bus) -> None:
        await claimed(bus)
        first = await bus.findings.publish(uuid(1), b'{"durable":false}', HEAD)
        again = await bus.findings.publish(uuid(1), b'{"durable":false,"other":1}', HEAD)
        assert (first.is_new, again.is_new) == (True, False)
        assert (again.sequence, again.entry) == (first.sequence, first.entry)
        assert await bus.log.backlog() == 1

    run(server_url, work)
    assert plain.get(f"finding:{uuid(1)}") == '{"durable":false}'


def test_findings_come_in_order_after_any_sequence(server_url: str, plain: redis.Redis) -> None:
    async def work(bus: Bus) -> None:
        await claimed(bus)
        await publish(bus, *range(10, 20))
        oldest, rows = await bus.findings.since(7, 2)
        assert oldest == 1
        assert [(row.sequence, json.loads(row.body)["n"]) for row in rows] == [(8, 17), (9, 18)]
        assert (await bus.findings.since(10, 5))[1] == []

    run(server_url, work)


def test_a_full_log_takes_nothing_more_until_the_store_catches_up(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(bus: Bus) -> None:
        lease = await claimed(bus, limit=3)
        await publish(bus, 1, 2, 3)
        with pytest.raises(Unavailable, match="3 entries behind") as refused:
            await publish(bus, 4)
        assert refused.value.facts["outcome"] == "busy"
        assert not await bus.client.exists(f"finding:{uuid(4)}")
        await commit(bus, lease)
        await publish(bus, 4)

    run(server_url, work)


def test_a_store_that_cannot_write_stops_new_findings_and_says_why(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(bus: Bus) -> None:
        lease = await claimed(bus)
        await bus.log.refuse(lease, "no space is left")
        with pytest.raises(Unavailable, match="no space is left") as refused:
            await publish(bus, 1)
        assert refused.value.facts["outcome"] == "refusing"
        await bus.log.refuse(lease, "")
        await publish(bus, 1)

    run(server_url, work)


def test_nothing_is_taken_before_a_bridge_has_opened_the_space(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(bus: Bus) -> None:
        with pytest.raises(Unavailable, match="no bridge has opened"):
            await publish(bus, 1)

    run(server_url, work)
    assert plain.keys("finding:*") == []


# Committing


def test_a_commit_makes_findings_durable_trims_the_log_and_wakes_writers(
    server_url: str, plain: redis.Redis
) -> None:
    listener = plain.pubsub(ignore_subscribe_messages=True)
    listener.subscribe("channel:durable")
    listener.get_message(timeout=PATIENCE_S)

    async def work(bus: Bus) -> None:
        lease = await claimed(bus)
        entries = await publish(bus, 1, 2)
        assert await bus.log.barrier() == entries[-1]
        await commit(bus, lease, stored=2)
        assert await bus.log.backlog() == 0
        state = await bus.log.state()
        assert state is not None
        assert state.drained == entries[-1]
        # An empty log has nothing to wait for: a bridge that starts now would wait for ever.
        assert await bus.log.barrier() == "0-0"
        assert await bus.findings.stored() == 2
        assert json.loads(listener.get_message(timeout=PATIENCE_S)["data"]) == {
            "drained": entries[-1],
            "epoch": 0,
            "verdicts": {},
        }

    run(server_url, work)
    listener.close()
    assert plain.get(f"finding:{uuid(1)}") == '{"durable":true,"n":1}'


def test_only_the_flag_of_the_finding_itself_becomes_true(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(bus: Bus) -> None:
        lease = await claimed(bus)
        body = b'{"durable":false,"claim":"it said {\\"durable\\":false,","more":{"durable":false}}'
        await bus.findings.publish(uuid(1), body, HEAD)
        await commit(bus, lease)

    run(server_url, work)
    assert json.loads(plain.get(f"finding:{uuid(1)}")) == {
        "durable": True,
        "claim": 'it said {"durable":false,',
        "more": {"durable": False},
    }


def test_the_store_gives_the_sequence_and_may_refuse_a_finding(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(bus: Bus) -> None:
        lease = await claimed(bus)
        first, second = await publish(bus, 1, 2)
        verdicts = {first: Verdict("refused", "it was forgotten", {"finding_id": uuid(1)})}
        done = Committed(second, [(uuid(1), 0), (uuid(2), 40)], verdicts, 1)
        await bus.log.drained(lease, done, window=100)
        assert await bus.log.verdict(first) == verdicts[first]
        assert await bus.log.verdict(second) is None

    run(server_url, work)
    assert plain.keys("finding:*") == [f"finding:{uuid(2)}"]
    assert plain.zrange("ifmem:1:findings", 0, -1, withscores=True) == [(uuid(2), 40.0)]


def test_the_window_keeps_the_newest_and_what_is_not_committed(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(bus: Bus) -> None:
        lease = await claimed(bus)
        await publish(bus, *range(1, 8))
        assert len(await bus.client.keys("finding:*")) == 7, "nothing is trimmed before its commit"
        await commit(bus, lease, window=3)

    run(server_url, work)
    assert sorted(plain.keys("finding:*")) == [f"finding:{uuid(n)}" for n in (5, 6, 7)]
    assert plain.zrange("ifmem:1:findings", 0, -1) == [uuid(n) for n in (5, 6, 7)]


def test_numbers_go_on_above_what_a_lost_bus_may_have_given_out(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(bus: Bus) -> None:
        await claimed(bus, last=50, skipped=1_000)
        published = await bus.findings.publish(uuid(1), b'{"durable":false}', HEAD)
        assert published.sequence == 1_051

    run(server_url, work)


# Restoring


def test_restoring_makes_the_window_what_the_store_says_and_spares_what_is_newer(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(bus: Bus) -> None:
        await claimed(bus)
        await publish(bus, 1, 2, 3, 4)
        newest = [(uuid(n), n, b'{"durable":true,"n":%d}' % n) for n in (2, 3)]
        for _ in range(2):
            await bus.findings.restore(newest, stored=2, last=3)
            assert await bus.findings.stored() == 2

    run(server_url, work)
    assert plain.zrange("ifmem:1:findings", 0, -1) == [uuid(n) for n in (2, 3, 4)]
    assert sorted(plain.keys("finding:*")) == [f"finding:{uuid(n)}" for n in (2, 3, 4)]


def test_restoring_on_an_empty_server_brings_everything_back(
    server_url: str, plain: redis.Redis
) -> None:
    newest = [(uuid(n), n, b"{}") for n in range(1, 2_500)]
    run(server_url, lambda bus: bus.findings.restore(newest, stored=2_600, last=2_600))
    assert plain.zcard("ifmem:1:findings") == len(plain.keys("finding:*")) == 2_499


def test_a_forgotten_finding_leaves_no_trace(server_url: str, plain: redis.Redis) -> None:
    async def work(bus: Bus) -> None:
        await claimed(bus)
        await publish(bus, 1, 2)
        for _ in range(2):
            await bus.findings.drop(uuid(1), stored=1)
        assert await bus.findings.stored() == 1

    run(server_url, work)
    assert plain.keys("finding:*") == [f"finding:{uuid(2)}"]
    assert plain.zrange("ifmem:1:findings", 0, -1) == [uuid(2)]


# Owners


def test_a_store_takes_its_own_keys_at_any_time_and_the_older_bridge_is_overtaken(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(bus: Bus) -> None:
        old = await claimed(bus)
        new = await bus.ownership.claim(
            "store-1", bridge="b-2", name="host-2", duration=A_MINUTE, adopt=False
        )
        assert new.fence > old.fence
        await publish(bus, 1)
        with pytest.raises(NotPermitted, match="no longer writes"):
            await commit(bus, old)
        with pytest.raises(NotPermitted, match="host-2"):
            await bus.ownership.renew(old, A_MINUTE)
        assert await bus.ownership.renew(new, A_MINUTE) == "store-1"
        await commit(bus, new)

    run(server_url, work)


def test_another_store_is_refused_with_the_owners_name(server_url: str, plain: redis.Redis) -> None:
    async def work(bus: Bus) -> None:
        await claimed(bus)
        for adopt in (False, True):
            with pytest.raises(NotPermitted, match=r"owned by host-store-1, which is alive"):
                await claim(bus, "store-2", adopt=adopt)
        owner = await bus.ownership.owner()
        assert owner is not None
        assert (owner.store_id, owner.bridge_name) == ("store-1", "host-store-1")

    run(server_url, work)


@pytest.mark.parametrize("how", ["left", "lapsed"])
def test_when_the_owner_is_gone_its_keys_are_adopted_only_on_request(
    server_url: str, plain: redis.Redis, how: str
) -> None:
    async def work(bus: Bus) -> None:
        lease = await claimed(bus)
        if how == "left":
            await bus.ownership.leave(lease)
        else:
            plain.hset("ifmem:1:bridge", "until", "1")
        with pytest.raises(NotPermitted, match=r"keys of the store store-1.*--adopt"):
            await claim(bus, "store-2")
        await claim(bus, "store-2", adopt=True)
        with pytest.raises(NotPermitted, match="host-store-2"):
            await claim(bus, "store-1")

    run(server_url, work)


def test_keys_of_the_seed_that_no_store_owns_are_left_alone_until_adopted(
    server_url: str, plain: redis.Redis
) -> None:
    plain.set("context:active", "800000")

    async def work(bus: Bus) -> None:
        with pytest.raises(NotPermitted, match=r"keys that no store owns.*--adopt"):
            await claim(bus, "store-1")
        assert plain.get("context:active") == "800000"
        await claim(bus, "store-1", adopt=True)

    run(server_url, work)


def test_of_stores_that_claim_at_once_one_gets_the_space(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(bus: Bus) -> None:
        async def wins(number: int) -> bool:
            try:
                await claim(bus, f"store-{number}")
            except NotPermitted:
                return False
            return True

        async with asyncio.TaskGroup() as group:
            claims = [group.create_task(wins(n)) for n in range(12)]
        assert [one.result() for one in claims].count(True) == 1

    run(server_url, work)


def test_a_bus_that_lost_its_keys_is_noticed_by_the_next_renewal(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(bus: Bus) -> None:
        lease = await claimed(bus)
        plain.flushall()
        assert await bus.ownership.renew(lease, A_MINUTE) == ""

    run(server_url, work)


# What cannot be read


def test_what_cannot_be_read_is_kept_with_its_reason_in_bounds(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(bus: Bus) -> None:
        for n in range(1_005):
            await bus.log.dead_letter(reason=f"number {n}", message=b"\xff")
        newest, *_ = await bus.log.dead_letters(1)
        assert newest[1][b"reason"] == b"number 1004"

    run(server_url, work)
    assert plain.xlen("ifmem:1:dead-letters") == 1_000


def test_numbers_go_on_above_those_that_the_store_gave(server_url: str, plain: redis.Redis) -> None:
    async def work(bus: Bus) -> None:
        lease = await claimed(bus)
        (entry,) = await publish(bus, 1)
        await bus.log.drained(lease, Committed(entry, [(uuid(1), 40)], {}, 1), window=100)
        assert (await bus.findings.publish(uuid(2), b'{"durable":false}', HEAD)).sequence == 41

    run(server_url, work)
