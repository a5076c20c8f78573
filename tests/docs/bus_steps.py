"""Everything that the product does on the bus, each step with what must come of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import msgspec

from ifmem.bus.bus import Bus
from ifmem.bus.calls import MOST_UNREAD, Asked
from ifmem.bus.connection import Server, blocking, run_id, subscriber
from ifmem.bus.direct_writes import read_direct_write
from ifmem.bus.feed import Feed
from ifmem.bus.inspection import foreign_keys, record, remove_keys
from ifmem.bus.log import Committed
from ifmem.bus.ownership import Lease
from ifmem.bus.queries import Queries
from ifmem.bus.state import LibrarianState
from ifmem.bus.tasks import BackOff, Finish, Result
from ifmem.clock import new_id, now, stamp
from ifmem.domain.finding import Finding
from ifmem.domain.message import Message, OpenMessage, TopicFollowers
from ifmem.domain.shard import Shard, Speciality
from ifmem.domain.task import NewTask, TaskState
from ifmem.runtime.beside import Beside
from ifmem.wire import blob, envelopes, finding_json, keys
from ifmem.wire.blob import BlobPart, BlobPassage, Manifest
from ifmem.wire.forwarded import Begun, Event, ForwardedCall, read_order
from ifmem.wire.forwarded import Result as CallResult
from ifmem.wire.log_entries import Verdict
from ifmem.wire.queries import Query, Response, read_query

MINUTE = timedelta(minutes=1)
SOON_S = 2.0
"""A step that does not end by then never does."""


async def take_all(server: Server) -> None:
    """Take every step on an empty server, in the default space."""
    bus = Bus(server.client, blocking=blocking(server))
    lease = await _own(bus)
    await _hold_shards(bus)
    await _publish(bus, lease)
    await _work_on_tasks(bus)
    await _send_messages(bus)
    async with _fed(server, bus) as feed:
        await _follow(bus, feed)
        await _ask_shards(bus, feed)
    await _forward_a_call(bus)
    await _look_over(bus)
    await _leave(bus, lease)


def finding(claim: str) -> tuple[str, bytes, str]:
    """Id, body and head of a finding, as it is published."""
    made = Finding(
        finding_id=new_id(), worker_id="w", timestamp=stamp(now()), claim=claim, durable=False
    )
    return made.finding_id, finding_json.to_json(made), envelopes.head(made)


async def _own(bus: Bus) -> Lease:
    lease = await bus.ownership.claim(
        "store", bridge="b", name="host-1", duration=MINUTE, adopt=False
    )
    assert await run_id(bus.client)
    assert await bus.log.state() is None
    await bus.log.set_position(lease, epoch=1, drained="0-0", limit=1_000, last=0, skipped=10)
    assert await bus.sequence() == 10
    assert await bus.ownership.renew(lease, MINUTE) == "store"
    owner = await bus.ownership.owner()
    assert owner is not None and owner.bridge_name == "host-1"
    return lease


async def _hold_shards(bus: Bus) -> None:
    await bus.put_librarians([LibrarianState(1, "active", 7, 0)], count=5)
    await bus.beat("w", expiry_seconds=60)
    part = BlobPart("/a", "ab" * 32, "prose", 2, (BlobPassage(5, 0, 1, 1, 2, ""),))
    entry, data = blob.encode([part], "hello")
    shard = Shard(number=1, speciality=Speciality.FILES_GIT, capacity=10, tokens=2)
    for blobs, replaced in (({entry.sha256: data}, ()), ({}, (entry.sha256,))):
        await bus.put_shard(
            shard,
            bridge="w",
            manifest=Manifest(1, 0, 2, (entry,)),
            new_blobs=blobs,
            replaced=replaced,
        )
    assert await bus.missing_blobs([entry.sha256]) == set()
    (context,), _ = await bus.load_contexts([1], {})
    assert context.text("ab" * 32, 0) == "hello"
    assert await bus.take_shard(1, "other") == "w"
    assert await bus.take_shard(1, "other", over="w") is None
    assert await bus.set_ready(1, "other", active=True)
    assert await bus.set_ready(1, "other", active=False)
    assert await bus.take_shard(1, "w") is None
    assert await bus.set_ready(1, "w", active=True)
    active, (state,) = await bus.shards()
    assert (active, state.speciality, state.worker) == (2, shard.speciality, "w")
    assert [one.alive for one in await bus.workers()] == [True]
    assert [one.quota for one in await bus.librarians(2)] == [7, 0]


async def _publish(bus: Bus, lease: Lease) -> None:
    said = [finding(f"claim {n}") for n in range(4)]
    published = [await bus.findings.publish(*one) for one in said]
    assert await bus.log.barrier() == published[-1].entry
    assert await bus.log.holds(published[0].entry)
    assert await bus.log.backlog() == len(said)
    raw = await bus.log.read("0-0", count=10, block_ms=10)
    assert [entry.decode() for entry, _ in raw] == [one.entry for one in published]
    await bus.log.refuse(lease, "the disk is full")
    await bus.log.refuse(lease, "")
    ids = [one[0] for one in said]
    await bus.log.drained(
        lease,
        Committed(
            position=published[-1].entry,
            findings=list(zip(ids, [*(one.sequence for one in published[:3]), 0], strict=True)),
            verdicts={published[3].entry: Verdict("refused", "it was forgotten")},
            stored=3,
        ),
        window=2,
    )
    assert await bus.log.backlog() == 0
    verdict = await bus.log.verdict(published[3].entry)
    assert verdict is not None and verdict.outcome == "refused"
    oldest, rows = await bus.findings.since(0, 10)
    assert (oldest, len(rows)) == (published[1].sequence, 2)
    assert rows[0].body.startswith(b'{"durable":true')
    body = await read_direct_write(bus.client, bus.keys, ids[1])
    assert body == rows[0].body
    await bus.findings.correct({ids[1]: said[1][1]})
    await bus.findings.drop(ids[1], stored=2)
    assert await bus.findings.stored() == 2
    await bus.findings.restore([(ids[0], 11, said[0][1])], stored=1, last=published[-1].sequence)
    _, rows = await bus.findings.since(0, 10)
    assert [row.sequence for row in rows] == [11]
    await bus.log.dead_letter(reason="unreadable", message="?")
    assert len(await bus.log.dead_letters(10)) == 1


async def _work_on_tasks(bus: Bus) -> None:
    first, second, third = (NewTask(task_id=new_id(), title=f"task {n}") for n in range(3))
    last = NewTask(task_id=new_id(), title="last", depends_on=(first.task_id,), max_attempts=1)
    for task in (first, second, third, last):
        await bus.tasks.post(task)
    assert await bus.tasks.wait("-", -1, at_most=timedelta(seconds=SOON_S))
    (held,) = (await bus.tasks.claim("w", lease=MINUTE)).tasks
    assert await _held(bus) == [first.task_id]
    hold = {"worker": "w", "fence": held.fence or ""}
    assert await bus.tasks.renew(first.task_id, lease=2 * MINUTE, **hold)
    result = Result(**dict(zip(("finding_id", "body", "head"), finding("it is so"), strict=True)))
    done = Finish(task_id=first.task_id, **hold, result=result)
    assert (await bus.tasks.finish(done)).sequence
    assert not (await bus.tasks.finish(done)).is_new
    assert await _held(bus) == []
    assert (await bus.tasks.show(last.task_id)).state is TaskState.PENDING
    several = (await bus.tasks.claim("w", lease=MINUTE, count=2)).tasks
    assert [task.task_id for task in several] == [second.task_id, third.task_id]
    fence = several[0].fence or ""
    failed = Finish(
        task_id=second.task_id,
        worker="w",
        fence=fence,
        done=False,
        reason="no luck",
        back_off=BackOff(first=timedelta(milliseconds=1)),
    )
    (outcome,) = await bus.tasks.finish_many([failed])
    assert getattr(outcome, "state", outcome) is TaskState.PENDING
    await bus.tasks.release(third.task_id, worker="w", fence=fence, assist=True, reason="help")
    (again,) = (await bus.tasks.claim("other", lease=MINUTE)).tasks
    assert again.task_id in (second.task_id, third.task_id)
    assert (await bus.tasks.release_all("other"))[0] == 1
    await bus.tasks.cancel(third.task_id, actor="w")
    await bus.tasks.requeue(third.task_id, actor="w")
    assert await bus.tasks.block([(third.task_id, "item", "two disagree")], actor="inbox") == 1
    await bus.tasks.unblock("item", [third.task_id])
    (short,) = (await bus.tasks.claim("w", lease=timedelta(milliseconds=100), run="-")).tasks
    assert short.holder == "w"
    await _until_reaped(bus)
    counts = await bus.task_counts()
    assert counts["done"] == 1
    shown = [await bus.tasks.show(task.task_id) for task in (second, third)]
    counted = {TaskState.PENDING: 2}
    await bus.tasks.restore([(task, ()) for task in shown], counts=counted, last_place=4)
    assert (await bus.task_counts())["pending"] == 2
    assert await bus.tasks.drop([second.task_id]) == 1
    assert (await bus.tasks.sweep(keep=0)).trimmed == 0
    nothing = await bus.tasks.claim("w", lease=MINUTE, run="another")
    assert nothing.tasks == ()


async def _held(bus: Bus) -> list[str]:
    name = bus.keys.of(keys.WORKER_TASKS, id="w")
    return [one.decode() for one in await bus.client.lrange(name, 0, -1)]  # type: ignore[misc]


async def _until_reaped(bus: Bus) -> None:
    async with asyncio.timeout(SOON_S):
        while not (swept := await bus.tasks.sweep(keep=100)).reaped:
            await bus.tasks.wait("nobody's", swept.wait_ms)


async def _send_messages(bus: Bus) -> None:
    def message(to: str | None = None, topic: str | None = None) -> Message:
        return Message(message_id=new_id(), sender="w", body="hello", to=to, topic=topic)

    mail, soon = bus.messages, timedelta(seconds=1)
    await mail.follow("ada", "launch")
    assert (await mail.send(message(topic="launch"))).recipients == ("ada",)
    direct = message(to="ada")
    assert not (await mail.send(direct), await mail.send(direct))[1].is_new
    taken = await mail.receive("ada", limit=2, visibility=soon)
    assert [one.number for one in taken.deliveries] == [1, 1]
    assert len(await mail.held("ada")) == 2
    assert taken.next_redelivery is not None
    # Any wait on the server will do.
    await bus.tasks.wait("nobody's", int(taken.next_redelivery / timedelta(milliseconds=1)) + 1)
    again = (await mail.receive("ada", limit=2, visibility=MINUTE)).deliveries
    assert [one.number for one in again] == [2, 2]
    assert (await mail.acknowledge("ada", [direct.message_id])).count == 1
    assert await mail.expire("ada", [new_id()]) == 1
    assert (await mail.unfollow("ada", "launch")).count == 1
    kept = OpenMessage(new_id(), 90, 0, 2**50, b"{}", ("ada",))
    topics = [TopicFollowers("launch", ("grace",), ("ada",))]
    await mail.restore([kept], topics, last=99, done={"ada": [again[0].message.message_id]})
    assert kept.message_id in await mail.held("ada")
    assert (await mail.send(message(topic="launch"))).sequence == 100


@asynccontextmanager
async def _fed(server: Server, bus: Bus) -> AsyncIterator[Feed]:
    feed = Feed(bus.client, bus.findings, subscriber(server), tick_seconds=0.1)
    async with Beside(feed.run()).running():
        async with asyncio.timeout(SOON_S):
            await feed.connected()
        yield feed


async def _follow(bus: Bus, feed: Feed) -> None:
    follower = feed.follow(await feed.now())
    said = finding("a wake-up")
    await bus.findings.publish(*said)
    async with asyncio.timeout(SOON_S):
        assert (await anext(follower)).finding["finding_id"] == said[0]
    follower.close()
    # An idle subscription is asked for a sign of life; it stands as long as it gets one.
    connected_anew = asyncio.Event()
    stop = feed.on_connected(connected_anew.set)
    with suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            await connected_anew.wait()
    stop()
    assert not connected_anew.is_set()


async def _ask_shards(bus: Bus, feed: Feed) -> None:
    queries = Queries(bus.client, bus.keys, feed)
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    feed.listen(keys.CHANNEL_QUERIES, heard.put_nowait)

    async def answer() -> None:
        query = read_query(await heard.get())
        assert await queries.now_ms()
        about = {"query_id": query.query_id, "shard_id": 1, "timestamp": "", "confidence": 1.0}
        await queries.respond(Response(**about, answer="Here."))

    query = Query(query_id=new_id(), timestamp=stamp(now()), sender="w", question="Where?")
    async with Beside(answer()).running():
        gathered = await queries.ask(query, [1], gather=True, seconds=SOON_S)
    assert [one.answer for one in gathered.responses] == ["Here."]


async def _forward_a_call(bus: Bus) -> None:
    events: list[dict[str, Any]] = []

    async def on_event(event: dict[str, Any]) -> None:
        events.append(event)

    async def do() -> None:
        order = read_order(await bus.calls.take(SOON_S) or b"")
        assert isinstance(order, ForwardedCall)
        assert not await bus.calls.is_late(order)
        await bus.calls.reply(order.id, Begun("b"))
        for n in range(MOST_UNREAD + 50):
            await bus.calls.reply(order.id, Event({"n": n}))
        await bus.calls.reply(order.id, CallResult(msgspec.Raw(b"{}")))

    async with Beside(do()).running(), asyncio.timeout(5 * SOON_S):
        asked = Asked("recall", msgspec.Raw(b"{}"), "client-1")
        assert bytes(await bus.calls.call(asked, on_event, patience=SOON_S)) == b"{}"
    assert len(events) == MOST_UNREAD + 50
    late = ForwardedCall(id=new_id(), caller="w", method="recall", until_ms=0)
    assert await bus.calls.say(late) == 1
    assert await bus.calls.withdraw(late)


async def _look_over(bus: Bus) -> None:
    assert await foreign_keys(bus.client, bus.keys) == []
    await record(bus.client, bus.keys, at=now(), scan="s", foreign=[], actions=[])
    await remove_keys(bus.client, [bus.keys.of(keys.CONTEXT_ACTIVE)])
    assert await bus.client.ping()


async def _leave(bus: Bus, lease: Lease) -> None:
    await bus.leave("w")
    assert not any(one.worker_id == "w" for one in await bus.workers())
    await bus.ownership.leave(lease)
    owner = await bus.ownership.owner()
    assert owner is not None and owner.bridge_name is None
