"""Bad input and bad surroundings: one clear sentence, the right exit code, an unchanged store."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from ifmem.bus import embedded
from ifmem.settings import Settings

CLAIM = "The anchor weighs nine hundredweight."


def contents(ifmem: Any) -> Any:
    """Everything the store holds, as far as people can see it."""
    sources = [(s["source"], s["sha256"], s["tokens"], s["shards"]) for s in ifmem.sources()]
    findings = [one["finding_id"] for one in ifmem.findings()]
    return sources, findings, ifmem.status()["context_active"]


@pytest.fixture(scope="module")
def loaded(install_shared: Any, writer: Any) -> Any:
    """One for all who do not change what it holds."""
    return filled(install_shared(), writer)


@pytest.fixture
def own(ifmem: Any, writer: Any) -> Any:
    return filled(ifmem, writer)


def filled(ifmem: Any, writer: Any) -> Any:
    ifmem.write("notes/page.md", writer(1).prose(40))
    ifmem("load", "notes")
    ifmem("remember", CLAIM)
    return ifmem


@contextlib.contextmanager
def unchanged(ifmem: Any) -> Iterator[None]:
    before = contents(ifmem)
    yield
    assert contents(ifmem) == before


# What is given


def test_a_missing_path_is_not_found_and_nothing_is_loaded(loaded: Any) -> None:
    loaded.write("more/page.md", "# More\n")
    with unchanged(loaded):
        run = loaded("load", "more", "nowhere.md", "--json", code=3)
        assert "nowhere.md does not exist" in run.told()
        assert run.json["exit_code"] == 3


def test_an_empty_tree_loads_nothing_and_is_no_error(loaded: Any) -> None:
    (loaded.directory / "empty").mkdir()
    loaded.write("blank/blank.md", "")
    with unchanged(loaded):
        report = loaded("load", "empty", "--json").json
        assert (report["documents"], report["skipped"]) == (0, [])
    loaded("load", "blank")


def test_a_file_of_three_gibibytes_is_skipped_at_once(loaded: Any) -> None:
    path = loaded.write("huge/huge.txt", "begin\n")
    with path.open("r+b") as file:
        file.truncate(3 * 2**30)
    with unchanged(loaded):
        (skipped,) = loaded("load", "huge", "--json").json["skipped"]
        assert skipped["path"] == str(path)
        assert "3.0 GiB" in skipped["reason"]
        assert "max_file_bytes" in skipped["reason"]


@pytest.mark.parametrize("data", [b"half\0of it", b"\0" * 5_000, b"text\n" * 50 + b"\0\1\2" * 50])
def test_a_file_with_nul_bytes_is_skipped_with_a_reason(loaded: Any, data: bytes) -> None:
    loaded.write("odd/data.txt", data)
    with unchanged(loaded):
        (skipped,) = loaded("load", "odd", "--json").json["skipped"]
        assert "binary" in skipped["reason"]


def test_text_that_is_not_utf_8_is_loaded_or_skipped_with_a_reason(ifmem: Any) -> None:
    ifmem.write("odd/latin.txt", "Der Müller wohnt über der Mühle am Fluß. ".encode("latin-1") * 9)
    ifmem.write("odd/noise.txt", bytes(range(128, 256)) * 40)
    report = ifmem("load", "odd", "--json").json
    assert report["documents"] + len(report["skipped"]) == 2
    assert "latin.txt" in {Path(one["source"]).name for one in ifmem.sources()}


def test_links_in_a_circle_and_special_files_are_skipped(loaded: Any) -> None:
    folder = loaded.directory / "strange"
    folder.mkdir()
    (folder / "self").symlink_to(folder)
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    with unchanged(loaded):
        skipped = loaded("load", "strange", "--json").json["skipped"]
        assert {Path(one["path"]).name for one in skipped} == {"self", "loop", "pipe"}
        assert all(one["reason"] for one in skipped)


@pytest.mark.parametrize("verb", ["ask", "recall"])
def test_questions_of_no_and_of_a_million_characters_are_refused(loaded: Any, verb: str) -> None:
    million = b"word " * 200_000
    with unchanged(loaded):
        for given in ("", "   "):
            assert "empty" in loaded(verb, given, code=2).told()
        assert "empty" in loaded.piped(b"", verb, "-", code=2).told()
        run = loaded.piped(million, verb, "-", code=2)
        assert "999,999" in run.told()
        assert "16,000" in run.told()
        assert len(run.told()) < 300


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("remember", CLAIM, "--confidence", "1.5"), "confidence"),
        (("remember", CLAIM, "--confidence", "nan"), "confidence"),
        (("remember", "  "), "claim"),
        (("remember", CLAIM, "--id", "not-a-uuid"), "uuid"),
        (("remember", CLAIM, "--cite", "notes/page.md:0"), "cites no lines"),
        (("remember", CLAIM, "--cite", "nowhere.md:1"), "nowhere.md"),
        (("findings", "--since", "nonsense"), "cursor"),
        (("recall", "anchor", "--max-tokens", "0"), "max-tokens"),
        (("status", "--space", "No Spaces"), "space"),
        (("ask", "anchor", "--model", "no-such-model"), "no-such-model"),
        (("load",), "PATH"),
        (("fly",), "fly"),
    ],
)
def test_what_breaks_a_rule_is_refused_and_nothing_is_stored(
    loaded: Any, args: tuple[str, ...], said: str
) -> None:
    with unchanged(loaded):
        run = loaded(*args, code=3 if "nowhere.md:1" in args else 2)
        assert said in run.told()


def test_an_oversize_finding_is_refused(loaded: Any) -> None:
    with unchanged(loaded):
        run = loaded.piped(b"long " * 400_000, "remember", "-", code=2)
        assert "limit" in run.told()


def test_a_setting_that_cannot_be_used_is_named_with_its_place(loaded: Any) -> None:
    with unchanged(loaded):
        run = loaded("status", code=2, environment={"IFMEM_SHARDS_CAPACITY": "lots"})
        assert "shards.capacity" in run.told()
        assert "environment" in run.told()
        config = loaded.write("config.toml", "[shards\ncapacity = 1\n")
        assert str(config) in loaded("status", code=2).told()
        config.write_text("")


# The home


def test_a_home_that_is_a_file_is_refused(install: Any) -> None:
    ifmem = install("taken")
    ifmem.home.write_text("a letter")
    for args in (("status",), ("load", "."), ("remember", CLAIM)):
        assert f"the home {ifmem.home} is a file" in ifmem(*args, code=5).told()
    assert ifmem.home.read_text() == "a letter"
    ifmem.home.unlink()


def test_a_home_that_cannot_be_written_is_refused(install: Any, tmp_path: Path) -> None:
    ifmem = install("locked/home")
    parent = tmp_path / "locked"
    parent.mkdir()
    if os.geteuid() == 0:
        if not _mounted("-o", "size=1m", parent):
            pytest.skip("root may write anywhere, and nothing can be mounted here")
        ifmem.home.mkdir(mode=0o700)
        subprocess.run(["mount", "-o", "remount,ro", str(parent)], check=True)
    else:
        parent.chmod(0o500)
    try:
        run = ifmem("status", code=5)
        assert str(ifmem.home) in run.told()
        assert "--home" in run.told()
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", str(parent)], check=True)
        else:
            parent.chmod(0o700)


def test_a_home_of_another_user_is_refused(install: Any) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    ifmem = install("theirs")
    ifmem.home.mkdir(mode=0o700)
    os.chown(ifmem.home, 12_345, 12_345)
    assert "belongs to user 12345" in ifmem("status", code=5).told()
    assert list(ifmem.home.iterdir()) == []
    os.chown(ifmem.home, 0, 0)


def test_a_store_of_a_newer_version_is_left_alone(own: Any) -> None:
    before = contents(own)
    own.down()
    path = own.home / "spaces" / "default" / "store.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as store:
        (version,) = store.execute("PRAGMA user_version").fetchone()
        store.execute("PRAGMA user_version = 999")
    data = path.read_bytes()
    run = own("status", code=1)
    assert "schema 999" in run.told()
    assert "update ifmem" in run.told()
    assert path.read_bytes() == data
    with contextlib.closing(sqlite3.connect(path)) as store:
        store.execute(f"PRAGMA user_version = {version}")
    assert contents(own) == before


def test_a_damaged_store_is_told_and_left_alone(own: Any) -> None:
    own.down()
    path = own.home / "spaces" / "default" / "store.sqlite"
    path.write_bytes(b"this is a letter, not a store" * 400)
    data = path.read_bytes()
    run = own("status", code=1)
    assert "damaged" in run.told()
    assert str(path) in run.told()
    assert path.read_bytes() == data


def test_a_full_disk_stores_nothing_says_so_and_goes_on_when_there_is_room(
    install: Any, tmp_path: Path, writer: Any
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not _mounted("-o", "size=12m", disk):
        pytest.skip("a small disk can be mounted by root only, and not everywhere")
    ifmem = install("disk/home")
    try:
        ifmem("remember", CLAIM)
        before = contents(ifmem)
        ballast = disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4_096))
        for number in range(6):
            ifmem.write(f"big/{number}.md", writer(number).prose(3_000))
        run = ifmem("load", "big", "--json", code=1)
        assert "no space is left" in run.told()
        ballast.unlink()
        assert contents(ifmem) == before
        ifmem("remember", "The hold is empty again.")
        assert len(contents(ifmem)[1]) == 2
        ifmem.down()
    finally:
        ifmem.down()
        subprocess.run(["umount", str(disk)], check=True)


def _mounted(*args: object) -> bool:
    """Whether a file system in memory could be mounted at the last argument."""
    if os.geteuid() != 0:
        return False
    done = subprocess.run(
        ["mount", "-t", "tmpfs", *map(str, args[:-1]), "tmpfs", str(args[-1])],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def test_two_who_start_a_daemon_at_once_share_it(install: Any, finish: Any) -> None:
    ifmem = install()
    started = [ifmem.start("remember", f"Racer {n} arrived.", "--json") for n in range(8)]
    runs = [finish(one) for one in started]
    assert [run.code for run in runs] == [0] * 8
    assert len(ifmem("findings", "--json").lines) == 8
    assert len(ifmem("workers", "--json").json["items"]) == 1


def test_a_second_daemon_of_the_same_home_is_refused(loaded: Any) -> None:
    pid = loaded.daemon_pid()
    reads, writes = os.pipe()
    with unchanged(loaded):
        second = subprocess.run(
            [sys.executable, "-m", "ifmem.entrypoints.daemon", "--ready-fd", str(writes)],
            input=msgspec.json.encode(Settings(home=str(loaded.home))),
            pass_fds=(writes,),
            capture_output=True,
            timeout=60,
            check=False,
        )
    os.close(writes)
    with os.fdopen(reads) as said:
        assert "owned by another daemon" in said.read(), second.stderr
    assert second.returncode == 5
    assert loaded.daemon_pid() == pid


# The bus


def test_an_unreachable_redis_is_told(install: Any, tmp_path: Path) -> None:
    ifmem = install()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # Bound and not listening: nobody can be there.
        closed = f"redis://127.0.0.1:{taken.getsockname()[1]}/0"
        for url in (closed, f"unix://{tmp_path}/nowhere.sock"):
            run = ifmem("status", "--redis", url, code=4)
            assert url.split("?")[0] in run.told()
            assert "embedded" in run.told()


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", "redis://localhost:port"])
def test_a_url_that_is_none_of_redis_is_told(install: Any, url: str) -> None:
    ifmem = install()
    assert "redis://" in ifmem("status", "--redis", url, code=2).told()


class Junk(threading.Thread):
    """Something on a loopback port that is no Redis."""

    def __init__(self, reply: bytes) -> None:
        super().__init__()
        self._reply = reply
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._server.accept()
                with caller, contextlib.suppress(OSError):
                    caller.recv(65_536)
                    caller.sendall(self._reply)

    def end(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.join()


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\x00\x02\x02F", b"", b"+HELLO\r\n"]
)
def test_a_port_that_is_no_redis_is_told(install: Any, reply: bytes) -> None:
    ifmem = install()
    junk = Junk(reply)
    junk.start()
    try:
        run = ifmem("status", "--redis", f"redis://127.0.0.1:{junk.port}/0", code=4)
    finally:
        junk.end()
    assert f"127.0.0.1:{junk.port}" in run.told()


@pytest.fixture
def external(tmp_path: Path) -> Iterator[str]:
    """The URL of a server that is not this home's."""
    directory = tmp_path / "elsewhere"
    yield embedded.attach(directory).url
    embedded.stop(directory)


