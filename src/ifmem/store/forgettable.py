"""What a request to forget finds in the store, and what else there would tell of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ifmem.store import audit
from ifmem.store.chunks import in_chunks
from ifmem.store.reports import below


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request: documents and findings that all of it fits."""

    source: Sequence[str] = ()
    session: str | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage as it is named by who cites it."""

    content_id: int
    ordinal: int
    sha256: str
    lines: tuple[int, int]
    text: str
    sources: tuple[str, ...]


def sources(connection: sqlite3.Connection, wanted: Wanted, limit: int) -> list[str]:
    """The first documents that fit, in order of their names.

    Of a session only those that nobody loaded outside it.
    """
    where, values = _of_documents(wanted)
    rows = connection.execute(
        f"SELECT d.source FROM document d WHERE {where} ORDER BY d.source LIMIT ?",
        (*values, limit),
    )
    return [str(row[0]) for row in rows]


def finding_ids(connection: sqlite3.Connection, wanted: Wanted, limit: int) -> list[str]:
    """The first findings that fit, those in quarantine too; none when sources were named."""
    if wanted.source:
        return []
    found: list[str] = []
    for table in ("finding", "quarantined"):
        where, values = _of_findings(wanted)
        rows = connection.execute(
            f"SELECT finding_id FROM {table} WHERE {where} ORDER BY sequence LIMIT ?",
            (*values, limit - len(found)),
        )
        found += [str(row[0]) for row in rows]
    return found


def counts(connection: sqlite3.Connection, wanted: Wanted) -> tuple[int, int, int]:
    """How many documents, passages and findings fit."""
    where, values = _of_documents(wanted)
    (documents,) = connection.execute(
        f"SELECT count(*) FROM document d WHERE {where}", values
    ).fetchone()
    (passages,) = connection.execute(
        "SELECT count(*) FROM passage WHERE content_id IN "
        f"(SELECT content_id FROM document d WHERE {where})",
        values,
    ).fetchone()
    if wanted.source:
        return int(documents), int(passages), 0
    where, values = _of_findings(wanted)
    (found,) = connection.execute(
        f"SELECT (SELECT count(*) FROM finding WHERE {where}) + "
        f"(SELECT count(*) FROM quarantined WHERE {where})",
        values * 2,
    ).fetchone()
    return int(documents), int(passages), int(found)


def contents_of(connection: sqlite3.Connection, source: str) -> tuple[str, str] | None:
    """The digest and the title of the text that a source leads to."""
    row: tuple[str, str] | None = connection.execute(
        "SELECT c.sha256, c.title FROM document JOIN content c USING (content_id) WHERE source = ?",
        (source,),
    ).fetchone()
    return row


def paths_to(connection: sqlite3.Connection, sha256: str) -> list[str]:
    """The sources that lead to texts with this digest."""
    rows = connection.execute(
        "SELECT source FROM document JOIN content USING (content_id) WHERE sha256 = ? "
        "ORDER BY source LIMIT 100",
        (sha256,),
    )
    return [str(row[0]) for row in rows]


def passages(
    connection: sqlite3.Connection, sha256_start: str, ordinal: int
) -> list[StoredPassage]:
    """The passages that a public id names: one for each reader of the same bytes."""
    rows = connection.execute(
        "SELECT content_id, ordinal, sha256, first_line, last_line, text FROM passage "
        "JOIN content USING (content_id) WHERE sha256 >= ? AND sha256 < ? || 'g' AND ordinal = ? "
        "ORDER BY content_id",
        (sha256_start, sha256_start, ordinal),
    ).fetchall()
    return [
        StoredPassage(
            content_id,
            number,
            sha256,
            (first, last),
            text,
            tuple(paths_to(connection, sha256)),
        )
        for content_id, number, sha256, first, last, text in rows
    ]


def citing(connection: sqlite3.Connection, cited: Iterable[str]) -> list[tuple[str, bytes]]:
    """Table and body of each finding that cites one of these sources."""
    names = list(dict.fromkeys(cited))
    found: dict[int, bytes] = {}
    for some, marks in in_chunks(names):
        rows = connection.execute(
            "SELECT DISTINCT f.sequence, f.body FROM citation c JOIN finding f USING (sequence) "
            f"WHERE c.source IN ({marks})",
            some,
        )
        found.update((sequence, body.encode()) for sequence, body in rows)
        # Those in quarantine are few, and cited sources of theirs are not listed apart.
        held = connection.execute(
            "SELECT DISTINCT -q.sequence, q.body FROM quarantined q, json_each(q.body, "
            "'$.citations') j WHERE j.type = 'object' "
            f"AND json_extract(j.value, '$.source') IN ({marks})",
            some,
        )
        found.update((sequence, body.encode()) for sequence, body in held)
    return [("finding" if s > 0 else "quarantined", body) for s, body in found.items()]


def rewrite(connection: sqlite3.Connection, table: str, finding_id: str, body: bytes) -> int:
    """Store another body of a finding, without what was made of the one before; its sequence."""
    (sequence,) = connection.execute(
        f"UPDATE {table} SET body = ? WHERE finding_id = ? RETURNING sequence",
        (body.decode(), finding_id),
    ).fetchone()
    if table == "finding":
        connection.execute("DELETE FROM finding_embedding WHERE sequence = ?", (sequence,))
    return int(sequence)


def said_again_as(connection: sqlite3.Connection, finding_id: str) -> bytes | None:
    """The body of the quarantined finding that this one says again."""
    row = connection.execute(
        "SELECT body FROM quarantined WHERE released_as = ?", (finding_id,)
    ).fetchone()
    return None if row is None else str(row[0]).encode()


def untopic(connection: sqlite3.Connection, finding_id: str) -> None:
    """Blank the topic of a quarantined finding."""
    connection.execute("UPDATE quarantined SET topic = NULL WHERE finding_id = ?", (finding_id,))


def blank_reasons(connection: sqlite3.Connection, finding_id: str, told: str) -> None:
    """Replace what conflicts and the inbox say about a finding, which may quote it."""
    conflicts = "(SELECT conflict_id FROM conflict_side WHERE finding_id = ?)"
    connection.execute(
        f"UPDATE conflict SET rationale = ? WHERE conflict_id IN {conflicts}", (told, finding_id)
    )
    connection.execute(
        f"UPDATE inbox_item SET rationale = ? WHERE subject = ? OR subject IN {conflicts}",
        (told, finding_id, finding_id),
    )


def responses(connection: sqlite3.Connection) -> list[tuple[int, bytes]]:
    """Number and response of every answered question to the archive."""
    rows = connection.execute(
        "SELECT number, response FROM archive_query WHERE response IS NOT NULL"
    )
    return [(number, str(response).encode()) for number, response in rows]


def drop_response(connection: sqlite3.Connection, number: int, reason: str) -> None:
    """Take an answer back: its question counts as expired."""
    connection.execute(
        "UPDATE archive_query SET state = 'expired', response = NULL, reason = ? WHERE number = ?",
        (reason, number),
    )


def unplace(connection: sqlite3.Connection, directory: str) -> None:
    """Forget where the documents of a directory went."""
    connection.execute("DELETE FROM neighbourhood WHERE directory = ?", (directory,))


def exports(connection: sqlite3.Connection) -> list[str]:
    """When this space was exported, newest first."""
    rows = connection.execute(
        "SELECT at FROM audit WHERE type = 'write' AND action = 'export' ORDER BY row DESC LIMIT 20"
    )
    return [str(row[0]) for row in rows]


def set_due(connection: sqlite3.Connection, due: bool) -> None:
    """Note whether what is no longer in the store may still lie elsewhere."""
    connection.execute("DELETE FROM meta WHERE name = 'erasing'")
    if due:
        connection.execute("INSERT INTO meta VALUES ('erasing', '1')")


def is_due(connection: sqlite3.Connection) -> bool:
    """Whether forgetting was begun and not ended."""
    return connection.execute("SELECT 1 FROM meta WHERE name = 'erasing'").fetchone() is not None


def _of_documents(wanted: Wanted) -> tuple[str, list[str]]:
    clauses: list[str] = []
    values: list[str] = []
    if wanted.source:
        plain = [one for one in wanted.source if "*" not in one and "?" not in one]
        any_of, values = below(plain)
        for pattern in (one for one in wanted.source if one not in plain):
            any_of += " OR d.source GLOB ?"
            values.append(pattern)
        clauses.append(f"({any_of})")
    if wanted.session is not None:
        ours = "SELECT 1 FROM document_session s WHERE s.source = d.source AND s.session_id"
        clauses.append(f"EXISTS ({ours} = ?) AND NOT EXISTS ({ours} <> ?)")
        values += [wanted.session, wanted.session]
    if wanted.before is not None:
        clauses.append("d.loaded_at < ?")
        values.append(wanted.before)
    return " AND ".join(clauses or ["1"]), values


def _of_findings(wanted: Wanted) -> tuple[str, list[str]]:
    clauses: list[str] = []
    values: list[str] = []
    if wanted.session is not None:
        clauses.append("run = ?")
        values.append(wanted.session)
    if wanted.before is not None:
        clauses.append("said_at < ?")
        values.append(wanted.before)
    return " AND ".join(clauses or ["1"]), values


def work_counts(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many tasks and messages there are."""
    row: tuple[int, int] = connection.execute(
        "SELECT (SELECT count(*) FROM task), (SELECT count(*) FROM message)"
    ).fetchone()
    return row


