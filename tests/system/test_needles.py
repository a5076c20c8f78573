"""Forty planted facts over all shards: each is recalled within the budget and cited to its line."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ifmem import BlockingMemory, Memory, tokens
from ifmem.settings import Settings

BUDGET = 4_000
_FIRST = ["Ada", "Bo", "Cleo", "Dario", "Elin", "Farid", "Greta", "Hugo", "Ines", "Jonas"]
_LAST = [
    "Abbott",
    "Brandt",
    "Castell",
    "Dumas",
    "Ekman",
    "Ferro",
    "Gauthier",
    "Hollis",
    "Ivarson",
    "Jansky",
]
_SHAPES = (
    (
        "{who} keeps the spare key of {place} under the {thing}.",
        "Where is the spare key of {place}?",
    ),
    ("The {thing} of {place} was repaired by {who}.", "Who repaired the {thing} of {place}?"),
    ("{place} closes its gate at {number} minutes past six.", "When does {place} close its gate?"),
    (
        "{who} lent {number} crowns to the guild of {place}.",
        "How much did {who} lend to the guild?",
    ),
)
_PLACES = [
    "Aldermoor",
    "Brackwater",
    "Coldhithe",
    "Dunmarrow",
    "Elmsgate",
    "Fenwick",
    "Garrowby",
    "Hexholm",
    "Inverlake",
    "Jarrowdene",
    "Kestrelby",
    "Lowmarsh",
    "Mossend",
    "Netherby",
    "Oxbarrow",
    "Pennywell",
    "Quarrelton",
    "Ravenscar",
    "Saltmere",
    "Thornhope",
    "Ulverdale",
    "Vexford",
    "Westerley",
    "Yarrowick",
    "Zelcombe",
    "Ashpool",
    "Birchover",
    "Crowholt",
    "Driftwood",
    "Eastmere",
    "Foxhollow",
    "Grimsward",
    "Harrowgate",
    "Ironbeck",
    "Juniperley",
    "Knotting",
    "Larkspur",
    "Millrace",
    "Northwold",
    "Osterby",
]
_FOLDERS = (("src", ".py"), ("docs", ".md"), ("tests", ".py"), ("decisions", ".md"))


@dataclass(frozen=True)
class Needle:
    fact: str
    question: str
    changed: str
    """The same question about somebody or something that is nowhere in the corpus."""


def needles() -> list[Needle]:
    chance = random.Random(40)
    made = []
    for index, place in enumerate(_PLACES):
        fact, question = _SHAPES[index % len(_SHAPES)]
        values = {
            "who": f"{_FIRST[index % 10]} {_LAST[(index * 7 + index // 10) % 10]}",
            "place": place,
            "thing": chance.choice(["windlass", "hourglass", "weathervane", "inkstand"]),
            "number": chance.randrange(11, 59),
        }
        other = {**values, "who": "Ottoline Pemberley", "place": f"Little{place[::-1].lower()}"}
        other["place"] = other["place"].capitalize()
        made.append(
            Needle(fact.format(**values), question.format(**values), question.format(**other))
        )
    return made


NEEDLES = needles()


@pytest.fixture
def memory(ifmem: Any, writer: Any) -> Iterator[BlockingMemory]:
    """A corpus of over 100,000 tokens with one needle in each of forty documents."""
    chance = random.Random(16)
    for index, needle in enumerate(NEEDLES):
        folder, suffix = _FOLDERS[index % 4]
        pens = writer(100 + index)
        text = pens.code(70) if suffix == ".py" else pens.prose(190)
        lines = text.split("\n")
        at = chance.randrange(10, len(lines) - 10)
        line = f"# {needle.fact}" if suffix == ".py" else needle.fact
        name = f"test_{index}" if folder == "tests" else f"page_{index}"
        lines.insert(at, line)
        ifmem.write(f"corpus/{folder}/{name}{suffix}", "\n".join(lines))
    report = ifmem("load", "corpus", "--json").json
    assert report["tokens"] > 100_000
    assert [one["shard"] for one in report["shards"]] == [1, 2, 3, 4]
    with Memory.open_sync(settings=Settings(home=str(ifmem.home))) as opened:
        yield opened


def test_each_needle_is_recalled_within_the_budget_and_cited_to_its_line(
    memory: BlockingMemory,
) -> None:
    lost = []
    for needle in NEEDLES:
        found = memory.recall(needle.question, max_tokens=BUDGET)
        assert found.tokens <= BUDGET
        assert sum(tokens.count(one.text) for one in found.passages) <= BUDGET
        if not any(needle.fact in one.text for one in found.passages):
            lost.append(needle.question)
    assert lost == []


def test_each_answer_cites_lines_that_exist_and_contain_what_is_quoted(
    memory: BlockingMemory,
) -> None:
    answered = 0
    for needle in NEEDLES:
        answer = memory.ask(needle.question)
        for citation in answer.citations:
            assert citation.verified
            assert not citation.stale
            assert citation.lines is not None
            first, last = citation.lines
            lines = Path(citation.source).read_text().split("\n")
            quoted = " ".join("\n".join(lines[first - 1 : last]).split())
            assert " ".join(citation.quote.split()) in quoted
        cited = [one for one in answer.citations if needle.fact in one.quote]
        answered += bool(answer.found and cited)
    assert answered >= 0.95 * len(NEEDLES), f"{answered} of {len(NEEDLES)}"


@pytest.mark.parametrize("budget", [1, 60, 700])
def test_a_small_budget_is_kept_as_well(memory: BlockingMemory, budget: int) -> None:
    for needle in NEEDLES[::8]:
        found = memory.recall(needle.question, max_tokens=budget)
        texts = [one.text for one in found.passages] + [one.claim for one in found.findings]
        assert sum(map(tokens.count, texts)) <= found.tokens <= budget


def test_what_is_not_in_the_archive_is_not_found(memory: BlockingMemory) -> None:
    for needle in NEEDLES:
        answer = memory.ask(needle.changed)
        assert (answer.found, answer.answer, answer.citations) == (False, None, []), needle.changed
