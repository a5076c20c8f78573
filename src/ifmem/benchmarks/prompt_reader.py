"""A stand-in for a model at the wire: it reads the prompt it is sent, and nothing else.

It answers by the rule of the extractive model, so that the accuracy of an arm says whether the
fact was in its prompt, not how clever a model is.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ifmem.engine.analysis import terms
from ifmem.engine.evidence import LEAST_SUPPORT, question_weights, sentences
from ifmem.testing.loopback import Request

_DOCUMENT = re.compile(
    r"^<document (?P<number>\d+) mark=(?P<mark>\S+) .*>\n(?P<text>(?:.*\n)*?)"
    r"</document (?P=number) mark=(?P=mark)>\n",
    re.MULTILINE,
)
_QUESTION = re.compile(r"^Question: (.*)$", re.MULTILINE)
_FINDINGS = "The findings end here."


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    held: frozenset[str]


class PromptReader:
    """Reads prompts; a text that it has read once is kept in pieces."""

    def __init__(self) -> None:
        self._read: dict[str, list[_Sentence]] = {}

    def __call__(self, request: Request) -> str:
        """The answer to a request of Anthropic's protocol."""
        return self.read(_text_of(request.body))

    def read(self, text: str) -> str:
        """The answer to a shard's prompt, as JSON; or findings joined."""
        asked = _QUESTION.findall(text)
        documents = [(int(found["number"]), found["text"]) for found in _DOCUMENT.finditer(text)]
        if _FINDINGS in text:
            return " ".join(f"{' '.join(said.split())} [{number}]" for number, said in documents)
        return json.dumps(self._answer(asked[-1] if asked else "", documents))

    def _answer(self, question: str, documents: list[tuple[int, str]]) -> dict[str, Any]:
        read = [
            (number, sentence) for number, text in documents for sentence in self._sentences(text)
        ]
        weights = question_weights(question, _rarity([one.held for _, one in read]))
        total = sum(weights.values()) or 1.0
        best = max(
            read,
            key=lambda one: sum(weights[term] for term in weights.keys() & one[1].held),
            default=None,
        )
        if best is None:
            return _nothing()
        number, sentence = best
        support = sum(weights[term] for term in weights.keys() & sentence.held) / total
        if support < LEAST_SUPPORT:
            return _nothing()
        quote = {"document": number, "quote": sentence.text, "claim": sentence.text}
        return {
            "found": True,
            "quotes": [quote],
            "answer": sentence.text,
            "confidence": round(support, 2),
            "missing": "",
        }

    def _sentences(self, text: str) -> list[_Sentence]:
        if text not in self._read:
            self._read[text] = [
                _Sentence(text[start:end], frozenset(terms(text[start:end])))
                for start, end in sentences(text)
            ]
        return self._read[text]


def quotes_of(answer: str) -> list[str]:
    """What an answer of the reader quotes."""
    return [str(one["quote"]) for one in json.loads(answer)["quotes"]]


def _nothing() -> dict[str, Any]:
    return {"found": False, "quotes": [], "answer": "", "confidence": 0, "missing": ""}


def _rarity(held: list[frozenset[str]]) -> Any:
    counts: Counter[str] = Counter(term for terms_of_one in held for term in terms_of_one)

    def rarity(term: str) -> float:
        return math.log(1 + len(held) / (1 + counts[term]))

    return rarity


def _text_of(body: Any) -> str:
    """All text of a request, in the order in which a model reads it."""
    system = "".join(_pieces(body.get("system")))
    messages = ("".join(_pieces(message["content"])) for message in body["messages"])
    return "\n".join((system, *messages))


def _pieces(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for block in content if isinstance(content, list) else ():
        if block.get("type") == "text":
            yield block["text"]
