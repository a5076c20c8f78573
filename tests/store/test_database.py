"""The store's file: what was acknowledged is on disk, whoever fails, is full or is killed."""

from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from pathlib import Path

import pytest

from ifmem.errors import Failed, Invalid, NotPermitted
from ifmem.store.database import Database

PATIENCE_S = 30
Work = Callable[[sqlite3.Connection], object]


def put(name: str, value: str = "x") -> Work:
    return lambda c: c.execute("INSERT INTO meta VALUES (?, ?)", (name, value)).rowcount


def names(database: Database) -> list[str]:
    return database.read(
        lambda c: [row[0] for row in c.execute("SELECT name FROM meta ORDER BY name")]
    )


class Gate:
    """Holds the writer thread, so that what is written meanwhile makes one commit."""

    def __init__(self, database: Database) -> None:
        self._entered, self._opened = threading.Event(), threading.Event()
        self._passed = database.write(self._hold)
        assert self._entered.wait(PATIENCE_S)

    def _hold(self, _: sqlite3.Connection) -> None:
        self._entered.set()
        assert self._opened.wait(PATIENCE_S)

    def open(self) -> None:
        self._opened.set()
        self._passed.result(PATIENCE_S)


def test_a_write_returns_what_its_work_returned_and_a_read_sees_it(database: Database) -> None:
    assert database.write(put("a")).result() == 1
    assert names(database) == ["a"]


def test_a_read_on_another_thread_sees_every_acknowledged_write(database: Database) -> None:
    seen: list[list[str]] = []
    for n in range(20):
        database.write(put(f"{n:02}")).result()
        reader = threading.Thread(target=lambda: seen.append(names(database)))
        reader.start()
        reader.join()
    assert seen == [[f"{i:02}" for i in range(n + 1)] for n in range(20)]


def test_of_one_commit_a_job_that_fails_is_undone_alone(database: Database) -> None:
    def half(connection: sqlite3.Connection) -> None:
        put("half")(connection)
        raise Invalid("the rest is missing")

    gate = Gate(database)
    before, broken, after = (
        database.write(put("before")),
        database.write(half),
        database.write(put("after")),
    )
    gate.open()
    assert (before.result(PATIENCE_S), after.result(PATIENCE_S)) == (1, 1)
    with pytest.raises(Invalid, match="the rest is missing"):
        broken.result(PATIENCE_S)
    assert names(database) == ["after", "before"]


def test_a_job_that_breaks_a_constraint_fails_in_our_words(database: Database) -> None:
    gate = Gate(database)
    first, second = database.write(put("a", "one")), database.write(put("a", "two"))
    gate.open()
    first.result(PATIENCE_S)
    with pytest.raises(Failed, match="UNIQUE") as caught:
        second.result(PATIENCE_S)
    assert str(database.path) in caught.value.message
    assert database.read(lambda c: c.execute("SELECT value FROM meta").fetchall()) == [("one",)]


