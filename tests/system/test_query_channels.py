"""The two channels of the seed against a running memory: plain clients, and the library."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ifmem import Memory
from ifmem.errors import Invalid, NotFound
from ifmem.settings import read_settings

PATIENCE_S = 30.0
HARBOUR = """# Harbour

The harbour light turns once in eleven seconds.

The keeper of the harbour light is called Amalia Brandt.

The lower gate opens at dusk and closes before the tide.
"""


@pytest.fixture
def loaded(ifmem: Any) -> Any:
    ifmem.write("harbour.md", HARBOUR)
    ifmem("load", "harbour.md")
    return ifmem


@pytest.fixture
def asked(loaded: Any) -> Callable[..., list[dict[str, Any]]]:
    """Publishes a query as the seed's coordinator did; so many responses to it."""

    def ask(count: int, **fields: Any) -> list[dict[str, Any]]:
        query = {"query_id": "q-1", "from": "coordinator", **fields}
        with loaded.bus() as client, client.pubsub(ignore_subscribe_messages=True) as heard:
            heard.subscribe("channel:responses")
            heard.get_message(timeout=PATIENCE_S)
            client.publish("channel:queries", json.dumps(query))
            responses: list[dict[str, Any]] = []
            while len(responses) < count:
                message = heard.get_message(timeout=PATIENCE_S)
                assert message is not None, f"{len(responses)} responses, not {count}"
                responses.append(json.loads(message["data"]))
            return responses

    return ask


def opened(installation: Any) -> Any:
    settings, _ = read_settings(
        flags={"home": str(installation.home)},
        environment={"IFMEM_CONFIG": str(installation.directory / "config.toml")},
        directory=installation.directory,
    )
    return Memory.open_sync(settings=settings)


def test_every_shard_of_the_bridge_answers_a_plain_client(
    loaded: Any, asked: Callable[..., list[dict[str, Any]]]
) -> None:
    question = "Who is the keeper of the harbour light?"
    responses = asked(4, question=question, timestamp="")
    assert sorted(one["shard_id"] for one in responses) == [1, 2, 3, 4]
    (found,) = [one for one in responses if one["found"]]
    source = loaded.directory / "harbour.md"
    assert found["answer"].startswith("The keeper of the harbour light is called Amalia Brandt.")
    assert found["sources"][0] == f"{source}:5-5"
    assert found["confidence"] == 1.0
    assert found["context_size"] > 0
    for one in responses:
        if not one["found"]:
            assert (one["answer"], one["sources"], one["confidence"]) == (None, [], 0.0)
    shard = found["shard_id"]
    (again,) = asked(1, query_id="q-2", question=question, shard_hint=f"shard{shard}")
    assert (again["shard_id"], again["answer"]) == (shard, found["answer"])


def test_an_answer_keeps_to_the_tokens_it_is_allowed(
    asked: Callable[..., list[dict[str, Any]]],
) -> None:
    question = "Who is the keeper of the harbour light?"
    found = next(one for one in asked(4, question=question, max_tokens=4) if one["found"])
    assert found["answer"].endswith("…")
    assert "Brandt" not in found["answer"]
    assert len(found["sources"]) == 1


def test_the_library_asks_the_holders_of_the_shards(loaded: Any) -> None:
    with opened(loaded) as memory:
        first = memory.query("Who is the keeper of the harbour light?")
        assert first.found
        assert first.answer.startswith("The keeper of the harbour light is called Amalia Brandt.")
        (response,) = first.responses
        assert first.sources == response.sources
        everybody = memory.query("Who is the keeper of the harbour light?", gather=True)
        assert sorted(one.shard for one in everybody.responses) == [1, 2, 3, 4]
        assert (everybody.answer, everybody.shards_missing) == (first.answer, [])
        one_shard = memory.query("the keeper of the harbour light", shard=response.shard)
        assert [one.shard for one in one_shard.responses] == [response.shard]
        nothing = memory.query("Where does Bartholomew Quimby live?", gather=True)
        assert (nothing.found, nothing.answer, nothing.sources) == (False, None, [])
        with pytest.raises(NotFound, match="no shard 99"):
            memory.query("What turns?", shard=99)
        with pytest.raises(Invalid, match="deadline"):
            memory.query("What turns?", deadline=-1.0)


def test_a_client_daemon_asks_them_through_its_owner(
    install: Callable[..., Any], loaded: Any
) -> None:
    url = loaded.status()["redis"]["url"]
    client = install("client", role="client", redis_url=url)
    client("up")
    with opened(client) as memory:
        answer = memory.query("Who is the keeper of the harbour light?")
        assert answer.found


def test_a_shard_whose_holder_is_silent_is_named_at_the_deadline(loaded: Any) -> None:
    with loaded.bus() as client, opened(loaded) as memory:
        # A worker that lives, has taken the shard, and says nothing.
        client.set("worker:status:mute", "2999-01-01T00:00:00.000Z", ex=60)
        client.hset("ifmem:1:shard:3", "worker", "mute")
        answer = memory.query("What turns?", gather=True, deadline=1.0)
        assert answer.shards_missing == [3]
        assert sorted(one.shard for one in answer.responses) == [1, 2, 4]
