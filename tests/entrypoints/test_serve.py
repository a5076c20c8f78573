"""``ifmem serve`` and ``ifmem token`` as processes of their own, with the real tools behind."""

from __future__ import annotations

import asyncio
import json
import re
import select
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.exceptions import MCPError

from ifmem.client.reconnecting import ReconnectingCalls
from ifmem.entrypoints import serving as serving_process
from ifmem.errors import ConfigError
from ifmem.settings import Settings
from ifmem.wire.agent_calls import TokenCreateCall, TokenShape

CommandLine = Any
"""As ``conftest.py`` makes it."""
PATIENCE_S = 60.0
MODES = ("legacy", "2026-07-28")


@pytest.fixture(scope="module")
def line(
    tmp_path_factory: pytest.TempPathFactory, command_line: CommandLine
) -> Iterator[CommandLine]:
    folder = tmp_path_factory.mktemp("serve").resolve()
    (folder / "tree").mkdir()
    made = command_line(folder / "home", folder / "tree")
    yield made
    made("down")


class Served:
    """A server that runs."""

    def __init__(self, process: subprocess.Popen[Any], url: str) -> None:
        self.process = process
        self.url = url

    def end(self, which: signal.Signals) -> tuple[int, str]:
        """Send a signal; the exit code and what was said on stderr."""
        self.process.send_signal(which)
        _, said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said.decode()


@contextmanager
def serving(line: CommandLine, *words: str) -> Iterator[Served]:
    process = line.start("serve", "--port", "0", "--json", *words)
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], PATIENCE_S)[0]
        yield Served(process, json.loads(process.stdout.readline())["url"])
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def served(line: CommandLine) -> Iterator[Served]:
    with serving(line) as running:
        yield running
        assert running.end(signal.SIGTERM)[0] == 0


@asynccontextmanager
async def agent(served: Served, token: str, mode: str = "2026-07-28") -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=PATIENCE_S, verify=False) as web,
        Client(streamable_http_client(served.url, http_client=web), mode=mode) as connected,
    ):
        yield connected


def ask(served: Served, token: str, tool: str, mode: str = "2026-07-28", **given: Any) -> Any:
    """What one tool says; an error's name and message as its own."""

    async def run() -> Any:
        async with agent(served, token, mode) as connected:
            return (await connected.call_tool(tool, given)).structured_content

    return asyncio.run(run())


def token(line: CommandLine, name: str, scope: str = "read write", root: str = "") -> str:
    """A token that the daemon makes, without the command around it."""

    async def run() -> str:
        call = TokenCreateCall(name, tuple(scope.split()), (root,) if root else ())
        async with ReconnectingCalls(Settings(home=str(line.home))) as calls:
            made = await calls.call("token_create", call, returns=TokenShape, space="default")
            return made.token or ""

    return asyncio.run(run())


def audited(line: CommandLine) -> list[tuple[str, str, str]]:
    store = line.home / "spaces" / "default" / "store.sqlite"
    with closing(sqlite3.connect(store)) as connection:
        return connection.execute("SELECT actor, action, reason FROM audit").fetchall()


def test_a_token_is_shown_once_with_how_to_use_it(line: CommandLine) -> None:
    made = line("token", "create", "shown", "--expires", "30d", "--root", ".")
    assert re.fullmatch(r"ifm_[A-Za-z0-9_-]{43}\n", made.stdout)
    assert "Authorization: Bearer" in made.stderr
    assert "ifmem token revoke shown" in made.stderr
    (listed,) = [one for one in line.json("token", "list")["items"] if one["name"] == "shown"]
    assert listed["token"] is None
    assert listed["roots"] == [str(line.directory)]
    assert made.stdout.strip() not in line("token", "list").stdout


def test_a_token_is_bound_to_the_space_that_was_named(line: CommandLine) -> None:
    assert line.json("token", "create", "elsewhere", "--space", "acme")["space"] == "acme"


def test_what_cannot_be_a_token_is_told_with_what_to_do(line: CommandLine) -> None:
    line("token", "create", "twice")
    assert "ifmem token revoke twice" in line("token", "create", "twice", code=1).stderr
    assert "write 90s" in line("token", "create", "x", "--expires", "soon", code=2).stderr
    assert "read, write, admin" in line("token", "create", "x", "--scope", "all", code=2).stderr
    assert "is no directory" in line("token", "create", "x", "--root", "absent", code=3).stderr
    assert "ifmem token list" in line("token", "revoke", "nobody", code=3).stderr
    assert [one["name"] for one in line.json("token", "list")["items"]].count("x") == 0


@pytest.mark.parametrize("mode", MODES)
def test_what_one_agent_says_is_its_own_and_found_by_another(
    line: CommandLine, served: Served, mode: str
) -> None:
    writer, reader = token(line, f"writer-{mode}"), token(line, f"reader-{mode}", "read")
    claim = f"The {mode} kettle boils at noon"
    said = ask(served, writer, "remember", mode, claim=claim)
    assert said["finding_id"]
    found = ask(served, reader, "recall", mode, query="kettle boils noon")
    assert f"writer-{mode}" in json.dumps(found)
    assert claim in json.dumps(found)


