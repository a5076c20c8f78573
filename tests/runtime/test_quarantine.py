"""Quarantine: kept, listed for who asks, and otherwise as if it had never been said."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from ifmem.bus.follower import Follower
from ifmem.engine.following import Filter, PageRead, Row
from ifmem.errors import NotFound, Refused
from ifmem.runtime.working_findings import as_result, compose
from ifmem.store import audit, quarantine
from ifmem.wire import keys

PATIENCE_S = 60
RUMOUR = "The zorbulax of Trebic hums at midnight."
OPEN = "The lantern of Trebic burns till four."
LATER = "The lantern of Trebic is lit by hand."
NOWHERE = "00000000-0000-4000-8000-000000000001"


def run(desk: Any, *stories: Callable[[Any], Awaitable[None]]) -> None:
    """Each story meets the same home, served anew."""

    async def main() -> None:
        for story in stories:
            async with asyncio.timeout(PATIENCE_S), desk() as here:
                await story(here)

    asyncio.run(main())


async def say(here: Any, claim: str, *, trust: str = "agent", **fields: Any) -> str:
    said = await here.call("remember", finding={"claim": claim, **fields}, trust=trust)
    return str(said.finding_id)


async def waiting(here: Any) -> list[str]:
    page = await here.call("findings", quarantined=True)
    return [line.finding["claim"] for line in page]


async def on_the_bus(here: Any) -> str:
    """Every key with its value, as whoever reads the server finds them."""
    client, text = here.space.bus.client, []
    async for name in client.scan_iter(count=1_000):
        kind = await client.type(name)
        match kind:
            case b"string":
                value = await client.get(name)
            case b"hash":
                value = await client.hgetall(name)
            case b"list":
                value = await client.lrange(name, 0, -1)
            case b"set":
                value = await client.smembers(name)
            case b"zset":
                value = await client.zrange(name, 0, -1)
            case _:
                value = await client.xrange(name)
        text.append(f"{name!r} {value!r}")
    return "\n".join(text)


async def assert_hidden(here: Any, claim: str, finding_id: str) -> None:
    """Nothing but the list of quarantine, and the audit, shows a finding."""
    assert claim not in await on_the_bus(here)
    assert (
        await here.space.bus.client.zscore(here.space.bus.keys.of(keys.FINDINGS), finding_id)
        is None
    )
    recalled = await here.call("recall", query=claim)
    assert claim not in msgspec.json.encode(recalled).decode()
    listed = await here.call("findings")
    assert claim not in msgspec.json.encode(listed).decode()
    answer = await here.call("ask", question=claim, model="extractive")
    assert claim not in [answer.answer, *(cited.quote for cited in answer.citations)]
    heard = await here.call("query", question=claim, gather=True)
    assert claim not in (heard.answer or "")
    newest = await here.call("newest_findings")
    assert claim not in msgspec.json.encode(newest).decode()
    with pytest.raises(NotFound):
        await here.call("finding", id=finding_id)
    assert claim in await waiting(here)


async def until(come_true: Callable[[], bool]) -> None:
    """Wait for what the daemon does by itself; the story's time limits it."""
    while not come_true():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def told(follower: Any, count: int) -> list[str]:
    return [str((await anext(follower)).finding["claim"]) for _ in range(count)]


async def stored_count(here: Any) -> int:
    return int((await here.call("status")).findings)


async def audited(here: Any) -> list[tuple[str, str]]:
    rows = await here.space.read(lambda connection: audit.newest(connection, 100))
    return [(row.action, row.subject) for row in rows]


def test_what_waits_is_shown_by_its_own_list_only_also_after_a_restart_and_a_lost_bus(
    desk: Any,
) -> None:
    said: list[str] = []

    async def begin(here: Any) -> None:
        await say(here, OPEN)
        said.append(await say(here, RUMOUR, trust="quarantined", worker_id="stranger"))
        await assert_hidden(here, RUMOUR, said[0])
        assert ("quarantine", said[0]) in await audited(here)
        assert await stored_count(here) == 1

    async def lose(here: Any) -> None:
        await assert_hidden(here, RUMOUR, said[0])
        losses = here.space.acknowledgements.losses
        await here.space.bus.client.flushall()
        here.space.mark_lost("emptied by a test")
        space = here.space
        await until(lambda: space.acknowledgements.losses > losses and space.attached.is_set())
        await say(here, LATER)
        await assert_hidden(here, RUMOUR, said[0])
        assert await stored_count(here) == 2

    run(desk, begin, lose)


def test_followers_pass_over_it_and_miss_nothing(desk: Any) -> None:
    async def story(here: Any) -> None:
        follower = here.space.feed.follow(0)
        announced: list[bytes] = []
        here.space.feed.listen(keys.CHANNEL_FINDINGS, announced.append)
        await here.space.feed.connected()
        await say(here, OPEN)
        assert await told(follower, 1) == [OPEN]
        hidden = await here.call("remember", finding={"claim": RUMOUR}, trust="quarantined")
        await say(here, LATER)
        assert await told(follower, 1) == [LATER]
        assert follower.cursor > int(hidden.cursor)
        assert len(announced) == 2 and RUMOUR.encode() not in b"".join(announced)
        # A cursor of a finding that nobody sees is as good as any other.
        again = here.space.feed.follow(int(hidden.cursor))
        assert await told(again, 1) == [LATER]
        from_the_start = here.space.feed.follow(0)
        assert await told(from_the_start, 2) == [OPEN, LATER]

    run(desk, story)


