"""The command `worker`: joins a space by the bus's URL and works until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pkgutil
import signal
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ifmem.entrypoints.cli.session import Session, command
from ifmem.errors import Invalid

if TYPE_CHECKING:
    from ifmem.runtime.working import Handler
    from ifmem.settings import Settings

INTERRUPTED = 130

_SENTENCES = {
    "waiting": "waiting: {reason}",
    "joined": "joined space {space} as {worker_id}",
    "holding": "holds shard {shard}, {tokens:,} tokens",
    "loaded": "shard {shard} has {tokens:,} tokens now",
    "not holding": "shard {shard} is no longer held: {reason}",
    "stopping": "stopping: running tasks may end",
    "left": "left",
    "serving": "serving librarians: {librarians}",
}
_OF_TASKS = {
    "started": "task {task_id} started",
    "finished": "task {task_id} done",
    "failed": "task {task_id} failed: {reason}",
    "lost": "task {task_id} was lost: {reason}",
    "unknown": "task {task_id}: {reason}",
    "released": "task {task_id} was given back",
    "asked": "librarian {librarian}: asking {model}",
    "answered": "librarian {librarian} has answered",
    "not answered": "librarian {librarian} could not answer",
    "late": "librarian {librarian}: the answer came too late",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "worker")(worker)


async def worker(
    session: Session,
    shards: Annotated[
        str | None,
        typer.Option(
            "--shards",
            metavar="N,N…|any",
            help="Shards to hold; `any`: those that no other worker holds.",
        ),
    ] = None,
    librarians: Annotated[
        str | None,
        typer.Option(
            "--librarians",
            metavar="N,N…|any",
            help="Librarians whose models are called here, with the keys of this host.",
        ),
    ] = None,
    handler: Annotated[
        str | None,
        typer.Option(
            "--handler",
            metavar="MODULE:FUNCTION",
            help="Works on tasks: a function, async or not, that is given one and returns a claim, "
            "the fields of a finding, or nothing.",
        ),
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, max=256, help="Tasks at once.")
    ] = 8,
    lease: Annotated[
        float,
        typer.Option(
            "--lease",
            min=0.1,
            max=86_400,
            help="Seconds until another takes a dead worker's tasks.",
        ),
    ] = 60.0,
    grace: Annotated[
        float, typer.Option("--grace", min=0, help="Seconds running tasks may take at the end.")
    ] = 10.0,
    capacity: Annotated[
        int | None, typer.Option("--capacity", min=1, help="Tokens that `any` may take together.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Who it is on the bus.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the bus and the space's bridge.")
    ] = False,
) -> None:
    """Join a space by --redis URL from any host: take its tasks, hold its shards."""
    from ifmem.client.librarian_worker import serve_librarians
    from ifmem.client.worker import Worker
    from ifmem.runtime.beside import Beside

    has_work = handler is not None or librarians is not None
    wanted = _shards(shards) if shards is not None else None if has_work else "any"
    served = _numbers(librarians) if librarians is not None else None
    function = _handler(handler, session.directory) if handler is not None else None
    settings = await _settings(session)
    ending = _Ending()
    with ending.signals():
        async with Worker.join(
            settings=settings,
            name=name,
            shards=wanted,
            capacity=capacity,
            wait=wait,
            grace=timedelta(seconds=grace),
            on_event=lambda event: _tell(session, event),
        ) as joined:
            ending.has_joined = True
            beside = Beside()
            async with beside.running():
                working = None
                if function is not None:
                    work = joined.run(
                        function,
                        concurrency=concurrency,
                        lease=timedelta(seconds=lease),
                        grace=timedelta(seconds=grace),
                    )
                    working = beside.start(work)
                if served is not None:
                    beside.start(
                        serve_librarians(
                            settings,
                            served,
                            name=joined.name,
                            on_event=lambda event: _tell(session, event),
                        )
                    )
                await ending.told.wait()
                _tell(session, {"event": "stopping"})
                joined.stop()
                if working is not None:
                    await working


class _Ending:
    """SIGTERM and Ctrl-C: first what was begun may end, the second time all ends at once."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.has_joined = False
        self._task = asyncio.current_task()

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Take the signals; being told before it has joined is no failure."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stop)
        try:
            yield
        except asyncio.CancelledError:
            if not self.told.is_set():
                raise
        finally:
            for name in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(name)

    def _stop(self) -> None:
        if self.told.is_set():
            os._exit(INTERRUPTED)
        self.told.set()
        if not self.has_joined and self._task is not None:
            self._task.cancel()


async def _settings(session: Session) -> Settings:
    """The settings; without a URL, that of the embedded server of this home if it runs."""
    import msgspec

    from ifmem.bus import embedded
    from ifmem.runtime.service import bus_directory

    settings = session.settings()
    if settings.redis.url:
        return settings
    endpoint = await asyncio.to_thread(embedded.find, bus_directory(settings))
    if endpoint is None:
        return settings
    redis = msgspec.structs.replace(settings.redis, url=endpoint.url)
    return msgspec.structs.replace(settings, redis=redis)


def _shards(text: str) -> list[int] | Literal["any"]:
    if text.strip() == "any":
        return "any"
    try:
        numbers = [int(one) for one in text.split(",")]
    except ValueError as error:
        raise Invalid(
            f"{text[:60]!r} names no shards: write numbers as in --shards 2,3, or `any`"
        ) from error
    return numbers


def _numbers(text: str) -> list[int]:
    """The librarians that are named; none for `any`."""
    if text.strip() == "any":
        return []
    try:
        return [int(one) for one in text.split(",")]
    except ValueError as error:
        raise Invalid(
            f"{text[:60]!r} names no librarians: write numbers as in --librarians 1,3, or `any`"
        ) from error


def _handler(name: str, directory: Path) -> Handler:
    """The function that the operator names, from the modules that Python finds from here."""
    if ":" not in name:
        raise Invalid(f"{name!r} names no handler: write MODULE:FUNCTION")
    sys.path.insert(0, str(directory))
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise Invalid(f"the handler {name} cannot be imported: {error}") from error
    if not callable(found):
        raise Invalid(f"the handler {name} is no function")
    function: Handler = found
    return function


def _tell(session: Session, event: Mapping[str, Any]) -> None:
    """An event for programs as one line of JSON; for people, what is about tasks only with -v."""
    if session.options.as_json:
        import msgspec

        sys.stdout.write(msgspec.json.encode(event).decode() + "\n")
        sys.stdout.flush()
    elif event["event"] in _SENTENCES:
        session.note(_SENTENCES[event["event"]].format_map(event))
    elif session.options.verbose:
        session.note(_OF_TASKS[event["event"]].format_map(event))
