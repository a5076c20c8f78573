"""A daemon without a store: every call of its agents is done by the bridge, over the bus.

Files are not loaded from here. A document's name is its absolute path, by which everybody cites it
and its owner sees that it changed or went away; the same path on two hosts would be two files
under one name. A text may be sent under a name of its own with ``load_text``.
"""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import Any, TypeVar

import msgspec

from ifmem.bus.calls import SIGN_SECONDS, Asked, Calls
from ifmem.bus.connection import Server, blocking
from ifmem.errors import Invalid, NotPermitted, Refused, Unavailable
from ifmem.runtime.listening import Emitter
from ifmem.settings import Settings
from ifmem.wire.agent_calls import Captured
from ifmem.wire.calls import (
    REPEAT,
    FollowCall,
    RememberCall,
    Request,
    StatusCall,
    UpCall,
)
from ifmem.wire.message_calls import SendCall
from ifmem.wire.shapes import RedisShape, Status

_NAMES = ("id", "finding_id", "task_id", "message_id")
"""Parameters that say what a call is about."""
_LOOK_SECONDS = 1.0
_NOT_HERE = "this daemon has no store: what its agents do is not captured"


class Forwarder:
    """The verbs of a client daemon."""

    def __init__(self, settings: Settings, server: Server, *, worker_id: str) -> None:
        self.settings = settings
        self._server = server
        self._worker_id = worker_id
        self._spaces: dict[str, Calls] = {}

    async def call(self, request: Request, emit: Emitter) -> Any:
        """What the bridge of the space answers.

        Raises:
            IfMemError: the one that the bridge answered with.
            NotPermitted: the call is about files of this host.
            Unavailable: no bridge serves the space, or its answer was lost.
            OutcomeUnknown: its answer was lost and the call writes.
        """
        match request.method:
            case "up":
                return _up(_params(request, UpCall))
            case "capture":
                return Captured("skipped", _NOT_HERE)
            case "load":
                raise await self._no_files(request.space)
            case "export" | "import" | "verify":
                raise at_the_owner(request.method)
            case "status":
                return await self._status(request, emit)
            case "remember":
                return await self._forward(_signed(request, self._worker_id), emit)
            case "follow":
                return await self._follow(request, emit)
            case "send":
                return await self._forward(_sent_by(request, self._worker_id), emit)
            case _:
                return await self._forward(request, emit)

    async def close(self) -> None:
        """Close the connections to the bus."""
        await self._server.aclose()

    async def _forward(self, request: Request, emit: Emitter | _Heard) -> msgspec.Raw:
        async def on_event(event: dict[str, Any]) -> None:
            emit(event)
            await emit.drained()

        asked = Asked(
            method=request.method,
            params=request.params,
            caller=self._worker_id,
            repeat=REPEAT.get(request.method),
            facts=_facts(request),
        )
        patience = self.settings.bus.outage_seconds
        return await self._calls(request.space).call(asked, on_event, patience=patience)

    async def _follow(self, request: Request, emit: Emitter) -> msgspec.Raw:
        """Follow; one that goes on where it was waits for its owner, however long that is away."""
        goes_on = _params(request, FollowCall).resume is not None
        while True:
            heard = _Heard(emit)
            try:
                return await self._forward(request, heard)
            except Unavailable:
                if heard.something or not goes_on:
                    raise
            await asyncio.sleep(_LOOK_SECONDS)

    async def _status(self, request: Request, emit: Emitter) -> Status:
        """The owner's status, with the process and the connection of this daemon."""
        show_secrets = _params(request, StatusCall).show_secrets
        # The owner's password of the bus is not sent around: ours is shown, if any.
        asked = _with_params(request, StatusCall())
        status = msgspec.json.decode(await self._forward(asked, emit), type=Status)
        url = self._server.shown_url(show_secrets=show_secrets)
        return msgspec.structs.replace(
            status,
            daemon_pid=os.getpid(),
            redis=RedisShape(url, self._server.embedded, self._server.version),
        )

    async def _no_files(self, space: str) -> NotPermitted:
        bridge = await self._calls(space).bridge()
        return no_files(bridge.name or "where the store lies")

    def _calls(self, space: str) -> Calls:
        if space not in self._spaces:
            keys = self._server.keys(space)
            reached = self._server.for_space(keys)
            waiting = blocking(reached, longest=timedelta(seconds=SIGN_SECONDS))
            self._spaces[space] = Calls(reached.client, keys, waiting)
        return self._spaces[space]


class _Heard:
    """Passes events on, and knows whether there was one."""

    def __init__(self, emit: Emitter) -> None:
        self.something = False
        self.drained = emit.drained
        self._emit = emit

    def __call__(self, event: dict[str, Any]) -> None:
        self.something = True
        self._emit(event)


def no_files(owner: str) -> NotPermitted:
    """The error of a caller who names files to a bridge on another host."""
    return NotPermitted(
        f"files are read by the daemon that owns the space: run `ifmem load` at its owner {owner}, "
        "or send a text under a name of its own with `load_text`",
        owner=owner,
    )


def at_the_owner(method: str) -> NotPermitted:
    """The error of a caller who would have files of another host read or written."""
    return NotPermitted(
        f"`ifmem {method}` reads and writes files where the store lies: run it at its owner"
    )


def _up(call: UpCall) -> dict[str, Any]:
    if call.adopt:
        raise Refused(
            "a client has no store to rebuild the keys from: run `ifmem up --adopt` where the "
            "store lies, without `--role client`"
        )
    return {}


def _signed(request: Request, worker_id: str) -> Request:
    call = _params(request, RememberCall)
    finding = {"worker_id": worker_id, **call.finding}
    return _with_params(request, msgspec.structs.replace(call, finding=finding))


def _sent_by(request: Request, worker_id: str) -> Request:
    call = _params(request, SendCall)
    return _with_params(request, msgspec.structs.replace(call, sender=call.sender or worker_id))


def _facts(request: Request) -> dict[str, object]:
    try:
        params = msgspec.json.decode(request.params, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}
    finding = params.get("finding")
    about = {**(finding if isinstance(finding, dict) else {}), **params}
    named = next((about[name] for name in _NAMES if isinstance(about.get(name), str)), None)
    return {} if named is None else {"id": named}


Params = TypeVar("Params", bound=msgspec.Struct)


def _params(request: Request, kind: type[Params]) -> Params:
    try:
        return msgspec.json.decode(request.params, type=kind)
    except msgspec.MsgspecError as error:
        raise Invalid(f"{request.method}: {error}") from error


def _with_params(request: Request, params: msgspec.Struct) -> Request:
    return msgspec.structs.replace(request, params=msgspec.Raw(msgspec.json.encode(params)))
