"""The raw log in pages: all of it, once, whatever the size of a page."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from ifmem.domain.ledger import AskedQuestion, CallState, LedgerRow
from ifmem.domain.model import Purpose
from ifmem.domain.price import FREE
from ifmem.engine.budgets import Limits
from ifmem.errors import Invalid
from ifmem.runtime import costing
from ifmem.store import ledger
from ifmem.store.database import Database
from ifmem.wire.accounts import LedgerEntry

QUESTIONS, CALLS = 6, 11


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "store.sqlite")) as opened:
        opened.write(fill).result()
        yield opened


def fill(connection: sqlite3.Connection) -> None:
    for number in range(QUESTIONS):
        ledger.record_question(
            connection,
            AskedQuestion(
                question_id=f"question {number}",
                at=f"2026-01-02T10:00:{number:02}.000Z",
                question_tokens=1,
                asked_tokens=2,
                corpus_tokens=3,
                retrieved_tokens=4,
                model="local",
            ),
        )
    for number in range(CALLS):
        row = LedgerRow(
            call_id=f"call {number}",
            at=f"2026-01-02T09:00:{number // 3:02}.000Z",
            state=CallState.INTENT,
            purpose=Purpose.ANSWER,
            model="local",
            question_id=None,
            shard=None,
            generation=None,
            prompt_name="shard_answer",
            prompt_version=1,
            prefix_sha256="aa",
            prefix_tokens=1,
            question_tokens=1,
            bound=0,
            price=FREE,
        )
        ledger.intend(connection, row, Limits(question=None, day=0, background=0))


def named(entry: LedgerEntry) -> str:
    return entry.question.question_id if entry.question else entry.call.call_id  # type: ignore[union-attr]


@pytest.mark.parametrize("limit", [1, 2, 5, 6, 7, 11, 16, 17, 18])
def test_every_entry_is_on_one_page_and_questions_come_first(
    database: Database, limit: int
) -> None:
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        kind, place = costing._place(after)
        page = database.read(
            partial(costing._page, kind=kind, place=place, since=None, until=None, limit=limit)
        )
        assert len(page.items) <= limit
        seen += map(named, page.items)
        after = page.next
    assert seen == [
        *(f"question {number}" for number in range(QUESTIONS)),
        *(f"call {number}" for number in range(CALLS)),
    ]


@pytest.mark.parametrize("after", ["x", "call 2026 x", "answer 2026 1", "call 1"])
def test_a_place_that_no_page_gave_is_refused(after: str) -> None:
    with pytest.raises(Invalid, match="no place in the ledger"):
        costing._place(after)
