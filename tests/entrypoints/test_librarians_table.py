"""`ifmem librarians` as a person reads it."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ifmem.entrypoints.cli import render
from ifmem.entrypoints.cli.paper import Paper
from ifmem.wire.shapes import LibrarianShape

ROWS = [
    LibrarianShape(
        1,
        "exhausted",
        0,
        1_200,
        model="gemini:a",
        pool="free",
        daily=1_500,
        resets_at="2026-03-02T08:00:00.000Z",
        why="its calls of today are used: again at 2026-03-02T08:00:00Z",
        until="2026-03-02T08:00:00.000Z",
    ),
    LibrarianShape(2, "active", 1_500, 1_200, daily=1_500),
]


@pytest.fixture
def in_kathmandu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "NPT-5:45")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_kathmandu")
def test_the_table_says_who_has_what_left_until_when_in_the_time_zone_of_the_machine() -> None:
    stream = io.StringIO()
    render.librarians(Paper(stream, Path("/")), ROWS)
    header, first, second = stream.getvalue().splitlines()
    assert " ".join(header.split()) == (
        "librarian model status calls left next day tokens passed over"
    )
    assert "0 of 1,500" in first
    assert "2026-03-02 13:45 NPT" in first
    assert first.endswith("its calls of today are used: again at 2026-03-02T08:00:00Z")
    assert second.split() == ["2", "extractive", "active", "unmetered", "–", "1,200", "–"]
