"""The baseline of retrieval: SQLite's FTS5 with Porter stemming, as anybody would set it up.

Stop words matter to it more than anything else, so it is run with and without them.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ifmem.benchmarks.labelled import CorpusRow
from ifmem.engine.analysis import STOP_WORDS

_WORD = re.compile(r"\w+")


class PlainSearch:
    """Title and text of rows in one FTS5 table; all words of a question joined with OR."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def search(
        self, question: str, *, group: str | None, limit: int, stop_words: bool
    ) -> list[str]:
        """The ids of the best rows, best first.

        Args:
            stop_words: also searched for; else left out, unless nothing else is asked.
        """
        said = dict.fromkeys(_WORD.findall(question.lower()))
        words = said if stop_words else [word for word in said if word not in STOP_WORDS] or said
        if not words:
            return []
        match = " OR ".join(f'"{word}"' for word in words)
        within = "" if group is None else " AND within = :group"
        rows = self._connection.execute(
            f"SELECT id FROM rows WHERE rows MATCH :match{within} ORDER BY rank LIMIT :limit",
            {"match": match, "group": group, "limit": limit},
        )
        return [row[0] for row in rows]


@contextmanager
def plain_search(rows: Sequence[CorpusRow]) -> Iterator[PlainSearch]:
    """An index in memory over these rows."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(
            "CREATE VIRTUAL TABLE rows USING fts5"
            "(id UNINDEXED, within UNINDEXED, title, text, tokenize = 'porter unicode61')"
        )
        connection.executemany(
            "INSERT INTO rows VALUES (?, ?, ?, ?)",
            ((row.id, row.group, row.title, row.text) for row in rows),
        )
        yield PlainSearch(connection)
    finally:
        connection.close()
