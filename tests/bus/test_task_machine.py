"""The life of tasks, at random: the bus, the arbiter and the store must tell the same story."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from importlib import resources
from typing import Any

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

from ifmem.bus.server_side import ServerSide
from ifmem.bus.tasks import Accepted, BackOff, Finish, TaskBoard
from ifmem.domain.task import NewTask, Reason, Task, TaskState
from ifmem.engine.tasks import Refusal, decide
from ifmem.errors import NotFound, Refused
from ifmem.store import tasks as store
from ifmem.store.audit_chain import learn_sealing
from ifmem.wire import task_fields
from ifmem.wire.keys import Keys
from ifmem.wire.log_entries import Entry, read_entry

HOUR = timedelta(hours=1)
WORKERS = ("ada", "bob")
RUNS = ("-", "nightly")
NEWEST = st.integers(0, 20)
"""Which task or ticket, counted back from the newest."""
REBUILT = "the bus was rebuilt"


@dataclass(frozen=True)
class Rebuild:
    """Where the bus was built anew in the story."""

    at_ms: int


@dataclass(frozen=True)
class Ticket:
    """What a claim gave to its worker; it may be long worthless."""

    task_id: str
    worker: str
    fence: str


class TaskLife(RuleBasedStateMachine):
    def __init__(self, url: str, bus: redis.Redis) -> None:
        super().__init__()
        self.bus = bus
        bus.flushall()
        self.epoch = 1
        bus.hset("ifmem:1:log-state", mapping={"refusing": "", "limit": 10**6, "epoch": 1})
        self.runner = asyncio.Runner()
        self.client = Redis.from_url(url, protocol=3)
        self.board = TaskBoard(self.client, Keys(), ServerSide(self.client, Keys()))
        self.model: dict[str, Task] = {}
        self.tickets: list[Ticket] = []
        self.last: dict[str, int] = {}
        self.story: list[Entry | Rebuild] = []
        self.read_to = "0-0"
        self.ended_leases: set[str] = set()
        """Leases whose end has passed, by the server's clock, and that nobody has reaped."""
        self.ended_rests: set[str] = set()

    # What happens

    @initialize(priorities=st.lists(st.sampled_from((0, 5, 10)), min_size=2, max_size=6))
    def begin(self, priorities: list[int]) -> None:
        for n, priority in enumerate(priorities):
            self.post(RUNS[n % 5 == 4], priority, 1 + n % 3, [])

    @rule(
        run=st.sampled_from(RUNS),
        priority=st.sampled_from((0, 5, 10)),
        max_attempts=st.integers(1, 3),
        newest=st.lists(NEWEST, max_size=2, unique=True),
    )
    def post(self, run: str, priority: int, max_attempts: int, newest: list[int]) -> None:
        others = list(dict.fromkeys(self.task_at(n) for n in newest))
        task_id = str(uuid.UUID(int=len(self.model) * 7919 % 1009 + 1))
        new = NewTask(
            task_id=task_id,
            title="work",
            run=run,
            priority=priority,
            max_attempts=max_attempts,
            depends_on=tuple(others),
        )
        if any(self.model[other].run != run for other in others):
            with pytest.raises(NotFound):
                self.run(self.board.post(new))
            new = replace(new, depends_on=())
        assert self.run(self.board.post(new)).is_new
        assert not self.run(self.board.post(new)).is_new
        self.hear()

    @rule(
        worker=st.sampled_from(WORKERS),
        run=st.sampled_from(RUNS),
        count=st.integers(1, 4),
    )
    def claim(self, worker: str, run: str, count: int) -> None:
        expected = self.first_for(worker, run, count)
        claimed = self.run(self.board.claim(worker, lease=HOUR, run=run, count=count))
        assert [one.task_id for one in claimed.tasks] == expected
        self.ended_leases.clear()
        self.ended_rests.clear()
        self.hear()
        self.tickets += [Ticket(one.task_id, worker, str(one.fence)) for one in claimed.tasks]

    @precondition(lambda self: self.tickets)
    @rule(newest=NEWEST)
    def renew(self, newest: int) -> None:
        ticket = self.tickets[-1 - newest % len(self.tickets)]
        call = self.board.renew(
            ticket.task_id, worker=ticket.worker, fence=ticket.fence, lease=HOUR
        )
        if self.holds(ticket):
            self.run(call)
        else:
            with pytest.raises(Refused):
                self.run(call)

    @precondition(lambda self: self.held())
    @rule(newest=NEWEST, done=st.booleans())
    def finish_what_is_held(self, newest: int, done: bool) -> None:
        task = self.model[self.held()[-1 - newest % len(self.held())]]
        self.tickets.append(Ticket(task.task_id, str(task.holder), str(task.fence)))
        self.finish(0, done, False, timedelta(0))

    @precondition(lambda self: self.tickets)
    @rule(
        newest=NEWEST,
        done=st.booleans(),
        final=st.booleans(),
        rest=st.sampled_from((timedelta(0), HOUR)),
    )
    def finish(self, newest: int, done: bool, final: bool, rest: timedelta) -> None:
        ticket = self.tickets[-1 - newest % len(self.tickets)]
        finish = Finish(
            task_id=ticket.task_id,
            worker=ticket.worker,
            fence=ticket.fence,
            done=done,
            final=final,
            reason="" if done else "did not work",
            back_off=BackOff(first=rest, longest=HOUR),
        )
        event = "done" if done else "failed"
        self.end(ticket, event, lambda: self.board.finish(finish))

    @precondition(lambda self: self.tickets)
    @rule(newest=NEWEST, assist=st.booleans(), reason=st.sampled_from(("", "cannot")))
    def release(self, newest: int, assist: bool, reason: str) -> None:
        ticket = self.tickets[-1 - newest % len(self.tickets)]
        event = "assist" if assist else "released"
        self.end(
            ticket,
            event,
            lambda: self.board.release(
                ticket.task_id,
                worker=ticket.worker,
                fence=ticket.fence,
                assist=assist,
                reason=reason,
            ),
        )

    @precondition(lambda self: self.has_gone_on("cancel", 6))
    @rule(newest=NEWEST)
    def cancel(self, newest: int) -> None:
        self.last["cancel"] = len(self.story)
        task_id = self.task_at(newest)
        task = self.model[task_id]
        self.step(
            lambda: self.board.cancel(task_id, actor="ada", reason="not wanted"),
            known=task.state is TaskState.CANCELLED,
            fits=task.state.is_open,
        )

    @precondition(lambda self: self.has_gone_on("requeue", 3))
    @rule(newest=NEWEST)
    def requeue(self, newest: int) -> None:
        self.last["requeue"] = len(self.story)
        task_id = self.task_at(newest)
        task = self.model[task_id]
        anew = (TaskState.DEAD, TaskState.FAILED, TaskState.CANCELLED, TaskState.NEEDS_ASSIST)
        self.step(
            lambda: self.board.requeue(task_id, actor="ada"),
            known=task.event == "requeued",
            fits=task.state in anew,
        )

    @precondition(lambda self: self.held() and self.has_gone_on("stop", 8))
    @rule(worker=st.sampled_from(WORKERS))
    def stop(self, worker: str) -> None:
        self.last["stop"] = len(self.story)
        held = {one.task_id for one in self.model.values() if one.holder == worker}
        released, _ = self.run(self.board.release_all(worker))
        assert released == len(held - self.ended_leases)
        self.hear()

    @precondition(lambda self: self.held())
    @rule(newest=NEWEST)
    def let_a_lease_end(self, newest: int) -> None:
        task_id = self.held()[-1 - newest % len(self.held())]
        self.bus.zadd("ifmem:1:leases", {task_id: 1})
        self.bus.hset(f"ifmem:1:task:{task_id}", "lease_until", 1)
        self.ended_leases.add(task_id)

    @precondition(lambda self: self.resting())
    @rule()
    def let_all_rests_end(self) -> None:
        for task_id in self.resting():
            self.bus.zadd("ifmem:1:delayed", {task_id: 1})
            self.bus.hset(f"ifmem:1:task:{task_id}", "not_before", 1)
            self.ended_rests.add(task_id)

    @precondition(lambda self: self.ended_leases or self.ended_rests)
    @rule()
    def sweep(self) -> None:
        swept = self.run(self.board.sweep())
        assert swept.reaped == len(self.ended_leases) + len(self.ended_rests)
        self.ended_leases.clear()
        self.ended_rests.clear()
        self.hear()

    @precondition(lambda self: self.has_gone_on("rebuild", 15))
    @rule()
    def rebuild(self) -> None:
        """The bus lost everything: it is built from what the store has, in a new epoch."""
        self.last["rebuild"] = len(self.story)
        marker = Rebuild(at_ms=1_000 + self.epoch)
        self.model = {one.task_id: given_back(one, marker) for one in self.model.values()}
        self.story.append(marker)
        self.bus.flushall()
        self.epoch += 1
        state = {"refusing": "", "limit": 10**6, "epoch": self.epoch}
        self.bus.hset("ifmem:1:log-state", mapping=state)
        self.read_to = "0-0"
        waiting = [(one, self.unmet(one)) for one in self.model.values()]
        states = Counter(one.state for one in self.model.values())
        self.run(self.board.restore(waiting, counts=states, last_place=len(self.model)))
        self.ended_leases.clear()
        self.ended_rests.clear()

    # What must hold after each

    @invariant()
    def the_bus_has_what_the_arbiter_made_of_the_log(self) -> None:
        with self.bus.pipeline() as pipe:
            for task_id in self.model:
                pipe.hgetall(f"ifmem:1:task:{task_id}")
            hashes = pipe.execute()
        for task, fields in zip(self.model.values(), hashes, strict=True):
            seen = task_fields.from_fields(task.task_id, fields)
            # Renewals and the end of a rest are not logged.
            expected = replace(
                task,
                lease_until_ms=seen.lease_until_ms if task.holder else task.lease_until_ms,
                not_before_ms=task.not_before_ms
                if self.is_resting(task) and task.task_id not in self.ended_rests
                else seen.not_before_ms,
            )
            assert seen == expected
            assert set(fields["unmet"].split()) == set(self.unmet(task))

    @invariant()
    def counters_and_indexes_agree_with_the_tasks(self) -> None:
        counted = self.bus.hgetall("ifmem:1:counters")
        states = Counter(str(one.state) for one in self.model.values())
        assert {state: int(counted.get(f"tasks:{state}", 0)) for state in TaskState} == {
            str(state): states[str(state)] for state in TaskState
        }
        for worker in WORKERS:
            held = sorted(one.task_id for one in self.model.values() if one.holder == worker)
            assert sorted(self.bus.lrange(f"worker:tasks:{worker}", 0, -1)) == held
        for run in RUNS:
            ready = {one.task_id for one in self.model.values() if self.is_ready(one, run)}
            assert set(self.bus.zrange(f"ifmem:1:ready:{run}", 0, -1)) == ready
        resting = {one.task_id for one in self.model.values() if self.is_resting(one)}
        assert set(self.bus.zrange("ifmem:1:delayed", 0, -1)) == resting
        leased = {one.task_id for one in self.model.values() if one.holder}
        assert set(self.bus.zrange("ifmem:1:leases", 0, -1)) == leased
        ended = {one.task_id for one in self.model.values() if not one.state.is_open}
        assert set(self.bus.zrangebyscore("ifmem:1:ended", "-inf", "(+inf")) == ended
        assert set(self.bus.zrange("ifmem:1:ended", 0, -1)) == set(self.model)

    def teardown(self) -> None:
        try:
            self.replay()
        finally:
            self.runner.run(self.client.aclose())
            self.runner.close()

    def replay(self) -> None:
        """The whole story again, through the arbiter and through the store, each line twice."""
        told: dict[str, Task] = {}
        connection = sqlite3.connect(":memory:")
        learn_sealing(connection, b"k" * 32)
        scripts = resources.files("ifmem.store") / "migrations"
        for script in sorted(scripts.iterdir(), key=lambda one: one.name):
            connection.executescript(script.read_text())
        for one in self.story:
            if isinstance(one, Rebuild):
                told = {task.task_id: given_back(task, one) for task in told.values()}
                store.give_back_leases(connection, reason=REBUILT, at_ms=one.at_ms)
                continue
            event = task_fields.read_event(one)
            outcome = decide(told.get(event.task_id), event)
            assert isinstance(outcome, Task), outcome
            assert decide(outcome, event) is outcome
            told[event.task_id] = outcome
            assert store.apply(connection, [one, one]).verdicts == {}
        entries = [one for one in self.story if isinstance(one, Entry)]
        for entry in entries:
            event = task_fields.read_event(entry)
            assert decide(told[event.task_id], event) is told[event.task_id]
        again = store.apply(connection, entries)
        assert (again.verdicts, again.contradicted) == ({}, set())
        assert told == self.model
        assert {one.task_id: one for _, one in store.page(connection, limit=10**6)} == self.model
        connection.close()

    # The rules of the model

    def first_for(self, worker: str, run: str, count: int) -> list[str]:
        """The tasks that this worker is to get."""
        free = [
            one
            for one in self.model.values()
            if one.run == run
            and (
                (self.is_ready(one, run) and one.asked_by != worker)
                or one.task_id in self.ended_rests
                or (one.task_id in self.ended_leases and one.attempts < one.max_attempts)
            )
        ]
        free.sort(key=lambda one: (-one.priority, one.place))
        if free and free[0].attempts:
            return [free[0].task_id]
        tried = [n for n, one in enumerate(free) if one.attempts]
        return [one.task_id for one in free[: min([count, *tried])]]

    def is_resting(self, task: Task) -> bool:
        resting = task.state is TaskState.PENDING and task.not_before_ms is not None
        return resting and (
            task.task_id in self.ended_rests
            or self.bus.zscore("ifmem:1:delayed", task.task_id) is not None
        )

    def is_ready(self, task: Task, run: str) -> bool:
        ready = task.state in (TaskState.PENDING, TaskState.NEEDS_ASSIST) and task.run == run
        return ready and not self.is_resting(task)

    def unmet(self, task: Task) -> list[str]:
        return [one for one in task.depends_on if self.model[one].state is not TaskState.DONE]

    def has_gone_on(self, what: str, entries: int) -> bool:
        """Whether the log has grown that much since the last time, so that it stays rare."""
        return len(self.story) - self.last.get(what, 0) >= entries

    def held(self) -> list[str]:
        return [one.task_id for one in self.model.values() if one.holder]

    def resting(self) -> list[str]:
        return [one.task_id for one in self.model.values() if self.is_resting(one)]

    def task_at(self, newest: int) -> str:
        return list(self.model)[-1 - newest % len(self.model)]

    def holds(self, ticket: Ticket) -> bool:
        task = self.model[ticket.task_id]
        is_its = (task.holder, task.fence) == (ticket.worker, ticket.fence)
        return is_its and task.task_id not in self.ended_leases

    def end(self, ticket: Ticket, event: str, call: Callable[[], Awaitable[Accepted]]) -> None:
        task = self.model[ticket.task_id]
        last = (task.event, task.worker, task.fence)
        self.step(call, known=last == (event, ticket.worker, ticket.fence), fits=self.holds(ticket))

    def step(self, call: Callable[[], Awaitable[Accepted]], *, known: bool, fits: bool) -> None:
        if known or fits:
            assert self.run(call()).is_new is not known
        else:
            with pytest.raises(Refused):
                self.run(call())
        self.hear()

    def hear(self) -> None:
        """Let the arbiter decide on what the log tells since the last time."""
        for entry_id, fields in self.bus.xrange("ifmem:1:log", min=f"({self.read_to}"):
            self.read_to = entry_id
            if fields["kind"] != "task":
                continue
            raw = {name.encode(): value.encode() for name, value in fields.items()}
            entry = read_entry(entry_id.encode(), raw)
            event = task_fields.read_event(entry)
            outcome = decide(self.model.get(event.task_id), event)
            assert not isinstance(outcome, Refusal), outcome.message
            self.model[event.task_id] = outcome
            self.story.append(entry)
            self.ended_leases.discard(event.task_id)
            self.ended_rests.discard(event.task_id)

    def run(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)


def given_back(task: Task, rebuild: Rebuild) -> Task:
    """The task after a rebuild: nobody holds it, and its attempts stay."""
    if task.holder is None:
        return task
    reason = Reason(attempt=task.attempts, worker=task.holder, reason=REBUILT, at_ms=rebuild.at_ms)
    return replace(
        task,
        state=TaskState.PENDING,
        event="expired",
        lease_until_ms=None,
        revision=task.revision + 1,
        reasons=(*task.reasons, reason),
    )


def test_the_bus_the_arbiter_and_the_store_agree_on_every_life_of_tasks(
    server_url: str, plain: redis.Redis
) -> None:
    run_state_machine_as_test(
        partial(TaskLife, server_url, plain),
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
