"""The facts of a sentence that must not be invented: its numbers and its names."""

from __future__ import annotations

import re

from ifmem.engine.analysis import STOP_WORDS, WORD, names, terms, word_terms

_NUMBER = re.compile(r"\d+(?:[.,_'\u00a0\u202f](?=\d{3}(?!\d))\d{3})*(?:[.,]\d+)?")
_GROUPING = re.compile(r"[,_'\u00a0\u202f](?=\d{3}(?!\d))")
_NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        (
            *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
            *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
            *("seventeen", "eighteen", "nineteen", "twenty"),
        )
    )
}
_SHORT = 3
"""Words of a sentence whose first word is taken for a name too: ``Ada Roe.``"""


def numbers(text: str) -> frozenset[str]:
    """The numbers of a text, as written without grouping: ``8,443`` and ``8443`` are one."""
    return frozenset(_plain(match[0]) for match in _NUMBER.finditer(text))


def proper_names(text: str) -> frozenset[str]:
    """The terms of a text's names; digits alone are numbers, not names."""
    found = set(names(text))
    words = WORD.findall(text)
    if 0 < len(words) <= _SHORT and words[0][:1].isupper() and words[0].lower() not in STOP_WORDS:
        found.update(word_terms(words[0]))
    return frozenset(term for term in found if not term.isdigit())


def facts(text: str) -> frozenset[str]:
    """What a text states that cannot be said in other words."""
    return numbers(text) | proper_names(text)


def held_facts(text: str) -> frozenset[str]:
    """Every fact that a text could prove: its terms, its numbers, and those it spells out."""
    spelled = {
        _NUMBER_WORDS[word] for word in map(str.lower, WORD.findall(text)) if word in _NUMBER_WORDS
    }
    return frozenset(terms(text)) | numbers(text) | spelled


def _plain(number: str) -> str:
    whole = _GROUPING.sub("", number).replace(",", ".")
    if "." in whole:
        whole = whole.rstrip("0").rstrip(".")
    bare = whole.lstrip("0")
    return bare if bare[:1].isdigit() else f"0{bare}"
