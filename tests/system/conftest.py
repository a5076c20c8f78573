"""What every system test needs: an installation to run as a person would, and invented text."""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from ifmem.client import launch
from ifmem.client.verbs import Verbs
from ifmem.clock import monotonic
from ifmem.errors import IfMemError
from ifmem.settings import Settings, read_settings
from ifmem.wire import keys

PATIENCE_S = 60.0
SETTLED_NS = 1_700_000_000_000_000_000
"""A time long past: files of that age are not read again to see whether they changed."""


@dataclass(frozen=True)
class Run:
    """One command as its caller saw it."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]

    def told(self) -> str:
        """The one sentence on stderr; fails when there is more or less."""
        (line,) = self.err.splitlines()
        assert line.startswith("ifmem: "), line
        assert "Traceback" not in line
        assert "something went wrong that should not" not in line
        return line


@dataclass
class Installation:
    """ifmem with a home of its own, run as separate processes."""

    home: Path
    directory: Path
    """Where the person stands."""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """What a command would read."""
        variables = self._variables(None)
        return read_settings(flags={}, environment=variables, directory=self.directory)[0]

    def start(self, *args: object, environment: dict[str, str] | None = None) -> Any:
        return subprocess.Popen(
            [sys.executable, "-m", "ifmem", *map(str, args)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.directory,
            env=self._variables(environment),
        )

    def __call__(
        self, *args: object, code: int = 0, environment: dict[str, str] | None = None
    ) -> Run:
        run = finished(self.start(*args, environment=environment))
        assert run.code == code, f"{args}: exit {run.code}, not {code}: {run.out[-500:]} {run.err}"
        return run

    def piped(self, text: bytes, *args: object, code: int = 0) -> Run:
        """Run with this on standard input."""
        done = subprocess.run(
            [sys.executable, "-m", "ifmem", *map(str, args)],
            input=text,
            capture_output=True,
            cwd=self.directory,
            env=self._variables(None),
            timeout=PATIENCE_S * 2,
            check=False,
        )
        run = Run(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert run.code == code, f"{args}: exit {run.code}, not {code}: {run.err}"
        return run

    def write(self, path: str, text: str | bytes) -> Path:
        """A settled file below the directory in which the person stands."""
        target = self.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())
        return settled(target)

    def status(self) -> Any:
        """Everything at a glance; what does not run yet is started."""
        seen = self._asked(lambda memory: memory.status(show_secrets=True))
        return seen or self("status", "--json", "--show-secrets").json

    def sources(self) -> list[Any]:
        """Every source, over all pages."""
        items: list[Any] = []
        after = ""
        while True:
            page = self._asked(partial(Verbs.sources, after=after))
            page = page or self("sources", "--json", "--after", after).json
            items += page["items"]
            after = page["next"]
            if after is None:
                return items

    def findings(self) -> list[Any]:
        """Every finding, oldest first."""

        async def all_of_them(memory: Verbs) -> list[dict[str, Any]]:
            return [line.finding async for line in memory.findings()]

        return self._asked(all_of_them) or self("findings", "--json").lines

    def bus(self, url: str | None = None) -> redis.Redis:
        """The bus as any other client sees it; without a URL, once the daemon listens to it."""
        if url is not None:
            return redis.Redis.from_url(url, decode_responses=True)
        client = redis.Redis.from_url(self.status()["redis"]["url"], decode_responses=True)
        channel = keys.Keys(self.settings.space).of(keys.CHANNEL_FINDINGS)
        deadline = monotonic() + PATIENCE_S
        while not client.pubsub_numsub(channel)[0][1]:
            assert monotonic() < deadline, "the daemon does not subscribe to its channels"
            select.select([], [], [], 0.01)
        return client

    def daemon_pid(self) -> int:
        return int(self.status()["daemon_pid"])

    def down(self) -> None:
        asyncio.run(launch.stop(Settings(home=str(self.home))))

    def _asked(self, question: Callable[[Verbs], Coroutine[Any, Any, object]]) -> Any:
        """What a running daemon answers, as JSON would have it, without a process; else None."""

        async def answer() -> Any:
            settings = self.settings
            if (connection := await launch.join(settings)) is None:
                return None
            try:
                given = await question(Verbs(connection, settings, self.directory))
                return json.loads(msgspec.json.encode(given))
            finally:
                await connection.close()

        try:
            return asyncio.run(answer())
        except IfMemError:
            # It was just ending, for instance. A command knows what to do or say.
            return None

    def _variables(self, further: dict[str, str] | None) -> dict[str, str]:
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("IFMEM_", "XDG_"))}
        return {
            **plain,
            "IFMEM_HOME": str(self.home),
            "IFMEM_CONFIG": str(self.directory / "config.toml"),
            # Loading the sentence encoder would slow every start; its own tests turn it on.
            "IFMEM_RETRIEVAL_SEMANTIC": "off",
            **self.environment,
            **(further or {}),
        }


def finished(process: Any) -> Run:
    try:
        out, err = process.communicate(timeout=PATIENCE_S * 3)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Run(process.returncode, out, err)


def settled(path: Path) -> Path:
    os.utime(path, ns=(SETTLED_NS, SETTLED_NS))
    return path


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Callable[..., Installation]]:
    """Makes installations, each with its own home; all are down at the end."""
    yield from _installing(tmp_path)


@pytest.fixture(scope="module")
def install_shared(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Installation]]:
    """Makes installations for all tests of a module that change nothing another looks at."""
    yield from _installing(tmp_path_factory.mktemp("shared"))


def _installing(below: Path) -> Iterator[Callable[..., Installation]]:
    made: list[Installation] = []

    def make(name: str = "home", **environment: str) -> Installation:
        directory = below / "desk"
        directory.mkdir(exist_ok=True)
        (directory / "config.toml").touch()
        variables = {f"IFMEM_{key.upper()}": value for key, value in environment.items()}
        made.append(Installation(below / name, directory, variables))
        return made[-1]

    yield make
    for one in made:
        one.down()


@pytest.fixture
def ifmem(install: Callable[..., Installation]) -> Installation:
    """An installation with default settings."""
    return install()


@pytest.fixture
def home(ifmem: Installation) -> Path:
    """Its home."""
    return ifmem.home


@pytest.fixture
def finish() -> Callable[[Any], Run]:
    """Waits for a started command."""
    return finished


@pytest.fixture
def settle() -> Callable[[Path], Path]:
    """Gives a file a time long past."""
    return settled


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Waits until a question has a true answer, and gives it; asks again and again."""

    def wait(question: Callable[[], Any], within: float = PATIENCE_S) -> Any:
        deadline = monotonic() + within
        while not (answer := question()):
            assert monotonic() < deadline, "it did not come true in time"
            select.select([], [], [], 0.02)
        return answer

    return wait


