"""Daemons and librarians killed while they work on a question: it is answered once, later."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

with warnings.catch_warnings():
    # The tokeniser opens its vocabulary in a way that Python 3.11 and 3.12 deprecate.
    warnings.simplefilter("ignore", DeprecationWarning)
    from ifmem.testing.chat_protocol import Chat, Script
    from ifmem.testing.exchanges import Hold
    from ifmem.testing.plain_openai_server import PlainOpenAIServer

pytest.importorskip("openai", reason="the extra `openai` is not installed")

PATIENCE_S = 60.0
CLAIM = "The retry budget of the Courier is 3 attempts."
QUESTION = "What is the retry budget of the Courier?"


def says(chat: Chat) -> Script:
    prompt = "\n".join(part.text for part in chat.parts)
    shown = re.search(r"<document (\d+) [^\n]*>\n" + re.escape(CLAIM), prompt)
    quotes = [{"document": int(shown[1]), "quote": CLAIM, "claim": CLAIM}] if shown else []
    told = {"found": bool(quotes), "quotes": quotes, "answer": CLAIM, "confidence": 1}
    return Script(text=json.dumps({**told, "missing": ""}))


@pytest.fixture
def own() -> Iterator[PlainOpenAIServer]:
    with PlainOpenAIServer(models={"honest": 60_000}) as server:
        server.script = says
        yield server


def settings_of(own: PlainOpenAIServer) -> str:
    """The first librarian asks the server; a silent one loses its call soon."""
    return f"""
[models]
default = "extractive"

[archive]
librarians = 2
lease_seconds = 3

[[librarians]]
number = 1
model = "own:honest"

[[quotas]]
name = "own"
provider = "own"
daily = 10

[[providers]]
name = "own"
protocol = "openai"
vendor = "vllm"
base_url = "{own.url}/v1"
key_env = "SOME_OWN_KEY"
structured = true
window = 60000

[[prices]]
model = "own:honest"
input = "1.00"
output = "5.00"
as_of = "2026-11-01"
"""


@pytest.fixture
def library(install: Callable[..., Any], own: PlainOpenAIServer) -> Callable[..., Any]:
    """Makes an installation with a session in the archive; without a key it cannot ask itself."""

    def make(*, key: bool) -> Any:
        ifmem = install(models_keep_hot="off")
        if key:
            ifmem.environment |= {"SOME_OWN_KEY": own.key or "none"}
        ifmem.write("config.toml", settings_of(own))
        ifmem("remember", CLAIM, "--run", "nightly")
        ifmem("sessions", "end", "nightly")
        return ifmem

    return make


@contextlib.contextmanager
def channels(ifmem: Any) -> Iterator[Channels]:
    """The two channels, as a plain client has them."""
    with ifmem.bus() as client, client.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe("channel:responses")
        heard.get_message(timeout=PATIENCE_S)
        yield Channels(client, heard)


class Channels:
    def __init__(self, client: Any, heard: Any) -> None:
        self._client = client
        self._heard = heard

    def ask(self, query_id: str) -> None:
        query = {"query_id": query_id, "question": QUESTION, "shard_hint": "librarian-1"}
        self._client.publish("channel:queries", json.dumps(query))

    def response(self) -> dict[str, Any]:
        message = self._heard.get_message(timeout=PATIENCE_S)
        assert message is not None, "nobody answered"
        said: dict[str, Any] = json.loads(message["data"])
        return said


def charged(ifmem: Any) -> int:
    """Calls that are left to the first librarian."""
    items = ifmem("librarians", "--json").json["items"]
    return next(int(one["quota"]) for one in items if one["librarian"] == 1)


def test_a_question_whose_daemon_is_killed_is_answered_once_by_the_next_one(
    library: Callable[..., Any], own: PlainOpenAIServer
) -> None:
    ifmem = library(key=True)
    held = Hold()
    own.fail_next(held)
    with channels(ifmem) as bus:
        bus.ask("q-killed")
        assert held.reached.wait(PATIENCE_S)
        os.kill(ifmem.daemon_pid(), signal.SIGKILL)
        held.release.set()
        ifmem("up")
        first = bus.response()
        # Whoever asks again hears the same, and nobody works on it twice.
        bus.ask("q-killed")
        again = bus.response()
    assert (first["query_id"], first["librarian"], first["found"]) == (
        "q-killed",
        "librarian-1",
        True,
    )
    assert (first["answer"], first["sources"]) == (again["answer"], again["sources"])
    answer = ifmem("ask", "--answer", "q-killed", "--json").json
    assert answer["answer"] == first["answer"]
    assert len(own.requests) == 2
    # The call that nobody heard the end of stays charged.
    assert charged(ifmem) == 8


def test_a_question_whose_librarian_is_killed_elsewhere_is_answered_once_by_another(
    library: Callable[..., Any], install: Callable[..., Any], own: PlainOpenAIServer
) -> None:
    ifmem = library(key=False)
    there = install("elsewhere", redis_url=ifmem.status()["redis"]["url"])
    there.environment |= {"SOME_OWN_KEY": own.key or "none"}
    there.write("config.toml", settings_of(own))
    worker = there.start("worker", "--librarians", "1", "--json")
    try:
        with channels(ifmem) as bus:
            for line in worker.stdout:
                if json.loads(line)["event"] == "serving":
                    break
            # It answers as one of this host would.
            bus.ask("q-served")
            served = bus.response()
            assert (served["librarian"], served["found"]) == ("librarian-1", True)
            held = Hold()
            own.fail_next(held)
            bus.ask("q-lost")
            assert held.reached.wait(PATIENCE_S)
            worker.kill()
            worker.wait(PATIENCE_S)
            held.release.set()
            lost = bus.response()
            assert (lost["query_id"], lost["librarian"]) == ("q-lost", "librarian-2")
            assert lost["found"]
    finally:
        worker.kill()
        worker.communicate()
    answer = ifmem("ask", "--answer", "q-lost", "--json").json
    assert (answer["librarian"], answer["passed_over"][0]["librarian"]) == (2, 1)
    assert charged(ifmem) == 8
