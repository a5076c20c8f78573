"""The sentence that answers a question, or none: the share of the question that evidence holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter

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
LEAST_SUFFICIENT = 0.6
"""Share of a question's terms, each counted as one, that keeps the question from the archive: a
rare word alone, such as part of a file's name, supports an answer and settles nothing."""

_BREAK = re.compile(r"(?P<stop>(?<=[.!?])[\"')\]]*[ \t]+)|\n+|(?<=[.!?])[\"')\]]*\n")
_MARKS = r"\s|\"\"\"|'''|#+|//+|/\*+|\*+(?=\s)|\*/|>+(?=\s)|[-•](?=\s)"
_OPENING = re.compile(rf"(?:{_MARKS})*")
_CLOSINGS = ('"""', "'''", "*/")
_PLAIN_WORD = re.compile(r"[(\"'`]*[A-Za-z][A-Za-z'’-]*[,;:)\"'`]*")
_LEAST_PROSE_WORDS = 4
_PROSE_SHARE = 0.75
"""Share of plain words from which a line is taken for prose, whose sentences run over its end."""
_ENDS_SENTENCE = frozenset(".!?:")
_PASSAGES_KEPT = 4_096
"""Passages whose sentences are remembered, some 8 KB each: a million tokens."""
_WORDS_KEPT = 1 << 15
_ALL = -1
"""Every sentence: a bit for each."""
_ROUNDING = 1e-9


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


@dataclass(frozen=True, slots=True)
class _Sentences:
    """The sentences of a passage, and which of them hold a term."""

    places: tuple[tuple[int, int], ...]
    holding: Mapping[str, int]
    """For each term of the passage the sentences that hold it, a bit for each."""
    masked: int
    """The sentences with a masked credential, a bit for each."""


def sentences(text: str) -> list[tuple[int, int]]:
    """Start and end of each sentence, without comment and quotation marks around it.

    The end of a line is a break, except in wrapped prose: between two lines of plain words of
    which the first does not end a sentence and the second goes on in lower case.
    """
    found, start = [], 0
    prose: dict[int, bool] = {}
    for gap in _BREAK.finditer(text):
        before, after = gap.span()
        is_line_end = after - before == 1 and text[before] == "\n"
        if is_line_end and _is_wrapped(text, before, prose):
            continue
        found.append((start, before))
        start = after
    found.append((start, len(text)))
    return [span for span in (_trimmed(text, *one) for one in found) if span[0] < span[1]]


def _is_wrapped(text: str, line_end: int, prose: dict[int, bool]) -> bool:
    """True when this line end stands inside a sentence of prose.

    Args:
        prose: what is known of the lines by their start; each is asked about at both of its ends.
    """
    if text[line_end - 1 : line_end] in _ENDS_SENTENCE:
        return False
    start = line_end + 1
    end = text.find("\n", start)
    end = end if end >= 0 else len(text)
    first = _after_marks(text, start, end)
    if not text[first : first + 1].islower():
        return False
    before = text.rfind("\n", 0, line_end) + 1
    return _is_prose(text, before, line_end, prose) and (
        _is_prose(text, start, end, prose) or len(text[first:end].split()) < _LEAST_PROSE_WORDS
    )


def _is_prose(text: str, start: int, end: int, known: dict[int, bool]) -> bool:
    is_prose = known.get(start)
    if is_prose is None:
        words = text[_after_marks(text, start, end) : end].split()
        is_prose = known[start] = len(words) >= _LEAST_PROSE_WORDS and sum(
            map(_is_plain, words)
        ) >= _PROSE_SHARE * len(words)
    return is_prose


@lru_cache(_WORDS_KEPT)
def _is_plain(word: str) -> bool:
    return _PLAIN_WORD.fullmatch(word.rstrip(".!?")) is not None


def _after_marks(text: str, start: int, end: int) -> int:
    match = _OPENING.match(text, start, end)
    return match.end() if match is not None else start


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    sentence = text[start:end].rstrip()
    while sentence.endswith(_CLOSINGS):
        sentence = sentence[: -2 if sentence.endswith("*/") else -3].rstrip()
    return _after_marks(text, start, end), start + len(sentence)


@lru_cache(_PASSAGES_KEPT)
def _read(text: str) -> _Sentences:
    """The sentences of a passage: facts of its text, so every question shares them."""
    places = tuple(sentences(text))
    holding: dict[str, int] = {}
    masked = 0
    for index, (start, end) in enumerate(places):
        bit = 1 << index
        sentence = text[start:end]
        for term in terms(sentence):
            holding[term] = holding.get(term, 0) | bit
        if holds_mask(sentence):
            masked |= bit
    return _Sentences(places, holding, masked)