_THINGS = [
    "ledger",
    "harbor",
    "lantern",
    "parcel",
    "courier",
    "orchard",
    "kettle",
    "ferry",
    "beacon",
    "quarry",
    "compass",
    "anvil",
    "meadow",
    "barge",
    "turbine",
    "pantry",
    "awning",
    "cellar",
    "gasket",
    "pulley",
    "trellis",
    "siphon",
    "rudder",
    "bobbin",
    "furnace",
]
_QUALITIES = [
    "quiet",
    "brisk",
    "narrow",
    "copper",
    "hollow",
    "early",
    "steady",
    "amber",
    "remote",
    "plain",
    "damp",
    "spare",
    "woven",
    "patient",
    "northern",
    "second",
    "broad",
    "lasting",
    "open",
    "rusty",
]
_ACTS = [
    "carries",
    "holds",
    "measures",
    "replaces",
    "follows",
    "checks",
    "opens",
    "empties",
    "joins",
    "feeds",
    "guards",
    "lifts",
    "sorts",
    "trims",
    "weighs",
    "signals",
    "cools",
    "seals",
    "counts",
    "turns",
]
_TIMES = [
    "before noon",
    "after the tide",
    "each spring",
    "at dusk",
    "on market days",
    "in cold weather",
]


class Writer:
    """Invented prose and code; the same seed writes the same."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def sentence(self) -> str:
        pick = self._chance.choice
        return (
            f"The {pick(_QUALITIES)} {pick(_THINGS)} {pick(_ACTS)} the {pick(_QUALITIES)} "
            f"{pick(_THINGS)} {pick(_TIMES)}."
        )

    def prose(self, sentences: int, title: str = "Notes") -> str:
        parts = [f"# {title}", ""]
        for index in range(sentences):
            parts.append(self.sentence())
            if index % 5 == 4:
                parts.append("")
        return "\n".join(parts) + "\n"

    def code(self, functions: int) -> str:
        pick, number = self._chance.choice, self._chance.randrange
        parts = ['"""Invented."""', ""]
        for index in range(functions):
            thing, other = pick(_THINGS), pick(_THINGS)
            parts += [
                "",
                f"def {pick(_ACTS)}_{thing}_{index}({other}: int) -> int:",
                f'    """{self.sentence()}"""',
                f"    {thing} = {other} * {number(2, 99)}",
                f"    return {thing} + {number(100)}",
                "",
            ]
        return "\n".join(parts)


@pytest.fixture(scope="module")
def writer() -> Callable[[int], Writer]:
    """Writers by their seed."""
    return Writer
