"""The verbs of messages as their caller sees them, against a scripted daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from ifmem import Memory, OutcomeUnknown

ID = "00000000-0000-4000-8000-000000000001"
SENT = {"message_id": ID, "outcome": "sent", "sequence": 1, "recipients": ["ada"]}
MESSAGE = {
    "message_id": ID,
    "sender": "ci",
    "body": {"text": "green"},
    "delivery": 1,
    "sequence": 1,
    "sent_at": "2026-01-02T03:04:05.000Z",
    "expires_at": "2026-01-09T03:04:05.000Z",
    "to": "ada",
}


def with_memory(daemon: Any, use: Any) -> Any:
    async def main() -> Any:
        async with asyncio.timeout(60), Memory.open(settings=daemon.settings) as memory:
            return await use(memory)

    return asyncio.run(main())


def test_a_lost_answer_names_the_id_to_send_it_with_again(daemon: Any) -> None:
    daemon.on("send", None)
    with pytest.raises(OutcomeUnknown, match="same id") as unknown:
        with_memory(daemon, lambda memory: memory.send("green", to="ada"))
    (asked,) = daemon.asked("send")
    assert unknown.value.facts["id"] == asked["id"]
    daemon.on("send", {"result": SENT})
    told = with_memory(daemon, lambda memory: memory.send("green", to="ada", id=asked["id"]))
    assert told.outcome == "sent"
    assert [one["id"] for one in daemon.asked("send")] == [asked["id"]] * 2


def test_a_long_wait_is_made_of_short_calls_that_end_soon_when_nobody_listens(
    daemon: Any,
) -> None:
    def replies(_: dict[str, Any]) -> Iterator[Any]:
        found = len(daemon.asked("receive")) == 3
        yield {"result": {"items": [MESSAGE] if found else [], "next": None}}

    daemon.script["receive"] = replies
    taken = with_memory(daemon, lambda memory: memory.receive("ada", wait=600, visibility=5))
    assert [one.body for one in taken] == [{"text": "green"}]
    asked = daemon.asked("receive")
    assert len(asked) == 3
    assert {one["visibility_seconds"] for one in asked} == {5}
    assert all(0 < one["wait_seconds"] <= 20 for one in asked)


def test_without_a_wait_one_look_is_enough(daemon: Any) -> None:
    daemon.on("receive", {"result": {"items": [], "next": None}})
    assert not with_memory(daemon, lambda memory: memory.receive("ada")).items
    assert [one["wait_seconds"] for one in daemon.asked("receive")] == [0]


def test_the_same_verbs_without_async(daemon: Any) -> None:
    following = {"agent": "ada", "topic": "launch", "follows": True, "changed": True}
    daemon.on("send", {"result": SENT})
    daemon.on("receive", {"result": {"items": [MESSAGE], "next": None}})
    daemon.on("acknowledge_messages", {"result": {"agent": "ada", "acknowledged": 1}})
    daemon.on("follow_topic", {"result": following})
    daemon.on("unfollow_topic", {"result": {**following, "follows": False}})
    with Memory.open_sync(settings=daemon.settings) as memory:
        assert memory.send({"text": "green"}, to="ada", sender="ci", expires=60).sequence == 1
        (message,) = memory.receive("ada", limit=1)
        assert memory.acknowledge("ada", message.message_id).acknowledged == 1
        assert memory.join_topic("ada", "launch").follows
        assert not memory.leave_topic("ada", "launch").follows
    assert daemon.asked("acknowledge_messages") == [{"agent": "ada", "ids": [ID], "durable": True}]
    assert daemon.asked("send")[0]["expires_seconds"] == 60
