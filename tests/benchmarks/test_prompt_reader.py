"""The stand-in at the wire: it knows what its prompt says, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ifmem.benchmarks.prompt_reader import PromptReader, quotes_of
from ifmem.prompts.fencing import FencedDocument, fence
from ifmem.prompts.shard_answer import shard_answer
from ifmem.prompts.synthesis import synthesis
from ifmem.testing.loopback import Request

GATE = "The harbour gate opens with code K417."
TRAIN = "The night train leaves from platform nineteen."


def request(rules: str, *blocks: str) -> Request:
    content = [{"type": "text", "text": block} for block in blocks if block]
    body: dict[str, Any] = {
        "system": [{"type": "text", "text": rules}],
        "messages": [{"role": "user", "content": content}],
    }
    return Request(method="POST", path="/", query={}, headers={}, raw=b"", body=body)


def asked(question: str, *texts: str) -> dict[str, Any]:
    documents = fence(FencedDocument(n, f"/{n}", "", text) for n, text in enumerate(texts, 1))
    prompt = shard_answer(documents, question, structured=True)
    answer: dict[str, Any] = json.loads(
        PromptReader()(request(prompt.rules, prompt.documents, prompt.question))
    )
    return answer


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_sentence_that_answers_is_quoted_with_its_document(place: int) -> None:
    texts = [f"{TRAIN}\nIt is never late.\n"] * 3
    texts[place] = f"Nothing is known.\n{GATE}\nIt is never late.\n"
    answer = asked("With which code does the harbour gate open?", *texts)
    assert answer["found"]
    assert [(one["document"], one["quote"]) for one in answer["quotes"]] == [(place + 1, GATE)]


def test_what_is_not_in_the_prompt_is_not_known() -> None:
    answer = asked("With which code does the harbour gate open?", f"{TRAIN}\n")
    assert (answer["found"], answer["quotes"]) == (False, [])


def test_findings_are_joined_each_with_its_number() -> None:
    findings = [FencedDocument(1, "a", "", GATE), FencedDocument(2, "b", "", TRAIN)]
    prompt = synthesis(findings, "What opens, and what leaves?")
    joined = PromptReader()(request(prompt.rules, prompt.documents, prompt.question))
    assert joined == f"{GATE} [1] {TRAIN} [2]"


def test_quotes_are_read_from_an_answer() -> None:
    assert quotes_of(json.dumps({"quotes": [{"quote": GATE}]})) == [GATE]