def test_released_it_is_said_again_once_as_the_same_authors(desk: Any) -> None:
    async def story(here: Any) -> None:
        old = await say(here, RUMOUR, trust="quarantined", worker_id="stranger", topic="hums")
        follower = here.space.feed.follow(0)
        done = await here.call("release", id=old)
        line = await anext(follower)
        finding = line.finding
        assert (finding["claim"], finding["topic"]) == (RUMOUR, "hums")
        assert (finding["trust"], finding["worker_id"]) == ("agent", "stranger")
        assert (finding["supersedes"], finding["finding_id"]) == (old, done.finding_id)
        recalled = await here.call("recall", query="zorbulax")
        assert [one.finding_id for one in recalled.findings] == [done.finding_id]
        assert await waiting(here) == []
        again = await here.call("release", id=f"finding:{old}")
        assert (again.finding_id, again.outcome) == (done.finding_id, "known")
        assert await stored_count(here) == 1
        rows = await audited(here)
        assert rows.count(("release", old)) == 1
        # Neither does saying the old one again bring it back.
        assert (
            await here.call("remember", finding={"claim": RUMOUR, "finding_id": old})
        ).outcome == "known"
        assert await stored_count(here) == 1
        await here.call("forget", id=done.finding_id)
        with pytest.raises(Refused):
            await here.call("release", id=old)

    run(desk, story)


def test_a_release_that_was_interrupted_is_taken_up_under_the_same_id(desk: Any) -> None:
    async def story(here: Any) -> None:
        old = await say(here, RUMOUR, trust="quarantined")
        chosen = "00000000-0000-4000-8000-0000000000aa"
        begun = await here.space.write(
            lambda connection: quarantine.begin_release(connection, old, chosen)
        )
        assert begun is not None and await waiting(here) == [RUMOUR]
        assert (await here.call("release", id=old)).finding_id == chosen

    run(desk, story)


def test_forgotten_it_cannot_be_released_or_said_again(desk: Any) -> None:
    async def story(here: Any) -> None:
        await say(here, OPEN)
        old = await say(here, RUMOUR, trust="quarantined")
        assert (await here.call("forget", id=old)).kind == "finding"
        assert await waiting(here) == []
        assert await stored_count(here) == 1
        with pytest.raises(NotFound):
            await here.call("release", id=old)
        with pytest.raises(NotFound):
            await here.call("release", id=NOWHERE)
        with pytest.raises(Refused):
            await say(here, RUMOUR, finding_id=old)

    run(desk, story)


def test_a_task_is_done_while_its_finding_waits(desk: Any) -> None:
    async def story(here: Any) -> None:
        await here.call("task_post", title="listen")
        (task,) = await here.call("task_claim", worker="stranger")
        announced: list[bytes] = []
        here.space.feed.listen(keys.CHANNEL_FINDINGS, announced.append)
        await here.space.feed.connected()
        finish = {"task_id": task.task_id, "worker": "stranger", "fence": task.fence}
        done = await here.call("task_finish", **finish, claim=RUMOUR, trust="quarantined")
        assert done.state == "done"
        await assert_hidden(here, RUMOUR, done.result_finding_id)
        again = await here.call("task_finish", **finish, claim=RUMOUR, trust="quarantined")
        assert again.result_finding_id == done.result_finding_id
        released = await here.call("release", id=done.result_finding_id)
        page = await here.call("findings", task=task.task_id)
        assert [line.finding["finding_id"] for line in page] == [released.finding_id]
        await until(lambda: bool(announced))
        (message,) = announced
        assert released.finding_id in message.decode()

    run(desk, story)


def test_what_is_written_on_the_bus_may_ask_for_quarantine(desk: Any) -> None:
    async def story(here: Any) -> None:
        bus = here.space.bus
        finding = compose({"claim": RUMOUR, "trust": "quarantined"}, worker="w-1")
        result = as_result(finding)
        published = await bus.findings.publish(
            finding.finding_id, result.body, result.head, hidden=result.hidden
        )
        await here.space.durable(published.entry)
        await assert_hidden(here, RUMOUR, finding.finding_id)

        direct = "00000000-0000-4000-8000-0000000000bb"
        body = msgspec.json.encode({"claim": LATER, "trust": "quarantined"})
        await bus.client.set(bus.keys.of(keys.FINDING, uuid=direct), body)
        await here.space.feed.connected()
        await bus.client.publish(bus.keys.of(keys.CHANNEL_FINDINGS), direct)
        while LATER not in await waiting(here):
            await here.space.bus.run_id()
        await assert_hidden(here, LATER, direct)

    run(desk, story)


def test_its_id_said_again_over_the_bus_shows_nothing_for_long(desk: Any) -> None:
    async def story(here: Any) -> None:
        old = await say(here, RUMOUR, trust="quarantined")
        finding = compose({"claim": LATER, "finding_id": old}, worker="w-1")
        result = as_result(finding)
        published = await here.space.bus.findings.publish(old, result.body, result.head)
        await here.space.durable(published.entry)
        # The bus is told after whoever waits in this process.
        while LATER in await on_the_bus(here):
            await here.space.bus.run_id()
        await assert_hidden(here, RUMOUR, old)

    run(desk, story)


def test_a_follower_passes_over_it_whoever_put_it_on_the_bus() -> None:
    loud = compose({"claim": RUMOUR, "trust": "quarantined"}, worker="w-1")
    plain = compose({"claim": OPEN}, worker="w-1")
    rows = tuple(Row(n, as_result(one).body) for n, one in enumerate((loud, plain), 1))

    async def read(after: int) -> PageRead:
        return PageRead(rows, more=False)

    async def story() -> None:
        follower = Follower(0, Filter(), read=read, feed=Endless())
        assert await told(follower, 1) == [OPEN]
        assert follower.cursor == 2

    asyncio.run(story())


class Endless:
    closed = False

    def leave(self, follower: Follower) -> None:
        raise AssertionError("nobody leaves here")