def test_each_scope_opens_its_tools_and_no_other(line: CommandLine, served: Served) -> None:
    reader = token(line, "only-reads", "read")
    writer = token(line, "only-writes", "write")
    for who, tool, given in (
        (reader, "remember", {"claim": "not by me"}),
        (reader, "task_post", {"title": "not by me"}),
        (reader, "forget", {"id": "40885825-9ae2-4c76-9f94-45926e71d72f"}),
        (writer, "recall", {"query": "anything"}),
        (writer, "forget", {"id": "40885825-9ae2-4c76-9f94-45926e71d72f"}),
    ):
        refused = ask(served, who, tool, **given)
        assert refused["error"] == "NotPermitted", (tool, refused)
    rows = {(actor, action) for actor, action, _ in audited(line)}
    assert {("only-reads", "mcp remember"), ("only-writes", "mcp recall")} <= rows


def test_a_call_over_http_counts_once(line: CommandLine) -> None:
    """The SDK lists the tools before each call unless it is told what they take."""
    line.environment["IFMEM_MCP_CALLS_PER_MINUTE"] = "20"
    try:
        with serving(line) as strict:
            made = token(line, "counted")

            async def run() -> list[bool]:
                async with agent(strict, made) as connected:
                    asked = [await connected.call_tool("recall", {"query": "x"}) for _ in range(8)]
                    return [one.is_error for one in asked]

            assert asyncio.run(run()) == [False] * 8
    finally:
        del line.environment["IFMEM_MCP_CALLS_PER_MINUTE"]


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ifmem.mcp_server.http", None)
    # Where another test of this process has imported it, its package has it as well.
    monkeypatch.delattr("ifmem.mcp_server.http", raising=False)
    home = Settings(home=str(tmp_path / "home"))
    with pytest.raises(ConfigError, match=r"pip install 'ifmem\[mcp\]'"):
        asyncio.run(serving_process.serve(home, port=0, ready=print))
    assert not (tmp_path / "home").exists()


def test_another_agents_task_is_refused_and_audited(line: CommandLine, served: Served) -> None:
    ada, eve = token(line, "ada"), token(line, "eve")
    posted = ask(served, ada, "task_post", title="sort the letters")
    claimed = ask(served, ada, "task_claim")
    text = json.dumps(claimed)
    assert posted["task_id"] in text
    fence = re.search(r'"fence": "([^"]+)"', text)
    assert fence is not None
    stolen = {"task_id": posted["task_id"], "fence": fence[1]}
    assert ask(served, eve, "task_finish", **stolen)["error"] in ("Refused", "NotPermitted")
    assert ask(served, ada, "task_finish", **stolen)["state"] == "done"
    # Refusals of tasks come to the audit through the log, as this does.
    assert "finding_id" in ask(served, ada, "remember", claim="The letters are sorted")
    assert "eve" in {actor for actor, _, _ in audited(line)}


def test_a_token_without_roots_reads_no_file_and_one_with_roots_only_theirs(
    line: CommandLine, served: Served
) -> None:
    inside = line.directory / "docs" / "note.md"
    inside.parent.mkdir()
    inside.write_text("The gate opens at six.\n")
    outside = line.directory.parent / "secret.md"
    outside.write_text("Nobody should read this.\n")
    rooted, bare = token(line, "rooted", root=str(inside.parent)), token(line, "bare")
    loaded = ask(served, rooted, "load", paths=[str(inside)])
    assert loaded["documents"] == 1
    told = {
        json.dumps(ask(served, who, "load", paths=[str(path)]).get("message"))
        for who, path in (
            (rooted, outside),
            (rooted, line.directory.parent / "absent.md"),
            (rooted, inside.parent / ".." / ".." / "secret.md"),
            (bare, inside),
        )
    }
    assert all("not permitted" in one.lower() for one in told), told


def test_tokens_outlive_the_daemon_and_end_when_they_are_revoked(
    line: CommandLine, served: Served
) -> None:
    made = token(line, "lasting")
    line("down")
    assert "error" not in ask(served, made, "status")
    assert line.json("token", "revoke", "lasting")["state"] == "revoked"
    with pytest.raises((MCPError, httpx2.HTTPError, ExceptionGroup)):
        ask(served, made, "status")


@pytest.mark.parametrize(("which", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_the_server_ends_at_once_though_somebody_listens(
    line: CommandLine, which: signal.Signals, code: int
) -> None:
    made = token(line, f"listening-{which.name.lower()}")

    async def run(ending: Served) -> None:
        async with (
            agent(ending, made) as connected,
            connected.listen(resource_subscriptions=["memory://context/active"]) as stream,
        ):
            ended, said = await asyncio.to_thread(ending.end, which)
            assert (ended, "Traceback" in said) == (code, False), said
            with pytest.raises(SubscriptionLost):
                await anext(aiter(stream))

    with serving(line) as ending:
        asyncio.run(run(ending))


def test_a_port_that_is_taken_and_keys_that_are_missing_are_told(
    line: CommandLine, served: Served, tmp_path: Path
) -> None:
    port = served.url.split(":")[2].removesuffix("/mcp")
    assert "--port 0" in line("serve", "--port", port, code=2).stderr
    line.environment["IFMEM_SERVE_ISSUER"] = "https://login.example.org"
    try:
        assert "serve.audience" in line("serve", "--port", "0", code=2).stderr
    finally:
        del line.environment["IFMEM_SERVE_ISSUER"]
