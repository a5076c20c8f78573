"""What others write into our keys: kept with its reason, and never in anybody's way."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ifmem.clock import new_id

UUID = "00000000-0000-4000-8000-000000000001"
FINDING = {
    "finding_id": UUID,
    "worker_id": "eve",
    "timestamp": "2026-01-02T03:04:05Z",
    "claim": "written by hand",
    "confidence": 0.5,
}


def reasons(bus: Any) -> list[str]:
    return [fields["reason"] for _, fields in bus.xrange("ifmem:1:dead-letters")]


UNREADABLE: list[tuple[dict[Any, Any], str]] = [
    ({"nothing": "of ours"}, "needs the field 'kind'"),
    ({"kind": "finding"}, "needs the field 'at'"),
    ({"kind": "finding", "at": "soon"}, "no whole number"),
    ({"kind": "song", "at": "1"}, "no kind of entry"),
    ({"kind": "finding", "at": "1"}, "needs the field 'id'"),
    ({"kind": "finding", "at": "1", "id": UUID, "sequence": "1", "body": "{"}, "no finding"),
    (
        {"kind": "finding", "at": "1", "id": UUID, "sequence": "1", "body": "{}"},
        "no finding",
    ),
    (
        {
            "kind": "finding",
            "at": "1",
            "id": new_id(),
            "sequence": "1",
            "body": json.dumps(FINDING),
        },
        "its body of",
    ),
    (
        {
            "kind": "finding",
            "at": "1",
            "id": UUID,
            "sequence": "1",
            "body": json.dumps({**FINDING, "confidence": 1.5}),
        },
        "confidence",
    ),
    ({"kind": "task", "at": "1"}, "needs the field 'id'"),
    ({"kind": "task", "at": "1", "id": UUID, "event": "sung", "state": "x"}, "cannot be read"),
    ({"kind": "message", "at": "1", "event": "sung"}, "no event"),
    ({"kind": "audit", "at": "1"}, "needs the field 'action'"),
    ({"kind": b"\xff\xfe", "at": "1"}, "UTF-8"),
]


def test_entries_that_cannot_be_read_are_dead_letters_and_stop_nobody(
    ifmem: Any, eventually: Callable[..., Any]
) -> None:
    ifmem("status")
    with ifmem.bus() as bus:
        for number, (fields, reason) in enumerate(UNREADABLE):
            bus.xadd("ifmem:1:log", fields)
            eventually(lambda before=number: len(reasons(bus)) > before)
            assert reason in reasons(bus)[-1], fields
        stored = ifmem("remember", "the next one goes through", "--json").json
        assert json.loads(bus.get(f"finding:{stored['finding_id']}"))["durable"] is True
        assert bus.xlen("ifmem:1:log") == 0
        assert len(reasons(bus)) == len(UNREADABLE)


def test_a_finding_that_claims_more_trust_than_the_bus_gives_is_lowered(
    ifmem: Any, eventually: Callable[..., Any]
) -> None:
    ifmem("status")
    with ifmem.bus() as bus:
        body = json.dumps({**FINDING, "trust": "user"})
        bus.set(f"finding:{UUID}", body)
        bus.publish("channel:findings", UUID)
        (line,) = eventually(lambda: ifmem("findings", "--json").lines)
        assert (line["trust"], line["durable"], line["worker_id"]) == ("agent", True, "eve")
        assert json.loads(bus.get(f"finding:{UUID}"))["trust"] == "agent"


def test_garbage_on_the_channel_is_a_dead_letter_and_followers_go_on(
    ifmem: Any, eventually: Callable[..., Any]
) -> None:
    ifmem("status")
    with ifmem.bus() as bus:
        bus.publish("channel:findings", "not json at all")
        bus.set(f"finding:{UUID}", "no finding at all")
        bus.publish("channel:findings", UUID)
        eventually(lambda: len(reasons(bus)) == 2)
    ifmem("remember", "after the garbage")
    assert [one["claim"] for one in ifmem("findings", "--json").lines] == ["after the garbage"]
