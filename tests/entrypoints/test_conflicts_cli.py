"""Disagreement on the command line and in the library: seen, decided, and asked about later."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ifmem import Memory
from ifmem.errors import NotFound, Refused
from ifmem.settings import Settings


def test_a_disagreement_is_seen_decided_and_remembered(ifmem: Any) -> None:
    (ifmem.directory / "plan.md").write_text("The bridge is 5.8 m wide.\n")
    (ifmem.directory / "survey.md").write_text("Width: 4.2 m.\n")
    task = ifmem.json("tasks", "post", "choose the crane")["task_id"]

    def say(value: str, cited: str, *more: str) -> str:
        about = ("--topic", "width", "--value", value, "--cite", cited)
        return str(ifmem.json("remember", f"the width is {value} m", *about, *more)["finding_id"])

    first, second = say("5.8", "plan.md:1"), say("4.2", "survey.md:1", "--task", task)
    (item,) = ifmem.json("inbox")["items"]
    assert (item["kind"], item["act"], item["tasks"]) == ("conflict", "escalate", [task])
    assert [one["finding_id"] for one in item["findings"]] == [first, second]
    (conflict,) = ifmem.json("conflicts")["items"]
    assert [one["citations"][0]["quote"] for one in conflict["sides"]] == [
        "The bridge is 5.8 m wide.",
        "Width: 4.2 m.",
    ]
    assert ifmem.json("tasks", "show", task)["state"] == "blocked"
    assert "nobody" not in ifmem("inbox", "show", item["item"]).stdout
    assert "plan.md:1" in ifmem("conflicts").stdout
    ifmem("inbox", "resolve", item["item"], code=2)
    ifmem("inbox", "show", "nothing", code=3)
    done = ifmem.json("inbox", "resolve", item["item"], "--keep", first, "--reason", "measured")
    assert (done["outcome"], done["reason"], "@" in done["closed_by"]) == ("kept", "measured", True)
    again = ifmem.json("inbox", "resolve", item["item"], "--both", code=1)
    assert "was resolved by" in again["message"] and "measured" in again["message"]
    assert ifmem.json("tasks", "show", task)["state"] == "pending"
    assert ifmem.json("inbox")["items"] == [] == ifmem.json("conflicts")["items"]
    assert ifmem.json("conflicts", "--all")["items"][0]["outcome"] == "kept"

    found = ifmem.json("recall", "the width", "--source", "nowhere")
    assert found["findings"] == []
    found = ifmem.json("recall", "the width is 4.2 m")
    assert [one["finding_id"] for one in found["findings"]] == [first]
    said = {one["finding_id"]: one for one in ifmem.lines("findings", "--topic", "Width")}
    assert said.keys() == {first, second}
    then = said[second]["timestamp"]
    assert [one["finding_id"] for one in ifmem.lines("findings", "--at", then)] == [first, second]
    asyncio.run(by_the_library(ifmem, then, (first, second)))


async def by_the_library(ifmem: Any, then: str, said: tuple[str, str]) -> None:
    settings = Settings(home=str(ifmem.home), space=ifmem.space)
    async with Memory.open(settings=settings) as memory:
        recalled = await memory.recall("the width is 4.2 m", at=then)
        assert {one.finding_id for one in recalled.findings} == set(said)
        topic = "WIDTH"
        now = [line.finding["finding_id"] async for line in memory.findings(topic=topic)]
        assert now == list(said)
        later = memory.findings(topic=topic, at="2999-01-01")
        assert [line.finding["finding_id"] async for line in later] == [said[0]]
        with pytest.raises(NotFound):
            await memory.inbox_item(said[0])
        await memory.remember("the width is 9 m", topic="width", value=9.0)
    await asyncio.to_thread(blocking, settings)


def blocking(settings: Settings) -> None:
    with Memory.open_sync(settings=settings) as memory:
        (item,) = memory.inbox(kind="conflict")
        assert memory.inbox_item(item.item) == item
        (conflict,) = memory.conflicts(topic="Width")
        kept: Any = conflict.sides[-1].finding_id
        done = memory.resolve(item.item, keep=kept, by="ann")
        assert (done.outcome, done.closed_by) == ("kept", "ann")
        with pytest.raises(Refused):
            memory.resolve(item.item, both=True)
