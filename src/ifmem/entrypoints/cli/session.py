"""What every command shares: the global options, the settings, the memory, and where results go."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ifmem.entrypoints.cli.paper import Paper

if TYPE_CHECKING:
    from ifmem.client.memory import Memory
    from ifmem.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Space = Annotated[str | None, typer.Option("--space", help="The isolated memory to use.")]
Home = Annotated[str | None, typer.Option("--home", help="Where the memory lies.")]
Redis = Annotated[str | None, typer.Option("--redis", help="URL of a Redis or Valkey.")]
Run = Annotated[
    str | None, typer.Option("--run", help="Keep to the tasks and findings of this run.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results only.")]
Verbose = Annotated[
    int, typer.Option("--verbose", "-v", count=True, show_default=False, help="Log on stderr.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options that stand before or after every command."""

    as_json: Json = False
    space: Space = None
    home: Home = None
    redis: Redis = None
    run: Run = None
    quiet: Quiet = False
    verbose: Verbose = 0

    def over(self, before: Options) -> Options:
        """These, and what was given before the command where these say nothing."""
        return Options(
            **{one.name: getattr(self, one.name) or getattr(before, one.name) for one in _OPTIONS}
        )


_OPTIONS = fields(Options)


@dataclass(frozen=True, slots=True)
class Session:
    """One run of one command."""

    options: Options
    directory: Path

    def settings(self, *, role: str | None = None) -> Settings:
        """The settings as seen from here, with the command's own options first."""
        from ifmem.client.memory import settings_for

        options = self.options
        return settings_for(
            self.directory,
            space=options.space,
            home=options.home,
            redis=options.redis,
            role=role,
            run=options.run,
        )

    def memory(self) -> AbstractAsyncContextManager[Memory]:
        """The memory, connected; its daemon is started when none runs."""
        from ifmem.client.memory import Memory

        return Memory.open(settings=self.settings())

    def give(self, value: object, draw: Callable[[Paper], None]) -> None:
        """Print a result: as one line of JSON, or drawn for a person."""
        if self.options.as_json:
            import msgspec

            sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
        else:
            draw(Paper(sys.stdout, self.directory))
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Tell a person something that is no result."""
        if not self.options.quiet:
            sys.stderr.write(text + "\n")


Command = Callable[..., Coroutine[Any, Any, int | None] | int | None]


def command(app: typer.Typer, name: str) -> Callable[[Command], Command]:
    """Makes a function, async or not, a command of ``app``, with the global options beside its own.

    Its first parameter is the ``Session``; what it returns is the exit code, None for 0.
    """

    def register(function: Command) -> Command:
        app.command(name)(_as_command(function))
        return function

    return register


def remember_options(context: typer.Context, options: Options) -> None:
    """Keep what was given before the command's name."""
    context.obj = options


def _as_command(function: Command) -> Callable[..., int]:
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    shared = _shared_parameters()
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    keyword = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*own, *shared)]

    def perform(**values: Any) -> int:
        before: Options = values.pop("context").find_root().obj or Options()
        options = Options(**{one.name: values.pop(one.name) for one in _OPTIONS}).over(before)
        return _run(function, Session(options, Path.cwd()), values)

    parameters = [*keyword, context]
    perform.__doc__ = function.__doc__
    # What typer reads: the parameters of the function, not `**values`.
    perform.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    perform.__annotations__ = {one.name: one.annotation for one in parameters}
    return perform


@cache
def _shared_parameters() -> Sequence[inspect.Parameter]:
    return list(inspect.signature(Options, eval_str=True).parameters.values())


def _run(function: Command, session: Session, values: dict[str, Any]) -> int:
    if session.options.verbose:
        level = logging.DEBUG if session.options.verbose > 1 else logging.INFO
        logging.basicConfig(level=level, stream=sys.stderr)
    try:
        ending = function(session, **values)
        code = asyncio.run(ending) if isinstance(ending, Coroutine) else ending
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough, as in `| head`; nothing more may be written, not even when
        # the interpreter flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code or 0
