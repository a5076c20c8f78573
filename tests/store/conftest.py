"""A store in a file of its own, and a document put into it by the store's own functions."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ifmem.domain.document import Draft, Kind, Span
from ifmem.store import contents, shards
from ifmem.store.contents import Origin
from ifmem.store.database import Database

CAPACITY = 1_000

Save = Callable[..., int]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "store.sqlite")
    opened.write(lambda c: shards.open_default_shards(c, CAPACITY)).result()
    yield opened
    opened.close()


@pytest.fixture
def save(database: Database) -> Save:
    """Stores a text of these passages under a source, each passage one line and ten tokens."""

    def save(source: str, *passages: str, shard: int = 1, speakers: bool = False) -> int:
        text = "".join(passages)
        starts = [sum(map(len, passages[:n])) for n in range(len(passages) + 1)]
        spans = tuple(
            Span(
                start=starts[n],
                end=starts[n + 1],
                first_line=n + 1,
                last_line=n + 1,
                header=f"part {n}",
                speaker="ada" if speakers else None,
                said_at="2026-01-02" if speakers else None,
                locator=f"row {n}",
            )
            for n in range(len(passages))
        )
        draft = Draft(
            source=source,
            sha256=hashlib.sha256(text.encode()).hexdigest(),
            format="text",
            kind=Kind.CHAT if speakers else Kind.PROSE,
            text=text,
            spans=spans,
            size=len(text.encode()),
            group="talk" if speakers else None,
        )
        tokens = 10 * len(passages)

        def work(connection: sqlite3.Connection) -> int:
            content_id = contents.insert_content(
                connection, draft, title=source.lstrip("/"), tokens=tokens
            )
            part_id = shards.append_part(
                connection,
                content_id=content_id,
                ordinal=0,
                shard=shard,
                tokens=tokens,
                bytes=draft.size,
            )
            contents.insert_passages(
                connection,
                content_id=content_id,
                part_id=part_id,
                ordinals=range(len(spans)),
                spans=spans,
                tokens=[10] * len(spans),
                text=text,
            )
            contents.link(connection, origin(source), content_id)
            return content_id

        return database.write(work).result()

    return save


def origin(source: str, *, size: int = 5) -> Origin:
    return Origin(
        source=source,
        root="/src",
        size=size,
        mtime_ns=1,
        inode=2,
        loaded_at="2026-01-02T03:04:05.000Z",
    )
