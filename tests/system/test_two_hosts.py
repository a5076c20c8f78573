"""Two hosts in network namespaces: one has the memory and the server, the other only its URL."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from ifmem.bus.server_binary import choose_binary, packaged_binary

NEAR, FAR, PORT = "10.77.0.1", "10.77.0.2", 6390
URL = f"redis://{NEAR}:{PORT}/0"
STAY = ("sh", "-c", "echo; cat")
LINKS = ("lo", "wire")
WIRE = ("link", "add", "wire", "type", "veth", "peer", "wire", "netns")


class Host:
    """A network namespace, for as long as the process that keeps it."""

    def __init__(self, *command: str) -> None:
        self._keeper = subprocess.Popen(
            [*command, *STAY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._keeper.stdout is not None
        self.is_there = self._keeper.stdout.readline() == b"\n"
        self.pid = self._keeper.pid
        self.inside = (
            *("nsenter", f"--target={self.pid}", "--user", "--net", "--preserve-credentials"),
            "--",
        )

    def ip(self, *words: str) -> bool:
        done = subprocess.run([*self.inside, "ip", *words], capture_output=True, check=False)
        return done.returncode == 0

    def start(self, installation: Any, *args: object) -> Any:
        """Start a command there."""
        return subprocess.Popen(
            [*self.inside, sys.executable, "-m", "ifmem", "--json", *map(str, args)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=installation.directory,
            env=installation._variables(None),
        )

    def ifmem(self, installation: Any, *args: object) -> Any:
        """Run a command there; the lines of JSON that it printed."""
        process = self.start(installation, *args)
        out, err = process.communicate(timeout=90)
        assert process.returncode == 0, (args, out, err)
        return [json.loads(line) for line in out.splitlines()]

    def end(self) -> None:
        self._keeper.communicate()


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts with a wire between them."""
    with contextlib.ExitStack() as stack:
        try:
            near = Host("unshare", "--user", "--map-root-user", "--net")
            stack.callback(near.end)
            far = Host(*near.inside, "unshare", "--net") if near.is_there else near
        except OSError as error:
            pytest.skip(f"network namespaces need unshare and nsenter: {error}")
        if not (
            near.is_there
            and far.is_there
            and near.ip(*WIRE, str(far.pid))
            and near.ip("addr", "add", f"{NEAR}/24", "dev", "wire")
            and far.ip("addr", "add", f"{FAR}/24", "dev", "wire")
            and all(one.ip("link", "set", name, "up") for one in (near, far) for name in LINKS)
        ):
            pytest.skip("network namespaces and virtual wires are not permitted here")
        stack.callback(far.end)
        yield near, far


@pytest.fixture
def server(
    hosts: tuple[Host, Host], tmp_path: Path, eventually: Callable[..., Any]
) -> Iterator[None]:
    """A server on the near host's address, reachable over the wire only."""
    near, _ = hosts
    program = choose_binary(packaged_binary())
    settings = {
        **{"port": PORT, "bind": NEAR, "protected-mode": "no", "dir": tmp_path, "save": ""},
        "unixsocket": tmp_path / "near.sock",
    }
    words = [str(word) for name, value in settings.items() for word in (f"--{name}", value)]
    process = subprocess.Popen([*near.inside, program, *words], stdout=subprocess.DEVNULL)
    with redis.Redis(unix_socket_path=str(tmp_path / "near.sock")) as client:

        def answers() -> bool:
            with contextlib.suppress(redis.ConnectionError):
                return bool(client.ping())
            return False

        eventually(answers)
    yield
    process.kill()
    process.wait()


@pytest.mark.usefixtures("server")
def test_a_host_with_the_url_alone_shares_the_memory_and_outlives_a_cut_wire(
    install: Callable[..., Any], hosts: tuple[Host, Host], finish: Callable[[Any], Any]
) -> None:
    near, far = hosts
    # From anywhere else there is no such server, whoever may answer at that address.
    with pytest.raises(redis.RedisError), redis.Redis.from_url(URL, socket_timeout=1) as here:
        here.ping()
    owner = install("owner", redis_url=URL)
    client = install("client", redis_url=URL, role="client")
    near.ifmem(owner, "up")
    far.ifmem(client, "up", "--role", "client")
    (said,) = far.ifmem(client, "remember", "The far scale is level.")
    assert [line["finding_id"] for line in near.ifmem(owner, "findings")] == [said["finding_id"]]
    (posted,) = near.ifmem(owner, "tasks", "post", "Weigh the far crate")
    (task,) = far.ifmem(client, "tasks", "claim", "--worker", "far")
    assert task["task_id"] == posted["task_id"]

    again = "00000000-0000-4000-8000-000000000077"
    write = ("remember", "The wire was cut.", "--id", again)
    assert near.ip("link", "set", "wire", "down")
    cut_off = far.start(client, *write)
    with pytest.raises(subprocess.TimeoutExpired):
        cut_off.wait(2)
    assert near.ip("link", "set", "wire", "up")
    # Acknowledged after all, or unknown: repeating it settles that.
    assert finish(cut_off).code in (0, 4)
    far.ifmem(client, *write)
    fence = ("--fence", task["fence"], "--worker", "far", "--claim", "It weighs a ton.")
    far.ifmem(client, "tasks", "finish", task["task_id"], *fence)
    claims = [line["claim"] for line in near.ifmem(owner, "findings")]
    assert claims == ["The far scale is level.", "The wire was cut.", "It weighs a ton."]
    assert near.ifmem(owner, "tasks", "show", task["task_id"])[0]["state"] == "done"
