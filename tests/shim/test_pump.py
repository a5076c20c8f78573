"""The shim between agent and daemon: nothing lost, nothing twice, whoever is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ifmem.errors import NotPermitted

MODERN_META = {
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
}


def _asks_everything(agent: Any) -> None:
    agent.asks(1, "server/discover", MODERN_META)
    assert agent.hears() == {"jsonrpc": "2.0", "id": 1, "result": "discovered"}
    agent.asks(2, "tools/list", MODERN_META)
    assert agent.hears() == {"jsonrpc": "2.0", "id": 2, "result": "tools"}


def test_an_agent_of_today_gets_its_lists_before_there_is_a_daemon(agent: Any) -> None:
    _asks_everything(agent)


def test_an_agent_with_a_handshake_gets_its_lists_before_there_is_a_daemon(
    agent: Any, shake: Callable[[], None]
) -> None:
    shake()
    agent.asks(2, "tools/list")
    assert agent.hears()["result"] == "old tools"
    agent.asks(3, "ping")
    assert agent.hears() == {"jsonrpc": "2.0", "id": 3, "result": {}}


def test_a_version_that_the_server_does_not_know_is_answered_with_its_own(agent: Any) -> None:
    agent.asks(1, "initialize", {"protocolVersion": "1999-01-01", "capabilities": {}} | _CLIENT)
    assert agent.hears()["result"] == "new hello"


_CLIENT = {"clientInfo": {"name": "test", "version": "1"}}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("initialize", {"protocolVersion": "2025-06-18"}),
        ("initialize", {"protocolVersion": 5, "capabilities": {}} | _CLIENT),
        ("server/discover", {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}),
        (
            "server/discover",
            {"_meta": MODERN_META["_meta"] | {"io.modelcontextprotocol/protocolVersion": "2027"}},
        ),
        ("tools/list", None),
        ("tools/list", MODERN_META | {"cursor": "further"}),
        ("tools/list", {"_meta": 5}),
        ("ping", None),
        ("tools/call", MODERN_META | {"name": "recall", "arguments": {}}),
    ],
)
def test_what_only_the_server_can_judge_waits_for_it(
    agent: Any, home: Any, method: str, params: Any
) -> None:
    agent.asks(1, method, params)
    daemon = home.brings()
    assert daemon.hears()["method"] == method
    daemon.answers(1, "judged")
    assert agent.hears()["result"] == "judged"


def test_after_a_handshake_a_request_of_the_other_era_is_for_the_server_to_refuse(
    agent: Any, home: Any, shake: Callable[[], None]
) -> None:
    shake()
    agent.asks(1, "tools/list", MODERN_META)
    daemon = home.brings()
    assert [daemon.hears()["method"] for _ in range(3)][2] == "tools/list"


def test_what_waited_goes_to_the_daemon_in_order_and_after_the_handshake(
    agent: Any, home: Any, shake: Callable[[], None]
) -> None:
    shake()
    for number in range(5):
        agent.calls(number, "remember", claim=f"claim {number}")
    daemon = home.brings()
    first, second = daemon.hears(), daemon.hears()
    assert (first["method"], first["params"]["clientInfo"]["name"]) == ("initialize", "test")
    assert second["method"] == "notifications/initialized"
    assert [daemon.hears()["params"]["arguments"]["claim"][-1] for _ in range(5)] == list("01234")
    daemon.answers(first["id"], "new hello")
    daemon.answers(3, "stored")
    assert agent.hears() == {"jsonrpc": "2.0", "id": 3, "result": "stored"}


def test_with_a_daemon_every_line_passes_as_it_is_both_ways(agent: Any, home: Any) -> None:
    daemon = home.brings()
    agent.calls("a", "recall", query="äöü ☃")
    assert daemon.hears()["params"]["arguments"] == {"query": "äöü ☃"}
    daemon.says({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}})
    daemon.answers("a", {"text": "☃"})
    assert agent.hears()["method"] == "notifications/progress"
    assert agent.hears()["result"] == {"text": "☃"}
    agent.asks(2, "tools/list", MODERN_META)
    assert daemon.hears()["method"] == "tools/list"


def test_a_lost_daemon_answers_each_open_request_with_what_to_do(agent: Any, home: Any) -> None:
    daemon = home.brings()
    agent.calls(1, "recall", query="q")
    agent.calls(2, "remember", claim="c", id="the-id")
    agent.asks(3, "subscriptions/listen", {})
    agent.asks(4, "resources/read", {"uri": "memory://context/active"})
    agent.calls(5, "unheard-of")
    for _ in range(5):
        daemon.hears()
    daemon.answers(4, "read")
    assert agent.hears()["result"] == "read"
    daemon.ends()
    told = {answer["id"]: answer["error"] for answer in (agent.hears() for _ in range(4))}
    assert {error["code"] for error in told.values()} == {-32603}
    names = {number: error["data"]["error"] for number, error in told.items()}
    assert names == {1: "Unavailable", 2: "OutcomeUnknown", 3: "Unavailable", 5: "OutcomeUnknown"}
    assert "ask again" in told[1]["message"]
    assert "same id" in told[2]["message"]
    assert told[2]["data"]["facts"] == {"method": "remember", "id": "the-id"}
    assert "listen again" in told[3]["message"]
    assert agent.has_heard_all()


def test_the_next_request_finds_a_new_daemon_that_hears_handshake_and_subscriptions_again(
    agent: Any, home: Any, shake: Callable[[], None]
) -> None:
    shake()
    first = home.brings()
    for number, uri in enumerate(["memory://a", "memory://b", "memory://c"]):
        agent.asks(number, "resources/subscribe", {"uri": uri})
    agent.asks(9, "resources/unsubscribe", {"uri": "memory://b"})
    heard = [first.hears() for _ in range(6)]
    for number in (0, 1, 9):
        first.answers(number, {})
    first.says({"jsonrpc": "2.0", "id": 2, "error": {"code": -32602, "message": "no such"}})
    assert [agent.hears()["id"] for _ in range(4)] == [0, 1, 9, 2]
    first.ends()
    second = home.brings()
    agent.calls(10, "recall", query="q")
    again = [second.hears() for _ in range(4)]
    assert [one["method"] for one in again] == [
        "initialize",
        "notifications/initialized",
        "resources/subscribe",
        "tools/call",
    ]
    assert again[2]["params"] == {"uri": "memory://a"}
    assert again[0]["id"] == heard[0]["id"]
    assert again[2]["id"] != heard[2]["id"]
    second.answers(again[0]["id"], "new hello")
    second.answers(again[2]["id"], {})
    second.says({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {}})
    second.answers(10, "found")
    assert agent.hears()["method"] == "notifications/resources/updated"
    assert agent.hears()["result"] == "found"


def test_without_a_daemon_that_can_be_had_each_waiting_request_is_told_why(
    agent: Any, home: Any
) -> None:
    agent.calls(1, "recall", query="q")
    agent.notes("notifications/roots/list_changed")
    agent.calls(2, "recall", query="q")
    home.refuses(NotPermitted("the home is a file: name another", home="/tmp/file"))
    for number in (1, 2):
        answer = agent.hears()
        assert (answer["id"], answer["error"]["message"]) == (
            number,
            "the home is a file: name another",
        )
        assert answer["error"]["data"]["error"] == "NotPermitted"
        assert answer["error"]["data"]["facts"] == {"home": "/tmp/file"}
    _asks_everything(agent)
    home.refuses(NotPermitted("still a file"))
    agent.calls(3, "recall", query="q")
    while (answer := agent.hears())["error"]["message"] != "still a file":
        agent.calls(answer["id"] + 1, "recall", query="q")
    home.brings()


def test_what_needs_no_daemon_starts_none_after_the_first_has_ended(
    agent: Any, home: Any, shake: Callable[[], None]
) -> None:
    shake()
    first = home.brings()
    agent.asks(1, "subscriptions/listen", {})
    assert [first.hears()["method"] for _ in range(3)][2] == "subscriptions/listen"
    first.ends()
    assert "listen again" in agent.hears()["error"]["message"]
    agent.asks(2, "subscriptions/listen", {})
    agent.asks(3, "tools/list")
    agent.asks(4, "ping")
    assert [agent.hears()["id"] for _ in range(2)] == [3, 4]
    assert home.looked_for == 1
    assert agent.pump.answered(0.0)
    second = home.brings()
    agent.calls(5, "recall", query="q")
    assert [second.hears().get("id") for _ in range(4)][2:] == [2, 5]
    assert home.looked_for == 2


def test_a_cancelled_request_is_neither_sent_nor_answered(agent: Any, home: Any) -> None:
    agent.calls(1, "remember", claim="never")
    agent.calls(2, "remember", claim="kept")
    agent.notes("notifications/cancelled", {"requestId": 1})
    daemon = home.brings()
    assert daemon.hears()["id"] == 2
    agent.calls(3, "remember", claim="begun")
    agent.notes("notifications/cancelled", {"requestId": 3})
    assert daemon.hears()["id"] == 3
    assert daemon.hears()["params"] == {"requestId": 3}
    daemon.ends()
    assert agent.hears()["id"] == 2
    assert agent.pump.answered(0.0)
    assert agent.has_heard_all()


def test_what_is_no_message_is_answered_and_the_next_one_passes(agent: Any, home: Any) -> None:
    daemon = home.brings()
    agent.pump.take(b"no json\n{}\n[]\n \n5\n")
    agent.says({"jsonrpc": "1.0", "id": 6, "method": "ping"})
    agent.says({"jsonrpc": "2.0", "id": 7, "method": "ping", "params": [1]})
    agent.says({"jsonrpc": "2.0", "id": None, "method": "ping"})
    agent.says({"jsonrpc": "2.0", "id": 8})
    heard = [agent.hears() for _ in range(8)]
    assert [one["error"]["code"] for one in heard] == [-32700, *[-32600] * 7]
    assert [one["id"] for one in heard] == [None, None, None, None, 6, 7, None, 8]
    agent.asks(9, "ping")
    assert daemon.hears()["id"] == 9


def test_a_line_above_the_daemon_s_own_limit_is_refused_with_its_id(agent: Any, home: Any) -> None:
    daemon = home.brings(limit=1_000)
    agent.asks(1, "ping")
    daemon.hears()
    agent.calls(2, "remember", claim="x" * 1_000)
    refused = agent.hears()
    assert (refused["id"], refused["error"]["code"]) == (2, -32600)
    assert "1,000 bytes" in refused["error"]["message"]
    agent.asks(3, "ping")
    assert daemon.hears()["id"] == 3


def test_requests_are_owed_until_they_are_answered_but_streams_are_not(
    agent: Any, home: Any
) -> None:
    agent.calls(1, "recall", query="q")
    assert not agent.pump.answered(0.0)
    daemon = home.brings()
    daemon.hears()
    agent.asks(2, "subscriptions/listen", {})
    daemon.hears()
    assert not agent.pump.answered(0.0)
    daemon.answers(1, "found")
    agent.hears()
    while not agent.pump.answered(0.05):
        pass
    agent.pump.close()
    assert daemon.hears() is None


def test_a_request_for_a_daemon_that_is_already_gone_goes_to_the_next(
    agent: Any, home: Any
) -> None:
    first = home.brings()
    agent.asks(1, "ping")
    first.hears()
    first.answers(1, {})
    agent.hears()
    first.ends()
    second = home.brings()
    agent.calls(2, "remember", claim="c")
    told = second.hears()
    assert told["params"]["arguments"] == {"claim": "c"}
    second.answers(2, "stored")
    assert agent.hears()["result"] == "stored"
