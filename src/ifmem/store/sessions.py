"""Sessions in the store: begun by the first thing stored in them, ended once, archived then.

A document is archived when everybody who loaded it has ended. ``-`` is nobody's session and never
ends, so what was also loaded without one stays live.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ifmem.domain.task import NO_RUN
from ifmem.errors import Refused
from ifmem.store.chunks import in_chunks
from ifmem.store.shards import ARCHIVE

_COLUMNS = "session_id, agent, started_at, last_at, ended_at, ended_by"
_COUNTS = (
    "(SELECT count(*) FROM finding WHERE run = session_id), "
    "(SELECT count(*) FROM document_session d WHERE d.session_id = session.session_id)"
)
_HAS_LIVE_READER = """
    SELECT 1 FROM document d LEFT JOIN document_session USING (source)
    LEFT JOIN session s USING (session_id)
    WHERE d.content_id = ? AND s.ended_at IS NULL LIMIT 1
"""
_IS_IDLE = (
    "ended_at IS NULL AND last_at < ? "
    "AND NOT EXISTS (SELECT 1 FROM task WHERE run = session_id AND state = 'leased')"
)


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session as the store has it."""

    session_id: str
    agent: str
    """Who stored the first of it."""
    started_at: str
    last_at: str
    """When something was stored in it last."""
    ended_at: str | None
    ended_by: str | None
    """None: nobody ended it, or it was idle for too long."""
    findings: int
    documents: int


@dataclass(slots=True)
class Archived:
    """What an ending moved to the archive."""

    findings: list[int] = field(default_factory=list)
    """Sequences."""
    contents: list[int] = field(default_factory=list)
    shards: set[int] = field(default_factory=set)
    """Live shards that gave parts away: each in a new generation."""


def touch(connection: sqlite3.Connection, session_id: str, *, agent: str, at: str) -> bool:
    """Note that something is stored in a session; False when somebody has ended it.

    One that ended because it was idle goes on.
    """
    connection.execute(
        "INSERT INTO session (session_id, agent, started_at, last_at) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET last_at = max(last_at, excluded.last_at), ended_at = NULL, "
        "cleared_at = NULL WHERE ended_by IS NULL",
        (session_id, agent, at, at),
    )
    return not was_ended(connection, session_id)


def enter(connection: sqlite3.Connection, session_id: str, *, agent: str, at: str) -> None:
    """Note that something is stored in a session, or in none.

    Raises:
        Refused: somebody has ended it.
    """
    if session_id != NO_RUN and not touch(connection, session_id, agent=agent, at=at):
        require_open(connection, session_id)


def require_open(connection: sqlite3.Connection, session_id: str) -> None:
    """Let pass who works in no session, or in one that nobody has ended.

    Raises:
        Refused: somebody has ended it.
    """
    row = connection.execute(
        "SELECT ended_at, ended_by FROM session WHERE session_id = ? AND ended_by IS NOT NULL",
        (session_id,),
    ).fetchone()
    if row is not None:
        raise Refused(
            f"session {session_id} was ended by {row[1]} at {row[0]}: go on in another, with "
            "`--run NAME`; what it stored is in the archive",
            session=session_id,
            ended_at=row[0],
        )


def was_ended(connection: sqlite3.Connection, session_id: str) -> bool:
    """True for a session that somebody has ended: nothing new is stored in it."""
    row = connection.execute(
        "SELECT 1 FROM session WHERE session_id = ? AND ended_by IS NOT NULL", (session_id,)
    ).fetchone()
    return row is not None


def get(connection: sqlite3.Connection, session_id: str) -> StoredSession | None:
    """The session of that id."""
    row = connection.execute(
        f"SELECT {_COLUMNS}, {_COUNTS} FROM session WHERE session_id = ?", (session_id,)
    ).fetchone()
    return None if row is None else StoredSession(*row)


def page(
    connection: sqlite3.Connection,
    *,
    ended: bool | None = None,
    before: tuple[str, str] | None = None,
    limit: int = 100,
) -> list[StoredSession]:
    """Sessions, those that began last first; ``before`` is start and id of one."""
    where = {None: "1", True: "ended_at IS NOT NULL", False: "ended_at IS NULL"}[ended]
    rows = connection.execute(
        f"SELECT {_COLUMNS}, {_COUNTS} FROM session WHERE {where} "
        "AND (started_at, session_id) < (?, ?) ORDER BY started_at DESC, session_id DESC LIMIT ?",
        (*(before or ("~", "")), limit),
    )
    return [StoredSession(*row) for row in rows]