def delete_work(connection: sqlite3.Connection) -> None:
    """Remove tasks, messages, questions, sessions, and what people were asked to look at."""
    for table in _WORK:
        connection.execute(f"DELETE FROM {table}")


def delete_session(connection: sqlite3.Connection, session_id: str) -> bool:
    """Remove what is known of a session; whether there was something."""
    loaded = connection.execute("DELETE FROM document_session WHERE session_id = ?", (session_id,))
    known = connection.execute("DELETE FROM session WHERE session_id = ?", (session_id,))
    return loaded.rowcount + known.rowcount > 0


def read_again(connection: sqlite3.Connection, sha256_start: str) -> None:
    """Have texts with a blanked passage be read anew by the next load of their files.

    Until then they stay as they are, under a format that no reader makes.
    """
    connection.execute(
        "UPDATE document SET mtime_ns = -1 WHERE content_id IN "
        "(SELECT content_id FROM content WHERE sha256 >= ? AND sha256 < ? || 'g')",
        (sha256_start, sha256_start),
    )
    connection.execute(
        "UPDATE content SET format = format || '+blanked' WHERE sha256 >= ? AND sha256 < ? || 'g' "
        "AND format NOT LIKE '%+blanked'",
        (sha256_start, sha256_start),
    )


def note_lifted(connection: sqlite3.Connection, subject: str, *, by: str, at: str) -> None:
    """Write down that something may be stored again."""
    audit.note(
        connection,
        entry=f"lift:{subject}:{at}",
        at=at,
        type=audit.DECISION,
        severity=audit.INFO,
        action="lift",
        actor=by,
        subject=subject,
        reason="it may be stored again",
    )


_WORK = (
    *("task", "recipient", "message", "topic_follower", "archive_query"),
    *("inbox_task", "inbox_item", "conflict_side", "conflict", "session", "neighbourhood"),
)
"""What a space holds besides documents and findings and what hangs on them. Accounts and the audit
hold no text, and stay."""
