"""The client's end of the daemon's socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from ifmem.client.connection import Connection
from ifmem.errors import Failed, Invalid, NotFound, OutcomeUnknown, Unavailable, to_wire
from ifmem.wire import calls
from ifmem.wire.shapes import Forgotten


async def _open(daemon: Any) -> Connection:
    return await Connection.open(daemon.socket, log=daemon.home / "daemon.log")


def _call(daemon: Any, method: str, params: Any = None, **options: Any) -> Any:
    async def run() -> Any:
        connection = await _open(daemon)
        try:
            async with asyncio.timeout(10):
                return await connection.call(
                    method, params, **{"returns": dict, "space": "default", **options}
                )
        finally:
            await connection.close()

    return asyncio.run(run())


def test_replies_in_another_order_reach_the_calls_they_answer(daemon: Any) -> None:
    first: list[int] = []

    def late(call: dict[str, Any]) -> Iterator[Any]:
        first.append(call["id"])
        return iter(())

    def both(call: dict[str, Any]) -> Iterator[Any]:
        yield {"result": {"of": "second"}}
        yield json.dumps({"id": first[0], "result": {"of": "first"}}).encode() + b"\n"

    daemon.script |= {"recall": late, "ask": both}

    async def run() -> tuple[Any, Any]:
        connection = await _open(daemon)
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            one = group.create_task(connection.call("recall", returns=dict, space="default"))
            two = group.create_task(connection.call("ask", returns=dict, space="default"))
        await connection.close()
        return one.result(), two.result()

    assert asyncio.run(run()) == ({"of": "first"}, {"of": "second"})


def test_a_call_carries_its_space_and_parameters(daemon: Any) -> None:
    daemon.on("forget", {"result": {"id": "x", "kind": "finding"}})
    gone = _call(daemon, "forget", calls.ForgetCall("x"), returns=Forgotten, space="acme")
    assert gone == Forgotten("x", "finding")
    (call,) = daemon.calls
    assert (call["space"], call["params"]) == ("acme", {"id": "x"})


def test_events_arrive_in_order_before_the_result(daemon: Any) -> None:
    seen: list[Any] = []
    daemon.on("load", {"event": {"n": 1}}, {"event": {"n": 2}}, {"result": {}})
    _call(daemon, "load", on_event=seen.append)
    assert seen == [{"n": 1}, {"n": 2}]


def test_a_long_reply_that_comes_in_pieces_is_one_reply(daemon: Any) -> None:
    text = "ü" * 3_000_000
    daemon.on("recall", {"result": {"text": text}})
    assert _call(daemon, "recall") == {"text": text}


def test_the_daemons_error_is_raised_as_what_it_was(daemon: Any) -> None:
    daemon.on("forget", {"error": to_wire(NotFound("nothing is called x", id="x"))})
    with pytest.raises(NotFound, match="nothing is called x") as caught:
        _call(daemon, "forget")
    assert caught.value.facts == {"id": "x"}


@pytest.mark.parametrize("method", ["load", "load_text", "load_rows", "remember", "forget"])
def test_a_write_whose_answer_is_lost_has_an_unknown_outcome(daemon: Any, method: str) -> None:
    daemon.on(method, None)
    with pytest.raises(OutcomeUnknown, match=r"again|same id") as caught:
        _call(daemon, method, id="0f")
    assert caught.value.facts["id"] == "0f"
    assert "0f" in caught.value.message


def test_a_read_whose_answer_is_lost_is_merely_unavailable(daemon: Any) -> None:
    daemon.on("ask", None)
    with pytest.raises(Unavailable, match=r"daemon\.log") as caught:
        _call(daemon, "ask")
    assert not isinstance(caught.value, OutcomeUnknown)


def test_every_call_that_waits_learns_of_the_end(daemon: Any) -> None:
    daemon.on("recall")
    daemon.on("remember", None)

    async def run() -> list[type]:
        connection = await _open(daemon)
        kinds: list[type] = []

        async def call(method: str) -> None:
            try:
                await connection.call(method, returns=dict, space="default")
            except Unavailable as error:
                kinds.append(type(error))

        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(call("recall"))
            group.create_task(call("remember"))
        await connection.close()
        return kinds

    assert sorted(kind.__name__ for kind in asyncio.run(run())) == ["OutcomeUnknown", "Unavailable"]


def test_a_closed_connection_takes_no_calls(daemon: Any) -> None:
    async def run() -> None:
        connection = await _open(daemon)
        await connection.close()
        await connection.call("ask", returns=dict, space="default")

    with pytest.raises(Unavailable, match="open the memory again"):
        asyncio.run(run())


def test_a_line_beyond_the_limit_is_not_sent(daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifmem.client.connection.MAX_LINE_BYTES", 1_000)
    with pytest.raises(Invalid, match="file"):
        _call(daemon, "load_text", calls.LoadTextCall(text="x" * 1_000, source="chat:1"))
    assert daemon.calls == []


def test_an_endless_line_ends_the_connection(daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifmem.client.connection.MAX_LINE_BYTES", 1_000)
    daemon.on("ask", b"x" * 10_000)
    with pytest.raises(Unavailable, match="longer than 1,000"):
        _call(daemon, "ask")


def test_something_else_on_the_socket_is_told_from_a_daemon(daemon: Any) -> None:
    daemon.on("ask", b"HTTP/1.1 400 Bad Request\n")
    with pytest.raises(Unavailable, match="does not speak"):
        _call(daemon, "ask")


def test_a_result_of_another_shape_says_to_restart_the_daemon(daemon: Any) -> None:
    daemon.on("forget", {"result": {"kind": 7}})
    with pytest.raises(Failed, match="ifmem down"):
        _call(daemon, "forget", returns=Forgotten)


def test_a_name_that_is_not_utf8_is_refused_before_it_is_sent(daemon: Any) -> None:
    with pytest.raises(Invalid, match="UTF-8"):
        _call(daemon, "load", calls.LoadCall(paths=("/tmp/\udcff",)))
    assert daemon.calls == []


def test_a_refusal_that_names_no_call_reaches_the_one_that_waits(daemon: Any) -> None:
    refusal = json.dumps({"id": 0, "error": to_wire(Invalid("this is no call"))})
    daemon.on("ask", refusal.encode() + b"\n")
    with pytest.raises(Invalid, match="no call"):
        _call(daemon, "ask")
