"""Queries to the archive and the answers of librarians, as the channels carry them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from ifmem.errors import Invalid
from ifmem.wire.queries import Query, read_query, read_response


def read(**fields: Any) -> Query:
    return read_query(json.dumps({"query_id": "q-1", "question": "Why?", **fields}).encode())


@pytest.mark.parametrize(
    ("hint", "number"), [("librarian-2", 2), ("Librarian 12", 12), ("librarian", None)]
)
def test_a_hint_that_names_a_librarian_means_the_archive_alone(hint: str, number: int) -> None:
    query = read(shard_hint=hint)
    assert (query.archive, query.librarian, query.shard_hint) == ("only", number, None)


@pytest.mark.parametrize("hint", [2, "2", "shard2", "shard-2"])
def test_a_hint_that_names_a_shard_means_the_shard(hint: object) -> None:
    query = read(shard_hint=hint)
    assert (query.archive, query.librarian, query.shard_hint) == (None, None, 2)


@pytest.mark.parametrize("reach", ["never", "auto", "always", "only"])
def test_a_query_says_how_far_it_reaches(reach: str) -> None:
    assert read(archive=reach, librarian="librarian-3").librarian == 3
    assert read(archive=reach).archive == reach


def test_a_reach_that_is_none_is_refused() -> None:
    with pytest.raises(Invalid):
        read(archive="sometimes")


def test_a_query_without_these_fields_is_written_as_the_seed_wrote_it() -> None:
    written = json.loads(msgspec.json.encode(read(**{"from": "a", "timestamp": "t"})))
    assert written == {"query_id": "q-1", "timestamp": "t", "from": "a", "question": "Why?"}


def test_a_query_that_was_written_reads_as_it_was() -> None:
    query = read(shard_hint="librarian-4", max_tokens=9)
    assert read_query(msgspec.json.encode(query)) == query


def test_a_librarians_response_keeps_its_name_and_not_in_archive_is_not_found() -> None:
    said = {"query_id": "q-1", "shard_id": 2, "librarian": "librarian-2", "sources": ["a:1-2"]}
    found = read_response(json.dumps({**said, "answer": "Because."}).encode())
    assert (found.librarian, found.found) == ("librarian-2", True)
    absent = read_response(json.dumps({**said, "answer": "Sorry, not in archive."}).encode())
    assert (absent.found, absent.sources) == (False, ())
