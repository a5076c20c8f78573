"""The conditions of a measurement: machine, versions, commit, persistence, tokeniser."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import msgspec

from ifmem import clock
from ifmem.tokens import TOKENIZER

_PERSISTENCE = "embedded server with AOF everysec; SQLite in WAL mode"


class Conditions(msgspec.Struct, frozen=True):
    """What a reader needs to repeat a measurement and to judge it."""

    at: str
    host: str
    cores: int
    load_average: float | None
    """Of the minute before: other work on the machine makes every figure worse."""
    python: str
    ifmem: str
    commit: str | None
    """None outside a git checkout; ``+`` at the end when files were changed."""
    server: str
    persistence: str
    tokenizer: str
    semantic: str = "off"
    """``on``: everything was embedded by the extra ``semantic`` before the first question."""


def conditions(server: str, *, semantic: bool = False) -> Conditions:
    """The conditions now; ``server`` is the name and version of the Redis that was used."""
    return Conditions(
        at=clock.stamp(clock.now()),
        host=f"{platform.system()} {platform.machine()}",
        cores=_cores(),
        load_average=_load_average(),
        python=platform.python_version(),
        ifmem=metadata.version("ifmem"),
        commit=_commit(),
        server=server,
        persistence=_PERSISTENCE,
        tokenizer=TOKENIZER,
        semantic="on" if semantic else "off",
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _load_average() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def _commit() -> str | None:
    here = Path(__file__).parent
    head = _git(here, "rev-parse", "--short=12", "HEAD")
    if head is None:
        return None
    return head + ("+" if _git(here, "status", "--porcelain") else "")


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