def question_weights(question: str, idf: Callable[[str], float]) -> dict[str, float]:
    """The weight of each of the question's terms, names raised."""
    named = names(question)
    return {term: idf(term) * (NAME_WEIGHT if term in named else 1.0) for term in terms(question)}


def best_evidence(
    weights: Mapping[str, float], text: str, header: str, *, count: int = 3, least: float = 0.0
) -> list[Evidence]:
    """The best supported sentences of a passage, best first.

    A sentence with a masked credential is never evidence.

    Args:
        weights: the question's terms.
        header: what stands over the passage; its terms are near to every sentence.
        count: sentences at most.
        least: sentences with less support are left out.
    """
    total = sum(weights.values())
    if total <= 0:
        return []
    read, over = _read(text), _terms_of_header(header)
    held: list[tuple[str, float, int, int]] = []
    anywhere, possible = 0, 0.0
    for term, weight in weights.items():
        at = read.holding.get(term, 0)
        if at:
            anywhere |= at
            possible += weight
            held.append((term, weight, at, _ALL if term in over else at << 1 | at >> 1))
        elif term in over:
            possible += NEARBY * weight
            held.append((term, weight, 0, _ALL))
    # Sums of the same weights in another order differ in their last digits.
    least -= _ROUNDING
    if possible < least * total:
        return []
    best = [one for one in _rated(held, total, anywhere & ~read.masked) if one[0] >= least]
    best.sort(key=itemgetter(0), reverse=True)
    if not best:
        return []
    terms_held = frozenset([one[0] for one in held])
    return [Evidence(support, *read.places[index], terms_held) for support, index in best[:count]]


def _rated(
    held: Sequence[tuple[str, float, int, int]], total: float, wanted: int
) -> list[tuple[float, int]]:
    """The support of each of the wanted sentences, and its place."""
    found = []
    while wanted:
        sentence = wanted & -wanted
        wanted ^= sentence
        weighs = 0.0
        for _, weight, at, near in held:
            if at & sentence:
                weighs += weight
            elif near & sentence:
                weighs += NEARBY * weight
            else:
                weighs += ELSEWHERE * weight
        found.append((weighs / total, sentence.bit_length() - 1))
    return found


@lru_cache(_PASSAGES_KEPT)
def _terms_of_header(header: str) -> frozenset[str]:
    return frozenset(terms(header))


def is_sufficient(
    weights: Mapping[str, float], unknown: Sequence[str], texts: Iterable[tuple[str, str]]
) -> bool:
    """True when one of these texts answers a question by itself, so that no other is needed.

    That is the extractive rule, and more than half of the question's terms.

    Args:
        weights: of the question's terms.
        unknown: its names that occur nowhere in what is searched: one settles it.
        texts: passages, each with its header.
    """
    if unknown:
        return False
    return any(
        held_share(weights, [one]) >= LEAST_SUFFICIENT - _ROUNDING
        and best_evidence(weights, *one, count=1, least=LEAST_SUPPORT)
        for one in texts
    )


def held_share(weights: Mapping[str, float], texts: Iterable[tuple[str, str]]) -> float:
    """The most that a sentence of these texts holds of a question, each term counted as one.

    Without the weights of an index, so that what two indexes hold can be compared.

    Args:
        weights: of the question's terms.
        texts: passages, each with its header.
    """
    alike = dict.fromkeys(weights, 1.0)
    best = (best_evidence(alike, *one, count=1) for one in texts)
    return max((found[0].support for found in best if found), default=0.0)


def coverage(weights: Mapping[str, float], texts: Iterable[str]) -> float:
    """Share of a question's weight whose terms stand in these texts, 0..1."""
    total = sum(weights.values())
    if total <= 0:
        return 0.0
    held = {term for text in texts for term in terms(text)}
    return sum(weight for term, weight in weights.items() if term in held) / total


def reaches_archive(mode: str, *, found: bool, hinted: bool) -> bool:
    """True when a question goes to the archive after what is live was asked.

    Args:
        mode: ``never``, ``auto`` or ``always``.
        found: what is live gave an answer.
        hinted: it was put to one live shard by its number: then only who says ``always`` means
            more than that shard.
    """
    return mode == "always" or (mode == "auto" and not found and not hinted)


def on_one_line(sentence: str) -> str:
    """A sentence with its line ends, and the comment marks after them, as single spaces."""
    lines = (line[_after_marks(line, 0, len(line)) :] for line in sentence.split("\n"))
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
