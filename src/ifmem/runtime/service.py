"""The verbs of the daemon: which call goes where, and what is done when the bus was away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ifmem import clock
from ifmem.bus import embedded
from ifmem.bus.connection import Server, connect
from ifmem.domain.space import require_space
from ifmem.engine.harmless import require_harmless_names
from ifmem.errors import IfMemError, Invalid, NotPermitted, Refused
from ifmem.index.sentence_encoder import SentenceEncoder
from ifmem.llm.registry import Models
from ifmem.runtime import listing
from ifmem.runtime.bridging import bridge
from ifmem.runtime.diagnosing import diagnose
from ifmem.runtime.exporting import export_space
from ifmem.runtime.following import follow
from ifmem.runtime.importing import import_space
from ifmem.runtime.keeping_captured import keep_captured
from ifmem.runtime.listening import Emitter
from ifmem.runtime.loading import load
from ifmem.runtime.opening import STORE, close_space, open_space
from ifmem.runtime.quotas import FILE as QUOTAS
from ifmem.runtime.quotas import Quotas
from ifmem.runtime.refusing import AuditedRefusals, into_store, refusal_of
from ifmem.runtime.space import Space
from ifmem.runtime.verbs import LISTS, VERBS, decoded
from ifmem.runtime.watching import watch
from ifmem.settings import RedisSettings, Settings
from ifmem.wire import calls
from ifmem.wire.agent_calls import WatchCall
from ifmem.wire.export_calls import ExportCall, ImportCall
from ifmem.wire.shapes import Page, SpaceShape

_PROGRESS_SECONDS = 0.1
LOCAL = "local"
"""The file that marks a space as one that never leaves this host."""


class Service:
    """All spaces of one home, opened when they are first named."""

    def __init__(
        self,
        settings: Settings,
        server: Server,
        *,
        worker_id: str,
        version: str,
        tasks: asyncio.TaskGroup,
        models: Models,
        sentences: SentenceEncoder | None = None,
    ) -> None:
        """A service whose spaces live in ``tasks``."""
        self.settings = settings
        self._tasks = tasks
        self._bridges: list[asyncio.Task[None]] = []
        self._models = models
        self._quotas = Quotas(settings.home_path / QUOTAS, settings)
        self._sentences = sentences
        self._server = server
        self._local_server: Server | None = None
        self._worker_id = worker_id
        self._version = version
        self._spaces: dict[str, Space] = {}
        self._refusals: dict[str, AuditedRefusals] = {}
        self._opening = asyncio.Lock()
        self._running = 0
        self._last_used = clock.monotonic()

    async def call(self, request: calls.Request, emit: Emitter) -> Any:
        """Do what a request asks.

        Raises:
            IfMemError: as the verb says; ``Invalid`` for an unknown method or wrong parameters.
        """
        self._running += 1
        try:
            return await self._answer(request, emit)
        finally:
            self._running -= 1
            self._last_used = clock.monotonic()

    async def idle_seconds(self) -> float:
        """How long nothing was asked, here or over the bus; 0 while a worker elsewhere lives."""
        if self._running or await self._has_workers():
            self._last_used = clock.monotonic()
        return clock.monotonic() - self._last_used

    async def _has_workers(self) -> bool:
        for space in self.open_spaces():
            with contextlib.suppress(IfMemError):
                if any(
                    w.alive and w.worker_id != self._worker_id for w in await space.bus.workers()
                ):
                    return True
        return False

    async def _answer(self, request: calls.Request, emit: Emitter) -> Any:
        if request.method == "spaces":
            return self._list_spaces()
        params = decoded(request)
        if isinstance(params, calls.UpCall):
            await self.space(request.space, adopt=params.adopt)
            return {}
        space = await self.space(request.space)
        if request.method in _RETRIED:
            return await space.insist(lambda: self._verb(space, request.method, params, emit))
        try:
            require_harmless_names({name: getattr(params, name, None) for name in calls.NAMES})
            return await self._verb(space, request.method, params, emit)
        except (Invalid, NotPermitted, Refused) as error:
            if request.method in calls.REPEAT and not _is_audited_by_the_bus(request.method, error):
                refusal = refusal_of(request.method, params, error, otherwise=space.worker_id)
                await self._refusals_in(space).add(refusal)
            raise

    async def space(self, name: str, *, adopt: bool = False) -> Space:
        """An open space."""
        async with self._opening:
            if name not in self._spaces:
                opened = await open_space(
                    require_space(name),
                    home=self.settings.home_path,
                    settings=self.settings,
                    server=await self._server_of(name),
                    worker_id=self._worker_id,
                    models=self._models,
                    quotas=self._quotas,
                    sentences=self._sentences,
                    adopt=adopt,
                )
                self._spaces[name] = opened
                opened.beside = self.beside
                self._bridges.append(
                    self._tasks.create_task(bridge(opened, self.reconnect, self.call))
                )
                self._bridges.append(self._tasks.create_task(keep_captured(opened)))
            return self._spaces[name]

    async def beside(self, name: str, create: bool, /) -> Space | None:
        """A space that another one of this home needs; None when it is not to be made."""
        directory = self.settings.home_path / "spaces" / name
        if not (directory / STORE).exists():
            if not create:
                return None
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            (directory / LOCAL).touch(mode=0o600)
        is_local = self._server.embedded or (directory / LOCAL).exists()
        return await self.space(name) if is_local else None

    async def _server_of(self, name: str) -> Server:
        """What is local stays on this host: its bus is the embedded one, whatever the others'."""
        marked = (self.settings.home_path / "spaces" / name / LOCAL).exists()
        if self._server.embedded or not marked:
            return self._server
        if self._local_server is None:
            self._local_server = await connect(RedisSettings(), bus_directory(self.settings))
        return self._local_server

    def _refusals_in(self, space: Space) -> AuditedRefusals:
        if space.name not in self._refusals:
            self._refusals[space.name] = AuditedRefusals(into_store(space.database))
        return self._refusals[space.name]

    def open_spaces(self) -> list[Space]:
        """The spaces that are open."""
        return list(self._spaces.values())

    async def reconnect(self) -> None:
        """Start the embedded server again when it is gone; the client finds it by its path."""
        if self._server.embedded or self._local_server is not None:
            await asyncio.to_thread(embedded.attach, bus_directory(self.settings))

    async def close(self) -> None:
        """Close every space and the connection."""
        for task in self._bridges:
            task.cancel()
        if self._bridges:
            await asyncio.wait(self._bridges)
        for refusals in self._refusals.values():
            refusals.close()
        for space in self.open_spaces():
            await close_space(space, leave=True)
        await self._models.aclose()
        await self._quotas.aclose()
        await self._server.aclose()
        if self._local_server is not None:
            await self._local_server.aclose()

    async def _verb(self, space: Space, method: str, params: Any, emit: Emitter) -> Any:
        match params:
            case calls.LoadCall():
                return await load(space, params, _throttled(emit))
            case ExportCall():
                return await export_space(space, params, _throttled(emit))
            case ImportCall():
                return await import_space(space, params, _throttled(emit))
            case calls.FollowCall():
                return await follow(space, params, emit)
            case WatchCall():
                return await watch(space, params, emit)
            case calls.StatusCall():
                return await listing.status(space, space.server, params, self._version)
            case calls.DoctorCall():
                return await diagnose(space, space.server, params)
            case calls.Nothing():
                return await LISTS[method](space)
            case _:
                return await VERBS[type(params)](space, params)

    def _list_spaces(self) -> Page[SpaceShape]:
        folder = self.settings.home_path / "spaces"
        stores = sorted(folder.glob(f"*/{STORE}")) if folder.is_dir() else []
        return Page(
            [
                SpaceShape(s.parent.name, s.stat().st_size, s.parent.name in self._spaces)
                for s in stores
            ]
        )


def bus_directory(settings: Settings) -> Path:
    """Where the embedded server of a home keeps its data."""
    return settings.home_path / "bus"


_RETRIED = frozenset({"shards", "workers"})
"""Reads of the bus: tried once more after it was healed. A question does so itself, for its own
part: models that cannot be reached are no reason to heal the bus."""


def _is_audited_by_the_bus(method: str, error: IfMemError) -> bool:
    """A step of a task that does not fit the task leaves its trace in the log."""
    return method.startswith("task_") and isinstance(error, Refused)


def _throttled(emit: Emitter) -> Callable[[int, int, str], None]:
    """Progress at most ten times a second: called for each of perhaps 100,000 files."""
    loop = asyncio.get_running_loop()
    last = 0.0

    def progress(done: int, total: int, path: str) -> None:
        nonlocal last
        now = clock.monotonic()
        if done == total or now - last >= _PROGRESS_SECONDS:
            last = now
            event = {"progress": {"done": done, "total": total, "path": path}}
            loop.call_soon_threadsafe(emit, event)

    return progress
