"""What the doctor says of an agent's connection, tried with real processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ifmem.agents.checking import Seen, check_agents
from ifmem.agents.clients import Surroundings
from ifmem.clock import monotonic

SERVER = """\
#!{python} -u
import json, os, sys

TOOLS = {tools!r}
for line in sys.stdin:
    message = json.loads(line)
    method, params = message.get("method"), message.get("params") or {{}}
    if {upon!r} in (method, params.get("name")):
        {act}
    if "id" not in message:
        continue
    result = {{"protocolVersion": "2025-06-18", "capabilities": {{}}}}
    if method == "tools/list":
        result = {{"tools": [{{"name": name}} for name in TOOLS]}}
    if method == "tools/call":
        result = {{"content": [{{"type": "text", "text": json.dumps(params)}}]}}
    print('{{"jsonrpc": "2.0", "method": "notifications/message", "params": {{}}}}', flush=True)
    print(json.dumps({{"jsonrpc": "2.0", "id": message["id"], "result": result}}), flush=True)
"""


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    for name in ("person", "project", "bin"):
        (tmp_path / name).mkdir()
    return Surroundings(home=tmp_path / "person", project=tmp_path / "project", environment={})


def serve(
    around: Surroundings, upon: str = "", act: str = "pass", tools: tuple[str, ...] = ()
) -> Path:
    """A server that does something odd at one method or tool."""
    program = around.home.parent / "bin" / "ifmem"
    known = tools or ("status", "recall", "remember")
    program.write_text(SERVER.format(python=sys.executable, upon=upon, act=act, tools=known))
    program.chmod(0o755)
    return program


def connect(around: Surroundings, program: object, **more: object) -> None:
    """Cursor's settings, with an entry that starts this program."""
    entry = {"command": str(program), "args": ["mcp", "--agent", "cursor"], **more}
    path = around.home / ".cursor" / "mcp.json"
    path.parent.mkdir(exist_ok=True)
    others = {"other": {"command": "/nowhere/else", "args": []}}
    path.write_text("// mine\n" + json.dumps({"mcpServers": {**others, "ifmem": entry}}))


def check(around: Surroundings, patience_s: float = 30.0) -> Seen:
    (seen,) = check_agents(around, patience_s=patience_s)
    assert seen.name == "agent cursor (user)"
    return seen


def test_agents_that_are_not_connected_are_not_mentioned(around: Surroundings) -> None:
    assert list(check_agents(around)) == []


def test_a_connection_that_works_is_tried_to_the_end(around: Surroundings) -> None:
    connect(around, serve(around))
    seen = check(around)
    assert seen.ok and "3 tools, status and recall in" in seen.message


def test_the_entrys_own_variables_reach_the_server(around: Surroundings) -> None:
    act = "os.environ['IFMEM_CONFIG'] == '/c.toml' or sys.exit(1)"
    connect(around, serve(around, "initialize", act), env={"IFMEM_CONFIG": "/c.toml"})
    assert check(around).ok


@pytest.mark.parametrize(
    ("upon", "act", "told"),
    [
        ("initialize", "sys.exit('no home here')", "ends before it answers, and says: no home"),
        ("tools/list", "sys.exit()", "it ends before it answers"),
        ("status", "print('hello'); continue", "prints what is no MCP: hello"),
        (
            "recall",
            'print(json.dumps({"id": message["id"], "error": {"message": "no way"}})); continue',
            "tools/call fails: no way",
        ),
        (
            "status",
            'print(json.dumps({"id": message["id"], "result": {"isError": True, "content": '
            '[{"type": "text", "text": "the home is gone"}]}})); continue',
            "status fails: the home is gone",
        ),
        ("recall", 'print(json.dumps({"id": message["id"]})); continue', "without a result"),
    ],
)
def test_what_is_wrong_is_said(around: Surroundings, upon: str, act: str, told: str) -> None:
    connect(around, serve(around, upon, act))
    seen = check(around)
    assert not seen.ok and told in seen.message


def test_a_server_that_says_nothing_is_not_waited_for(around: Surroundings) -> None:
    connect(around, serve(around, "tools/list", "sys.stdin.read(); continue"))
    started = monotonic()
    seen = check(around, patience_s=0.7)
    assert not seen.ok and "not answered in time" in seen.message
    assert monotonic() - started < 20


def test_a_server_without_our_tools_is_not_ours(around: Surroundings) -> None:
    connect(around, serve(around, tools=("status",)))
    assert "no tool recall" in check(around).message


def test_a_command_that_is_gone_is_to_be_written_anew(around: Surroundings) -> None:
    connect(around, "/nowhere/ifmem")
    seen = check(around)
    assert not seen.ok
    assert "`ifmem install cursor --scope user`" in seen.message


def test_an_entry_that_is_turned_off_is_left_alone(around: Surroundings) -> None:
    connect(around, "/nowhere/ifmem", disabled=True)
    seen = check(around)
    assert seen.ok and "turned off" in seen.message


@pytest.mark.parametrize("text", ["{", '{"mcpServers": {"ifmem": ', b"\xff ifmem"])
def test_a_file_that_cannot_be_read_is_told(around: Surroundings, text: str | bytes) -> None:
    path = around.project / ".cursor" / "mcp.json"
    path.parent.mkdir()
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    seen = list(check_agents(around))
    # A broken file that does not name us is between the person and the agent.
    assert [one.ok for one in seen] == ([False] if "ifmem" in str(text) else [])


def test_codex_hooks_are_not_well_until_codex_was_told_to_trust_them(around: Surroundings) -> None:
    program = serve(around)
    group = {"hooks": [{"type": "command", "command": f"{program} hook codex", "timeout": 5}]}
    hooks = around.home / ".codex" / "hooks.json"
    hooks.parent.mkdir()
    hooks.write_text(json.dumps({"hooks": {"Stop": [group]}}))
    (seen,) = check_agents(around)
    assert (seen.name, seen.ok) == ("capture codex (user)", False)
    assert "/hooks" in seen.message
    state = f'[hooks.state."{hooks}:stop:0:0"]\ntrusted_hash = "sha256:00"\n'
    (hooks.parent / "config.toml").write_text(state)
    (seen,) = check_agents(around)
    assert seen.ok
