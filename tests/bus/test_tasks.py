"""The task board on a real server: who gets what, who may end it, and what time does."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from importlib import resources
from typing import Any

import pytest
import redis
from redis.asyncio import Redis

from ifmem.bus.server_side import ServerSide
from ifmem.bus.tasks import Accepted, BackOff, Claimed, Finish, Result, TaskBoard
from ifmem.domain.task import NewTask, Task, TaskState
from ifmem.engine.tasks import Refusal, decide
from ifmem.errors import Invalid, NotFound, Refused, Unavailable
from ifmem.wire import task_fields, task_json
from ifmem.wire.keys import Keys
from ifmem.wire.log_entries import read_entry

PATIENCE_S = 120
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
AT_ONCE = BackOff(first=timedelta(0))

Work = Callable[[TaskBoard], Awaitable[None]]


@pytest.fixture
def bus(plain: redis.Redis) -> redis.Redis:
    """A plain client beside a space that a bridge has opened."""
    plain.hset("ifmem:1:log-state", mapping={"refusing": "", "limit": 100_000, "epoch": 1})
    return plain


def with_board(url: str, work: Work, *, space: str = "default") -> None:
    async def main() -> None:
        client = Redis.from_url(url, protocol=3)
        keys = Keys(space)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await work(TaskBoard(client, keys, ServerSide(client, keys)))
        finally:
            await client.aclose()

    asyncio.run(main())


def task(number: int, title: str = "", **fields: Any) -> NewTask:
    return NewTask(task_id=task_id(number), title=title or f"task {number}", **fields)


def task_id(number: int) -> str:
    return str(uuid.UUID(int=number))


def done(held: Task, *, result: Result | None = None) -> Finish:
    assert held.worker and held.fence
    return Finish(task_id=held.task_id, worker=held.worker, fence=held.fence, result=result)


def failed(held: Task, reason: str, **fields: Any) -> Finish:
    assert held.worker and held.fence
    fields.setdefault("back_off", AT_ONCE)
    return Finish(
        task_id=held.task_id,
        worker=held.worker,
        fence=held.fence,
        done=False,
        reason=reason,
        **fields,
    )


async def claim_one(board: TaskBoard, worker: str, *, run: str = "-") -> Task:
    (held,) = (await board.claim(worker, lease=HOUR, run=run)).tasks
    return held


def end_lease(bus: redis.Redis, identifier: str) -> None:
    """The lease ended long ago, as if the time had passed."""
    bus.zadd("ifmem:1:leases", {identifier: 1})
    bus.hset(f"ifmem:1:task:{identifier}", "lease_until", 1)


def end_rest(bus: redis.Redis, identifier: str) -> None:
    """The back-off ended long ago, as if the time had passed."""
    assert bus.zscore("ifmem:1:delayed", identifier) is not None
    bus.zadd("ifmem:1:delayed", {identifier: 1})
    bus.hset(f"ifmem:1:task:{identifier}", "not_before", 1)


def log(bus: redis.Redis) -> list[dict[str, str]]:
    return [fields for _, fields in bus.xrange("ifmem:1:log")]


def counts(bus: redis.Redis) -> dict[str, int]:
    counted = bus.hgetall("ifmem:1:counters")
    return {
        name.removeprefix("tasks:"): int(value)
        for name, value in counted.items()
        if name.startswith("tasks:") and value != "0"
    }


CLAIMER = """
import asyncio, json, sys
from datetime import timedelta
from redis.asyncio import Redis
from ifmem.bus.server_side import ServerSide
from ifmem.bus.tasks import TaskBoard
from ifmem.wire.keys import Keys
from ifmem.wire.log_entries import read_entry

