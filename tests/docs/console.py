"""Runs the ``console`` blocks of a page as a reader would, in one empty directory and one home."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What differs from run to run and machine to machine; everything else is compared.
_VOLATILE = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\b[\d,.]+ (ms|s|B|kB|MB|GB)\b"), r"N \1"),
    (re.compile(r"\b(score|lexical|vector|neighbour) \d\.\d\d"), r"\1 N"),
    # Another setting of the ranking changes these, and nothing that a page explains.
    (re.compile(r"\b\d+% of the score"), "N% of the score"),
    (re.compile(r"process \d+"), "process N"),
    (re.compile(r"(valkey|ifmem) \d+(\.\d+)+"), r"\1 N"),
    (re.compile(r"\S+-\d+$"), "WORKER"),
    (re.compile(r"(?<=[ ·] )\S+-\d+\b"), "WORKER"),
    (re.compile(r"^home \S+"), "home HOME"),
    (re.compile(r"^store +\S+(?=/spaces/)"), "store HOME"),
    # A file that was written a moment ago is read again, lest it changed within one time stamp.
    (re.compile(r"^\d+ (read|unchanged)(, \d+ unchanged)?"), "N read or unchanged"),
)


@dataclass(frozen=True)
class Step:
    """A command of a page and what the page says it prints."""

    command: str
    printed: str


def steps(page: str) -> Iterator[Step]:
    """Every command of every block, in order; a line that ends in a backslash goes on."""
    for block in _BLOCK.findall(page):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.splitlines()
            last = next(n for n, line in enumerate(lines) if not line.endswith("\\"))
            yield Step("\n".join(lines[: last + 1]), "\n".join(lines[last + 1 :]).rstrip())


class Reader:
    """Somebody who follows a page."""

    def __init__(self, directory: Path, home: Path) -> None:
        self._directory = directory
        settings = home.parent / "settings.toml"
        settings.touch()
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("IFMEM_")}
        self._environment = {
            **inherited,
            "IFMEM_HOME": str(home),
            "IFMEM_CONFIG": str(settings),
            # The pages show an installation without extras.
            "IFMEM_RETRIEVAL_SEMANTIC": "off",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', '')}",
        }

    def types(self, command: str) -> str:
        """What a command prints; it must end with 0."""
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=self._directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (command, done.returncode, done.stdout)
        return done.stdout.rstrip()


def comparable(printed: str) -> list[str]:
    """The lines with what may differ made equal; widths of columns do not count."""
    lines = []
    for line in printed.splitlines():
        for pattern, name in _VOLATILE:
            line = pattern.sub(name, line.rstrip())
        lines.append(re.sub(r" {2,}", "  ", line))
    return lines


def matches(said: str, printed: str) -> bool:
    """Whether a page tells what was printed; ``…`` on a line of its own stands for any lines."""
    pattern = "\n".join(
        r"(?:.*\n)*?.*" if line == "…" else re.escape(line).replace("…", ".*")
        for line in comparable(said)
    )
    return re.fullmatch(pattern, "\n".join(comparable(printed))) is not None
