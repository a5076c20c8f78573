"""What hooks wrote down is taken in once, whole lines only, whatever interrupts it."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest

from ifmem.places import SPOOL
from ifmem.runtime import captured_spool
from ifmem.runtime.captured_spool import TAKEN, take_in
from ifmem.shim import hook
from ifmem.wire.agent_calls import CaptureCall


def line(number: int, *, space: str = "acme", at: str = "2026-03-01T00:00:00.000Z") -> bytes:
    params = {"agent": "claude", "event": json.dumps({"n": number}), "root": "/r", "at": at}
    call = {"id": 1, "method": "capture", "space": space, "params": params}
    return json.dumps(call).encode() + b"\n"


class Heard:
    """Remembers what was taken in."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.calls: list[tuple[str, CaptureCall]] = []

    async def __call__(self, space: str, call: CaptureCall) -> None:
        self.calls.append((space, call))
        self.numbers.append(json.loads(str(call.event))["n"])


def test_every_line_is_captured_in_order_and_the_spool_is_gone(tmp_path: Path) -> None:
    (tmp_path / SPOOL).write_bytes(b"".join(map(line, range(5))))
    heard = Heard()
    assert asyncio.run(take_in(tmp_path, heard)) == 5
    assert heard.numbers == [0, 1, 2, 3, 4]
    assert all(space == "acme" and call.wait for space, call in heard.calls)
    assert not list(tmp_path.iterdir())
    assert asyncio.run(take_in(tmp_path, heard)) == 0


@pytest.mark.parametrize(
    "odd",
    [
        b"\n\n",
        b"{half",
        b"\xff\xfe\n",
        b'{"id": 1, "method": "stop", "space": "acme", "params": {}}\n',
        b'{"id": 1, "method": "capture", "space": "acme", "params": {"agent": 3}}\n',
        b"\0" * 1000 + b"\n",
    ],
)
def test_lines_that_are_no_captured_event_are_passed_over(tmp_path: Path, odd: bytes) -> None:
    (tmp_path / SPOOL).write_bytes(line(1) + odd + b"\n" + line(2))
    heard = Heard()
    asyncio.run(take_in(tmp_path, heard))
    assert heard.numbers == [1, 2]


def test_what_a_killed_daemon_left_is_done_again_before_what_came_since(tmp_path: Path) -> None:
    (tmp_path / TAKEN).write_bytes(line(1) + line(2))
    (tmp_path / SPOOL).write_bytes(line(3))
    heard = Heard()
    asyncio.run(take_in(tmp_path, heard))
    assert heard.numbers == [1, 2, 3]
    assert not list(tmp_path.iterdir())


def test_one_event_that_fails_does_not_end_the_others(tmp_path: Path) -> None:
    (tmp_path / SPOOL).write_bytes(line(1) + line(2))
    heard = Heard()

    async def call(space: str, event: CaptureCall) -> None:
        await heard(space, event)
        if heard.numbers == [1]:
            raise ValueError("odd")

    asyncio.run(take_in(tmp_path, call))
    assert heard.numbers == [1, 2]


def test_nothing_is_taken_away_before_it_is_done(tmp_path: Path) -> None:
    (tmp_path / SPOOL).write_bytes(line(1) + line(2))

    async def die(space: str, event: CaptureCall) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(take_in(tmp_path, die))
    heard = Heard()
    asyncio.run(take_in(tmp_path, heard))
    assert heard.numbers == [1, 2]


def test_hooks_that_write_while_the_spool_is_taken_lose_nothing(tmp_path: Path) -> None:
    writers, each = 4, 200
    home = str(tmp_path)

    def write(writer: int) -> None:
        for n in range(each):
            hook._spool(home, line(writer * each + n))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    heard = Heard()
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        asyncio.run(take_in(tmp_path, heard))
    asyncio.run(take_in(tmp_path, heard))
    assert sorted(heard.numbers) == list(range(writers * each))


def test_forgetting_reaches_the_spool(tmp_path: Path) -> None:
    kept = [line(1, at="2026-01-01T00:00:00.000Z"), line(2, space="other"), b"no call\n"]
    gone = [line(3, at="2026-02-02T00:00:00.000Z"), line(4)]
    for name in (SPOOL, TAKEN):
        (tmp_path / name).write_bytes(b"".join([*kept, *gone]))
    captured_spool.forget(tmp_path, "acme", "2026-02-01")
    for name in (SPOOL, TAKEN):
        assert (tmp_path / name).read_bytes() == b"".join(kept)


def test_a_spool_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(line(1))
    (tmp_path / SPOOL).symlink_to(other)
    heard = Heard()
    with pytest.raises(OSError, match="symbolic links"):
        asyncio.run(take_in(tmp_path, heard))
    assert heard.numbers == []
    assert other.read_bytes() == line(1)
