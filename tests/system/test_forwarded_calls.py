"""Calls put on the bus by somebody who is no client daemon: what they reach and what not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from ifmem.clock import new_id

PATIENCE_S = 30
NEVER = 99_999_999_999_999


@pytest.fixture
def plain(ifmem: Any) -> Iterator[redis.Redis]:
    with ifmem.bus() as client:
        yield client


@pytest.fixture
def order(plain: redis.Redis) -> Callable[..., str]:
    """Puts an order on the list; its id."""

    def put(kind: str, call_id: str | None = None, **fields: Any) -> str:
        call_id = call_id or new_id()
        body = {"kind": kind, "id": call_id, "caller": "somebody", "until_ms": NEVER, **fields}
        plain.rpush("ifmem:1:calls", json.dumps(body))
        return call_id

    return put


@pytest.fixture
def parts(plain: redis.Redis) -> Callable[[str], Iterator[Any]]:
    """The replies to a call, to its end."""

    def read(call_id: str) -> Iterator[Any]:
        while True:
            found = plain.blpop([f"ifmem:1:reply:{call_id}"], timeout=PATIENCE_S)
            assert found is not None, "no reply in time"
            part = json.loads(found[1])
            yield part
            if part["kind"] not in ("begun", "event"):
                return

    return read


@pytest.fixture
def call(order: Callable[..., str], parts: Callable[[str], Iterator[Any]]) -> Callable[..., Any]:
    """What a call ends with."""

    def do(method: str, **params: Any) -> Any:
        return list(parts(order("call", method=method, params=params)))[-1]

    return do


def test_a_call_on_the_bus_is_done_as_one_of_an_agent(call: Callable[..., Any], ifmem: Any) -> None:
    said = {"claim": "The bus carries this.", "worker_id": "somebody"}
    done = call("remember", finding=said, trust="user")
    assert (done["kind"], done["result"]["outcome"]) == ("result", "stored")
    (line,) = ifmem("findings", "--json").lines
    assert (line["worker_id"], line["trust"]) == ("somebody", "agent")


def test_no_file_of_the_owner_is_read_for_a_call_on_the_bus(
    call: Callable[..., Any], ifmem: Any
) -> None:
    secret = ifmem.write("secret.md", "The vault opens at nine.\n")
    loaded = call("load", paths=[str(secret)])
    assert (loaded["kind"], loaded["error"]["error"]) == ("error", "NotPermitted")
    cited = {"claim": "It opens.", "citations": [{"source": str(secret), "lines": [1, 1]}]}
    for elsewhere in (True, False):
        refused = call("remember", finding=cited, elsewhere=elsewhere)
        assert refused["error"]["error"] == "Invalid"
        assert "not loaded" in refused["error"]["message"]
        assert "nine" not in json.dumps(refused)
    assert call("verify")["error"]["error"] == "NotPermitted"
    done = {"task_id": new_id(), "worker": "somebody", "fence": "1-1", "claim": "It opens."}
    refused = call("task_finish", **done, citations=cited["citations"])
    assert "not loaded" in refused["error"]["message"]
    assert ifmem("findings", "--json").lines == []
    assert ifmem.sources() == []


def test_nothing_beyond_the_space_is_reached_over_the_bus(
    call: Callable[..., Any], ifmem: Any
) -> None:
    ifmem("remember", "Of another space.", "--space", "acme")
    assert [one["space"] for one in call("spaces")["result"]["items"]] == ["default"]
    pid = ifmem.daemon_pid()
    for method in ("stop", "hello", "up"):
        assert call(method)["error"]["error"] == "Refused"
    assert call("no-such-verb")["error"]["error"] == "Invalid"
    assert call("recall", query=["not", "a", "text"])["error"]["error"] == "Invalid"
    assert ifmem.daemon_pid() == pid


def test_a_call_that_comes_late_is_never_done(
    order: Callable[..., str], call: Callable[..., Any], plain: redis.Redis, ifmem: Any
) -> None:
    said = {"finding": {"claim": "Too late."}}
    late = order("call", method="remember", params=said, until_ms=1)
    # Done after it, so the first was looked at.
    assert call("remember", finding={"claim": "In time."})["kind"] == "result"
    assert [line["claim"] for line in ifmem("findings", "--json").lines] == ["In time."]
    assert not plain.exists(f"ifmem:1:reply:{late}")


def test_who_waits_for_a_call_that_is_not_done_here_is_told(
    order: Callable[..., str], parts: Callable[[str], Iterator[Any]]
) -> None:
    assert list(parts(order("still-there"))) == [{"kind": "lost"}]
    order("cancel")


def test_garbage_among_the_calls_is_kept_and_the_next_call_is_done(
    call: Callable[..., Any], plain: redis.Redis
) -> None:
    for body in ("", "no JSON", "[]", '{"kind":"call"}', b"\xff\xfe"):
        plain.rpush("ifmem:1:calls", body)
    assert call("status")["kind"] == "result"
    letters = [fields for _, fields in plain.xrange("ifmem:1:dead-letters")]
    assert [one["origin"] for one in letters] == ["forwarded calls"] * 5
    assert letters[1]["message"] == "no JSON"


def test_the_account_can_be_read_over_the_bus(call: Callable[..., Any]) -> None:
    report = call("costs", project=10)
    assert (report["kind"], report["result"]["cost_usd"]) == ("result", "0")
    assert report["result"]["projection"]["queries"] == 10
    assert call("ledger")["result"] == {"items": [], "next": None}