def test_a_commit_that_is_refused_is_undone_and_the_next_goes_on(database: Database) -> None:
    def orphan(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA defer_foreign_keys = ON")
        connection.execute("INSERT INTO neighbourhood VALUES ('src', 'files-git', 99)")

    gate = Gate(database)
    beside, broken = database.write(put("beside")), database.write(orphan)
    gate.open()
    for job in (beside, broken):
        with pytest.raises(Failed, match="FOREIGN KEY"):
            job.result(PATIENCE_S)
    assert names(database) == []
    assert database.write(put("next")).result(PATIENCE_S) == 1


def test_a_job_sees_what_the_job_before_it_in_the_commit_did(database: Database) -> None:
    gate = Gate(database)
    database.write(put("a"))
    count = database.write(lambda c: c.execute("SELECT count(*) FROM meta").fetchone()[0])
    gate.open()
    assert count.result(PATIENCE_S) == 1


def test_nothing_is_seen_before_the_commit_that_holds_it(database: Database) -> None:
    gate = Gate(database)
    database.write(put("a"))
    assert names(database) == []
    gate.open()


def test_a_cancelled_write_does_nothing_and_stops_nobody(database: Database) -> None:
    gate = Gate(database)
    cancelled, other = database.write(put("cancelled")), database.write(put("other"))
    assert cancelled.cancel()
    gate.open()
    assert other.result(PATIENCE_S) == 1
    with pytest.raises(CancelledError):
        cancelled.result(PATIENCE_S)
    assert names(database) == ["other"]


def test_more_writes_than_fit_one_commit_all_arrive_in_order(database: Database) -> None:
    gate = Gate(database)
    order: list[int] = []
    jobs: list[Future[None]] = [
        database.write(lambda _, n=n: order.append(n))  # type: ignore[misc]
        for n in range(500)
    ]
    gate.open()
    for job in jobs:
        job.result(PATIENCE_S)
    assert order == list(range(500))


def test_reading_together_sees_one_moment(database: Database) -> None:
    def look_twice(connection: sqlite3.Connection) -> list[int]:
        count = "SELECT count(*) FROM meta"
        first = connection.execute(count).fetchone()[0]
        database.write(put("between")).result(PATIENCE_S)
        return [first, connection.execute(count).fetchone()[0]]

    assert database.read_together(look_twice) == [0, 0]
    assert names(database) == ["between"]


def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(NotPermitted):
        database.read(put("a"))
    assert names(database) == []


def test_closing_finishes_what_is_queued(tmp_path: Path) -> None:
    database = Database(tmp_path / "store.sqlite")
    gate = Gate(database)
    last = database.write(put("last"))
    closing = threading.Thread(target=database.close)
    closing.start()
    gate.open()
    closing.join(PATIENCE_S)
    assert last.result(0) == 1
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["audit.head", "audit.key", "store.sqlite"]
    again = Database(tmp_path / "store.sqlite")
    assert names(again) == ["last"]
    again.close()


def test_its_size_counts_the_log_beside_it(database: Database) -> None:
    database.write(put("a", "x" * 100_000)).result()
    assert database.bytes_on_disk() > 100_000
    assert database.bytes_on_disk() == sum(
        path.stat().st_size
        for path in database.path.parent.glob("store.sqlite*")
        if not path.name.endswith("-shm")
    )


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_a_file_of_a_newer_ifmem_is_refused_and_left_as_it_is(tmp_path: Path, journal: str) -> None:
    path = tmp_path / "store.sqlite"
    with sqlite3.connect(path) as newer:
        newer.execute(f"PRAGMA journal_mode = {journal}")
        newer.execute("CREATE TABLE future (x)")
        newer.execute("PRAGMA user_version = 9999")
    newer.close()
    before = path.read_bytes()
    with pytest.raises(Failed, match="has schema 9999; this ifmem knows up to") as caught:
        Database(path)
    assert caught.value.facts["schema"] == 9999
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["store.sqlite"]


def test_a_file_that_is_no_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"these are my holiday notes\n" * 400)
    with pytest.raises(Failed, match="is damaged: restore it from a copy"):
        Database(path)
    assert path.read_bytes() == b"these are my holiday notes\n" * 400


