"""The keys of the contract, literally: their names, types and values, seen by a plain client."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

SHARDS = range(1, 5)
LIBRARIANS = range(1, 6)
ALWAYS = {
    "context:active": "string",
    **{f"context:shard:{n}:{part}": "string" for n in SHARDS for part in ("capacity", "active")},
    **{f"context:shard:{n}:tokens": "string" for n in SHARDS},
    **{
        f"librarian:shard{n}:{part}": "string"
        for n in LIBRARIANS
        for part in ("status", "quota", "capacity")
    },
}
SEED = re.compile(r"(finding|context|worker|librarian|channel|task|session|audit|cost|halt):")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture
def bus(ifmem: Any) -> Any:
    ifmem("remember", "The ferry leaves at nine.", "--topic", "ferry", "--confidence", "0.8")
    with ifmem.bus() as client:
        yield client


def test_every_key_that_must_always_exist_is_there_with_its_type(bus: Any) -> None:
    assert {name: bus.type(name) for name in ALWAYS} == ALWAYS
    for n in SHARDS:
        assert bus.get(f"context:shard:{n}:capacity") == "200000"
        assert bus.get(f"context:shard:{n}:tokens") == "0"
        assert bus.get(f"context:shard:{n}:active") == "1"
    assert bus.get("context:active") == "0"


def test_the_seeds_namespace_holds_no_other_key(bus: Any) -> None:
    ours = {name for name in bus.scan_iter(match="*") if SEED.match(name)} - set(ALWAYS)
    assert len(ours) == 2
    assert {name.split(":")[0] for name in ours} == {"finding", "worker"}


def test_a_finding_is_one_json_object_at_its_uuid(ifmem: Any, bus: Any) -> None:
    (name,) = bus.keys("finding:*")
    finding_id = name.removeprefix("finding:")
    assert UUID.fullmatch(finding_id)
    finding = json.loads(bus.get(name))
    assert finding["finding_id"] == finding_id
    assert finding["claim"] == "The ferry leaves at nine."
    assert (finding["topic"], finding["confidence"]) == ("ferry", 0.8)
    assert finding["speech_act"] == "inform"
    assert finding["durable"] is True
    for required in ("worker_id", "timestamp", "citations", "tags", "tokens", "trust"):
        assert required in finding
    for required in ("content_sha256", "schema_version"):
        assert finding[required]
    ifmem("load", ifmem.write("notes/ferry.md", "# Ferry\n\nThe ferry is green.\n"))
    assert bus.keys("finding:*") == [name]


def test_a_living_worker_has_a_time_that_expires(bus: Any) -> None:
    (name,) = bus.keys("worker:status:*")
    beat = datetime.fromisoformat(bus.get(name))
    assert beat.utcoffset() == timedelta(0)
    seconds, microseconds = bus.time()
    server_now = datetime.fromtimestamp(seconds + microseconds / 1e6, UTC)
    assert timedelta(0) <= server_now - beat < timedelta(seconds=60)
    assert 0 < bus.ttl(name) <= 60


def test_librarians_without_models_are_active_and_unmetered(bus: Any) -> None:
    for n in LIBRARIANS:
        assert bus.get(f"librarian:shard{n}:status") == "active"
        assert bus.get(f"librarian:shard{n}:quota") == "1500"
        assert bus.get(f"librarian:shard{n}:capacity") == "0"


def test_a_new_finding_is_announced_on_its_channel(ifmem: Any, bus: Any) -> None:
    with bus.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe("channel:findings")
        while not channel.subscribed:
            channel.get_message(timeout=1)
        stored = ifmem("remember", "The ferry leaves at ten.", "--json").json
        message = None
        for _ in range(100):
            message = message or channel.get_message(timeout=0.2)
    assert message is not None
    assert json.loads(message["data"])["finding_id"] == stored["finding_id"]


def test_another_space_has_the_same_keys_under_its_prefix(ifmem: Any, bus: Any) -> None:
    before = {name: bus.dump(name) for name in bus.scan_iter(match="*") if not _beats(name)}
    stored = ifmem("remember", "The barge is late.", "--space", "acme", "--json").json
    assert {f"acme:{name}": bus.type(f"acme:{name}") for name in ALWAYS} == {
        f"acme:{name}": kind for name, kind in ALWAYS.items()
    }
    assert bus.keys("acme:finding:*") == [f"acme:finding:{stored['finding_id']}"]
    assert bus.exists(*(f"acme:{name}" for name in bus.keys("worker:status:*"))) == 1
    after = {name: bus.dump(name) for name in before}
    assert after == before


def _beats(name: str) -> bool:
    return name.startswith("worker:") or name == "ifmem:1:workers"


def test_context_active_is_the_sum_over_the_active_shards(
    ifmem: Any, bus: Any, writer: Any
) -> None:
    ifmem.write("project/a.py", writer(1).code(20))
    ifmem.write("project/notes.md", writer(2).prose(60))
    ifmem.write("project/tests/test_a.py", writer(3).code(20))
    ifmem.write("project/decisions/one.md", writer(4).prose(30))
    ifmem("load", "project")
    tokens = [int(bus.get(f"context:shard:{n}:tokens")) for n in SHARDS]
    assert all(tokens)
    assert int(bus.get("context:active")) == sum(tokens)
