"""The ACL line of the protocol: enough for everything the product does on the bus, and no more."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bus_steps
import pytest
import redis

from ifmem.bus import embedded
from ifmem.bus.access import acl_line
from ifmem.bus.connection import connect
from ifmem.client.worker import Worker
from ifmem.errors import IfMemError
from ifmem.settings import RedisSettings
from ifmem.wire import keys

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"
FAKE = "-".join(("not", "a", "secret"))

# What redis-py says to every server and goes on without.
TOLERATED = {"client|setinfo", "hello"}
# Needed only where the server forbids functions.
SCRIPTS = {"evalsha", "eval"}
FUNCTIONS = {"fcall", "function|load"}


def documented() -> list[str]:
    """The words of the ACL line after the user's name."""
    line = re.search(r"^ACL SETUSER ifmem (.+)$", PROTOCOL.read_text(encoding="utf-8"), re.M)
    assert line is not None, "docs/protocol.md has no ACL line"
    return line[1].split()


def test_the_line_that_doctor_prints_is_the_documented_one() -> None:
    assert acl_line(keys.Keys()).split()[3:] == documented()
    assert "~acme:finding:*" in acl_line(keys.Keys("acme"))


def commands() -> list[str]:
    return [word[1:] for word in documented() if word.startswith("+")]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Endpoint]:
    directory = tmp_path_factory.mktemp("acl").resolve() / "bus"
    yield embedded.attach(directory)
    embedded.stop(directory)


def url_of(endpoint: embedded.Endpoint) -> str:
    return f"unix://ifmem:{FAKE}@{endpoint.socket}"


def grant(endpoint: embedded.Endpoint, without: set[str]) -> None:
    """An empty server, and the documented user less some commands."""
    words = [
        word.replace("PASSWORD", FAKE)
        for word in documented()
        if not (word.startswith("+") and word[1:] in without)
    ]
    with redis.Redis.from_url(endpoint.url) as admin:
        admin.flushall()
        admin.function_flush()
        admin.script_flush()
        admin.acl_log_reset()
        admin.execute_command("ACL", "SETUSER", "ifmem", *words)


async def everything(url: str, directory: Path) -> None:
    """Each thing that the product does on the bus, once or more."""
    server = await connect(RedisSettings(url=url), directory)
    try:
        await bus_steps.take_all(server)
    finally:
        await server.aclose()


@pytest.mark.parametrize(
    "without", [set(), SCRIPTS, FUNCTIONS], ids=["all", "functions", "scripts"]
)
def test_the_documented_user_may_do_everything(
    endpoint: embedded.Endpoint, tmp_path: Path, without: set[str]
) -> None:
    grant(endpoint, without)
    asyncio.run(everything(url_of(endpoint), tmp_path))


@pytest.mark.parametrize("command", sorted({*commands()} - TOLERATED - SCRIPTS - FUNCTIONS))
def test_without_any_one_command_something_is_refused_or_wrong(
    endpoint: embedded.Endpoint, tmp_path: Path, command: str
) -> None:
    grant(endpoint, {command})
    # Listing the shards reads what it may and shows the rest as zero: a wrong state, no error.
    with pytest.raises((IfMemError, redis.RedisError, AssertionError, TimeoutError)):
        asyncio.run(everything(url_of(endpoint), tmp_path))


@pytest.mark.parametrize("command", sorted(SCRIPTS))
def test_where_functions_are_forbidden_both_script_commands_are_needed(
    endpoint: embedded.Endpoint, tmp_path: Path, command: str
) -> None:
    grant(endpoint, FUNCTIONS | {command})
    with pytest.raises(IfMemError):
        asyncio.run(everything(url_of(endpoint), tmp_path))


def test_the_documented_user_may_touch_no_key_but_ours(endpoint: embedded.Endpoint) -> None:
    grant(endpoint, set())
    with redis.Redis.from_url(url_of(endpoint)) as user:
        for refused in (["GET", "other"], ["FLUSHALL"], ["KEYS", "*"], ["PUBLISH", "other", "x"]):
            with pytest.raises(redis.exceptions.NoPermissionError):
                user.execute_command(*refused)


def test_daemon_client_and_worker_do_their_work_as_the_documented_user(
    endpoint: embedded.Endpoint, tmp_path: Path
) -> None:
    grant(endpoint, set())
    note = tmp_path / "note.md"
    note.write_text("The launch is on Friday.\n", encoding="utf-8")
    url = url_of(endpoint)
    home = ["--home", str(tmp_path / "home"), "--redis", url]
    client = ["--home", str(tmp_path / "client"), "--redis", url]
    try:
        for words in (
            ["load", str(note), *home],
            ["ask", "When is the launch?", *home],
            ["remember", "The launch is on Friday", "--cite", f"{note}:1", *home],
            ["tasks", "post", "Prepare the launch", *home],
            ["up", "--role", "client", *client],
            ["findings", *client],
        ):
            run(words)
        asyncio.run(work(url))
        for words in (["tasks", "list", *client], ["status", *home], ["doctor", "--repair", *home]):
            run(words)
    finally:
        for words in (client, home):
            run(["down", *words])
    with redis.Redis.from_url(endpoint.url) as admin:
        refused = admin.acl_log()
    assert [entry["object"] for entry in refused] == []


def run(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ifmem", *words],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)


async def work(url: str) -> None:
    """Do the one task there is, and hold a shard meanwhile."""
    async with Worker.join(url, shards="any", wait=True) as worker:
        async for task in worker.tasks():
            await worker.held()
            await task.finish("The launch is prepared")
            return