async def main(url, worker, count):
    client = Redis.from_url(url, protocol=3)
    board = TaskBoard(client, Keys(), ServerSide(client, Keys()))
    await client.ping()
    print("ready", flush=True)
    sys.stdin.readline()
    taken = []
    while True:
        claimed = await board.claim(worker, lease=timedelta(hours=1), count=count)
        if not claimed.tasks:
            break
        taken += [held.task_id for held in claimed.tasks]
    print(json.dumps({"taken": taken, "left": await client.zcard("ifmem:1:ready:-")}))
    await client.aclose()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def claims_of_processes(url: str, workers: int, count: int) -> list[list[str]]:
    """What each of so many processes got, all let go at once, until each was told `none`."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMER, url, f"w{n}", str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(workers)
    ]
    try:
        for process in processes:
            assert process.stdout and process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [json.loads(process.communicate(timeout=PATIENCE_S)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert all(answer["left"] == 0 for answer in answers)
    return [answer["taken"] for answer in answers]


def test_of_32_processes_exactly_one_gets_the_only_task(server_url: str, bus: redis.Redis) -> None:
    async def post(board: TaskBoard) -> None:
        await board.post(task(1))

    with_board(server_url, post)
    answers = claims_of_processes(server_url, workers=32, count=1)
    assert sorted(map(len, answers)) == [*[0] * 31, 1]


def test_of_32_claimers_none_is_sent_away_while_one_of_500_tasks_is_free(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        for number in range(500):
            await board.post(task(number + 1))
        taken: list[str] = []

        async def drain(worker: str) -> None:
            while True:
                claimed = await board.claim(worker, lease=HOUR)
                if not claimed.tasks:
                    assert bus.zcard("ifmem:1:ready:-") == 0
                    return
                taken.append(claimed.tasks[0].task_id)

        async with asyncio.TaskGroup() as group:
            for n in range(32):
                group.create_task(drain(f"w{n}"))
        assert sorted(taken) == [task_id(number + 1) for number in range(500)]

    with_board(server_url, work)
    assert counts(bus) == {"leased": 500}
    held = [bus.lrange(f"worker:tasks:w{n}", 0, -1) for n in range(32)]
    assert sum(map(len, held)) == 500


def test_each_of_500_tasks_is_claimed_once_by_processes_that_take_several_at_a_time(
    server_url: str, bus: redis.Redis
) -> None:
    async def post(board: TaskBoard) -> None:
        for number in range(500):
            await board.post(task(number + 1))

    with_board(server_url, post)
    answers = claims_of_processes(server_url, workers=8, count=3)
    taken = Counter(one for ids in answers for one in ids)
    assert len(taken) == 500 and set(taken.values()) == {1}


def test_the_task_of_a_dead_worker_is_claimed_again_with_the_attempt_counted(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1))
        assert (await claim_one(board, "dead")).attempts == 1
        assert bus.lrange("worker:tasks:dead", 0, -1) == [task_id(1)]
        end_lease(bus, task_id(1))
        again = await claim_one(board, "heir")
        assert (again.attempts, again.holder) == (2, "heir")
        (reason,) = again.reasons
        assert (reason.attempt, reason.worker, reason.reason) == (1, "dead", "lease expired")

    with_board(server_url, work)
    assert not bus.exists("worker:tasks:dead")
    assert [entry["event"] for entry in log(bus)] == ["posted", "claimed", "expired", "claimed"]


def test_a_late_completion_is_refused_and_audited_and_the_heirs_result_stands(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1))
        late = await claim_one(board, "late")
        end_lease(bus, task_id(1))
        heir = await claim_one(board, "heir")
        with pytest.raises(Refused, match="held by heir") as told:
            await board.finish(done(late))
        assert told.value.facts["holder"] == "heir"
        assert (await board.finish(done(heir))).state is TaskState.DONE
        with pytest.raises(Refused, match="is done by heir"):
            await board.finish(done(late))
        assert (await board.show(task_id(1))).worker == "heir"

    with_board(server_url, work)
    audits = [entry for entry in log(bus) if entry["kind"] == "audit"]
    assert [(one["action"], one["actor"], one["subject"]) for one in audits] == [
        ("finish_task", "late", task_id(1)),
        ("finish_task", "late", task_id(1)),
    ]


@pytest.mark.parametrize("act", ["finish", "renew", "release"])
def test_a_lease_that_ended_is_refused_though_nobody_reaped_it(
    server_url: str, bus: redis.Redis, act: str
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1))
        held = await claim_one(board, "w")
        end_lease(bus, task_id(1))
        with pytest.raises(Refused, match="has ended"):
            await ACTS[act](board, held, "w", str(held.fence))
        assert (await board.show(task_id(1))).state is TaskState.LEASED

    with_board(server_url, work)


@pytest.mark.parametrize("act", ["finish", "renew", "release"])
def test_only_the_holder_and_only_with_its_fence(
    server_url: str, bus: redis.Redis, act: str
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1))
        held = await claim_one(board, "w")
        fence = str(held.fence)
        with pytest.raises(Refused, match="only its holder"):
            await ACTS[act](board, held, "other", fence)
        for wrong in ("1-2", "2-1", "0-1"):
            with pytest.raises(Refused, match="not the fence"):
                await ACTS[act](board, held, "w", wrong)
        with pytest.raises(NotFound):
            absent = Task(task_id=task_id(2), title="absent")
            await ACTS[act](board, absent, "w", fence)
        assert await board.show(task_id(1)) == held
        await ACTS[act](board, held, "w", fence)

    with_board(server_url, work)
    assert sum(entry["kind"] == "audit" for entry in log(bus)) == 4


async def _finish(board: TaskBoard, held: Task, worker: str, fence: str) -> None:
    await board.finish(Finish(task_id=held.task_id, worker=worker, fence=fence))


async def _renew(board: TaskBoard, held: Task, worker: str, fence: str) -> None:
    await board.renew(held.task_id, worker=worker, fence=fence, lease=HOUR)


async def _release(board: TaskBoard, held: Task, worker: str, fence: str) -> None:
    await board.release(held.task_id, worker=worker, fence=fence)


ACTS: dict[str, Callable[[TaskBoard, Task, str, str], Awaitable[None]]] = {
    "finish": _finish,
    "renew": _renew,
    "release": _release,
}


def test_renewing_moves_the_end_of_the_lease_and_is_not_logged(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1))
        (held,) = (await board.claim("w", lease=MINUTE)).tasks
        assert held.lease_until_ms is not None
        until = await board.renew(held.task_id, worker="w", fence=str(held.fence), lease=HOUR)
        assert until - held.lease_until_ms >= 59 * 60 * 1000
        assert (await board.show(held.task_id)).lease_until_ms == until
        assert bus.zscore("ifmem:1:leases", held.task_id) == until

    with_board(server_url, work)
    assert len(log(bus)) == 2


def test_a_task_that_keeps_failing_is_dead_with_every_reason_and_an_operator_requeues_it(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1, priority=10))
        await board.post(task(2))
        for attempt in range(1, 4):
            poison = await claim_one(board, f"w{attempt}")
            assert poison.task_id == task_id(1)
            await board.finish(failed(poison, f"crashed in round {attempt}"))
        dead = await board.show(task_id(1))
        assert dead.state is TaskState.DEAD
        assert [(one.attempt, one.worker, one.reason) for one in dead.reasons] == [
            (n, f"w{n}", f"crashed in round {n}") for n in (1, 2, 3)
        ]
        assert (await claim_one(board, "w")).task_id == task_id(2)
        assert (await board.claim("w", lease=HOUR)).tasks == ()
        await board.requeue(task_id(1), actor="operator")
        anew = await claim_one(board, "w")
        assert (anew.task_id, anew.attempts, len(anew.reasons)) == (task_id(1), 1, 3)
        assert anew.ended_at_ms is None

    with_board(server_url, work)


def test_back_off_doubles_from_the_first_to_the_longest(server_url: str, bus: redis.Redis) -> None:
    back_off = BackOff(first=MINUTE, longest=timedelta(minutes=5))

    async def work(board: TaskBoard) -> None:
        await board.post(task(1, max_attempts=5))
        for minutes in (1, 2, 4, 5):
            held = await claim_one(board, "w")
            await board.finish(failed(held, "not yet", back_off=back_off))
            resting = await board.claim("w", lease=HOUR)
            assert resting.tasks == ()
            rest_ms = minutes * 60_000
            assert rest_ms - 10_000 < resting.wait_ms <= rest_ms
            end_rest(bus, task_id(1))

    with_board(server_url, work)


def test_a_task_whose_rest_is_over_is_as_any_other_that_is_pending(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1))
        held = await claim_one(board, "w")
        await board.finish(failed(held, "not yet", back_off=BackOff(first=HOUR)))
        assert (await board.show(task_id(1))).not_before_ms is not None
        end_rest(bus, task_id(1))
        assert (await board.sweep()).reaped == 1
        assert (await board.show(task_id(1))).not_before_ms is None
        assert bus.zrange("ifmem:1:ready:-", 0, -1) == [task_id(1)]
        await board.cancel(task_id(1), actor="ada")

    with_board(server_url, work)
    assert not bus.exists("ifmem:1:ready:-", "ifmem:1:delayed")


def test_a_lease_that_ends_on_the_last_attempt_leaves_the_task_dead(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1, max_attempts=1))
        await claim_one(board, "w")
        end_lease(bus, task_id(1))
        assert (await board.sweep()).reaped == 1
        dead = await board.show(task_id(1))
        assert (dead.state, dead.reasons[0].reason) == (TaskState.DEAD, "lease expired")

    with_board(server_url, work)
    assert counts(bus) == {"dead": 1}


def test_a_task_that_failed_before_comes_alone_and_takes_no_other_with_it(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        for number in (1, 2, 3, 4):
            await board.post(task(number))
        first = await claim_one(board, "w")
        assert first.task_id == task_id(1)
        await board.finish(failed(first, "poison"))

        async def numbers() -> list[int]:
            claimed = await board.claim("w", lease=HOUR, count=3)
            return [uuid.UUID(one.task_id).int for one in claimed.tasks]

        assert [await numbers(), await numbers(), await numbers()] == [[1], [2, 3, 4], []]

    with_board(server_url, work)


def test_a_released_task_is_unchanged_and_gets_its_attempt_back(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1, "say it twice", data={"a": [1, {"b": None}], "ü": "\n\\"}))
        await board.post(task(2))
        held = await claim_one(board, "w")
        await board.release(held.task_id, worker="w", fence=str(held.fence))
        again = await claim_one(board, "idle")
        assert (again.task_id, again.title, again.data) == (held.task_id, held.title, held.data)
        assert again.attempts == 1

    with_board(server_url, work)


def test_who_asks_for_assistance_is_not_offered_the_task_and_others_are(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1))
        stuck = await claim_one(board, "stuck")
        given = await board.release(
            stuck.task_id, worker="stuck", fence=str(stuck.fence), assist=True, reason="no rights"
        )
        assert given.state is TaskState.NEEDS_ASSIST
        assert (await board.claim("stuck", lease=HOUR)).tasks == ()
        await board.post(task(2))
        assert (await claim_one(board, "stuck")).task_id == task_id(2)
        helped = await claim_one(board, "helper")
        assert (helped.task_id, helped.reasons[0].reason) == (task_id(1), "no rights")
        await board.release(helped.task_id, worker="helper", fence=str(helped.fence))
        assert (await claim_one(board, "stuck")).task_id == task_id(1)

    with_board(server_url, work)


def test_many_requests_for_assistance_hide_no_task_behind_them(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        for number in range(20):
            await board.post(task(number + 1))
        for held in (await board.claim("stuck", lease=HOUR, count=19)).tasks:
            await board.release(held.task_id, worker="stuck", fence=str(held.fence), assist=True)
        got = await board.claim("stuck", lease=HOUR, count=2)
        assert [one.task_id for one in got.tasks] == [task_id(20)]

    with_board(server_url, work)


def test_the_urgent_comes_first_and_equals_in_the_order_they_were_posted(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        # Ids that sort the other way round: no order but that of posting can show.
        for number in range(10):
            await board.post(task(100 - number))
        await board.post(task(1, priority=10))
        await board.post(task(2, priority=0))
        claimed = await board.claim("w", lease=HOUR, count=20)
        order = [uuid.UUID(one.task_id).int for one in claimed.tasks]
        assert order == [1, *range(100, 90, -1), 2]

    with_board(server_url, work)


def test_a_run_sees_only_its_own_tasks(server_url: str, bus: redis.Redis) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1, run="yesterday"))
        await board.post(task(2))
        assert (await board.claim("w", lease=HOUR, run="today")).tasks == ()
        await board.post(task(3, run="today"))
        assert (await claim_one(board, "w", run="today")).task_id == task_id(3)
        assert (await board.claim("w", lease=HOUR, run="today")).tasks == ()
        with pytest.raises(NotFound, match="is not in run today"):
            await board.post(task(4, run="today", depends_on=(task_id(1),)))

    with_board(server_url, work)


def test_spaces_on_one_server_share_nothing(server_url: str, bus: redis.Redis) -> None:
    bus.hset("acme:ifmem:1:log-state", mapping={"refusing": "", "limit": 100})

    async def post(board: TaskBoard) -> None:
        await board.post(task(1))

    async def look(board: TaskBoard) -> None:
        assert (await board.claim("w", lease=HOUR)).tasks == ()
        with pytest.raises(NotFound):
            await board.show(task_id(1))

    with_board(server_url, post)
    with_board(server_url, look, space="acme")


def test_a_task_is_blocked_until_all_it_depends_on_is_done(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1))
        await board.post(task(2))
        waits = task(3, priority=10, depends_on=(task_id(1), task_id(2)))
        assert (await board.post(waits)).state is TaskState.BLOCKED
        first, second = (await board.claim("w", lease=HOUR, count=5)).tasks
        await board.finish(done(first))
        assert (await board.show(task_id(3))).state is TaskState.BLOCKED
        assert (await board.claim("w", lease=HOUR)).tasks == ()
        await board.finish(done(second))
        assert (await claim_one(board, "w")).task_id == task_id(3)
        assert (await board.post(task(4, depends_on=(task_id(1),)))).state is TaskState.PENDING

    with_board(server_url, work)
    assert not bus.exists(f"ifmem:1:dependents:{task_id(1)}", f"ifmem:1:dependents:{task_id(2)}")


def test_a_dependency_that_ends_otherwise_blocks_until_it_is_requeued_and_done(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1))
        await board.post(task(2, depends_on=(task_id(1),)))
        await board.cancel(task_id(1), actor="ada")
        assert (await board.show(task_id(2))).state is TaskState.BLOCKED
        await board.cancel(task_id(2), actor="ada")
        await board.requeue(task_id(1), actor="ada")
        assert (await board.requeue(task_id(2), actor="ada")).state is TaskState.BLOCKED
        await board.finish(done(await claim_one(board, "w")))
        assert (await claim_one(board, "w")).task_id == task_id(2)

    with_board(server_url, work)


def test_what_was_cancelled_while_its_dependency_became_done_is_free_when_requeued(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1))
        await board.post(task(2, depends_on=(task_id(1),)))
        await board.cancel(task_id(2), actor="ada")
        await board.finish(done(await claim_one(board, "w")))
        assert (await board.show(task_id(2))).state is TaskState.CANCELLED
        assert (await board.requeue(task_id(2), actor="ada")).state is TaskState.PENDING

    with_board(server_url, work)


def test_an_unknown_dependency_posts_nothing_unless_the_store_knows_it_done(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        waits = task(2, depends_on=(task_id(1),))
        with pytest.raises(NotFound) as told:
            await board.post(waits)
        assert told.value.facts["dependency"] == task_id(1)
        assert log(bus) == [] and counts(bus) == {}
        posted = await board.post(waits, known_done=[task_id(1)])
        assert (posted.is_new, posted.state) == (True, TaskState.PENDING)

    with_board(server_url, work)


def test_cancelling_fences_the_holder_and_ended_tasks_cannot_be_cancelled(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1))
        await board.post(task(2))
        held, other = (await board.claim("w", lease=HOUR, count=2)).tasks
        await board.cancel(held.task_id, actor="ada", reason="no longer wanted")
        with pytest.raises(Refused, match="is cancelled"):
            await board.finish(done(held))
        assert not (await board.cancel(held.task_id, actor="ada")).is_new
        await board.finish(done(other))
        with pytest.raises(Refused, match="nothing to cancel"):
            await board.cancel(other.task_id, actor="ada")
        with pytest.raises(Refused, match="nothing to requeue"):
            await board.requeue(other.task_id, actor="ada")
        cancelled = await board.show(held.task_id)
        assert cancelled.reasons[0].reason == "no longer wanted"

    with_board(server_url, work)
    assert not bus.exists("worker:tasks:w", "ifmem:1:leases")
    assert counts(bus) == {"cancelled": 1, "done": 1}


def test_posting_an_id_again_changes_nothing_also_when_it_is_done(
    server_url: str, bus: redis.Redis
) -> None:
    identifier = task_json.keyed_id("default", "-", "nightly build")

    async def work(board: TaskBoard) -> None:
        nightly = NewTask(task_id=identifier, title="build", idempotency_key="nightly build")
        assert (await board.post(nightly)).is_new
        await board.finish(done(await claim_one(board, "w")))
        again = await board.post(NewTask(task_id=identifier, title="build it differently"))
        assert (again.is_new, again.state) == (False, TaskState.DONE)
        assert (await board.show(identifier)).title == "build"

    with_board(server_url, work)
    assert counts(bus) == {"done": 1}


def test_a_claim_sent_again_gets_the_same_tasks(server_url: str, bus: redis.Redis) -> None:
    async def work(board: TaskBoard) -> None:
        for number in range(10):
            await board.post(task(number + 1))

        async def ask(request: str) -> Claimed:
            return await board.claim("w", lease=HOUR, count=3, request=request)

        first, other = await ask("first"), await ask("other")
        assert (await ask("first")).tasks == first.tasks
        assert {one.task_id for one in other.tasks}.isdisjoint(one.task_id for one in first.tasks)
        for held in first.tasks:
            await board.finish(done(held))
        assert (await ask("first")).tasks[0].task_id == task_id(7)

    with_board(server_url, work)
    assert counts(bus) == {"done": 3, "leased": 6, "pending": 1}


def test_a_step_sent_again_is_answered_as_taken(server_url: str, bus: redis.Redis) -> None:
    async def work(board: TaskBoard) -> None:
        async def twice(step: Callable[[], Awaitable[Accepted]]) -> None:
            before = len(log(bus))
            first, second = await step(), await step()
            assert (first.is_new, second.is_new) == (True, False)
            assert first.state is second.state
            assert len(log(bus)) == before + 1

        await twice(lambda: board.post(task(1)))
        held = await claim_one(board, "w")
        fence = str(held.fence)
        await twice(lambda: board.release(held.task_id, worker="w", fence=fence))
        held = await claim_one(board, "w")
        await twice(lambda: board.finish(failed(held, "once")))
        await twice(lambda: board.cancel(held.task_id, actor="w"))
        await twice(lambda: board.requeue(held.task_id, actor="w"))
        held = await claim_one(board, "w")
        await twice(lambda: board.finish(done(held)))

    with_board(server_url, work)
    assert counts(bus) == {"done": 1}


def test_a_result_is_published_in_the_step_that_finishes_the_task(
    server_url: str, bus: redis.Redis
) -> None:
    finding_id = task_id(77)
    body = json.dumps({"durable": False, "finding_id": finding_id}).encode()
    result = Result(finding_id=finding_id, body=body, head='{"contents":"x"')

    async def work(board: TaskBoard) -> None:
        await board.post(task(1))
        await board.post(task(2))
        held, other = (await board.claim("w", lease=HOUR, count=2)).tasks
        assert (await board.finish(done(held, result=result))).sequence == 1
        assert (await board.finish(done(other, result=result))).sequence is None
        assert (await board.show(other.task_id)).result_finding_id == finding_id

    with_board(server_url, work)
    assert bus.get(f"finding:{finding_id}") == body.decode()
    first, second = log(bus)[-2:]
    assert (first["finding_id"], first["sequence"], first["body"]) == (
        finding_id,
        "1",
        body.decode(),
    )
    assert second["finding_id"] == finding_id and "body" not in second


def test_many_completions_are_told_apart(server_url: str, bus: redis.Redis) -> None:
    async def work(board: TaskBoard) -> None:
        for number in range(3):
            await board.post(task(number + 1))
        one, two, three = (await board.claim("w", lease=HOUR, count=3)).tasks
        await board.cancel(two.task_id, actor="ada")
        outcomes = await board.finish_many([done(one), done(two), done(three)])
        assert [type(outcome) for outcome in outcomes] == [Accepted, Refused, Accepted]

    with_board(server_url, work)


@pytest.mark.parametrize(
    ("state", "outcome"), [({"limit": 3}, "busy"), ({"refusing": "disk full"}, "refusing")]
)
def test_a_bus_that_takes_no_writes_says_so_and_changes_nothing(
    server_url: str, bus: redis.Redis, state: dict[str, Any], outcome: str
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1))
        await board.post(task(2))
        (held,) = (await board.claim("w", lease=HOUR, request="r")).tasks
        bus.hset("ifmem:1:log-state", mapping=state)
        fence = str(held.fence)
        steps: list[Callable[[], Awaitable[object]]] = [
            lambda: board.post(task(3)),
            lambda: board.claim("w", lease=HOUR),
            lambda: board.finish(done(held)),
            lambda: board.release(held.task_id, worker="w", fence=fence),
            lambda: board.release_all("w"),
            lambda: board.cancel(held.task_id, actor="w"),
            lambda: board.requeue(task_id(2), actor="w"),
            lambda: board.sweep(),
        ]
        for step in steps:
            with pytest.raises(Unavailable) as told:
                await step()
            assert told.value.facts["outcome"] == outcome
        # Nothing of these is new: a lease is kept, and an answer that was lost is given again.
        await board.renew(held.task_id, worker="w", fence=fence, lease=HOUR)
        assert (await board.claim("w", lease=HOUR, request="r")).tasks[0].task_id == held.task_id
        with pytest.raises(Refused):
            await board.renew(held.task_id, worker="w", fence="1-99", lease=HOUR)

    with_board(server_url, work)
    assert len(log(bus)) == 3
    assert counts(bus) == {"pending": 1, "leased": 1}


def test_a_waiting_claim_is_woken_by_a_post_and_by_nothing_of_another_run(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        claimed = await board.claim("w", lease=HOUR)
        assert claimed == Claimed(wait_ms=-1)
        await board.post(task(1, run="other"))
        assert not await board.wait("-", 50)
        async with asyncio.TaskGroup() as group:
            woken = group.create_task(board.wait("-", -1))
            await board.post(task(2))
        assert woken.result()
        assert (await claim_one(board, "w")).task_id == task_id(2)

    with_board(server_url, work)


def test_asking_for_assistance_wakes_the_others_though_the_asker_listens_too(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1))
        assert await board.wait("-", -1)
        held = await claim_one(board, "stuck")
        await board.release(held.task_id, worker="stuck", fence=str(held.fence), assist=True)
        assert await board.wait("-", -1)
        assert (await board.claim("stuck", lease=HOUR)).tasks == ()
        assert await board.wait("-", -1)
        assert (await claim_one(board, "helper")).task_id == task_id(1)

    with_board(server_url, work)


def test_a_claim_that_finds_nothing_leaves_no_stale_wake_up(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        for number in range(5):
            await board.post(task(number + 1))
        assert bus.llen("ifmem:1:wake:-") == 5
        await board.claim("w", lease=HOUR, count=5)
        await board.claim("w", lease=HOUR)
        assert not bus.exists("ifmem:1:wake:-")

    with_board(server_url, work)


def test_the_list_of_wake_ups_is_bounded(server_url: str, bus: redis.Redis) -> None:
    async def work(board: TaskBoard) -> None:
        for number in range(1_005):
            await board.post(task(number + 1))

    with_board(server_url, work)
    assert bus.llen("ifmem:1:wake:-") == 1_000


def test_of_very_many_reasons_the_newest_hundred_are_kept(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1, max_attempts=1))
        for number in range(103):
            await board.finish(failed(await claim_one(board, "w"), f"no {number},\n"))
            await board.requeue(task_id(1), actor="ada")
        reasons = (await board.show(task_id(1))).reasons
        assert [one.reason for one in reasons] == [f"no {n},\n" for n in range(3, 103)]

    with_board(server_url, work)


def test_a_worker_that_stops_gives_back_all_it_holds(server_url: str, bus: redis.Redis) -> None:
    async def work(board: TaskBoard) -> None:
        for number in range(3):
            await board.post(task(number + 1))
        await board.claim("w", lease=HOUR, count=2)
        await claim_one(board, "other")
        released, _ = await board.release_all("w")
        assert released == 2
        again = (await board.claim("heir", lease=HOUR, count=3)).tasks
        assert [(one.task_id, one.attempts) for one in again] == [(task_id(1), 1), (task_id(2), 1)]

    with_board(server_url, work)
    assert not bus.exists("worker:tasks:w")


def test_a_backlog_of_ended_leases_of_another_run_hides_no_free_task(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        for number in range(250):
            await board.post(task(number + 1, run="other"))
        await board.claim("dead", lease=HOUR, count=250, run="other")
        for number in range(250):
            end_lease(bus, task_id(number + 1))
        await board.post(task(251))
        await claim_one(board, "dead")
        bus.zadd("ifmem:1:leases", {task_id(251): 2})
        bus.hset(f"ifmem:1:task:{task_id(251)}", "lease_until", 2)
        assert (await claim_one(board, "w")).task_id == task_id(251)

    with_board(server_url, work)


def test_ended_tasks_beyond_the_newest_leave_the_bus_once_they_are_committed(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        for number in range(4):
            await board.post(task(number + 1))
        held = (await board.claim("w", lease=HOUR, count=3)).tasks
        await board.finish_many([done(one) for one in held])
        assert (await board.sweep(keep=1)).trimmed == 0
        last = int(bus.xrevrange("ifmem:1:log", count=1)[0][0].split("-")[0])
        bus.hset("ifmem:1:log-state", "drained", f"{last + 1}-0")
        assert (await board.sweep(keep=1)).trimmed == 2
        with pytest.raises(NotFound):
            await board.show(task_id(1))
        assert (await board.show(task_id(3))).state is TaskState.DONE
        assert (await board.show(task_id(4))).state is TaskState.PENDING

    with_board(server_url, work)
    assert counts(bus) == {"done": 3, "pending": 1}


def test_a_rebuild_leaves_what_the_store_has_and_nothing_else(
    server_url: str, bus: redis.Redis
) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1))
        await board.post(task(2, depends_on=(task_id(1),)))
        await board.post(task(3, run="foreign"))
        await board.post(task(4, max_attempts=9))
        await claim_one(board, "foreign", run="foreign")
        resting = (await board.claim("w", lease=HOUR, count=2)).tasks[1]
        await board.finish(failed(resting, "why", back_off=BackOff(first=HOUR)))
        kept = [await board.show(task_id(number)) for number in (2, 4)]
        await board.restore(
            [(kept[0], [task_id(1)]), (kept[1], [])],
            counts={TaskState.BLOCKED: 1, TaskState.PENDING: 1, TaskState.DONE: 40},
            last_place=100,
        )
        assert [await board.show(task_id(number)) for number in (2, 4)] == kept
        for gone in (1, 3):
            with pytest.raises(NotFound):
                await board.show(task_id(gone))
        assert counts(bus) == {"blocked": 1, "pending": 1, "done": 40}
        await board.post(task(5))
        assert (await board.show(task_id(5))).place == 101

    with_board(server_url, work)
    held = {name for name in bus.scan_iter("*") if not re.search("log|counters", name)}
    assert held == {
        *(f"ifmem:1:task:{task_id(number)}" for number in (2, 4, 5)),
        f"ifmem:1:dependents:{task_id(1)}",
        "ifmem:1:delayed",
        "ifmem:1:ended",
        "ifmem:1:ready:-",
        "ifmem:1:wake:-",
    }


def test_a_task_that_the_store_knows_better_is_put_right(server_url: str, bus: redis.Redis) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1))
        await board.post(task(2, depends_on=(task_id(1),)))
        held = await claim_one(board, "w")
        finished = Task(
            task_id=task_id(1),
            title="task 1",
            state=TaskState.DONE,
            place=1,
            worker="earlier",
            fence="1-0",
            ended_at_ms=5,
            event="done",
            revision=9,
        )
        await board.correct([(finished, [])])
        assert await board.show(task_id(1)) == finished
        with pytest.raises(Refused, match="done by earlier"):
            await board.finish(done(held))
        assert (await board.show(task_id(2))).state is TaskState.PENDING

    with_board(server_url, work)
    assert counts(bus) == {"done": 1, "pending": 1}
    assert not bus.exists("worker:tasks:w", "ifmem:1:leases")


def test_a_task_that_the_store_never_had_leaves_no_trace(server_url: str, bus: redis.Redis) -> None:
    async def work(board: TaskBoard) -> None:
        await board.post(task(1))
        await board.post(task(2, depends_on=(task_id(1),)))
        await claim_one(board, "w")
        assert await board.drop([task_id(1), task_id(2), task_id(3)]) == 2

    with_board(server_url, work)
    assert counts(bus) == {}
    assert {name.split(":")[2] for name in bus.scan_iter("ifmem:1:*")} == {
        "log",
        "log-state",
        "counters",
        "wake",
    }
    assert not bus.exists("worker:tasks:w")


def test_the_log_tells_the_store_the_whole_task_after_every_step(
    server_url: str, bus: redis.Redis
) -> None:
    def told() -> Task | Refusal | None:
        task: Task | Refusal | None = None
        for entry_id, fields in bus.xrange("ifmem:1:log"):
            assert not isinstance(task, Refusal)
            raw = {name.encode(): value.encode() for name, value in fields.items()}
            task = decide(task, task_fields.read_event(read_entry(entry_id.encode(), raw)))
        return task

    async def work(board: TaskBoard) -> None:
        async def claim(worker: str) -> Task:
            held = await claim_one(board, worker)
            assert told() == held == await board.show(task_id(1))
            return held

        await board.post(task(1, "all of it", data={"n": 1}, priority=3, posted_by="ada"))
        assert told() == await board.show(task_id(1))
        held = await claim("ada")
        await board.finish(failed(held, "not yet", back_off=BackOff(first=HOUR)))
        assert told() == await board.show(task_id(1))
        end_rest(bus, task_id(1))
        held = await claim("bob")
        await board.release(
            task_id(1), worker="bob", fence=str(held.fence), assist=True, reason="no rights"
        )
        assert told() == await board.show(task_id(1))
        held = await claim("ada")
        await board.finish(done(held))
        assert told() == await board.show(task_id(1))

    with_board(server_url, work)


def test_the_fields_of_the_hash_are_named_in_one_order_on_both_sides() -> None:
    lua = (resources.files("ifmem.bus") / "functions" / "task_steps.lua").read_text()
    table = re.search(r"local TASK_FIELDS = \{(.*?)\}", lua, re.DOTALL)
    assert table is not None
    assert tuple(re.findall(r"'(\w+)'", table[1])) == task_fields.FIELDS


def test_bad_names_and_bounds_never_reach_the_bus(server_url: str, bus: redis.Redis) -> None:
    async def work(board: TaskBoard) -> None:
        bad: list[Callable[[], Awaitable[object]]] = [
            lambda: board.claim("a:b", lease=HOUR),
            lambda: board.claim("w", lease=HOUR, run="a b"),
            lambda: board.claim("w", lease=timedelta(days=2)),
            lambda: board.claim("w", lease=timedelta(0)),
            lambda: board.claim("w", lease=HOUR, count=0),
            lambda: board.claim("w", lease=HOUR, count=1_000),
            lambda: board.renew(task_id(1), worker="w", fence="not a fence", lease=HOUR),
            lambda: board.release("1", worker="w", fence="1-1"),
            lambda: board.cancel(task_id(1), actor="", reason=""),
            lambda: board.cancel(task_id(1), actor="w", reason="x" * 2_001),
            lambda: board.post(task(1, data={"a": "x" * 256 * 1024})),
            lambda: board.post(task(1, data={"a": object()})),
        ]
        for call in bad:
            with pytest.raises(Invalid):
                await call()

    with_board(server_url, work)
    assert log(bus) == []
