"""From text to index terms: words, the parts of identifiers, no stop words, stems.

Measured on the development sets (``docs/retrieval.md``): splitting identifiers and stemming are
the two steps that raise retrieval most, and cost nothing at query time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain

import Stemmer

WORD = re.compile(r"\w+(?:['’]\w+)*")

# Words that say nothing about the subject, in statements and in questions alike.
_STOP_WORDS = """
a an the this that these those there here it its he him his she her hers they them their theirs i
me my mine we us our ours you your yours who whom whose which what when where why how be am is are
was were been being do does did doing have has had having will would shall should can could may
might must and or nor but if then than so as of at by for with about to from in on into onto over
under up down out off again further once both each some such own same too very just also ever s t
d m ll re ve don didn doesn isn wasn aren weren won wouldn couldn shouldn hasn haven hadn
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
_ASCII_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_OTHER_PART = re.compile(r"\d+|[^\W\d_]+")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")
"""Scripts that put no spaces between words: their runs are cut into overlapping pairs."""
_CLITICS = frozenset({"s", "t", "d", "m", "ll", "re", "ve"})
_ISO_DATE = re.compile(r"(\d{4})-(0[1-9]|1[0-2])-(\d{2})")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_LONGEST = 64
"""A longer run of word characters is data (base64, a digest), not a word."""
_CACHED_WORDS = 500_000
_CACHED_QUESTIONS = 64
"""A question's names are asked for at several steps of its answer."""

_stem = Stemmer.Stemmer("english", 0).stemWord


def terms(text: str) -> list[str]:
    """The index terms of a text, in order."""
    return list(chain.from_iterable(map(_known.__getitem__, WORD.findall(text))))


def known_terms(word: str) -> tuple[str, ...]:
    """As ``word_terms``, looked up when the word was met before."""
    return _known[word]


def term_counts(text: str) -> Counter[str]:
    """How often each term occurs."""
    return Counter(chain.from_iterable(map(_known.__getitem__, WORD.findall(text))))


def word_terms(word: str) -> tuple[str, ...]:
    """Terms of one word: its parts stemmed, and the whole identifier when it has several."""
    if len(word) > _LONGEST:
        return ()
    bits = re.split("['’]", word)
    while len(bits) > 1 and bits[-1].lower() in _CLITICS:
        bits.pop()
    found: list[str] = []
    for bit in bits:
        parts = _parts(bit)
        if len(parts) > 1:
            # user_name, userName and username meet here.
            found.append(bit.lower().replace("_", ""))
        found.extend(_stem(part) for part in parts if part not in STOP_WORDS)
    return tuple(found)


def date_words(said_at: str | None) -> str:
    """A time stamp as a person would ask for it: ``2023-05-08`` gains ``8 May 2023``."""
    if not said_at:
        return ""
    match = _ISO_DATE.match(said_at)
    if match is None:
        return said_at
    year, month, day = match.groups()
    return f"{year}-{month}-{day} {int(day)} {_MONTHS[int(month) - 1]} {year}"


@lru_cache(_CACHED_QUESTIONS)
def names(question: str) -> frozenset[str]:
    """Terms of a question's names: capitals after its first word, digits, identifiers."""
    found: set[str] = set()
    for word, first in _words_with_place(question):
        if (word[0].isupper() and not first) or _is_identifier(word):
            found.update(_known[word])
    return frozenset(found)


def _words_with_place(question: str) -> Iterator[tuple[str, bool]]:
    for match in WORD.finditer(question):
        before = question[: match.start()].rstrip()
        yield match.group(), not before or before[-1] in ".?!"


def _is_identifier(word: str) -> bool:
    if word.isalpha() and word.islower():
        return False
    if not word.isalpha() and ("_" in word.strip("_") or any(c.isdigit() for c in word)):
        return True
    return any(c.islower() for c in word[:-1]) and any(c.isupper() for c in word[1:])


def _parts(bit: str) -> list[str]:
    if bit.isascii():
        return [part.lower() for part in _ASCII_PART.findall(bit)]
    found: list[str] = []
    for part in map(str.lower, _OTHER_PART.findall(bit)):
        if len(part) > 2 and _UNSPACED.search(part):
            found.extend(part[at : at + 2] for at in range(len(part) - 1))
        else:
            found.append(part)
    return found


class _KnownWords(dict[str, tuple[str, ...]]):
    """Words met before: a text repeats most of its words, so most are looked up, not analysed."""

    def __missing__(self, word: str) -> tuple[str, ...]:
        if len(self) >= _CACHED_WORDS:
            self.clear()
        self[word] = made = word_terms(word)
        return made


_known = _KnownWords()
