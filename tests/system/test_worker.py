"""Workers as processes of their own: joined by URL alone, killed, stalled, told to end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

from ifmem import Task, Worker
from ifmem.settings import RedisSettings, Settings

T = TypeVar("T")

HANDLERS = '''
import asyncio
from pathlib import Path


async def wait(task):
    """Until the test writes the file that the task names."""
    while not Path(task.data["until"]).exists():
        await asyncio.sleep(0.02)
    return f"{task.title} was waited for"


async def brief(task):
    await asyncio.sleep(0.01)
    return {"claim": f"{task.title} was looked into", "topic": "looks"}


async def never(task):
    await asyncio.Event().wait()
'''


class Process:
    """A running `ifmem worker --json`, with what it has said so far."""

    def __init__(self, process: Any) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def name(self) -> str:
        return str(self.named("joined")[0]["worker_id"])

    def named(self, name: str) -> list[dict[str, Any]]:
        return [one for one in self.events if one["event"] == name]

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def ended(self) -> tuple[int, str]:
        """Exit code and what it said on stderr."""
        code = self.process.wait(timeout=60)
        self._reader.join()
        with self.process.stderr as errors:
            return code, errors.read()

    def _read(self) -> None:
        with self.process.stdout as lines:
            for line in lines:
                self.events.append(json.loads(line))


Starts = Callable[..., Process]


@pytest.fixture
def start(install: Any) -> Iterator[Starts]:
    """Starts workers that have neither home nor store; none is left at the end."""
    started: list[Process] = []
    elsewhere = install("elsewhere", worker_heartbeat_seconds="0.2", worker_expiry_seconds="1")
    (elsewhere.directory / "handlers.py").write_text(HANDLERS)

    def start(url: str, *args: object) -> Process:
        process = Process(elsewhere.start("worker", "--redis", url, "--json", *args))
        started.append(process)
        return process

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.ended()
    assert not elsewhere.home.exists()


def as_worker(url: str, step: Callable[[Worker], Awaitable[T]]) -> T:
    """What a worker in this process does."""

    async def main() -> T:
        settings = Settings(redis=RedisSettings(url=url))
        async with Worker.join(settings=settings) as worker:
            return await step(worker)

    return asyncio.run(main())


def post(url: str, *titles: str, **data: Any) -> list[str]:
    async def step(worker: Worker) -> list[str]:
        return [(await worker.post(title, data)).task_id for title in titles]

    return as_worker(url, step)


def shown(url: str, task_id: str) -> Task:
    return as_worker(url, lambda worker: worker.show(task_id))


@pytest.fixture
def url(install: Any) -> str:
    """The bus of a daemon that has opened the default space."""
    ifmem = install(worker_heartbeat_seconds="0.2", worker_expiry_seconds="1")
    ifmem("up")
    return str(ifmem.status()["redis"]["url"])


@pytest.fixture
def bus(url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        yield client


def test_a_worker_joins_by_the_url_alone_and_its_result_is_a_durable_finding(
    url: str, start: Starts, eventually: Any, ifmem: Any
) -> None:
    (task_id,) = post(url, "the pier")
    worker = start(url, "--handler", "handlers:brief", "--name", "quay-1")
    (done,) = eventually(lambda: worker.named("finished"))
    assert done["task_id"] == task_id
    (line,) = ifmem("findings", "--json").lines
    assert line["finding_id"] == done["finding_id"]
    assert (line["worker_id"], line["task_id"]) == ("quay-1", task_id)
    assert (line["claim"], line["durable"]) == ("the pier was looked into", True)
    task = shown(url, task_id)
    assert (task.state, task.result_finding_id) == ("done", done["finding_id"])
    worker.signal(signal.SIGTERM)
    code, told = worker.ended()
    assert (code, told) == (0, "")


def test_a_space_without_a_bridge_is_refused_in_one_sentence(url: str, start: Starts) -> None:
    worker = start(url, "--space", "nobodys", "--handler", "handlers:brief")
    code, told = worker.ended()
    assert code == 4
    assert told.count("\n") == 1
    assert "no bridge has opened space 'nobodys'" in told


def test_a_worker_that_waits_can_be_told_to_end(url: str, start: Starts, eventually: Any) -> None:
    worker = start(url, "--space", "nobodys", "--wait")
    (waiting,) = eventually(lambda: worker.named("waiting"))
    assert "no bridge has opened" in waiting["reason"]
    worker.signal(signal.SIGTERM)
    assert worker.ended() == (0, "")


def test_a_killed_workers_task_is_done_by_another(
    url: str, bus: redis.Redis, start: Starts, eventually: Any, tmp_path: Path
) -> None:
    (task_id,) = post(url, "the buoy", until=str(tmp_path / "go"))
    first = start(url, "--handler", "handlers:wait", "--lease", "3")
    eventually(lambda: first.named("started"))
    assert bus.lrange(f"worker:tasks:{first.name}", 0, -1) == [task_id]
    first.signal(signal.SIGKILL)
    first.ended()
    second = start(url, "--handler", "handlers:wait", "--lease", "3")
    eventually(lambda: second.named("started"))
    (tmp_path / "go").touch()
    eventually(lambda: second.named("finished"))
    task = shown(url, task_id)
    assert (task.state, task.attempts, task.worker) == ("done", 2, second.name)
    assert [one.reason for one in task.reasons] == ["lease expired"]
    assert not bus.exists(f"worker:tasks:{first.name}")
    eventually(lambda: not bus.exists(f"worker:status:{first.name}"))


def test_a_worker_that_stalls_past_its_lease_loses_the_task_and_changes_nothing(
    url: str, start: Starts, eventually: Any, tmp_path: Path
) -> None:
    (task_id,) = post(url, "the lamp", until=str(tmp_path / "go"))
    first = start(url, "--handler", "handlers:wait", "--lease", "3")
    eventually(lambda: first.named("started"))
    first.signal(signal.SIGSTOP)
    second = start(url, "--handler", "handlers:wait", "--lease", "3")
    eventually(lambda: second.named("started"))
    (tmp_path / "go").touch()
    (done,) = eventually(lambda: second.named("finished"))
    first.signal(signal.SIGCONT)
    (lost,) = eventually(lambda: first.named("lost"))
    assert lost["task_id"] == task_id
    assert first.named("finished") == []
    task = shown(url, task_id)
    assert (task.worker, task.result_finding_id) == (second.name, done["finding_id"])


def test_a_worker_told_to_end_finishes_what_it_has_begun_and_takes_nothing_more(
    url: str, bus: redis.Redis, start: Starts, eventually: Any, tmp_path: Path
) -> None:
    begun, later = post(url, "begun", "later", until=str(tmp_path / "go"))
    worker = start(
        url, "--handler", "handlers:wait", "--concurrency", "1", "--grace", "60", "--shards", "any"
    )
    eventually(lambda: worker.named("started") and len(worker.named("holding")) == 4)
    worker.signal(signal.SIGTERM)
    eventually(lambda: worker.named("stopping"))
    (tmp_path / "go").touch()
    code, _ = worker.ended()
    assert code == 0
    assert shown(url, begun).state == "done"
    task = shown(url, later)
    assert (task.state, task.attempts) == ("pending", 0)
    assert not bus.exists(f"worker:status:{worker.name}", f"worker:tasks:{worker.name}")
    assert {bus.get(f"context:shard:{n}:active") for n in (1, 2, 3, 4)} == {"1"}


def test_what_does_not_end_in_the_grace_time_is_given_back(
    url: str, start: Starts, eventually: Any
) -> None:
    (task_id,) = post(url, "endless")
    worker = start(url, "--handler", "handlers:never", "--grace", "0.1")
    eventually(lambda: worker.named("started"))
    worker.signal(signal.SIGTERM)
    code, _ = worker.ended()
    assert code == 0
    task = shown(url, task_id)
    assert (task.state, task.attempts, task.reasons) == ("pending", 0, ())


def test_a_dead_holders_shards_are_held_by_another_and_the_sum_is_right_throughout(
    url: str, bus: redis.Redis, start: Starts, eventually: Any, ifmem: Any, writer: Any
) -> None:
    for number, name in enumerate(("a.md", "b.py", "tests/test_c.py", "decisions/d.md")):
        ifmem.write(f"tree/{name}", writer(number).prose(40))
    ifmem("load", ifmem.directory / "tree")
    numbers = sorted(bus.smembers("ifmem:1:shards"))
    wrong: list[list[Any]] = []
    ending = threading.Event()

    def watch() -> None:
        names = [f"context:shard:{n}:{what}" for n in numbers for what in ("tokens", "active")]
        with redis.Redis.from_url(url, decode_responses=True) as client:
            while not ending.is_set():
                total, *values = client.mget("context:active", *names)
                held = zip(values[::2], values[1::2], strict=True)
                if int(total) != sum(int(tokens) for tokens, active in held if active == "1"):
                    wrong.append([total, *values])

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        first = start(url, "--shards", "any")
        eventually(lambda: len(first.named("holding")) == len(numbers))
        second = start(url, "--shards", "any")
        eventually(lambda: second.named("joined"))
        assert _holders(bus, numbers) == {first.name}
        first.signal(signal.SIGKILL)
        first.ended()
        eventually(lambda: _holders(bus, numbers) == {second.name})
        eventually(lambda: len(second.named("holding")) == len(numbers))
        assert {bus.get(f"context:shard:{n}:active") for n in numbers} == {"1"}
    finally:
        ending.set()
        watching.join()
    assert wrong == []
    assert int(bus.get("context:active") or 0) == sum(
        one["tokens"] for one in ifmem.status()["shards"]
    )


def _holders(bus: redis.Redis, numbers: list[str]) -> set[str | None]:
    return {bus.hget(f"ifmem:1:shard:{n}", "worker") for n in numbers}


def test_work_goes_on_when_the_server_is_killed_and_nothing_acknowledged_is_lost(
    url: str, bus: redis.Redis, start: Starts, eventually: Any, ifmem: Any, watch_end: Any
) -> None:
    task_ids = post(url, *(f"stone {number}" for number in range(60)))
    worker = start(url, "--handler", "handlers:brief", "--concurrency", "2", "--lease", "2")
    eventually(lambda: len(worker.named("finished")) >= 10)
    before = {one["finding_id"] for one in worker.named("finished")}
    server = bus.info("server")["process_id"]
    is_gone = watch_end(server)
    os.kill(server, signal.SIGKILL)
    assert is_gone()

    def all_done() -> bool:
        return {one["task_id"] for one in worker.named("finished")} == set(task_ids)

    eventually(all_done)
    stored = {one["finding_id"]: one["task_id"] for one in ifmem("findings", "--json").lines}
    said = {one["finding_id"] for one in worker.named("finished")}
    assert before <= said <= stored.keys()
    worker.signal(signal.SIGTERM)
    assert worker.ended()[0] == 0


def test_a_handler_that_is_not_there_is_a_usage_error(url: str, start: Starts) -> None:
    worker = start(url, "--handler", "handlers:nothing")
    code, told = worker.ended()
    assert code == 2
    assert "handlers:nothing cannot be imported" in told
