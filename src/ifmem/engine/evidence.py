"""The sentence that answers a question, or none: the share of the question that evidence holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ifmem.engine.analysis import names, terms
from ifmem.engine.masking import holds_mask

NAME_WEIGHT = 5.0
"""A name, a number or an identifier decides what a question is about."""
NEARBY = 0.7
"""Worth of a term found only in a neighbouring sentence or in the header."""
ELSEWHERE = 0.3
"""Worth of a term found only further off in the passage."""
LEAST_SUPPORT = 0.4
"""Below this share a sentence answers nothing; one threshold for every corpus."""

_BREAK = re.compile(r"(?P<stop>(?<=[.!?])[\"')\]]*[ \t]+)|\n+|(?<=[.!?])[\"')\]]*\n")
_MARKS = r"\s|\"\"\"|'''|#+|//+|/\*+|\*+(?=\s)|\*/|>+(?=\s)|[-•](?=\s)"
_OPENING = re.compile(rf"(?:{_MARKS})*")
_CLOSING = re.compile(r"(?:\s|\"\"\"|'''|\*/)+$")
_PLAIN_WORD = re.compile(r"[(\"'`]*[A-Za-z][A-Za-z'’-]*[,;:)\"'`]*")
_LEAST_PROSE_WORDS = 4
_PROSE_SHARE = 0.75
"""Share of plain words from which a line is taken for prose, whose sentences run over its end."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sentence of a passage, and how far it supports an answer."""

    support: float
    """Share of the question's weight, 0..1."""
    start: int
    """First character in the passage."""
    end: int
    held: frozenset[str]
    """Terms of the question in the sentence or its passage."""


def sentences(text: str) -> list[tuple[int, int]]:
    """Start and end of each sentence, without comment and quotation marks around it.

    The end of a line is a break, except in wrapped prose: between two lines of plain words of
    which the first does not end a sentence and the second goes on in lower case.
    """
    found, start = [], 0
    for gap in _BREAK.finditer(text):
        if gap["stop"] is None and _is_wrapped(text, gap.start(), gap.end()):
            continue
        found.append((start, gap.start()))
        start = gap.end()
    found.append((start, len(text)))
    return [span for span in (_trimmed(text, *one) for one in found) if span[0] < span[1]]


def _is_wrapped(text: str, start: int, end: int) -> bool:
    """True when the line end at ``start`` stands inside a sentence of prose."""
    if end - start != 1 or text[start - 1 : start] in {".", "!", "?", ":"}:
        return False
    line_end = text.find("\n", end)
    following = text[end : line_end if line_end >= 0 else len(text)]
    following = following[_leading_marks(following) :]
    if not following[:1].islower():
        return False
    before = text[text.rfind("\n", 0, start) + 1 : start]
    return _is_prose(before) and (
        _is_prose(following) or len(following.split()) < _LEAST_PROSE_WORDS
    )


def _is_prose(line: str) -> bool:
    words = line[_leading_marks(line) :].split()
    plain = sum(_PLAIN_WORD.fullmatch(word.rstrip(".!?")) is not None for word in words)
    return len(words) >= _LEAST_PROSE_WORDS and plain >= _PROSE_SHARE * len(words)


def _leading_marks(text: str) -> int:
    match = _OPENING.match(text)
    return match.end() if match is not None else 0


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    sentence = text[start:end]
    closing = _CLOSING.search(sentence)
    return start + _leading_marks(sentence), start + (closing.start() if closing else len(sentence))


def question_weights(question: str, idf: Callable[[str], float]) -> dict[str, float]:
    """The weight of each of the question's terms, names raised."""
    named = names(question)
    return {term: idf(term) * (NAME_WEIGHT if term in named else 1.0) for term in terms(question)}


def best_evidence(
    weights: Mapping[str, float], text: str, header: str, *, count: int = 3
) -> list[Evidence]:
    """The best supported sentences of a passage, best first.

    A sentence with a masked credential is never evidence.
    """
    total = sum(weights.values())
    if total <= 0:
        return []
    wanted = set(weights)
    places = sentences(text)
    held = [wanted.intersection(terms(text[start:end])) for start, end in places]
    over = wanted.intersection(terms(header))
    everything = over.union(*held)
    found = []
    for index, (start, end) in enumerate(places):
        here = held[index]
        if not here or holds_mask(text[start:end]):
            continue
        around = over.union(*held[max(index - 1, 0) : index + 2]) - here
        far = everything - around - here
        support = (
            sum(weights[term] for term in here)
            + NEARBY * sum(weights[term] for term in around)
            + ELSEWHERE * sum(weights[term] for term in far)
        ) / total
        found.append(Evidence(support, start, end, frozenset(here | around | far)))
    found.sort(key=lambda one: -one.support)
    return found[:count]


def on_one_line(sentence: str) -> str:
    """A sentence with its line ends, and the comment marks after them, as single spaces."""
    lines = (line[_leading_marks(line) :] for line in sentence.split("\n"))
    return " ".join(" ".join(lines).split())


def locate(quote: str, text: str) -> tuple[int, int] | None:
    """Where a quote stands in a text, white space aside; None when it does not.

    The offsets come from this search, never from whoever gave the quote.
    """
    words = quote.split()
    if not words:
        return None
    start = text.find(quote)
    if start >= 0:
        return start, start + len(quote)
    match = re.search(r"\s+".join(map(re.escape, words)), text)
    return None if match is None else match.span()


def unknown_names(question: str, occurs: Callable[[str], bool]) -> tuple[str, ...]:
    """Terms of the question's names that occur nowhere in what is searched: they settle it."""
    return tuple(sorted(term for term in names(question) if not occurs(term)))
