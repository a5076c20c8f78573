"""The command line in processes of their own, with a home that is empty before and after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

_TESTS = uuid.UUID(int=0)
PROGRAM = (sys.executable, "-m", "ifmem")


class CommandLine:
    """Runs ``ifmem`` in one directory against one home."""

    def __init__(self, home: Path, directory: Path, space: str = "default") -> None:
        self.home = home
        self.space = space
        self.directory = directory
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("IFMEM_")}
        self.environment = {
            **inherited,
            "IFMEM_HOME": str(home),
            "IFMEM_SPACE": space,
            "IFMEM_CONFIG": os.devnull,
            "IFMEM_RETRIEVAL_SEMANTIC": "off",
        }

    def start(self, *words: str, **options: Any) -> subprocess.Popen[Any]:
        """A command that runs on, with pipes to it."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [*PROGRAM, *words], cwd=self.directory, env=self.environment, **{**pipes, **options}
        )

    def __call__(
        self, *words: str, code: int = 0, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """A command that has ended with this exit code."""
        done = subprocess.run(
            [*PROGRAM, *words],
            cwd=self.directory,
            env=self.environment,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *words: str, code: int = 0, stdin: str = "") -> Any:
        """What a command prints with ``--json``."""
        return json.loads(self(*words, "--json", code=code, stdin=stdin).stdout)

    def lines(self, *words: str) -> list[Any]:
        """What a command prints with ``--json``, an object per line."""
        return [json.loads(line) for line in self(*words, "--json").stdout.splitlines()]

    def processes(self) -> Sequence[str]:
        """The command lines of all processes that name this home."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            except OSError:
                continue
            if os.fsencode(self.home) in words:
                found.append(words.replace(b"\0", b" ").decode())
        return found


@pytest.fixture(scope="session")
def command_line() -> type[CommandLine]:
    """For a home that a module's tests share."""
    return CommandLine


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[CommandLine]:
    """A home of its own, for what starts, ends and kills daemons."""
    directory = tmp_path.resolve() / "tree"
    directory.mkdir()
    line = CommandLine(tmp_path.resolve() / "home", directory)
    yield line
    if line.home.is_dir():
        line("down")


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("shared").resolve() / "home"
    yield home
    if home.is_dir():
        CommandLine(home, home)("down")


@pytest.fixture
def ifmem(shared_home: Path, tmp_path: Path) -> CommandLine:
    """A space of its own in a home that the tests share, so that one daemon serves them."""
    directory = tmp_path.resolve() / "tree"
    directory.mkdir()
    return CommandLine(shared_home, directory, space=f"t-{uuid.uuid5(_TESTS, str(tmp_path)).hex}")
