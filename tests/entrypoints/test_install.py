"""``ifmem install``: what a person sees of it, and what it leaves in the agents' files."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

SERVERS = {
    "claude": (".claude.json", "mcpServers", ".mcp.json"),
    "codex": (".codex/config.toml", "mcp_servers", ".codex/config.toml"),
    "gemini": (".gemini/settings.json", "mcpServers", ".gemini/settings.json"),
    "cursor": (".cursor/mcp.json", "mcpServers", ".cursor/mcp.json"),
    "vscode": (".config/Code/User/mcp.json", "servers", ".vscode/mcp.json"),
}
HOOKS = {
    "claude": ".claude/settings.json",
    "codex": ".codex/hooks.json",
    "gemini": ".gemini/settings.json",
}
linux = pytest.mark.skipif(sys.platform == "darwin", reason="VS Code's directory is another")


@pytest.fixture
def person(ifmem: Any, tmp_path: Path) -> Path:
    """The home directory of whoever types, empty."""
    directory = tmp_path.resolve() / "person"
    directory.mkdir()
    elsewhere = ("XDG_", "CLAUDE_", "CODEX_", "GEMINI_")
    for name in [name for name in ifmem.environment if name.startswith(elsewhere)]:
        del ifmem.environment[name]
    ifmem.environment["HOME"] = str(directory)
    return directory


def entry(path: Path, holder: str) -> Any:
    text = path.read_text()
    return (tomllib.loads if path.suffix == ".toml" else json.loads)(text)[holder]["ifmem"]


@linux
@pytest.mark.parametrize("agent", SERVERS)
@pytest.mark.parametrize("scope", ["user", "project"])
def test_an_agent_is_connected_in_its_own_file(
    ifmem: Any, person: Path, agent: str, scope: str
) -> None:
    for_user, holder, for_project = SERVERS[agent]
    path = person / for_user if scope == "user" else ifmem.directory / for_project
    told = ifmem.json("install", agent, "--scope", scope)
    assert (told["agent"], told["changed"]) == (agent, True)
    assert [(one["path"], one["backup"]) for one in told["files"]] == [(str(path), None)]
    written = entry(path, holder)
    assert Path(written["command"]).is_absolute() and Path(written["command"]).is_file()
    assert written["args"][-7:] == [
        *("mcp", "--agent", agent),
        *("--home", str(ifmem.home), "--space", ifmem.space),
    ]
    assert written.get("required") is (True if agent == "codex" else None)
    assert written.get("alwaysLoad") is (True if agent == "claude" else None)
    assert not {"trust", "default_tools_approval_mode", "autoApprove"} & set(written)
    again = ifmem.json("install", agent, "--scope", scope)
    assert (again["changed"], again["files"]) == (False, [])


@pytest.mark.parametrize("agent", HOOKS)
def test_uninstall_gives_back_every_byte(ifmem: Any, person: Path, agent: str) -> None:
    server, hooks = person / SERVERS[agent][0], person / HOOKS[agent]
    before = {hooks: b'{\n\t"hooks": {},\r\n\t"other": [1, 2] }'}
    before[server] = b'# mine\nmodel = "m"' if agent == "codex" else before[hooks]
    for path, text in before.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text)
    told = ifmem.json("install", agent, "--capture")
    assert {Path(one["path"]) for one in told["files"]} == {server, hooks}
    for one in told["files"]:
        assert Path(one["backup"]).read_bytes() == before[Path(one["path"])]
    assert f"hook {agent} " in hooks.read_text()
    ifmem("install", agent, "--uninstall", "--capture")
    assert "hook" not in hooks.read_text().replace('"hooks"', "")
    assert entry(server, SERVERS[agent][1])["command"]
    ifmem("install", agent, "--uninstall")
    assert {path: path.read_bytes() for path in before} == before


def test_a_dry_run_shows_the_diff_and_writes_nothing(ifmem: Any, person: Path) -> None:
    shown = ifmem("install", "cursor", "--dry-run").stdout
    assert f"+++ {person}/.cursor/mcp.json" in shown
    assert '+    "ifmem": {' in shown
    assert "nothing was changed" in shown
    assert list(person.iterdir()) == []
    assert ifmem.json("install", "cursor", "--dry-run")["changed"] is False


def test_a_file_that_cannot_be_parsed_is_left_with_what_to_add_by_hand(
    ifmem: Any, person: Path
) -> None:
    path = person / ".cursor" / "mcp.json"
    path.parent.mkdir()
    path.write_text('{"mcpServers": {')
    told = ifmem("install", "cursor", code=1).stderr
    assert told.count("\n") == 1 and f"{path} is left as it is" in told
    assert '{"mcpServers": {"ifmem": {"command": "' in told
    assert path.read_text() == '{"mcpServers": {'
    assert list(path.parent.iterdir()) == [path]


def test_what_captures_is_written_for_agents_that_have_hooks_only(ifmem: Any, person: Path) -> None:
    for agent in ("cursor", "vscode"):
        assert "no hooks" in ifmem("install", agent, "--capture", code=1).stderr
    assert list(person.iterdir()) == []
    ifmem("install", "gemini", "--capture", "--share")
    hooks = json.loads((person / ".gemini/settings.json").read_text())["hooks"]
    for groups in hooks.values():
        ((hook,),) = (group["hooks"] for group in groups)
        assert hook["command"].endswith(" --share") and hook["timeout"] == 5_000


@pytest.mark.parametrize(
    "words",
    [
        ("nobody",),
        ("claude", "--scope", "world"),
        ("claude", "--name", "a.b"),
        ("claude", "--share"),
    ],
)
def test_a_wish_that_cannot_be_is_a_usage_error(
    ifmem: Any, person: Path, words: tuple[str, ...]
) -> None:
    assert ifmem("install", *words, code=2).stderr.count("\n") == 1
    assert list(person.iterdir()) == []


def test_a_person_without_own_settings_gets_an_entry_without_them(ifmem: Any, person: Path) -> None:
    for name in ("IFMEM_HOME", "IFMEM_SPACE", "IFMEM_CONFIG"):
        del ifmem.environment[name]
    (ifmem.directory / ".ifmem.toml").write_text('space = "of-the-project"\n')
    ifmem("install", "vscode", "--scope", "project", "--name", "memory")
    (written,) = json.loads((ifmem.directory / ".vscode/mcp.json").read_text())["servers"].values()
    assert written["args"][-3:] == ["mcp", "--agent", "vscode"]
    assert "env" not in written


def test_the_doctor_tries_each_connection_as_the_agent_would(ifmem: Any, person: Path) -> None:
    pytest.importorskip("mcp", reason="the extra `mcp` is not installed")
    ifmem("install", "gemini", "--capture")
    checks = {one["name"]: one for one in ifmem.json("doctor")["checks"]}
    tried = checks["agent gemini (user)"]
    assert tried["ok"] and "status and recall in" in tried["message"]
    assert checks["capture gemini (user)"]["ok"]
    path = person / ".gemini/settings.json"
    path.write_text(path.read_text().replace("/bin/ifmem", "/gone/ifmem"))
    broken = {one["name"]: one for one in ifmem.json("doctor", code=1)["checks"]}
    assert not broken["agent gemini (user)"]["ok"]
    assert "ifmem install gemini" in broken["agent gemini (user)"]["message"]
    assert not broken["capture gemini (user)"]["ok"]
