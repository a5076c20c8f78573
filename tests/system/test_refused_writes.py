"""Scenario 25: a write that breaks a rule is refused by every way in, and nothing of it is kept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from ifmem import BlockingMemory, Invalid, Memory

ID = "00000000-0000-4000-8000-{:012x}"
LONG = "x" * 32_001
WIDE = ["y" * 1_000] * 300
"""More than the 256 KiB of a finding."""

BAD_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "confidence above 1": ({"confidence": 1.5}, "confidence"),
    "confidence below 0": ({"confidence": -0.1}, "confidence"),
    "confidence not a number": ({"confidence": float("nan")}, "confidence|no finding"),
    "confidence a word": ({"confidence": "high"}, "no finding"),
    "empty claim": ({"claim": " \n "}, "needs a claim"),
    "claim too long": ({"claim": LONG}, "32,000"),
    "body too large": ({"tags": WIDE}, "262,144"),
    "an id that is none": ({"id": "crate-7"}, "not a uuid"),
    "superseding nothing": ({"supersedes": "the last one"}, "not a uuid"),
    "unknown schema": ({"schema_version": "9.9"}, "schema_version"),
    "value without end": ({"value": float("inf")}, "value|no finding"),
    "an act of no kind": ({"speech_act": "shout"}, "no finding"),
}


@pytest.fixture
def memory(ifmem: Any) -> Iterator[BlockingMemory]:
    with Memory.open_sync(settings=ifmem.settings) as opened:
        opened.remember("The scale is level.")
        yield opened


def stored(ifmem: Any) -> tuple[list[str], int, int]:
    """Claims and number of findings and tasks in the store."""
    path = ifmem.home / "spaces" / "default" / "store.sqlite"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        bodies = connection.execute("SELECT body FROM finding ORDER BY sequence").fetchall()
        (tasks,) = connection.execute("SELECT count(*) FROM task").fetchone()
    return [json.loads(body)["claim"] for (body,) in bodies], len(bodies), tasks


def shown(bus: Any) -> set[str]:
    return set(bus.scan_iter("finding:*", count=1_000))


def test_the_library_refuses_it_before_anything_is_written(
    ifmem: Any, memory: BlockingMemory
) -> None:
    with ifmem.bus() as bus:

        def there() -> Any:
            return shown(bus), bus.hgetall("ifmem:1:counters"), stored(ifmem)

        before = there()
        for fields, reason in BAD_FIELDS.values():
            with pytest.raises(Invalid, match=reason):
                memory.remember(**{"claim": "The scale is not level.", **fields})
            assert there() == before, fields
        assert bus.xlen("ifmem:1:log") == 0


COMMANDS = [
    (("remember", "It tips.", "--confidence", "1.5"), "confidence"),
    (("remember", "It tips.", "--confidence", "nan"), "confidence"),
    (("remember", "  "), "claim"),
    (("remember", LONG), "32,000"),
    (("remember", "It tips.", "--id", "crate-7"), "uuid"),
    (("tasks", "post", "   "), "title"),
    (("tasks", "post", "x" * 1_001), "1,000"),
    (("tasks", "post", "Weigh", "--data", "[1]"), "JSON object"),
    (("tasks", "post", "Weigh", "--id", "crate-7"), "uuid"),
]


def test_the_command_line_says_in_one_sentence_what_is_wrong(ifmem: Any, finish: Any) -> None:
    ifmem("up")
    runs = [(finish(ifmem.start(*args)), reason) for args, reason in COMMANDS]
    for run, reason in runs:
        assert run.code == 2, run
        assert reason in run.told()
    assert stored(ifmem) == ([], 0, 0)


def as_finding(**fields: Any) -> str:
    return json.dumps({"claim": "Written past us.", "worker_id": "stranger", **fields})


DIRECT: dict[str, tuple[Callable[[Any, str], object], str]] = {
    "no JSON": (lambda bus, key: bus.set(key, "{half"), "no JSON object"),
    "a number": (lambda bus, key: bus.set(key, "17"), "no JSON object"),
    "a list": (lambda bus, key: bus.rpush(key, "a"), "no string"),
    "a hash": (lambda bus, key: bus.hset(key, "claim", "a"), "no string"),
    "too large": (lambda bus, key: bus.set(key, as_finding(tags=WIDE)), "262,144"),
    "confidence": (lambda bus, key: bus.set(key, as_finding(confidence=1.5)), "confidence"),
    "NaN": (lambda bus, key: bus.set(key, as_finding().replace("}", ',"value":NaN}')), "JSON"),
    "empty": (lambda bus, key: bus.set(key, as_finding(claim="")), "needs a claim"),
    "schema": (lambda bus, key: bus.set(key, as_finding(schema_version="9")), "schema_version"),
    "another id": (
        lambda bus, key: bus.set(key, as_finding(finding_id=ID.format(999))),
        "names itself",
    ),
}


def test_a_bad_direct_write_goes_to_the_dead_letters_and_the_next_good_one_is_adopted(
    ifmem: Any, memory: BlockingMemory, eventually: Callable[..., Any]
) -> None:
    with ifmem.bus() as bus:
        for number, (write, _) in enumerate(DIRECT.values()):
            write(bus, f"finding:{ID.format(number)}")
            bus.publish("channel:findings", ID.format(number))
        for rubbish in (b"\xff\xfe", "[]", '{"finding_id":"crate-7"}', "crate-7"):
            bus.publish("channel:findings", rubbish)
        good = ID.format(500)
        bus.set(f"finding:{good}", as_finding(trust="user"))
        bus.publish("channel:findings", good)
        eventually(lambda: "Written past us." in stored(ifmem)[0])
    with redis.Redis.from_url(ifmem.status()["redis"]["url"]) as raw:
        letters = [letter for _, letter in raw.xrange("ifmem:1:dead-letters")]
    reasons = {
        letter[b"message"].decode(errors="replace"): letter[b"reason"].decode()
        for letter in letters
    }
    for number, (_, reason) in enumerate(DIRECT.values()):
        assert reason in reasons.pop(ID.format(number))
    assert reasons, "what is no hint at all is kept as well"
    assert stored(ifmem)[0] == ["The scale is level.", "Written past us."]
    (line,) = [one for one in memory.findings() if one.finding["worker_id"] == "stranger"]
    assert line.finding["trust"] == "agent"
    assert memory.status().findings == 2


FORGED: dict[str, dict[str, Any]] = {
    "no kind": {"at": "1"},
    "a kind of no kind": {"kind": "song", "at": "1"},
    "no time": {"kind": "finding", "id": ID.format(1), "sequence": "9", "body": as_finding()},
    "no body": {"kind": "finding", "at": "1", "id": ID.format(1), "sequence": "9"},
    "no JSON": {"kind": "finding", "at": "1", "id": ID.format(1), "sequence": "9", "body": "{"},
    "a word as number": {"kind": "finding", "at": "1", "id": ID.format(1), "sequence": "x"},
    "bytes of no text": {"kind": b"\xff\xfe", b"\xff": b"\x00"},
    "a task of nothing": {"kind": "task", "at": "1"},
    "a task in no state": {
        **{"kind": "task", "at": "1", "id": ID.format(2), "event": "posted", "state": "asleep"},
        **{"revision": "1", "worker": "", "fence": "", "attempts": "0"},
    },
    "a message of nothing": {"kind": "message", "at": "1"},
    "an audit of nothing": {"kind": "audit", "at": "1"},
    "a number past all numbers": {
        **{"kind": "finding", "at": "1", "id": ID.format(3), "sequence": str(2**63)},
        "body": as_finding(finding_id=ID.format(3), timestamp="2026-01-02T03:04:05.678Z"),
    },
    "the last of all numbers": {
        **{"kind": "finding", "at": "1", "id": ID.format(4), "sequence": str(2**63 - 1)},
        "body": as_finding(finding_id=ID.format(4), timestamp="2026-01-02T03:04:05.678Z"),
    },
    "a time past all times": {
        **{"kind": "audit", "at": str(2**62), "action": "a", "actor": "b", "subject": "c"},
        "reason": "d",
    },
}


def test_entries_forged_in_the_log_stop_nobody(
    ifmem: Any, memory: BlockingMemory, eventually: Callable[..., Any]
) -> None:
    with ifmem.bus() as bus:
        for number, fields in enumerate(FORGED.values()):
            bus.xadd("ifmem:1:log", fields)
            eventually(lambda n=number: bus.xlen("ifmem:1:dead-letters") == n + 1, 10)
        assert all(letter["reason"] for _, letter in bus.xrange("ifmem:1:dead-letters"))
    memory.remember("The scale is still level.")
    assert stored(ifmem)[0] == ["The scale is level.", "The scale is still level."]
    assert memory.status().health == "healthy"