def test_damage_inside_is_told_when_it_is_met(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    database = Database(path)
    for n in range(200):
        database.write(put(f"{n:03}", "x" * 1_000))
    database.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    with pytest.raises(Failed, match="is damaged"):
        damaged = Database(path)
        try:
            damaged.read(lambda c: c.execute("SELECT * FROM meta").fetchall())
        finally:
            damaged.close()


def test_a_directory_that_is_not_there_is_not_permitted(tmp_path: Path) -> None:
    with pytest.raises(NotPermitted, match="cannot be written"):
        Database(tmp_path / "nowhere" / "store.sqlite")


def test_what_lies_beside_the_store_and_cannot_be_read_is_named(tmp_path: Path) -> None:
    Database(tmp_path / "store.sqlite").close()
    key = tmp_path / "audit.key"
    key.unlink()
    key.mkdir()
    with pytest.raises(NotPermitted, match=r"audit\.key cannot be written or read"):
        Database(tmp_path / "store.sqlite")


def test_opening_again_keeps_everything(database: Database) -> None:
    database.write(put("a")).result()
    beside = Database(database.path)
    assert names(beside) == ["a"]
    beside.write(put("b")).result()
    beside.close()
    assert names(database) == ["a", "b"]


def run(script: str, *arguments: object, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


FILLER = """
import sys
from pathlib import Path
from ifmem.errors import IfMemError
from ifmem.store.database import Database
database = Database(Path(sys.argv[1]))
def put(name, size):
    return lambda c: c.execute("INSERT INTO meta VALUES (?, ?)", (name, "x" * size))
for n in range(1000):
    try:
        database.write(put(f"{n:04}", 20_000)).result()
    except IfMemError as error:
        print(error.exit_code, error.message, flush=True)
        break
    print("stored", f"{n:04}", flush=True)
if sys.argv[2] == "free":
    sys.stdin.readline()
    database.write(put("after", 10)).result()
    print("stored after", flush=True)
"""


def test_a_disk_that_is_full_refuses_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    limit = 1_000_000

    def bound() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    path = tmp_path / "store.sqlite"
    with run(FILLER, path, "end", preexec_fn=bound) as filler:
        assert filler.stdout is not None
        *stored, refused = filler.stdout.read().splitlines()
    assert refused.startswith(f"1 the store {path} refused") or "no space is left" in refused
    assert len(stored) > 10
    database = Database(path)
    assert [f"stored {name}" for name in names(database)] == stored
    assert database.write(put("room again")).result() == 1
    database.close()


def can_mount() -> bool:
    tried = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


@pytest.mark.skipif(sys.platform != "linux" or not can_mount(), reason="needs a mount of its own")
def test_a_full_disk_is_named_and_writing_goes_on_once_there_is_room(tmp_path: Path) -> None:
    shell = 'mount -t tmpfs -o size=2m tmpfs "$0" && head -c 400000 /dev/zero >"$0/ballast" && '
    prepare = shell + 'exec "$@"'
    path = tmp_path / "store.sqlite"
    freeing = FILLER.replace("sys.stdin.readline()", f"Path({str(tmp_path)!r}, 'ballast').unlink()")
    with subprocess.Popen(
        [
            "unshare",
            "-rm",
            "sh",
            "-c",
            prepare,
            tmp_path,
            sys.executable,
            "-c",
            freeing,
            path,
            "free",
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as filler:
        assert filler.stdout is not None
        *stored, refused, after = filler.stdout.read().splitlines()
    assert stored and all(line.startswith("stored ") for line in stored)
    assert refused == f"1 no space is left for {path}: free some and repeat; nothing was stored"
    assert after == "stored after"


WRITER = """
import sys, threading
from pathlib import Path
from ifmem.store.database import Database
database = Database(Path(sys.argv[1]))
def put(n):
    return lambda c: c.execute("INSERT INTO meta VALUES (?, ?)", (f"{n:06}", "x" * 500))
out = threading.Lock()
def acknowledge(n):
    def tell(future):
        future.result()
        with out:
            print(f"{n:06}", flush=True)
    return tell
window = threading.Semaphore(64)
n = 0
while True:
    window.acquire()
    future = database.write(put(n))
    future.add_done_callback(acknowledge(n))
    future.add_done_callback(lambda _: window.release())
    n += 1
"""


@pytest.mark.parametrize("after_lines", [1, 150, 1_000])
def test_a_writer_killed_at_any_moment_loses_nothing_acknowledged(
    tmp_path: Path, after_lines: int
) -> None:
    path = tmp_path / "store.sqlite"
    with run(WRITER, path) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().strip() for _ in range(after_lines)]
        writer.kill()
        # Whole lines only: the last may have been cut by the kill.
        acknowledged += [line.strip() for line in writer.stdout if line.endswith("\n")]
    assert len(acknowledged) >= after_lines
    database = Database(path)
    kept = set(names(database))
    assert set(acknowledged) <= kept
    assert kept == {f"{n:06}" for n in range(len(kept))}, "a later write stands, an earlier not"
    assert database.read(lambda c: c.execute("PRAGMA integrity_check").fetchone()) == ("ok",)
    database.close()
