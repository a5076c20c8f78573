"""BERT's way from text to numbers: lower-case words without accents, cut into known pieces.

The pieces (``wordpieces.txt.gz``) are the vocabulary of all-MiniLM-L6-v2, Apache-2.0; the line is
the number. Doing this here spares a dependency of 3 MB whose one use it would be.
"""

from __future__ import annotations

import gzip
import unicodedata
from functools import cache
from importlib import resources

START, END, UNKNOWN = 101, 102, 100
"""[CLS], [SEP] and [UNK]."""
_LONGEST_WORD = 100
"""A longer word is unknown as a whole."""
_CACHED_WORDS = 1 << 16
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
"""Each of them is a word. The list is BERT's."""
_LEFT_OUT = frozenset({"Cc", "Cf", "Co", "Cs", "Mn"})
"""Control and format characters, and the accents that decomposition set free."""


class WordPieces:
    """Cuts texts into the pieces that a model was trained on."""

    def __init__(self) -> None:
        packed = (resources.files("ifmem.index") / "wordpieces.txt.gz").read_bytes()
        pieces = gzip.decompress(packed).decode().split("\n")
        self._numbers = {piece: number for number, piece in enumerate(pieces)}
        self._characters = _Characters()
        self._words: dict[str, list[int]] = {}

    def numbers(self, text: str, most: int) -> list[int]:
        """The numbers of a text's pieces between start and end, at most ``most`` in all."""
        found = [START]
        for word in self._plain(text).split():
            found += self._pieces(word)
            if len(found) >= most:
                break
        return [*found[: most - 1], END]

    def _plain(self, text: str) -> str:
        if not text.isascii():
            text = unicodedata.normalize("NFD", text)
        return text.translate(self._characters)

    def _pieces(self, word: str) -> list[int]:
        known = self._words.get(word)
        if known is None:
            if len(self._words) >= _CACHED_WORDS:
                self._words = {}
            known = self._words[word] = self._cut(word)
        return known

    def _cut(self, word: str) -> list[int]:
        """The longest known beginning, then of the rest; a word with an unknown rest is unknown."""
        if len(word) > _LONGEST_WORD:
            return [UNKNOWN]
        found: list[int] = []
        start = 0
        while start < len(word):
            for end in range(len(word), start, -1):
                number = self._numbers.get(("##" if start else "") + word[start:end])
                if number is not None:
                    found.append(number)
                    start = end
                    break
            else:
                return [UNKNOWN]
        return found


class _Characters(dict[int, str]):
    """What becomes of each character; filled as characters are met."""

    def __missing__(self, code: int) -> str:
        self[code] = replaced = _replaced(code)
        return replaced


def _replaced(code: int) -> str:
    character = chr(code)
    category = unicodedata.category(character)
    if character in "\t\n\r" or (character.isspace() and category != "Cc"):
        return " "
    if category in _LEFT_OUT or code == 0xFFFD:
        return ""
    if _is_mark(code, category) or any(first <= code <= last for first, last in _IDEOGRAPHS):
        return f" {character} "
    return character.lower()


def _is_mark(code: int, category: str) -> bool:
    """Punctuation, and of ASCII every sign that is neither letter nor digit."""
    return category[0] == "P" or (code < 0x80 and category[0] in "SP")


@cache
def shared_pieces() -> WordPieces:
    """The process's vocabulary: some 4 MB, and the words met."""
    return WordPieces()
