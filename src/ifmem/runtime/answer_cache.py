"""Answers of models kept for the same question to shards that have not changed since."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from ifmem.bus.state import ShardState
from ifmem.model_settings import ModelSettings
from ifmem.prompts import dispute, shard_answer, synthesis
from ifmem.wire.answers import Answer
from ifmem.wire.calls import AskCall

PROMPTS = (shard_answer.VERSION, dispute.VERSION, synthesis.VERSION)


class AnswerCache:
    """The last answers; the one unused longest goes first."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, Answer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def clear(self) -> None:
        """Keep none."""
        self._answers.clear()

    def get(self, key: str) -> Answer | None:
        """The answer of a key, as it was given."""
        if key not in self._answers:
            return None
        self._answers.move_to_end(key)
        return self._answers[key]

    def put(self, key: str, answer: Answer, *, most: int) -> None:
        """Keep an answer that may be given again, and at most so many in all."""
        if is_complete(answer):
            self._answers[key] = answer
            self._answers.move_to_end(key)
        while len(self._answers) > most:
            self._answers.popitem(last=False)


def is_complete(answer: Answer) -> bool:
    """Whether asking again could tell nothing more: found, nothing missing, nobody failed."""
    failed = any(shard.error is not None for shard in answer.shards)
    return answer.found and not (answer.shards_missing or failed or answer.missing)


def key_of(
    call: AskCall, models: ModelSettings, states: Sequence[ShardState], findings: Sequence[int]
) -> str:
    """Names a question with everything that its answer depends on.

    A shard's generation, tokens and documents name what it holds: appending adds to the tokens,
    anything else is another generation.

    Args:
        call: the question, its filters and its shard.
        models: that would answer.
        states: of every shard.
        findings: counts that tell whether a finding came or went.
    """
    parts = (
        " ".join(call.question.split()),
        call.shard,
        call.filters,
        models,
        PROMPTS,
        [(s.number, s.generation, s.tokens, s.documents, s.active) for s in states],
        list(findings),
    )
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