def test_an_external_redis_is_used_and_left_running(install: Any, external: str) -> None:
    ifmem = install(redis_url=external)
    stored = ifmem("remember", CLAIM, "--json").json
    status = ifmem.status()
    assert (status["redis"]["embedded"], status["redis"]["url"]) == (False, external)
    with redis.Redis.from_url(external, decode_responses=True) as bus:
        assert bus.keys("finding:*") == [f"finding:{stored['finding_id']}"]
        ifmem.down()
        assert bus.ping()
        assert bus.keys("worker:status:*") == []
        assert bus.get("context:shard:1:active") == "0"
    assert not (ifmem.home / "bus").exists()
    assert ifmem("recall", "anchor", "--json").json["findings"]


def test_a_second_home_on_the_same_redis_is_refused_until_told(install: Any, external: str) -> None:
    first = install("first", redis_url=external)
    second = install("second", redis_url=external)
    stored = first("remember", CLAIM, "--json").json["finding_id"]
    with redis.Redis.from_url(external, decode_responses=True) as bus:
        owner = bus.get("ifmem:1:owner")
        told = second("remember", "The second came.", code=5).told()
        assert bus.hget("ifmem:1:bridge", "name") in told
        assert "--space" in told
        assert "--role client" in told
        second("up", "--adopt", code=5).told()
        assert bus.get("ifmem:1:owner") == owner
        assert bus.keys("finding:*") == [f"finding:{stored}"]

        second("remember", "The second came.", "--space", "beside")
        assert len(bus.keys("beside:finding:*")) == 1
        assert bus.keys("finding:*") == [f"finding:{stored}"]
        second.down()

        first.down()
        told = second("remember", "The second came.", code=5).told()
        assert owner in told
        assert "--adopt" in told
        second("up", "--adopt")
        mine = second("remember", "The second took over.", "--json").json["finding_id"]
        assert bus.get("ifmem:1:owner") != owner
        assert bus.keys("finding:*") == [f"finding:{mine}"]
        assert owner not in first("status", code=5).told()
    second.down()
    first("up", "--adopt")
    assert [line["finding_id"] for line in first("findings", "--json").lines] == [stored]


