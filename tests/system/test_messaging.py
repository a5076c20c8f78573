"""Messages through the daemon: awaited, durable, and there again after the bus or daemon died."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ifmem import Invalid, Memory, Refused

PATIENCE_S = 60


def run(ifmem: Any, work: Callable[[Memory], Awaitable[Any]]) -> Any:
    """What ``work`` returns with a memory; fails when it takes unreasonably long."""

    async def main() -> Any:
        settings = ifmem.settings
        async with asyncio.timeout(PATIENCE_S), Memory.open(settings=settings) as memory:
            return await work(memory)

    return asyncio.run(main())


def bodies(taken: Any) -> list[Any]:
    return [message.body for message in taken]


def test_a_waiting_reader_gets_a_message_when_it_is_sent(ifmem: Any) -> None:
    async def work(memory: Memory) -> None:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(memory.receive("ada", wait=2 * PATIENCE_S))
            sent = await memory.send({"text": "ready?"}, to="ada", sender="grace")
        (message,) = reading.result()
        assert message.message_id == sent.message_id
        assert (message.sender, message.delivery) == ("grace", 1)
        assert (await memory.acknowledge("ada", message.message_id)).acknowledged == 1
        assert (await memory.acknowledge("ada", message.message_id)).acknowledged == 0

    run(ifmem, work)


def test_a_waiting_reader_gets_what_another_did_not_acknowledge(ifmem: Any) -> None:
    async def work(memory: Memory) -> None:
        await memory.send("again", to="ada")
        first = await memory.receive("ada", visibility=1)
        again = await memory.receive("ada", wait=2 * PATIENCE_S)
        assert bodies(first) == bodies(again) == ["again"]
        assert [one.delivery for one in again] == [2]

    run(ifmem, work)


def test_an_emptied_bus_gets_everything_back_but_what_was_acknowledged(ifmem: Any) -> None:
    async def before(memory: Memory) -> str:
        await memory.join_topic("ada", "launch")
        await memory.join_topic("bob", "launch")
        await memory.join_topic("cy", "launch")
        await memory.leave_topic("cy", "launch")
        sent = [await memory.send(f"number {n}", topic="launch") for n in range(4)]
        assert sent[0].recipients == ["ada", "bob"]
        taken = await memory.receive("ada", limit=2)
        await memory.acknowledge("ada", taken.items[0].message_id)
        await memory.acknowledge("bob", taken.items[0].message_id)
        return sent[0].message_id

    first = run(ifmem, before)
    with ifmem.bus() as bus:
        bus.flushall()

    async def after(memory: Memory) -> None:
        # The receiver waits: the daemon puts the messages back when it sees what happened.
        ada = await memory.receive("ada", wait=PATIENCE_S / 2)
        assert bodies(ada) == ["number 1", "number 2", "number 3"]
        assert bodies(await memory.receive("bob")) == ["number 1", "number 2", "number 3"]
        known = await memory.send("number 0", topic="launch", id=first)
        assert known.outcome == "known"
        assert (await memory.send("number 4", topic="launch")).recipients == ["ada", "bob"]
        assert bodies(await memory.receive("ada")) == ["number 4"]

    run(ifmem, after)


def test_the_store_has_what_was_sent_and_acknowledged_when_the_call_returns(ifmem: Any) -> None:
    def stored(connection: sqlite3.Connection) -> tuple[int, int]:
        return connection.execute("SELECT count(*), count(ended) FROM recipient").fetchone()

    async def work(memory: Memory) -> None:
        first = await memory.send("number 0", to="ada")
        (store,) = (ifmem.home / "spaces").glob("*/store.sqlite")
        with contextlib.closing(sqlite3.connect(store)) as connection:
            assert stored(connection) == (1, 0)
            ids = [first.message_id]
            for number in range(1, 20):
                ids.append((await memory.send(f"number {number}", to="ada")).message_id)
                assert stored(connection) == (number + 1, 0)
            for number, message_id in enumerate(ids, start=1):
                await memory.acknowledge("ada", message_id)
                assert stored(connection) == (20, number)

    run(ifmem, work)


def test_what_was_sent_survives_the_daemon(
    ifmem: Any,
) -> None:
    run(ifmem, lambda memory: memory.send("durable", to="ada"))
    os.kill(ifmem.daemon_pid(), signal.SIGKILL)
    assert bodies(run(ifmem, lambda memory: memory.receive("ada"))) == ["durable"]


def test_what_breaks_a_rule_is_told_and_nothing_is_sent(ifmem: Any) -> None:
    async def work(memory: Memory) -> None:
        with pytest.raises(Invalid, match="one agent or to one topic"):
            await memory.send("to nobody")
        with pytest.raises(Invalid, match="30 days"):
            await memory.send("for ever", to="ada", expires=1e9)
        with pytest.raises(Invalid, match="64"):
            await memory.send("x", to="ada", action_type="x" * 65)
        with pytest.raises(Invalid):
            await memory.receive("ada", limit=1_000)
        with pytest.raises(Invalid):
            await memory.receive("ada", visibility=1e12)
        assert bodies(await memory.receive("ada")) == []

    run(ifmem, work)


def test_a_full_inbox_is_refused_by_name(ifmem: Any) -> None:
    run(ifmem, lambda memory: memory.send("first", to="ada"))
    with ifmem.bus() as bus:
        (inbox,) = bus.scan_iter("*inbox:ada")
        bus.zadd(inbox, {f"filler-{n}": n for n in range(10_000)})
    with pytest.raises(Refused, match="inbox of ada is full") as refused:
        run(ifmem, lambda memory: memory.send("one more", to="ada"))
    assert refused.value.facts["agent"] == "ada"
