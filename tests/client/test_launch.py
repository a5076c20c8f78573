"""Starting, finding and ending the real daemon of a home."""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ifmem.client import launch
from ifmem.client.connection import Connection
from ifmem.client.home import DAEMON_LOCK, DAEMON_LOG, is_held
from ifmem.client.launch import reach
from ifmem.errors import NotPermitted, Unavailable
from ifmem.settings import RedisSettings, Settings
from ifmem.wire.shapes import Hello

DEADLINE_S = 30.0


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    made = Settings(home=str(tmp_path / "home"))
    yield made
    asyncio.run(launch.stop(made))


async def _pid(settings: Settings) -> int:
    connection = await launch.connect(settings)
    try:
        return (await connection.call("hello", returns=Hello, space="default")).pid
    finally:
        await connection.close()


def _eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_S  # noqa: TID251 - a test's own patience
    while not holds():
        if time.monotonic() > deadline:  # noqa: TID251
            return False
        os.sched_yield()
    return True


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_first_caller_starts_the_daemon_and_the_next_finds_it(settings: Settings) -> None:
    async def run() -> tuple[Path, Path, int, int]:
        first = await reach(settings)
        pid = await _pid(settings)
        return first, await reach(settings), pid, await _pid(settings)

    first, second, pid, same = asyncio.run(run())
    assert (first, pid) == (second, same)
    assert stat.S_IMODE(settings.home_path.stat().st_mode) == 0o700
    assert stat.S_IMODE((settings.home_path / "daemon.log").stat().st_mode) == 0o600
    assert stat.S_IMODE(first.stat().st_mode) == 0o600


def test_callers_that_race_get_one_daemon(settings: Settings) -> None:
    async def run() -> set[int]:
        async with asyncio.TaskGroup() as group:
            racing = [group.create_task(_pid(settings)) for _ in range(8)]
        return {task.result() for task in racing}

    assert len(asyncio.run(run())) == 1


def test_a_daemon_that_was_stopped_leaves_nothing_behind_not_even_a_zombie(
    settings: Settings,
) -> None:
    """This process started it and lives on, so the kernel keeps it until somebody waits."""
    pid = asyncio.run(_pid(settings))
    assert asyncio.run(launch.stop(settings))
    assert not is_held(settings.home_path / DAEMON_LOCK)
    assert _eventually(lambda: _is_gone(pid))


def test_stopping_what_never_ran_changes_nothing(settings: Settings) -> None:
    assert not asyncio.run(launch.stop(settings))
    assert not settings.home_path.exists()


def test_the_daemons_own_error_reaches_who_started_it(settings: Settings) -> None:
    unreachable = Settings(home=settings.home, redis=RedisSettings(url="redis://127.0.0.1:1/0"))
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        asyncio.run(reach(unreachable))
    assert asyncio.run(_pid(settings))


def test_a_daemon_that_dies_without_a_word_names_its_log(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/bin/false")
        with pytest.raises(Unavailable, match=r"daemon\.log"):
            asyncio.run(reach(settings))
    assert asyncio.run(_pid(settings))


def test_a_daemon_that_is_about_to_end_is_waited_for(settings: Settings) -> None:
    """It holds its lock and listens no more; a second daemon would be refused."""
    settings.home_path.mkdir(mode=0o700)

    async def run() -> bool:
        with (settings.home_path / DAEMON_LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            async with asyncio.TaskGroup() as group:
                reaching = group.create_task(reach(settings))
                await asyncio.wait({reaching}, timeout=0.2)
                begun = (settings.home_path / DAEMON_LOG).exists()
                fcntl.flock(lock, fcntl.LOCK_UN)
        return not begun and (await reaching).exists()

    assert asyncio.run(run())


def test_a_stopped_daemon_is_started_again(settings: Settings) -> None:
    first = asyncio.run(_pid(settings))
    asyncio.run(launch.stop(settings))
    assert asyncio.run(_pid(settings)) != first


def test_a_home_too_deep_for_a_socket_works(tmp_path: Path) -> None:
    deep = Settings(home=str(tmp_path / ("d" * 120)))
    try:
        socket = asyncio.run(reach(deep))
        assert not socket.is_relative_to(deep.home_path)
    finally:
        assert asyncio.run(launch.stop(deep))


def test_a_socket_that_is_not_ours_to_use_is_told(settings: Settings) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may use every socket")
    asyncio.run(reach(settings)).chmod(0)
    with pytest.raises(NotPermitted, match="--home"):
        asyncio.run(reach(settings))


def test_a_lost_daemon_is_noticed_by_a_connection_that_waits(settings: Settings) -> None:
    async def run() -> None:
        connection: Connection = await launch.connect(settings)
        try:
            os.kill((await connection.call("hello", returns=Hello, space="default")).pid, 9)
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    await connection.call("hello", returns=Hello, space="default")
        finally:
            await connection.close()

    with pytest.raises(Unavailable):
        asyncio.run(run())
