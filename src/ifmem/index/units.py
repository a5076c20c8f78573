"""What of a passage gets a vector of the sentence encoder: the whole, and its odd sentences.

The encoder reads 128 pieces and gives a page one vector. A sentence about something else than its
page is lost in that, so the sentences least like the page get vectors of their own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ifmem.engine.evidence import sentences
from ifmem.index.encoder import Encoder, Vectors, shared_encoder
from ifmem.index.sentence_encoder import SentenceEncoder
from ifmem.index.vectors import as_rows

SENTENCES_A_PASSAGE = 4
SENTENCE_LENGTH = 0.9
"""A sentence's vector is this much shorter than a passage's: of two equally near, the passage
that is about it as a whole is the better find."""
_LEAST_WORDS = 4
_PROSE_SHARE = 0.6
"""Letters of plain words among all characters: code has fewer."""
_PLAIN_WORD = re.compile(r"(?<![\w.])[A-Za-z][a-z']+(?=[\s.,;:!?)\"']|$)")


def embed(passages: Sequence[tuple[str, bool]], sentence_encoder: SentenceEncoder) -> list[bytes]:
    """The rows of each passage, given as its text and whether it is a turn of a chat.

    A row has a byte for each dimension; a passage without text has no rows.
    """
    cut = [units(text, is_turn=is_turn, encoder=shared_encoder()) for text, is_turn in passages]
    vectors = sentence_encoder.encode([unit for one in cut for unit in one])
    vectors[[place > 0 for one in cut for place in range(len(one))]] *= SENTENCE_LENGTH
    rows, ends = as_rows(vectors), np.cumsum([len(one) for one in cut])
    return [rows[end - len(one) : end].tobytes() for end, one in zip(ends, cut, strict=True)]


def units(text: str, *, is_turn: bool, encoder: Encoder) -> list[str]:
    """The texts to encode for a passage: none for an empty one, the whole, then sentences."""
    if not text.strip():
        return []
    if is_turn:
        return [text]
    told = [sentence for sentence in _told(text) if _is_prose(sentence)]
    if len(told) <= 1 and len(told) == len(sentences(text)):
        return [text]
    return [text, *_least_like(text, told, encoder)]


def _told(text: str) -> list[str]:
    return list(dict.fromkeys(text[start:end] for start, end in sentences(text)))


def _is_prose(sentence: str) -> bool:
    words = _PLAIN_WORD.findall(sentence)
    plain = sum(map(len, words))
    return len(words) >= _LEAST_WORDS and plain >= _PROSE_SHARE * len("".join(sentence.split()))


def _least_like(text: str, told: Sequence[str], encoder: Encoder) -> list[str]:
    """The sentences farthest from the whole and from each other."""
    if len(told) <= SENTENCES_A_PASSAGE:
        return list(told)
    vectors: Vectors = encoder.whole([text, *told])
    whole, each = vectors[0], vectors[1:]
    distance = 1 - each @ whole
    picked: list[int] = []
    for _ in range(SENTENCES_A_PASSAGE):
        farthest = int(distance.argmax())
        picked.append(farthest)
        distance = np.minimum(distance, 1 - each @ each[farthest])
    return [told[place] for place in sorted(picked)]
