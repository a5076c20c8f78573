"""Whatever agents do with their inboxes, a real server does what a model on one page does."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from ifmem.bus.messages import Mailbox
from ifmem.bus.server_side import ServerSide
from ifmem.domain.message import Message
from ifmem.store import messages
from ifmem.store.database import Database
from ifmem.wire import keys as names
from ifmem.wire.keys import Keys
from ifmem.wire.log_entries import read_entry

KEYS = Keys()
TOPIC = "launch"
AGENTS = st.sampled_from(["ada", "bob"])
NUMBERS = st.integers(0, 7)


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


@dataclass
class Model:
    """What has to be true: who has what waiting, in which order, taken how often."""

    order: list[int] = field(default_factory=list)
    """Messages as they were sent."""
    over: set[int] = field(default_factory=set)
    """Those whose time is over."""
    inbox: dict[str, set[int]] = field(default_factory=lambda: {"ada": set(), "bob": set()})
    taken: dict[str, set[int]] = field(default_factory=lambda: {"ada": set(), "bob": set()})
    delivered: dict[tuple[str, int], int] = field(default_factory=dict)
    followers: set[str] = field(default_factory=set)

    def send(self, number: int, to: str | None) -> set[str] | None:
        """Who gets it; None when it is known."""
        if number in self.order:
            return None
        self.order.append(number)
        recipients = {to} if to else set(self.followers)
        for agent in recipients:
            self.inbox[agent].add(number)
        return recipients

    def receive(self, agent: str, limit: int) -> list[tuple[int, int]]:
        """Numbers of messages, each with how often it was delivered."""
        found: list[tuple[int, int]] = []
        for number in self.order:
            if len(found) == limit:
                break
            if number not in self.inbox[agent]:
                continue
            self.inbox[agent].remove(number)
            if number not in self.over:
                self.taken[agent].add(number)
                times = self.delivered.get((agent, number), 0) + 1
                self.delivered[agent, number] = times
                found.append((number, times))
        return found

    def acknowledge(self, agent: str, number: int) -> bool:
        waited = number in self.inbox[agent] | self.taken[agent]
        self.inbox[agent].discard(number)
        self.taken[agent].discard(number)
        return waited

    def lapse(self, agent: str, number: int) -> None:
        """The visibility of a message that was taken is over."""
        if number in self.taken[agent]:
            self.taken[agent].remove(number)
            self.inbox[agent].add(number)

    def sweep(self, agent: str) -> None:
        self.inbox[agent] -= self.over
        self.taken[agent] -= self.over

    def rebuild(self) -> None:
        """The server was lost: everything of the store is there, and nothing else."""
        for agent in self.inbox:
            self.inbox[agent] = (self.inbox[agent] | self.taken[agent]) - self.over
            self.taken[agent] = set()
        self.delivered.clear()


class Inboxes(RuleBasedStateMachine):
    """Every step is done to the model and to the server; their answers and states are equal."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.plain = redis.Redis.from_url(self.url, decode_responses=True)
        self.plain.flushall()
        self.directory = tempfile.TemporaryDirectory()
        self.database = Database(Path(self.directory.name) / "store.sqlite")
        self.runner = asyncio.Runner()
        self.client = self.runner.run(self._connected())
        self.mailbox = Mailbox(self.client, KEYS, ServerSide(self.client, KEYS))

    @initialize()
    def a_bridge_opens_the_space(self) -> None:
        self._open()

    @rule(number=NUMBERS, to=AGENTS | st.none())
    def send(self, number: int, to: str | None) -> None:
        message = Message(
            message_id=uuid(number),
            sender="cy",
            body={"n": number},
            to=to,
            topic=None if to else TOPIC,
        )
        sent = self._do(self.mailbox.send(message))
        expected = self.model.send(number, to)
        assert sent.is_new == (expected is not None)
        assert set(sent.recipients) == (expected or set())

    @rule(agent=AGENTS, limit=st.integers(1, 3))
    def receive(self, agent: str, limit: int) -> None:
        step = self.mailbox.receive(agent, limit=limit, visibility=timedelta(hours=1))
        deliveries = self._do(step).deliveries
        assert [(one.message.body, one.number) for one in deliveries] == [
            ({"n": number}, times) for number, times in self.model.receive(agent, limit)
        ]

    @rule(agent=AGENTS, number=NUMBERS)
    def acknowledge(self, agent: str, number: int) -> None:
        marked = self._do(self.mailbox.acknowledge(agent, [uuid(number)]))
        assert marked.count == self.model.acknowledge(agent, number)

    @rule(agent=AGENTS, number=NUMBERS)
    def the_visibility_of_a_message_ends(self, agent: str, number: int) -> None:
        self.plain.zadd(KEYS.of(names.UNACKED, agent=agent), {uuid(number): 1}, xx=True)
        self.model.lapse(agent, number)

    @precondition(lambda self: self.model.order)
    @rule(data=st.data())
    def the_time_of_a_message_ends(self, data: Any) -> None:
        number = data.draw(st.sampled_from(self.model.order))
        key = KEYS.of(names.MESSAGE, id=uuid(number))
        if self.plain.exists(key):
            self.plain.hset(key, "expires", "1")
            self._drain()
            self.database.write(
                lambda c: c.execute(
                    "UPDATE message SET expires_ms = 1 WHERE message_id = ?", (uuid(number),)
                )
            ).result()
            self.model.over.add(number)

    @rule(agent=AGENTS, joins=st.booleans())
    def follow(self, agent: str, joins: bool) -> None:
        step = self.mailbox.follow if joins else self.mailbox.unfollow
        marked = self._do(step(agent, TOPIC))
        assert marked.count == ((agent in self.model.followers) != joins)
        (self.model.followers.add if joins else self.model.followers.discard)(agent)

    @rule()
    def the_bridge_sweeps(self) -> None:
        self._drain()
        over = self.database.read(lambda c: messages.overdue(c, 2, 1_000))
        for agent, ids in over.items():
            self._do(self.mailbox.expire(agent, ids))
        for agent in self.model.inbox:
            self.model.sweep(agent)

    @rule()
    def the_server_is_lost_and_built_again_from_the_store(self) -> None:
        self._drain()
        self.plain.flushall()
        self._open()
        waiting = self.database.read(lambda c: messages.open_messages(c, 2))
        topics = self.database.read(messages.topics)
        last = self.database.read(messages.last_sequence)
        self._do(self.mailbox.restore(waiting, topics, last=last))
        self.model.rebuild()
        # What nobody waits for is known to the store alone now: see `runtime.messaging.send`.
        kept = self.model.inbox["ada"] | self.model.inbox["bob"]
        gone = [number for number in self.model.order if number not in kept]
        self.model.over -= set(gone)
        self.model.order = [number for number in self.model.order if number in kept]
        self.database.write(
            lambda c: c.executemany(
                "DELETE FROM message WHERE message_id = ?", [(uuid(n),) for n in gone]
            )
        ).result()

    @invariant()
    def every_agent_has_the_same_waiting_in_both(self) -> None:
        for agent, waiting in self.model.inbox.items():
            held = self.plain.zrange(KEYS.of(names.INBOX, agent=agent), 0, -1)
            lapsed = self.plain.zrangebyscore(KEYS.of(names.UNACKED, agent=agent), 0, 1)
            assert {*held, *lapsed} == {uuid(n) for n in waiting}
            taken = self.plain.zrangebyscore(KEYS.of(names.UNACKED, agent=agent), 2, "+inf")
            assert set(taken) == {uuid(n) for n in self.model.taken[agent]}

    @invariant()
    def the_store_has_the_same_open_once_it_has_the_log(self) -> None:
        self._drain()
        rows = self.database.read(lambda c: messages.open_messages(c, 0))
        stored = {(row.message_id, agent) for row in rows for agent in row.recipients}
        assert stored == {
            (uuid(number), agent)
            for agent in self.model.inbox
            for number in self.model.inbox[agent] | self.model.taken[agent]
        }
        (topic,) = self.database.read(messages.topics) or [None]
        assert (set(topic.followers) if topic else set()) == self.model.followers

    def teardown(self) -> None:
        self.runner.run(self.client.aclose())
        self.runner.close()
        self.plain.close()
        self.database.close()
        self.directory.cleanup()

    async def _connected(self) -> Redis:
        return Redis.from_url(self.url, protocol=3)

    def _do(self, step: Any) -> Any:
        return self.runner.run(asyncio.wait_for(step, 60))

    def _open(self) -> None:
        state = {"limit": "10000", "refusing": ""}
        self.plain.hset(KEYS.of(names.LOG_STATE), mapping=state)

    def _drain(self) -> None:
        async def read() -> Any:
            return await self.client.xrange(KEYS.of(names.LOG))

        entries = [read_entry(*one) for one in self._do(read())]
        mine = [entry for entry in entries if entry.kind == "message"]
        verdicts = self.database.write(lambda c: messages.apply(c, mine)).result()
        assert verdicts == {}
        self.plain.xtrim(KEYS.of(names.LOG), maxlen=0)


@pytest.mark.timeout(300)
def test_inboxes_do_what_the_model_says(server_url: str) -> None:
    Inboxes.url = server_url
    run_state_machine_as_test(
        Inboxes,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
