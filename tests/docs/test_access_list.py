"""The ACL line of the protocol: enough for everything the product does on the bus, and no more."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from ifmem.bus import embedded
from ifmem.bus.access import acl_line
from ifmem.bus.bus import Bus
from ifmem.bus.connection import Server, connect
from ifmem.bus.inspection import foreign_keys, record, remove_keys
from ifmem.clock import now
from ifmem.domain.shard import Shard, Speciality
from ifmem.errors import IfMemError
from ifmem.settings import RedisSettings
from ifmem.wire import blob, keys
from ifmem.wire.blob import BlobPart, BlobPassage, Manifest

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"
FAKE = "-".join(("not", "a", "secret"))
UUIDS = [f"00000000-0000-4000-8000-00000000000{n}" for n in range(3)]

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
        admin.execute_command("ACL", "SETUSER", "ifmem", *words)


async def everything(url: str, directory: Path) -> None:
    """Each thing that the product does on the bus, once or more."""
    server = await connect(RedisSettings(url=url), directory)
    try:
        await _all_steps(server)
    finally:
        await server.client.aclose()


async def _all_steps(server: Server) -> None:
    bus = Bus(server.client)
    passage = BlobPassage(5, 0, 1, 1, 2, "")
    part = BlobPart("/a", "ab" * 32, "prose", 2, (passage,))
    entry, data = blob.encode([part], "hello")
    shard = Shard(number=1, speciality=Speciality.FILES_GIT, capacity=10, tokens=2)
    await bus.claim("store", adopt=False)
    await bus.put_librarians()
    await bus.beat("w", expiry_seconds=60)
    for blobs, replaced in (({entry.sha256: data}, ()), ({}, (entry.sha256,))):
        await bus.put_shard(
            shard,
            worker="w",
            manifest=Manifest(1, 0, 2, (entry,)),
            new_blobs=blobs,
            replaced=replaced,
        )
    assert await bus.missing_blobs([entry.sha256]) == set()
    await bus.set_active([1], active=True)
    active, (state,) = await bus.shards()
    (context,), _ = await bus.load_contexts([1], {})
    assert (active, state.speciality, state.tokens) == (2, shard.speciality, 2)
    assert context.text("ab" * 32, 0) == "hello"
    for sequence, uuid in enumerate(UUIDS, 1):
        await bus.put_finding(uuid, sequence=sequence, body=b"{}", stored=sequence, window=2)
    await bus.restore_findings([(UUIDS[0], 1, b"{}")], stored=1)
    await bus.drop_finding(UUIDS[0], stored=0)
    assert (await bus.findings_stored(), await bus.owner()) == (0, "store")
    assert [one.alive for one in await bus.workers()] == [True]
    assert len(await bus.librarians()) == len(keys.LIBRARIANS)
    assert await foreign_keys(server.client, bus.keys) == []
    await record(server.client, bus.keys, at=now(), scan="s", foreign=[], actions=[])
    await remove_keys(server.client, [bus.keys.of(keys.CONTEXT_ACTIVE)])
    await bus.leave("w")
    assert await server.client.ping()


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
    with pytest.raises((IfMemError, redis.RedisError, AssertionError)):
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


def test_the_daemon_serves_every_command_as_the_documented_user(
    endpoint: embedded.Endpoint, tmp_path: Path
) -> None:
    grant(endpoint, set())
    note = tmp_path / "note.md"
    note.write_text("The launch is on Friday.\n", encoding="utf-8")
    home = ["--home", str(tmp_path / "home"), "--redis", url_of(endpoint)]
    try:
        for words in (
            ["load", str(note)],
            ["ask", "When is the launch?"],
            ["remember", "The launch is on Friday", "--cite", f"{note}:1"],
            ["status"],
            ["doctor", "--repair"],
        ):
            done = subprocess.run(
                [sys.executable, "-m", "ifmem", *words, *home],
                capture_output=True,
                encoding="utf-8",
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, (words, done.stdout, done.stderr)
    finally:
        subprocess.run([sys.executable, "-m", "ifmem", "down", *home], check=True, timeout=120)
