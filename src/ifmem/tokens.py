"""Counting tokens with o200k, the one tokeniser of every ``context:*`` count.

The vocabulary comes inside the package ``bpe-openai``, so counting needs no network. It is read at
the first count, in 0.4 s, which a process that only hands out tasks need not wait for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import bpe_openai

TOKENIZER = "o200k_base"
_BLOCK_CHARACTERS = 500_000
"""The library refuses a million characters at once."""


def read_vocabulary() -> None:
    """Read it now: for a process whose first count must not take longer than the others."""
    _encoding()


def is_ready() -> bool:
    """True once it was read: counting takes no longer than the text is long."""
    return _encoding.cache_info().currsize > 0


def count(text: str) -> int:
    """Tokens of a text; beyond half a million characters, the sum over blocks of whole lines."""
    if len(text) <= _BLOCK_CHARACTERS:
        return _count(text)
    return sum(_count(block) for block in _blocks(text))


def count_each(texts: Iterable[str]) -> list[int]:
    """Tokens of each text alone."""
    return [_count(text) for text in texts]


def _count(text: str) -> int:
    encoding = _encoding()
    from bpe_openai.errors import TokenLimitError

    try:
        return len(encoding.encode_ordinary(text))
    except TokenLimitError as error:
        # The library counts any text and refuses to hand out more than 200,000 tokens of it.
        return int(error.token_count)


def _blocks(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + _BLOCK_CHARACTERS
        line_end = text.rfind("\n", start, end) + 1
        if end < len(text) and line_end > start:
            end = line_end
        yield text[start:end]
        start = end


@cache
def _encoding() -> bpe_openai.Encoding:
    import bpe_openai

    return bpe_openai.get_encoding(TOKENIZER)
