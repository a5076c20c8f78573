"""What people ask of the store: totals, lists of sources, the shards' tokens."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over documents; a text that several paths lead to counts once in all but the first."""

    documents: int
    passages: int
    tokens: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One document as ``ifmem sources`` lists it."""

    source: str
    sha256: str
    kind: str
    group: str | None
    tokens: int
    passages: int
    bytes: int
    loaded_at: str
    shards: tuple[int, ...]


def totals_below(connection: sqlite3.Connection, roots: Sequence[str]) -> Totals:
    """Totals over the documents that are one of ``roots`` or lie below one."""
    where, values = below(roots)
    (documents,) = connection.execute(
        f"SELECT count(*) FROM document d WHERE {where}", values
    ).fetchone()
    row = connection.execute(
        "SELECT coalesce(sum((SELECT count(*) FROM passage p WHERE p.content_id = c.content_id)), "
        "0), coalesce(sum(tokens), 0), coalesce(sum(size), 0) FROM content c "
        f"WHERE content_id IN (SELECT content_id FROM document d WHERE {where})",
        values,
    ).fetchone()
    return Totals(documents, *row)


def below(roots: Sequence[str], *, column: str = "d.source") -> tuple[str, list[str]]:
    """A condition on a path: it is one of the roots or lies below one; with its values."""
    clauses, values = [], []
    for root in roots:
        clauses.append(f"{column} = ? OR ({column} > ? AND {column} < ?)")
        values += [root, root.rstrip("/") + "/", root.rstrip("/") + "0"]  # '0' follows '/'
    return "(" + " OR ".join(clauses or ["0"]) + ")", values


def shard_tokens(connection: sqlite3.Connection) -> list[tuple[int, str, int, int]]:
    """Number, speciality, capacity and tokens of every shard that holds something."""
    return connection.execute(
        "SELECT number, speciality, capacity, tokens FROM shard "
        "WHERE parts > 0 AND number > 0 ORDER BY number"
    ).fetchall()


def sources_page(
    connection: sqlite3.Connection,
    *,
    after: str,
    limit: int,
    sources: Sequence[str] = (),
    root: str | None = None,
    group: str | None = None,
    shard: int | None = None,
) -> list[SourceRow]:
    """Documents in order of their source, from the first past ``after``."""
    where, values = _chosen(sources, root)
    if group is not None:
        where += " AND c.conversation = ?"
        values.append(group)
    if shard is not None:
        where += (
            " AND EXISTS (SELECT 1 FROM part WHERE part.content_id = c.content_id AND shard = ?)"
        )
    rows = connection.execute(
        "SELECT d.source, c.sha256, c.kind, c.conversation, c.tokens, "
        "(SELECT count(*) FROM passage p WHERE p.content_id = c.content_id), c.size, "
        "d.loaded_at, (SELECT group_concat(DISTINCT shard) FROM part "
        "WHERE part.content_id = c.content_id) "
        f"FROM document d JOIN content c USING (content_id) WHERE d.source > ? AND {where} "
        "ORDER BY d.source LIMIT ?",
        (after, *values, *([] if shard is None else [shard]), limit),
    )
    return [_source_row(*row) for row in rows]


def _source_row(
    source: str,
    sha256: str,
    kind: str,
    group: str | None,
    tokens: int,
    passages: int,
    size: int,
    loaded_at: str,
    shards: str | None,
) -> SourceRow:
    numbers = tuple(int(n) for n in (shards or "").split(",") if n)
    return SourceRow(source, sha256, kind, group, tokens, passages, size, loaded_at, numbers)


def contents_of(
    connection: sqlite3.Connection,
    sources: Sequence[str] = (),
    *,
    root: str | None = None,
    since: str = "",
    until: str = "~",
) -> set[int]:
    """The contents that these paths, trees or ``*`` patterns lead to, below ``root``, loaded then.

    ``since`` and ``until`` are ISO-8601 in UTC, both included; the defaults leave all.
    """
    where, values = _chosen(sources, root)
    rows = connection.execute(
        f"SELECT DISTINCT content_id FROM document d WHERE {where} AND loaded_at BETWEEN ? AND ?",
        (*values, since, until),
    )
    return {int(row[0]) for row in rows}


def digests_of(
    connection: sqlite3.Connection,
    sources: Sequence[str] = (),
    *,
    root: str | None = None,
    group: str | None = None,
) -> set[str]:
    """The digests of the texts that these paths, trees or ``*`` patterns below ``root`` lead to."""
    where, values = _chosen(sources, root)
    if group is not None:
        where += " AND c.conversation = ?"
        values.append(group)
    rows = connection.execute(
        f"SELECT DISTINCT c.sha256 FROM document d JOIN content c USING (content_id) WHERE {where}",
        values,
    )
    return {str(row[0]) for row in rows}


def _chosen(sources: Sequence[str], root: str | None) -> tuple[str, list[str]]:
    """A condition on ``d.source`` for paths, trees and patterns below a root; with its values."""
    clauses: list[str] = []
    values: list[str] = []
    if sources:
        plain = [source for source in sources if not _is_pattern(source)]
        any_of, values = below(plain)
        for pattern in filter(_is_pattern, sources):
            any_of += " OR d.source GLOB ?"
            values.append(pattern)
        clauses.append(f"({any_of})")
    if root is not None:
        inside, more = below([root])
        # What a hook heard has no path; the project it was heard in stands beside it.
        of_root, again = below([root], column="d.root")
        clauses.append(f"({inside} OR (d.source GLOB 'captured:*' AND {of_root}))")
        values += more + again
    return " AND ".join(clauses or ["1"]), values


def _is_pattern(source: str) -> bool:
    return "*" in source or "?" in source


def origin_of(connection: sqlite3.Connection, source: str) -> tuple[str, int, int] | None:
    """The sha256, size and modification time of a document as read, or None."""
    row: tuple[str, int, int] | None = connection.execute(
        "SELECT c.sha256, d.size, d.mtime_ns FROM document d JOIN content c USING (content_id) "
        "WHERE d.source = ?",
        (source,),
    ).fetchone()
    return row
