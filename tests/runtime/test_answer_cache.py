"""Kept answers: only whole ones, for exactly the same question to exactly the same shards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from ifmem.bus.state import ShardState
from ifmem.model_settings import ModelSettings
from ifmem.runtime.answer_cache import AnswerCache, key_of
from ifmem.wire.answers import Answer, ConsultedShard, Usage
from ifmem.wire.calls import AskCall, Filters

ANSWER = Answer(
    answer="It is 3. [1]",
    found=True,
    citations=[],
    shards_asked=[1],
    shards_missing=[],
    model="house:a",
    usage=Usage(),
    cost_usd="0.01",
    elapsed_ms=1.0,
    query_id="q",
)
CALL = AskCall(question="What is it?")
MODELS = ModelSettings(default="house:a")
STATES = [ShardState(n, "files-git", 200_000, 10 * n, True, n, 0, "desk-1") for n in (1, 2)]


def key(call: AskCall = CALL, models: ModelSettings = MODELS, **changes: Any) -> str:
    states = [replace(STATES[0], **changes), STATES[1]]
    return key_of(call, models, states, (4, 4))


def test_the_same_question_has_the_same_key_white_space_aside() -> None:
    assert key() == key(AskCall(question="  What is\n it? ", fresh=True, max_cost="1"))


@pytest.mark.parametrize(
    "other",
    [
        key(AskCall(question="What is IT?")),
        key(AskCall(question="What is it?", shard=1)),
        key(AskCall(question="What is it?", filters=Filters(group="g"))),
        key(models=ModelSettings(default="house:b")),
        key(models=ModelSettings(default="house:a", rounds=1)),
        key(generation=1),
        key(tokens=11),
        key(documents=2),
        key(active=False),
        key_of(CALL, MODELS, STATES[:1], (4, 4)),
        key_of(CALL, MODELS, STATES, (5, 5)),
        key_of(CALL, MODELS, STATES, (4, 3)),
    ],
)
def test_whatever_an_answer_depends_on_makes_another_key(other: str) -> None:
    assert other != key()


def test_an_answer_is_kept_until_others_were_used_later() -> None:
    kept = AnswerCache()
    for name in "abc":
        kept.put(name, ANSWER, most=3)
    assert kept.get("a") is ANSWER
    kept.put("d", ANSWER, most=3)
    assert (len(kept), kept.get("b"), kept.get("a")) == (3, None, ANSWER)
    kept.put("e", ANSWER, most=0)
    assert len(kept) == 0


SILENT = ConsultedShard(1, "house:a", False, False, False, error="it is down")


@pytest.mark.parametrize(
    "changes",
    [
        {"found": False},
        {"shards_missing": [2]},
        {"missing": "the date"},
        {"shards": [SILENT]},
    ],
)
def test_an_answer_to_which_asking_again_could_add_is_not_kept(changes: dict[str, Any]) -> None:
    kept = AnswerCache()
    kept.put("a", msgspec.structs.replace(ANSWER, **changes), most=3)
    assert kept.get("a") is None
