"""What an agent starts imports little: the standard library, and not all of that."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SHOW = """
import json, sys
before = set(sys.modules)
sys.argv = ["ifmem", *json.loads(sys.argv[1])]
from ifmem.entrypoints.start import run
code = run()
json.dump([code, sorted(set(sys.modules) - before)], sys.stderr)
"""
SLOW = {"argparse", "asyncio", "dataclasses", "inspect", "subprocess", "tempfile", "typer"}


def _imported(*arguments: str, directory: Path) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", SHOW, json.dumps(arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=directory,
        timeout=60,
        check=True,
    )
    assert done.stdout == b""
    code, modules = json.loads(done.stderr)
    assert code == 0
    return set(modules)


def test_the_shim_imports_the_standard_library_only(tmp_path: Path) -> None:
    # A home that cannot be: nothing is started, whatever else is imported is imported.
    home = tmp_path / "file"
    home.touch()
    modules = _imported("mcp", f"--home={home}", "--space", "acme", directory=tmp_path)
    ours = {name for name in modules if name.partition(".")[0] == "ifmem"}
    assert ours - {"ifmem", "ifmem.errors", "ifmem.places", "ifmem.sockets"} == {
        "ifmem.entrypoints",
        "ifmem.entrypoints.start",
        "ifmem.shim",
        *(
            f"ifmem.shim.{part}"
            for part in (
                *("binding", "handshake", "lines", "losses", "manifest", "places", "pump"),
                "stdio",
            )
        ),
    }
    foreign = {name.partition(".")[0] for name in modules - ours}
    assert foreign <= set(sys.stdlib_module_names)


def test_the_shim_imports_nothing_slow_before_it_has_to_start_a_daemon() -> None:
    code = "import sys, ifmem.entrypoints.start, ifmem.shim.stdio; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & SLOW


@pytest.mark.parametrize("arguments", [("mcp", "--help"), ("--quiet", "mcp", "--help")])
def test_its_help_is_the_command_line_s(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ifmem", *arguments], capture_output=True, text=True, check=True
    )
    assert "--root" in done.stdout


@pytest.mark.parametrize("arguments", [("--agents", "x"), ("--root",), ("further",)])
def test_a_wrong_option_is_a_usage_error_and_nothing_goes_to_the_agent(
    arguments: tuple[str, ...],
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ifmem", "mcp", *arguments], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"ifmem: ")
