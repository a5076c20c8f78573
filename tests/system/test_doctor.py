"""Foreign types under our keys: the system goes on, doctor tells, and repairs only when told."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

PLANTED = str(uuid.UUID(int=0xD0C))


def plant_hash(bus: Any, name: str) -> None:
    bus.delete(name)
    bus.hset(name, "field", "planted")


def plant_list(bus: Any, name: str) -> None:
    bus.delete(name)
    bus.rpush(name, "planted")


SEED_KEYS: dict[str, tuple[Callable[[Any, str], None], str]] = {
    f"finding:{PLANTED}": (plant_hash, "hash"),
    "context:active": (plant_list, "list"),
    "context:shard:2:tokens": (plant_list, "list"),
    "context:shard:3:active": (plant_hash, "hash"),
    "context:shard:1:capacity": (plant_list, "list"),
    "librarian:shard1:quota": (plant_hash, "hash"),
    "worker:status:stranger": (plant_list, "list"),
    "worker:tasks:stranger": (plant_hash, "hash"),
}
SWEPT = {"context:active", "context:shard:3:active"}
"""The bridge writes these anew whenever its sweep, every few seconds, finds a shard inactive."""
OUR_KEYS = {
    "ifmem:1:counters": plant_list,
    "ifmem:1:findings": plant_hash,
    "ifmem:1:shard:1": plant_list,
    "ifmem:1:shards": plant_list,
    "ifmem:1:workers": plant_hash,
    "ifmem:1:manifest:2": plant_list,
}


def types(bus: Any) -> dict[str, str]:
    return {name: bus.type(name) for name in SEED_KEYS}


def remediations(bus: Any) -> list[Any]:
    return [
        json.loads(bus.get(name)) for name in sorted(bus.scan_iter(match="swarm:remediation:*"))
    ]


@pytest.fixture
def loaded(ifmem: Any, writer: Any) -> Any:
    ifmem.write("notes/page.md", writer(31).prose(60) + "\nThe bell weighs 41 stone.\n")
    ifmem("load", "notes")
    return ifmem


def test_a_healthy_memory_is_told_healthy_and_the_scan_is_recorded(loaded: Any) -> None:
    checks = loaded("doctor", "--json").json["checks"]
    assert all(check["ok"] for check in checks)
    assert {"round trip", "key types", "context:active", "store"} <= {c["name"] for c in checks}
    with loaded.bus() as bus:
        (record,) = remediations(bus)
        assert (record["wrongtype_found"], record["actions_taken"]) == ([], [])
        # The round trip leaves nothing behind.
        assert bus.keys("finding:*") == []
    assert loaded.status()["findings"] == 0


def test_planted_types_stop_nothing_are_told_and_replaced_only_on_request(loaded: Any) -> None:
    with loaded.bus() as bus:
        for name, (plant, _) in SEED_KEYS.items():
            plant(bus, name)
        told = loaded("doctor", "--json", code=1).json
        (record,) = remediations(bus)
        # Telling changed nothing: what a later change of ours writes anew is not doctor's doing.
        planted = {name: kind for name, (_, kind) in SEED_KEYS.items()}
        assert {name for name, kind in types(bus).items() if kind != planted[name]} <= SWEPT
        found = set(record["wrongtype_found"])
        assert set(SEED_KEYS) - SWEPT <= found <= set(SEED_KEYS)
        assert record["actions_taken"] == []
        (check,) = [one for one in told["checks"] if one["name"] == "key types"]
        assert not check["ok"]
        assert "--repair" in check["message"]

        stored = loaded("remember", "The clapper is of bronze.", "--json").json
        assert json.loads(bus.get(f"finding:{stored['finding_id']}"))["claim"].startswith("The cl")
        assert loaded("recall", "clapper bronze", "--json").json["findings"]
        assert loaded("ask", "How much does the bell weigh?", "--json").json["found"]
        loaded("status")
        loaded("shards")
        loaded("workers")
        loaded("librarians")
        loaded.write("notes/more.md", "# More\n\nThe rope is of hemp.\n")
        loaded("load", "notes")

        for name, (plant, _) in SEED_KEYS.items():
            plant(bus, name)
        repaired = loaded("doctor", "--repair", "--json").json
        assert all(check["ok"] for check in repaired["checks"])
        last = [one for one in remediations(bus) if one["actions_taken"]]
        assert len(last) == 1
        removed = {one.removeprefix("removed ") for one in last[0]["actions_taken"]}
        assert set(SEED_KEYS) - SWEPT <= removed <= set(SEED_KEYS)
        active = int(bus.get("context:active"))
        assert active == sum(int(bus.get(f"context:shard:{n}:tokens")) for n in range(1, 5)) > 0
        assert bus.get("context:shard:1:capacity") == "200000"
        assert bus.get("context:shard:3:active") == "1"
        assert bus.get("librarian:shard1:quota") == "1500"
        strangers = (f"finding:{PLANTED}", "worker:status:stranger", "worker:tasks:stranger")
        assert bus.exists(*strangers) == 0
        # What was right was left alone.
        assert bus.exists(f"finding:{stored['finding_id']}") == 1
    assert all(check["ok"] for check in loaded("doctor", "--json").json["checks"])


WRITTEN_WITH_EVERY_FINDING = {"ifmem:1:counters", "ifmem:1:findings"}


@pytest.mark.parametrize("name", OUR_KEYS)
def test_a_foreign_type_under_a_key_of_our_own_is_survived_told_and_repaired(
    loaded: Any, name: str
) -> None:
    with loaded.bus() as bus:
        OUR_KEYS[name](bus, name)
        wrong = bus.type(name)
        told = loaded("doctor", "--json", code=1)
        assert any(name in one["message"] for one in told.json["checks"] if not one["ok"])
        assert bus.type(name) == wrong
        assert loaded("recall", "bell weigh", "--json").json["passages"], "reading goes on"
        if name in WRITTEN_WITH_EVERY_FINDING:
            refused = loaded("remember", "The clapper is of bronze.", code=4).told()
            assert "doctor --repair" in refused
        else:
            loaded("remember", "The clapper is of bronze.")
        loaded("doctor", "--repair")
        loaded("remember", "The rope is of hemp.")
        assert bus.type(name) != wrong
        assert loaded("status", "--json").json["health"] == "healthy"
        assert loaded("ask", "How much does the bell weigh?", "--json").json["found"]
    assert all(check["ok"] for check in loaded("doctor", "--json").json["checks"])


def test_a_sum_that_somebody_set_is_told_and_repaired(loaded: Any) -> None:
    with loaded.bus() as bus:
        right = bus.get("context:active")
        bus.set("context:active", "123456789")
        told = loaded("doctor", "--json", code=1).json["checks"]
        assert [one["name"] for one in told if not one["ok"]] == ["context:active"]
        assert bus.get("context:active") == "123456789"
        loaded("doctor", "--repair")
        assert bus.get("context:active") == right