def idle_since(connection: sqlite3.Connection, moment: str, limit: int) -> list[str]:
    """Open sessions in which nothing was stored since a moment, and no task is worked on."""
    rows = connection.execute(
        f"SELECT session_id FROM session WHERE {_IS_IDLE} ORDER BY last_at LIMIT ?",
        (moment, limit),
    )
    return [str(row[0]) for row in rows]


def is_idle(connection: sqlite3.Connection, session_id: str, moment: str) -> bool:
    """True for a session that ``idle_since`` names."""
    row = connection.execute(
        f"SELECT 1 FROM session WHERE {_IS_IDLE} AND session_id = ?", (moment, session_id)
    ).fetchone()
    return row is not None


def end(
    connection: sqlite3.Connection, session_id: str, *, at: str, by: str | None
) -> Archived | None:
    """End a session and archive what is its alone; None when it had ended or is not known.

    Args:
        connection: of a transaction.
        session_id: which.
        at: when.
        by: who ended it; None when it was idle for too long.
    """
    ended = connection.execute(
        "UPDATE session SET ended_at = ?, ended_by = ?, cleared_at = NULL "
        "WHERE session_id = ? AND ended_at IS NULL",
        (at, by, session_id),
    )
    if ended.rowcount == 0:
        return None
    archived = Archived()
    archived.findings += [
        row[0]
        for row in connection.execute(
            "UPDATE finding SET archived = 1 WHERE run = ? AND archived = 0 RETURNING sequence",
            (session_id,),
        )
    ]
    for content_id in _contents_of(connection, session_id):
        archived.shards |= archive_if_over(connection, content_id)
        if is_archived(connection, content_id):
            archived.contents.append(content_id)
    return archived


def archive_if_over(connection: sqlite3.Connection, content_id: int) -> set[int]:
    """Move a text to the archive when all that loaded it have ended; the shards it lay on."""
    row = connection.execute(_HAS_LIVE_READER, (content_id,)).fetchone()
    if row is not None:
        return set()
    rows = connection.execute(
        "SELECT part_id, shard, tokens FROM part WHERE content_id = ? AND shard <> ? "
        "ORDER BY ordinal",
        (content_id, ARCHIVE),
    ).fetchall()
    if not rows:
        return set()
    given = {shard for _, shard, _ in rows}
    for part_id, shard, tokens in rows:
        connection.execute(
            "UPDATE shard SET tokens = tokens - ?, parts = parts - 1 WHERE number = ?",
            (tokens, shard),
        )
        (position,) = connection.execute(
            "UPDATE shard SET tokens = tokens + ?, parts = parts + 1, "
            "next_position = next_position + 1 WHERE number = ? RETURNING next_position - 1",
            (tokens, ARCHIVE),
        ).fetchone()
        connection.execute(
            "UPDATE part SET shard = ?, position = ? WHERE part_id = ?",
            (ARCHIVE, position, part_id),
        )
    connection.executemany(
        "UPDATE shard SET generation = generation + 1 WHERE number = ?",
        [(number,) for number in given],
    )
    return given


def not_loaded_by(
    connection: sqlite3.Connection, session_id: str, sources: Sequence[str]
) -> list[str]:
    """Those of these documents that a session has not loaded yet, or that are archived."""
    (archived,) = connection.execute(
        "SELECT parts FROM shard WHERE number = ?", (ARCHIVE,)
    ).fetchone()
    found: list[str] = []
    for some, marks in in_chunks(sources):
        rows = connection.execute(
            f"SELECT source FROM document_session WHERE source IN ({marks}) AND session_id = ?",
            (*some, session_id),
        )
        missing = set(some) - {str(row[0]) for row in rows}
        if archived:
            rows = connection.execute(
                "SELECT source FROM document JOIN part USING (content_id) "
                f"WHERE source IN ({marks}) AND ordinal = 0 AND shard = ?",
                (*some, ARCHIVE),
            )
            missing |= {str(row[0]) for row in rows}
        found += [source for source in some if source in missing]
    return found


def is_archived(connection: sqlite3.Connection, content_id: int) -> bool:
    """True for a text that lies in the archive; all its parts do, or none."""
    row = connection.execute(
        "SELECT shard FROM part WHERE content_id = ? AND ordinal = 0", (content_id,)
    ).fetchone()
    return row is not None and row[0] == ARCHIVE


