"""The parser made for the named commands gives each the values that typer would, for less."""

from __future__ import annotations

import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.main import get_command

from ifmem.entrypoints.cli.main import _app
from ifmem.entrypoints.cli.parsing import parser


class Colour(StrEnum):
    RED = "red"


def loud(value: str | None) -> str | None:
    return value if value is None else value.upper()


def build(seen: list[Any]) -> typer.Typer:
    """A command with every kind of parameter that ours have, which notes what it is given."""

    def paint(
        what: Annotated[str, typer.Argument(callback=loud)],
        rest: Annotated[list[str] | None, typer.Argument()] = None,
        name: Annotated[str | None, typer.Option("--name", callback=loud)] = None,
        tag: Annotated[list[str] | None, typer.Option("--tag")] = None,
        count: Annotated[int, typer.Option("--count", min=1)] = 3,
        limit: Annotated[int | None, typer.Option("--limit", min=1)] = None,
        size: Annotated[float, typer.Option("--size", min=0.1)] = 0.5,
        colour: Annotated[Colour | None, typer.Option("--colour")] = None,
        at: Annotated[Path | None, typer.Option("--at")] = None,
        again: Annotated[bool, typer.Option("--again")] = False,
        verbose: Annotated[int, typer.Option("-v", count=True)] = 0,
    ) -> None:
        seen.append((what, rest, name, tag, count, limit, size, colour, at, again, verbose))

    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    app.command("paint")(paint)
    app.command("rest")(lambda: seen.append("rest"))
    return app


def outcome(command: Any, seen: list[Any], arguments: list[str]) -> Any:
    """What the command was given, or how its arguments were refused."""
    seen.clear()
    try:
        command(args=arguments, prog_name="test", standalone_mode=False)
    except Exception as error:
        return type(error), str(error)
    return seen[-1:]


@pytest.mark.parametrize(
    "words",
    [
        "paint door",
        "paint door wall roof --name ada --tag a --tag b",
        "paint door --count 7 --limit 2 --size 1.5 --colour red --at here --again -vv",
        "paint door --count 0",
        "paint door --limit many",
        "paint door --size 0",
        "paint door --colour green",
        "paint",
        "paint --name",
        "paint door --no-such-option",
        "rest",
        "rest paint",
        "pain door",
    ],
)
def test_a_command_is_given_what_typer_would_give_it(words: str) -> None:
    seen: list[Any] = []
    arguments = words.split()
    usual = outcome(get_command(build(seen)), seen, arguments)
    assert outcome(parser(build(seen), arguments), seen, arguments) == usual
    assert usual, "a refusal or a call"


def test_only_what_is_named_is_made_and_everything_when_nothing_is() -> None:
    one: Any = parser(_app(), ["--json", "tasks", "post", "mend the gate"])
    assert list(one.commands) == ["tasks"]
    assert list(one.commands["tasks"].commands) == ["post"]
    whole: Any = get_command(_app())
    for arguments in ([], ["--help"], ["--space", "acme"], ["aks"]):
        every: Any = parser(_app(), arguments)
        assert list(every.commands) == list(whole.commands)


@pytest.mark.parametrize("words", [["config", "show", "--json"], ["--version"]])
def test_a_command_does_not_wait_for_pydantic(words: list[str]) -> None:
    program = (
        "import sys; from ifmem.entrypoints.cli.main import run; code = run(sys.argv[1:]); "
        "sys.exit(code or 'pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, check=False)
    assert done.returncode == 0, done
