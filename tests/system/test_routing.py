"""Routing: each kind of question goes to its shard, and says so when it cannot."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

RETRY = '''\
"""How often the courier knocks."""

KNOCK_LIMIT = 4
PAUSE_SECONDS = 30


def may_knock(count: int) -> bool:
    """True while the courier has knocks left at one door."""
    return count < KNOCK_LIMIT
'''
SEARCH_OUTPUT = """\
search output for old_handshake in the workspace
src/gate/open.py:12: old_handshake(peer)
src/gate/close.py:40: old_handshake(peer, quick=True)
3 matches of old_handshake in 2 modules, 118 modules searched
"""
TEST_RESULTS = """\
test session of the parcel suite
tests/test_weight.py::test_heaviest_parcel FAILED
reason: the scale reported 31 kilograms where 30 were expected
tests/test_weight.py::test_lightest_parcel PASSED
1 failed, 1 passed in 0.42 seconds
"""
DECISION = """\
# Decision 7: the ledger is kept in one file

We weighed a server against one file for the ledger. The synthesis of both reviews: one file,
because the branch offices have no operator. Rosalind signed the decision in March.
"""
CHAT = [
    {"role": "user", "content": "Who watches the night shift at the depot?"},
    {"role": "assistant", "content": "Benedict watches the night shift at the depot."},
]


@pytest.fixture
def project(ifmem: Any, writer: Any) -> Path:
    """A small project under git with every kind of document, loaded."""
    pens = writer(11)
    ifmem.write("project/src/courier.py", RETRY)
    for number in range(4):
        ifmem.write(f"project/src/part{number}.py", pens.code(12))
        ifmem.write(f"project/docs/page{number}.md", pens.prose(40))
        ifmem.write(f"project/tests/test_part{number}.py", pens.code(12))
        ifmem.write(f"project/decisions/{number}.md", pens.prose(20))
    ifmem.write("project/search-output.txt", SEARCH_OUTPUT)
    ifmem.write("project/test-results.txt", TEST_RESULTS)
    ifmem.write("project/decisions/7-ledger.md", DECISION)
    ifmem.write("project/chat.jsonl", "".join(json.dumps(turn) + "\n" for turn in CHAT))
    root = Path(ifmem.directory / "project")
    for command in (
        ("init", "--quiet"),
        ("add", "."),
        ("commit", "--quiet", "-m", "Raise the knock limit to four because couriers gave up"),
    ):
        subprocess.run(
            [
                "git",
                *("-c", "user.name=Invented", "-c", "user.email=invented@example.invalid"),
                *("-c", "commit.gpgsign=false"),
                *command,
            ],
            cwd=root,
            check=True,
        )
    ifmem("load", "project")
    return root


QUESTIONS = {
    1: ("Why did the commit raise the knock limit?", "git+file:"),
    2: ("Where was old_handshake found by the search?", "search-output.txt"),
    3: ("Why did test_heaviest_parcel fail?", "test-results.txt"),
    4: (
        "Who signed the decision on the ledger after the synthesis of both reviews?",
        "7-ledger.md",
    ),
}


@pytest.mark.parametrize("shard", QUESTIONS)
def test_a_question_goes_to_the_shard_of_its_kind(ifmem: Any, project: Path, shard: int) -> None:
    question, source = QUESTIONS[shard]
    answer = ifmem("ask", question, "--json").json
    assert answer["shards_asked"] == [shard], answer["routing"]
    assert answer["shards_missing"] == []
    assert answer["found"]
    assert any(source in one["source"] for one in answer["citations"])
    assert "of the score" in answer["routing"]


def test_the_hint_wins_and_a_shard_that_is_not_there_is_not_found(
    ifmem: Any, project: Path
) -> None:
    question, _ = QUESTIONS[3]
    answer = ifmem("ask", question, "--shard", "2", "--json").json
    assert answer["shards_asked"] == [2]
    assert all("test-results" not in one["source"] for one in answer["citations"])
    run = ifmem("ask", question, "--shard", "99", "--json", code=3)
    assert "no shard 99" in run.told()


def test_a_question_that_nothing_matches_is_put_to_every_shard(ifmem: Any, project: Path) -> None:
    answer = ifmem("ask", "xylograph zeppelin quokka", "--json").json
    assert answer["shards_asked"] == [1, 2, 3, 4]
    assert (answer["found"], answer["answer"], answer["citations"]) == (False, None, [])


def test_a_question_about_the_whole_is_put_to_every_shard(ifmem: Any, project: Path) -> None:
    answer = ifmem("ask", "Summarize every parcel of the courier", "--json").json
    assert answer["shards_asked"] == [1, 2, 3, 4]


def test_a_shard_marked_inactive_on_the_bus_is_passed_over_and_named(
    ifmem: Any, project: Path, eventually: Any
) -> None:
    question, _ = QUESTIONS[3]
    with ifmem.bus() as bus:

        def asked_without(*hint: str) -> Any:
            # With a heartbeat the bridge makes it active again, perhaps just now.
            bus.set("context:shard:3:active", "0")
            answer = ifmem("ask", question, *hint, "--json").json
            return 3 not in answer["shards_asked"] and answer

        answer = eventually(asked_without)
        hinted = eventually(lambda: asked_without("--shard", "3"))
        bus.set("context:shard:3:active", "1")
    for one in (answer, hinted):
        assert one["shards_asked"]
        assert one["shards_missing"] == [3]
        assert "not active" in one["routing"]
        assert all("test-results" not in cited["source"] for cited in one["citations"])
    assert ifmem("ask", question, "--json").json["shards_asked"][0] == 3