def test_keys_that_no_store_owns_are_left_alone(install: Any, external: str) -> None:
    ifmem = install(redis_url=external)
    with redis.Redis.from_url(external, decode_responses=True) as bus:
        bus.set("context:active", "17")
        bus.set("finding:somebody", "{}")
        run = ifmem("status", code=5)
        assert "no store owns" in run.told()
        assert bus.get("context:active") == "17"
        assert sorted(bus.keys("*")) == ["context:active", "finding:somebody"]


def test_a_password_in_the_url_is_not_shown(install: Any, external: str) -> None:
    password = "pass" + "phrase" + "123"
    with redis.Redis.from_url(external) as bus:
        bus.acl_setuser(
            "clerk",
            enabled=True,
            passwords=[f"+{password}"],
            keys=["*"],
            channels=["*"],
            commands=["+@all"],
        )
        path = external.removeprefix("unix://")
        ifmem = install(redis_url=f"unix://clerk:{password}@{path}")
        ifmem("remember", CLAIM)
        for args in (("status",), ("status", "--json"), ("config", "show"), ("up",), ("doctor",)):
            run = ifmem(*args)
            assert password not in run.out + run.err
        assert password in ifmem("status", "--json", "--show-secrets").out
        ifmem.down()
        wrong = ifmem(
            "status", code=5, environment={"IFMEM_REDIS_URL": f"unix://clerk:wrong@{path}"}
        )
        assert "wrong@" not in wrong.told()
    for log in ifmem.home.rglob("*.log"):
        assert password not in log.read_text()
