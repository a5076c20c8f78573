"""Serving librarians from another host: their models are called here, with a key of this host."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ifmem import clock
from ifmem.bus.connection import connect
from ifmem.domain.ledger import LedgerRow
from ifmem.domain.model import Completion, ModelCall, Purpose
from ifmem.domain.prompt import Prompt
from ifmem.errors import IfMemError, Invalid, NotPermitted, Refused, to_wire
from ifmem.llm.registry import Models
from ifmem.runtime.forwarding import Forwarder
from ifmem.runtime.service import bus_directory
from ifmem.settings import Settings
from ifmem.wire.calls import Request
from ifmem.wire.librarian_calls import (
    LibrarianAnswerCall,
    LibrarianClaimCall,
    LibrarianClaimed,
    LibrarianTask,
    SaidByModel,
)

OnEvent = Callable[[Mapping[str, Any]], None]

_WAIT_SECONDS = 10.0
_PAUSE_SECONDS = 2.0


async def serve_librarians(
    settings: Settings, librarians: Sequence[int], *, name: str, on_event: OnEvent
) -> None:
    """Make the calls of these librarians until cancelled, one at a time.

    The owner reserves the quota, shows what may be read and verifies what is said; it keeps the
    account by the price in its own settings, and this host pays the provider.

    Args:
        settings: with the bus's URL, and the providers whose keys lie here.
        librarians: their numbers; empty: any that has a model.
        name: who this is.
        on_event: is told what happens; it must neither block nor raise.

    Raises:
        Invalid: one of them has no model.
        NotPermitted: the server refuses the user.
    """
    server = await connect(settings.redis, bus_directory(settings))
    forwarder = Forwarder(settings, server, worker_id=name)
    with tempfile.TemporaryDirectory() as directory:
        models = Models(settings, os.environ, directory=Path(directory))
        serving = _Serving(settings, forwarder, models, tuple(librarians), name, on_event)
        try:
            await serving.run()
        finally:
            await models.aclose()
            await forwarder.close()


class _Serving:
    def __init__(
        self,
        settings: Settings,
        forwarder: Forwarder,
        models: Models,
        librarians: tuple[int, ...],
        name: str,
        on_event: OnEvent,
    ) -> None:
        self._settings = settings
        self._forwarder = forwarder
        self._models = models
        self._librarians = librarians
        self._name = name
        self._tell = on_event

    async def run(self) -> None:
        """Claim, call, answer."""
        is_known = False
        while True:
            # The first time it only says that it is there.
            seconds = _WAIT_SECONDS if is_known else 0.0
            claim = LibrarianClaimCall(self._name, self._librarians, seconds)
            try:
                raw = await self._call("librarian_claim", claim)
            except (Invalid, NotPermitted):
                raise
            except IfMemError as error:
                self._tell({"event": "waiting", "reason": error.message})
                await asyncio.sleep(_PAUSE_SECONDS * (0.5 + clock.chance()))
                continue
            if not is_known:
                self._tell({"event": "serving", "librarians": self._librarians or "any"})
                is_known = True
            task = msgspec.json.decode(raw, type=LibrarianClaimed).task
            if task is not None:
                await self._do(task)

    async def _do(self, task: LibrarianTask) -> None:
        self._tell({"event": "asked", "librarian": task.librarian, "model": task.model})
        answer = LibrarianAnswerCall(self._name, task.call_id)
        try:
            model = await self._models.once(task.model, _Unaccounted())
            said = _said(await model.complete(_model_call(task)))
            answer = msgspec.structs.replace(answer, said=said)
        except IfMemError as error:
            answer = msgspec.structs.replace(answer, error=to_wire(error))
        outcome = "answered" if answer.said is not None else "not answered"
        try:
            await self._call("librarian_answer", answer)
        except (Refused, Invalid):
            outcome = "late"
        except IfMemError:
            outcome = "not answered"
        self._tell({"event": outcome, "librarian": task.librarian})

    async def _call(self, method: str, params: msgspec.Struct) -> bytes:
        raw = msgspec.Raw(msgspec.json.encode(params))
        request = Request(0, method, self._settings.space, raw)
        unheard: Any = _Unheard()
        return bytes(await self._forwarder.call(request, unheard))


class _Unheard:
    """Takes events, of which these calls have none."""

    def __call__(self, event: dict[str, Any]) -> None:
        return None

    async def drained(self) -> None:
        """Nothing waits."""


class _Unaccounted:
    """The owner keeps the account."""

    async def intend(self, row: LedgerRow, *, limit: int | None) -> None:
        """Nothing is kept here."""

    async def settle(self, call_id: str, completion: Completion, *, cost: int) -> None:
        """Nothing is kept here."""

    async def fail(self, call_id: str, error: IfMemError) -> None:
        """Nothing is kept here."""

    async def lose(self, call_id: str, error: IfMemError | None) -> None:
        """Nothing is kept here."""


def _model_call(task: LibrarianTask) -> ModelCall:
    return ModelCall(
        call_id=task.call_id,
        prompt=Prompt(
            name=task.name,
            version=task.version,
            rules=task.rules,
            documents=task.documents,
            question=task.question,
            schema=task.schema,
        ),
        purpose=Purpose.LIBRARIAN,
        max_output=task.max_output,
        deadline=clock.monotonic() + task.seconds,
    )


def _said(completion: Completion) -> SaidByModel:
    return SaidByModel(
        text=completion.text,
        stop=completion.stop,
        model=completion.model,
        usage=msgspec.to_builtins(completion.usage),
        total_ms=completion.total_ms,
        first_token_ms=completion.first_token_ms,
    )