def archive_late(connection: sqlite3.Connection, sequence: int) -> None:
    """Archive a finding that was said in a session which had ended."""
    connection.execute("UPDATE finding SET archived = 1 WHERE sequence = ?", (sequence,))


def archived_among(connection: sqlite3.Connection, sequences: Iterable[int]) -> set[int]:
    """Those of these findings that are archived."""
    found: set[int] = set()
    for some, marks in in_chunks(list(sequences)):
        rows = connection.execute(
            f"SELECT sequence FROM finding WHERE archived = 1 AND sequence IN ({marks})",
            some,
        )
        found |= {int(row[0]) for row in rows}
    return found


def archived_keys(connection: sqlite3.Connection) -> set[int]:
    """Everything archived, by the keys of an index: ids of passages, sequences negative."""
    passages = connection.execute(
        "SELECT passage_id FROM part JOIN passage USING (part_id) WHERE shard = ?", (ARCHIVE,)
    )
    keys = {int(row[0]) for row in passages}
    said = connection.execute("SELECT -sequence FROM finding WHERE archived = 1")
    return keys | {int(row[0]) for row in said}


def archived_tokens(connection: sqlite3.Connection) -> int:
    """o200k tokens of everything archived, as counted when it was."""
    (tokens,) = connection.execute(
        "SELECT shard.tokens + a.tokens FROM shard, archived_findings a WHERE number = ?",
        (ARCHIVE,),
    ).fetchone()
    return int(tokens)


def sessions_of(connection: sqlite3.Connection, sources: Iterable[str]) -> dict[str, str]:
    """For each of these documents the newest session that loaded it, where there is one."""
    found = {}
    for source in sources:
        row = connection.execute(
            "SELECT session_id FROM document_session JOIN session USING (session_id) "
            "WHERE source = ? ORDER BY started_at DESC LIMIT 1",
            (source,),
        ).fetchone()
        if row is not None:
            found[source] = str(row[0])
    return found


def authors(connection: sqlite3.Connection, session_id: str) -> dict[str, int]:
    """How many findings of a session each author said, who said most first."""
    rows = connection.execute(
        "SELECT author, count(*) AS said FROM finding WHERE run = ? GROUP BY author "
        "ORDER BY said DESC, author LIMIT 100",
        (session_id,),
    )
    return {str(author): int(said) for author, said in rows}


def count_archived_documents(connection: sqlite3.Connection, session_id: str) -> int:
    """How many of the documents that a session loaded lie in the archive."""
    (number,) = connection.execute(
        "SELECT count(*) FROM document_session JOIN document USING (source) "
        "JOIN part USING (content_id) WHERE session_id = ? AND ordinal = 0 AND shard = ?",
        (session_id, ARCHIVE),
    ).fetchone()
    return int(number)


def uncleared(connection: sqlite3.Connection) -> list[StoredSession]:
    """Ended sessions whose tasks and caches nobody has cleared."""
    rows = connection.execute(
        f"SELECT {_COLUMNS}, 0, 0 FROM session WHERE ended_at IS NOT NULL AND cleared_at IS NULL "
        "ORDER BY ended_at"
    )
    return [StoredSession(*row) for row in rows]


def set_cleared(connection: sqlite3.Connection, session_id: str, at: str | None) -> None:
    """Note that nothing of a session is at work any more; None: that something is again."""
    connection.execute(
        "UPDATE session SET cleared_at = ? WHERE session_id = ? AND ended_at IS NOT NULL",
        (at, session_id),
    )


def loaded_by(connection: sqlite3.Connection, source: str) -> Sequence[str]:
    """The sessions that loaded a document; ``-`` for none."""
    rows = connection.execute("SELECT session_id FROM document_session WHERE source = ?", (source,))
    return [str(row[0]) for row in rows]


def add_loader(connection: sqlite3.Connection, source: str, session_id: str = NO_RUN) -> None:
    """Note that a session has loaded a document, or somebody without one."""
    connection.execute("INSERT OR IGNORE INTO document_session VALUES (?, ?)", (source, session_id))


def _contents_of(connection: sqlite3.Connection, session_id: str) -> list[int]:
    rows = connection.execute(
        "SELECT DISTINCT content_id FROM document_session JOIN document USING (source) "
        "WHERE session_id = ? ORDER BY content_id",
        (session_id,),
    )
    return [int(row[0]) for row in rows]
