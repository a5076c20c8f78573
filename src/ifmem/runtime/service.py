"""The verbs of the daemon: which call goes where, and what is done when the bus was away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from ifmem import clock
from ifmem.bus import embedded
from ifmem.bus.connection import Server
from ifmem.domain.space import require_space
from ifmem.errors import Invalid, Unavailable
from ifmem.index.sentence_encoder import SentenceEncoder
from ifmem.runtime import listing
from ifmem.runtime.asking import ask
from ifmem.runtime.diagnosing import diagnose
from ifmem.runtime.forgetting import forget
from ifmem.runtime.keeping import heal
from ifmem.runtime.loading import load, load_rows, load_text
from ifmem.runtime.opening import STORE, close_space, open_space
from ifmem.runtime.recalling import recall
from ifmem.runtime.remembering import list_findings, remember
from ifmem.runtime.space import Space
from ifmem.settings import Settings
from ifmem.wire import calls
from ifmem.wire.shapes import Page, SpaceShape

Emit = Callable[[dict[str, Any]], None]
"""Sends an event to the caller while its call goes on."""

_PROGRESS_SECONDS = 0.1


class Service:
    """All spaces of one home, opened when they are first named."""

    def __init__(
        self,
        settings: Settings,
        server: Server,
        *,
        worker_id: str,
        version: str,
        sentences: SentenceEncoder | None = None,
    ) -> None:
        self.settings = settings
        self._sentences = sentences
        self.woken = asyncio.Event()
        """Set when the bus should be looked at at once."""
        self._server = server
        self._worker_id = worker_id
        self._version = version
        self._spaces: dict[str, Space] = {}
        self._opening = asyncio.Lock()

    async def call(self, request: calls.Request, emit: Emit) -> Any:
        """Do what a request asks.

        Raises:
            IfMemError: as the verb says; ``Invalid`` for an unknown method or wrong parameters.
        """
        if request.method == "spaces":
            return self._list_spaces()
        params = _decoded(request)
        if isinstance(params, calls.UpCall):
            await self.space(request.space, adopt=params.adopt)
            return {}
        space = await self.space(request.space)
        try:
            return await self._verb(space, request.method, params, emit)
        except Unavailable:
            if request.method not in _RETRIED:
                raise
            await heal(space, self.reconnect)
            return await self._verb(space, request.method, params, emit)
        finally:
            if space.degraded is not None:
                self.woken.set()

    async def space(self, name: str, *, adopt: bool = False) -> Space:
        """An open space."""
        async with self._opening:
            if name not in self._spaces:
                self._spaces[name] = await open_space(
                    require_space(name),
                    home=self.settings.home_path,
                    settings=self.settings,
                    server=self._server,
                    worker_id=self._worker_id,
                    sentences=self._sentences,
                    adopt=adopt,
                )
            return self._spaces[name]

    def open_spaces(self) -> list[Space]:
        """The spaces that are open."""
        return list(self._spaces.values())

    async def reconnect(self) -> None:
        """Start the embedded server again when it is gone; the client finds it by its path."""
        if self._server.embedded:
            await asyncio.to_thread(embedded.attach, bus_directory(self.settings))

    async def close(self) -> None:
        """Close every space and the connection."""
        for space in self.open_spaces():
            await close_space(space, leave=True)
        await self._server.client.aclose()

    async def _verb(self, space: Space, method: str, params: Any, emit: Emit) -> Any:
        match params:
            case calls.LoadCall():
                return await load(space, params, _throttled(emit))
            case calls.StatusCall():
                return await listing.status(space, self._server, params, self._version)
            case calls.DoctorCall():
                return await diagnose(space, self._server, params)
            case calls.Nothing():
                return await _LISTS[method](space)
            case _:
                return await _VERBS[type(params)](space, params)

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


_PARAMS: dict[str, type[msgspec.Struct]] = {
    "load": calls.LoadCall,
    "load_text": calls.LoadTextCall,
    "load_rows": calls.LoadRowsCall,
    "ask": calls.AskCall,
    "recall": calls.RecallCall,
    "remember": calls.RememberCall,
    "findings": calls.FindingsCall,
    "forget": calls.ForgetCall,
    "sources": calls.SourcesCall,
    "shards": calls.Nothing,
    "workers": calls.Nothing,
    "status": calls.StatusCall,
    "doctor": calls.DoctorCall,
    "up": calls.UpCall,
}

_VERBS: dict[type[msgspec.Struct], Callable[[Space, Any], Awaitable[Any]]] = {
    calls.LoadTextCall: load_text,
    calls.LoadRowsCall: load_rows,
    calls.AskCall: ask,
    calls.RecallCall: recall,
    calls.RememberCall: remember,
    calls.FindingsCall: list_findings,
    calls.ForgetCall: forget,
    calls.SourcesCall: listing.list_sources,
}

_LISTS: dict[str, Callable[[Space], Awaitable[Any]]] = {
    "shards": listing.list_shards,
    "workers": listing.list_workers,
}

_RETRIED = frozenset({"ask", "status", "shards", "workers"})
"""Reads of the bus: tried once more after it was healed."""


def _decoded(request: calls.Request) -> msgspec.Struct:
    kind = _PARAMS.get(request.method)
    if kind is None:
        raise Invalid(f"there is no method {request.method[:60]!r}")
    try:
        return msgspec.json.decode(request.params, type=kind)
    except msgspec.MsgspecError as error:
        raise Invalid(f"{request.method}: {error}") from error


def _throttled(emit: Emit) -> Callable[[int, int, str], None]:
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
