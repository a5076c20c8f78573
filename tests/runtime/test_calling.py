"""Calls from inside the daemon end as calls over its socket do."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from ifmem.errors import Failed, Invalid, NotFound
from ifmem.runtime.calling import InsideCalls
from ifmem.runtime.listening import Emitter
from ifmem.wire.calls import ForgetCall, Nothing, Request

PATIENCE_S = 30.0


class Shape(msgspec.Struct, frozen=True):
    text: str
    number: int = 0


def _result_of(handled: Any, **more: Any) -> Any:
    async def handle(request: Request, emit: Emitter) -> Any:
        return await handled(request, emit) if callable(handled) else handled

    async def call() -> Any:
        given = {"params": None, "returns": dict, "space": "acme", "method": "verb"} | more
        async with asyncio.timeout(PATIENCE_S):
            return await InsideCalls(handle).call(given.pop("method"), given.pop("params"), **given)

    return asyncio.run(call())


def test_the_handler_gets_the_request_as_the_wire_brings_it() -> None:
    seen: list[Request] = []

    async def handle(request: Request, _: Emitter) -> Any:
        seen.append(request)
        return {}

    _result_of(handle, method="forget", params=ForgetCall("x"))
    _result_of(handle)
    assert [(one.method, one.space) for one in seen] == [("forget", "acme"), ("verb", "acme")]
    assert msgspec.json.decode(seen[0].params, type=ForgetCall) == ForgetCall("x")
    assert msgspec.json.decode(seen[1].params, type=Nothing) == Nothing()


def test_a_struct_is_given_as_it_is_and_everything_else_in_the_shape_asked_for() -> None:
    shape = Shape("text", 7)
    assert _result_of(shape, returns=Shape) is shape
    assert _result_of({"text": "text", "number": 7}, returns=Shape) == shape
    assert _result_of(shape, returns=dict) == {"text": "text", "number": 7}
    assert _result_of([shape], returns=list[Shape]) == [shape]


def test_events_come_before_the_result_and_never_after_it() -> None:
    seen: list[Any] = []
    kept: list[Emitter] = []

    async def handle(_: Request, emit: Emitter) -> Any:
        emit({"progress": 1})
        await emit.drained()
        assert seen == [{"progress": 1}]
        emit({"progress": 2})
        kept.append(emit)
        return {}

    _result_of(handle, on_event=seen.append)
    kept[0]({"progress": 3})
    assert seen == [{"progress": 1}, {"progress": 2}]
    _result_of(handle_without_listener)


async def handle_without_listener(_: Request, emit: Emitter) -> Any:
    emit({"progress": 1})
    return {}


def test_an_error_of_ours_passes_and_any_other_is_named() -> None:
    async def absent(*_: Any) -> Any:
        raise NotFound("no such thing", id="x")

    async def broken(*_: Any) -> Any:
        raise ZeroDivisionError("by nothing")

    with pytest.raises(NotFound, match="no such thing"):
        _result_of(absent)
    with pytest.raises(Failed, match="ZeroDivisionError: by nothing"):
        _result_of(broken)
    with pytest.raises(Invalid, match="UTF-8"):
        _result_of({}, params=ForgetCall("\ud800"))


def test_cancelling_a_call_cancels_what_is_done_for_it() -> None:
    async def scene() -> None:
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def handle(_: Request, __: Emitter) -> Any:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        calls = InsideCalls(handle)
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            call = group.create_task(calls.call("verb", None, returns=dict, space="acme"))
            await begun.wait()
            call.cancel()
            await cancelled.wait()

    asyncio.run(scene())
