"""The command line's entrance: the commands, and how each kind of ending becomes an exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, TextIO

import typer

from ifmem.entrypoints.cli import (
    accounting,
    asking,
    auditing,
    benching,
    conflicts,
    exporting,
    forgetting,
    inbox,
    installing,
    looking,
    running,
    searching,
    serving,
    sessions,
    shimming,
    storing,
    tasking,
    validating,
    verifying,
    working,
)
from ifmem.entrypoints.cli.parsing import parser
from ifmem.entrypoints.cli.session import (
    Home,
    Json,
    Options,
    Quiet,
    Redis,
    Run,
    Space,
    Verbose,
    remember_options,
)
from ifmem.errors import IfMemError, to_wire

INTERRUPTED = 130


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code.

    0 ok, 1 failed, 2 usage, 3 not found, 4 not reachable or outcome unknown, 5 not permitted,
    130 interrupted. An error is one sentence on stderr and, with ``--json``, an object on stdout.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # What cannot be encoded is written out rather than ending the command half-way.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        entrance = parser(_app(), arguments)
        code = entrance(args=arguments, prog_name="ifmem", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        _silence(sys.stdout)
        return 0
    except Exception as error:
        if {"-v", "-vv", "--verbose"} & set(arguments) and not isinstance(error, IfMemError):
            raise
        return _report(error, as_json="--json" in arguments)
    if code == INTERRUPTED:
        sys.stderr.write("interrupted\n")
    return int(code or 0)


def _app() -> typer.Typer:
    app = typer.Typer(
        name="ifmem",
        help="A shared memory for LLM agents: load a corpus, ask it, and check every answer.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_before)
    storing.register(app)
    forgetting.register(app)
    asking.register(app)
    searching.register(app)
    tasking.register(app)
    looking.register(app)
    accounting.register(app)
    running.register(app)
    installing.register(app)
    shimming.register(app)
    benching.register(app)
    working.register(app)
    serving.register(app)
    verifying.register(app)
    auditing.register(app)
    validating.register(app)
    exporting.register(app)
    inbox.register(app)
    conflicts.register(app)
    sessions.register(app)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        sys.stdout.write(f"ifmem {metadata.version('ifmem')}\n")
        raise typer.Exit


def _before(
    context: typer.Context,
    as_json: Json = False,
    space: Space = None,
    home: Home = None,
    redis: Redis = None,
    run: Run = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    options = Options(
        as_json=as_json, space=space, home=home, redis=redis, run=run, quiet=quiet, verbose=verbose
    )
    remember_options(context, options)


def _report(error: Exception, *, as_json: bool) -> int:
    wire = _as_wire(error)
    if as_json:
        try:
            sys.stdout.write(json.dumps(wire, default=str) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            _silence(sys.stdout)
    sys.stderr.write(f"ifmem: {wire['message']}\n")
    return int(wire["exit_code"])


def _as_wire(error: Exception) -> dict[str, Any]:
    if isinstance(error, IfMemError):
        return to_wire(error)
    said = getattr(error, "format_message", None)
    if said is not None:
        # A usage error of the command line's parser, whose class is private to it.
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "ifmem"
        message = f"{said().rstrip('.')} (see `{where} --help`)"
        return {"error": "Invalid", "message": message, "exit_code": 2, "facts": {}}
    message = (
        f"something went wrong that should not ({type(error).__name__}: {error}); -v shows where"
    )
    return {"error": "Failed", "message": message, "exit_code": 1, "facts": {}}


def _silence(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
