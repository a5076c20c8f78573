"""What findings cite: a row for each citation, and what is known of what they point to."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ifmem.domain.finding import Citation, Finding
from ifmem.store.chunks import in_chunks
from ifmem.store.reports import below


@dataclass(frozen=True, slots=True)
class Citing:
    """A finding that cites something."""

    sequence: int
    finding_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class StoredText:
    """A text as it was read: what a source leads to, or what has a digest."""

    content_id: int
    sha256: str
    stamp: int
    """Another one after a passage of it was forgotten."""
    size: int | None = None
    """Of the file as read, when it is what a source leads to; the next two as well."""
    mtime_ns: int | None = None
    inode: int | None = None


def fill(connection: sqlite3.Connection, finding: Finding, sequence: int) -> None:
    """Write the rows of a finding's citations; those that are there stay."""
    connection.executemany(
        "INSERT OR IGNORE INTO citation (sequence, ordinal, source) VALUES (?, ?, ?)",
        (
            (sequence, ordinal, one.source if isinstance(one, Citation) else one)
            for ordinal, one in enumerate(finding.citations)
        ),
    )


def citing(
    connection: sqlite3.Connection,
    *,
    after: int,
    limit: int,
    sources: Sequence[str] = (),
    finding_id: str | None = None,
) -> list[Citing]:
    """Findings that cite something, in the order of the log, from the first past ``after``.

    Args:
        sources: only those that cite one of these, or something below one.
        finding_id: only this one.
    """
    where, values = _chosen(sources, finding_id)
    rows = connection.execute(
        "SELECT f.sequence, f.finding_id, f.body FROM finding f WHERE f.sequence IN ("
        f"SELECT DISTINCT c.sequence FROM citation c WHERE c.sequence > ? {where}"
        "ORDER BY c.sequence LIMIT ?) ORDER BY f.sequence",
        (after, *values, limit),
    )
    return [Citing(sequence, found, body.encode()) for sequence, found, body in rows]


def count(
    connection: sqlite3.Connection,
    *,
    after: int,
    sources: Sequence[str] = (),
    finding_id: str | None = None,
) -> int:
    """How many findings ``citing`` would go through. Reads an index: once for a run."""
    where, values = _chosen(sources, finding_id)
    (number,) = connection.execute(
        f"SELECT count(DISTINCT c.sequence) FROM citation c WHERE c.sequence > ? {where}",
        (after, *values),
    ).fetchone()
    return int(number)


def text_at(connection: sqlite3.Connection, source: str) -> StoredText | None:
    """The text that a source leads to."""
    row = connection.execute(
        "SELECT c.content_id, c.sha256, "
        "(SELECT max(passage_id) FROM passage p WHERE p.content_id = c.content_id), "
        "d.size, d.mtime_ns, d.inode "
        "FROM document d JOIN content c USING (content_id) WHERE d.source = ?",
        (source,),
    ).fetchone()
    return None if row is None else StoredText(row[0], row[1], row[2] or 0, *row[3:])


def texts_of(connection: sqlite3.Connection, sha256: str) -> list[StoredText]:
    """The texts whose bytes have a digest, whatever sources lead to them."""
    rows = connection.execute(
        "SELECT content_id, sha256, "
        "(SELECT max(passage_id) FROM passage p WHERE p.content_id = c.content_id) "
        "FROM content c WHERE sha256 = ?",
        (sha256,),
    )
    return [StoredText(content_id, digest, stamp or 0) for content_id, digest, stamp in rows]


def document_named(connection: sqlite3.Connection, name: str) -> str | None:
    """The document that a path names: itself, or the only one of that path below a loaded root."""
    if name.startswith("/"):
        names = [name]
    else:
        roots = connection.execute("SELECT DISTINCT root FROM document WHERE root GLOB '/*'")
        names = [
            # A root may be a file that somebody named.
            root if root.endswith(f"/{name}") else f"{root.rstrip('/')}/{name}"
            for (root,) in roots
        ]
    found = {
        source
        for some, marks in in_chunks(names)
        for (source,) in connection.execute(
            f"SELECT source FROM document WHERE source IN ({marks})", some
        )
    }
    return found.pop() if len(found) == 1 else None


def known_findings(connection: sqlite3.Connection, ids: Collection[str]) -> dict[str, str]:
    """Of these findings, ``stored``, ``quarantined`` or ``forgotten``; unknown ones are missing."""
    tables = (
        ("forgotten", "SELECT id FROM forgotten WHERE id IN"),
        ("quarantined", "SELECT finding_id FROM quarantined WHERE finding_id IN"),
        ("stored", "SELECT finding_id FROM finding WHERE finding_id IN"),
    )
    return {
        row[0]: state
        for state, select in tables
        for some, marks in in_chunks(sorted(ids))
        for row in connection.execute(f"{select} ({marks})", some)
    }


def in_conflict(connection: sqlite3.Connection, ids: Collection[str]) -> dict[str, str]:
    """Of these findings, those that are sides of an open conflict, each with the id of one."""
    return {
        finding_id: conflict_id
        for some, marks in in_chunks(sorted(ids))
        for finding_id, conflict_id in connection.execute(
            "SELECT s.finding_id, s.conflict_id FROM conflict_side s "
            "JOIN conflict USING (conflict_id) "
            f"WHERE outcome IS NULL AND s.finding_id IN ({marks})",
            some,
        )
    }


def _chosen(sources: Sequence[str], finding_id: str | None) -> tuple[str, list[str]]:
    where, values = "", list[str]()
    if sources:
        clause, values = below(sources, column="c.source")
        where = f"AND {clause} "
    if finding_id is not None:
        where += "AND c.sequence = (SELECT sequence FROM finding WHERE finding_id = ?) "
        values = [*values, finding_id]
    return where, values
