"""The rows of an export, read in one transaction, in the order that a restored store has too."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from ifmem.engine.exports import relative_to
from ifmem.store import findings, tombstones
from ifmem.wire import exports
from ifmem.wire.exports import AuditHead, Row

Made = TypeVar("Made", bound=Row)

_UNSEEN = "its end was not seen by the export"


@dataclass(frozen=True, slots=True)
class Totals:
    """What a manifest tells of the space as a whole."""

    documents: int
    findings: int
    tokens: int
    last_sequence: int
    audit_head: AuditHead
    tombstone_key: str
    rows: int
    """Rows of the largest tables together: how far an export has come is told in these."""


def totals(connection: sqlite3.Connection) -> Totals:
    """The counts of the moment."""
    documents, texts, of_texts = connection.execute(
        "SELECT (SELECT count(*) FROM document), count(*), coalesce(sum(tokens), 0) FROM content"
    ).fetchone()
    said, of_said = connection.execute(
        "SELECT count(*), coalesce(sum(tokens), 0) FROM finding"
    ).fetchone()
    return Totals(
        documents=documents,
        findings=said,
        tokens=of_texts + of_said,
        last_sequence=findings.last_sequence(connection),
        audit_head=audit_head(connection),
        tombstone_key=tombstone_key(connection),
        rows=texts + said,
    )


def audit_head(connection: sqlite3.Connection) -> AuditHead:
    """The last row of the audit, with its seal."""
    row = connection.execute("SELECT row, seal FROM audit ORDER BY row DESC LIMIT 1").fetchone()
    return AuditHead(*(row or (0, None)))


def tombstone_key(connection: sqlite3.Connection) -> str:
    """What is the same where tombstones are made with the same key."""
    return tombstones.mark(connection, tombstones.CONTENT, "the key of an export")


def rows_of(connection: sqlite3.Connection, member: str) -> Iterator[Row]:
    """The rows of a member."""
    return _READ[member](connection)


def _texts(connection: sqlite3.Connection) -> Iterator[Row]:
    heads = connection.execute(
        "SELECT content_id, sha256, format, kind, conversation, title, size, tokens, masked, "
        "EXISTS (SELECT 1 FROM part WHERE part.content_id = content.content_id AND shard = 0) "
        "FROM content ORDER BY content_id"
    )
    for content_id, sha256, reader, kind, group, title, size, tokens, masked, archived in heads:
        yield exports.TextRow(
            sha256=sha256,
            format=reader,
            kind=kind,
            conversation=group,
            title=title,
            size=size,
            tokens=tokens,
            masked=masked,
            archived=bool(archived),
            sources=tuple(_sources(connection, content_id)),
            passages=tuple(_passages(connection, content_id)),
        )


def _passages(connection: sqlite3.Connection, content_id: int) -> Iterator[exports.PassageRow]:
    rows = connection.execute(
        "SELECT first_line, last_line, tokens, header, speaker, said_at, locator, text "
        "FROM passage WHERE content_id = ? ORDER BY ordinal",
        (content_id,),
    )
    for first, last, held, header, speaker, said_at, locator, text in rows:
        yield exports.PassageRow(
            first_line=first,
            last_line=last,
            tokens=held,
            header=header,
            speaker=speaker,
            said_at=said_at,
            locator=locator,
            text=text,
        )


def _sources(connection: sqlite3.Connection, content_id: int) -> Iterator[exports.SourceRow]:
    rows = connection.execute(
        "SELECT source, root, size, mtime_ns, inode, loaded_at, trust FROM document "
        "WHERE content_id = ? ORDER BY source",
        (content_id,),
    )
    for source, root, size, mtime_ns, inode, loaded_at, trust in rows:
        path = relative_to(root, source)
        sessions = connection.execute(
            "SELECT session_id FROM document_session WHERE source = ? ORDER BY session_id",
            (source,),
        )
        yield exports.SourceRow(
            root=root,
            path=source if path is None else path,
            below=path is not None,
            size=size,
            mtime_ns=mtime_ns,
            inode=inode,
            loaded_at=loaded_at,
            trust=trust,
            sessions=tuple(session_id for (session_id,) in sessions),
        )


def _findings(connection: sqlite3.Connection) -> Iterator[Row]:
    rows = connection.execute(
        "SELECT sequence, body, archived, superseded_at, superseded_by FROM finding "
        "ORDER BY sequence"
    )
    for sequence, body, archived, superseded_at, superseded_by in rows:
        if superseded_by is None and superseded_at is None:
            yield exports.FindingRow(sequence=sequence, body=body, archived=archived)
            continue
        newer = connection.execute(
            "SELECT finding_id FROM finding WHERE sequence = ?", (superseded_by,)
        ).fetchone()
        yield exports.FindingRow(
            sequence=sequence,
            body=body,
            archived=archived,
            superseded_by=None if newer is None else newer[0],
            superseded_at=superseded_at,
        )


def _messages(connection: sqlite3.Connection) -> Iterator[Row]:
    rows = connection.execute(
        "SELECT message_id, sequence, sent_ms, expires_ms, body FROM message "
        "ORDER BY sequence, message_id"
    )
    for message_id, sequence, sent_ms, expires_ms, body in rows:
        recipients = connection.execute(
            "SELECT agent, ended FROM recipient WHERE message_id = ? ORDER BY agent", (message_id,)
        )
        yield exports.MessageRow(
            message_id=message_id,
            sequence=sequence,
            sent_ms=sent_ms,
            expires_ms=expires_ms,
            body=body,
            recipients=tuple(
                exports.RecipientRow(agent=agent, ended=ended) for agent, ended in recipients
            ),
        )


def _conflicts(connection: sqlite3.Connection) -> Iterator[Row]:
    for row in _conflict_heads(connection):
        sides = connection.execute(
            "SELECT finding_id, kept FROM conflict_side WHERE conflict_id = ? ORDER BY finding_id",
            (row.conflict_id,),
        )
        found = tuple(exports.SideRow(finding_id=one, kept=kept) for one, kept in sides)
        yield msgspec.structs.replace(row, sides=found)


def _inbox(connection: sqlite3.Connection) -> Iterator[Row]:
    for row in _inbox_heads(connection):
        tasks = connection.execute(
            "SELECT task_id FROM inbox_task WHERE item_id = ? ORDER BY task_id", (row.item_id,)
        )
        yield msgspec.structs.replace(row, tasks=tuple(task_id for (task_id,) in tasks))


def _plain(
    kind: type[Made], table: str, *, order: str, where: str = "1", **instead: str
) -> Callable[[sqlite3.Connection], Iterator[Made]]:
    """Reads a table whose columns are the fields of a row; ``instead`` has SQL for some of them."""
    names = [name for name in kind.__struct_fields__ if name not in _NESTED]
    columns = ", ".join(instead.get(name, name) for name in names)

    def read(connection: sqlite3.Connection) -> Iterator[Made]:
        rows = connection.execute(f"SELECT {columns} FROM {table} WHERE {where} ORDER BY {order}")
        for values in rows:
            yield kind(**dict(zip(names, values, strict=True)))

    return read


_NESTED = frozenset({"sides", "tasks"})
_conflict_heads = _plain(exports.ConflictRow, "conflict", order="conflict_id")
_inbox_heads = _plain(exports.InboxRow, "inbox_item", order="number")
_LEASED = "CASE state WHEN 'leased' THEN {} ELSE {} END"
_OPEN = "CASE state WHEN 'intent' THEN {} ELSE {} END"
_READ: Mapping[str, Callable[[sqlite3.Connection], Iterator[Row]]] = {
    "documents": _texts,
    "findings": _findings,
    "quarantined": _plain(exports.QuarantinedRow, "quarantined", order="sequence"),
    # Whoever holds a lease holds it of the source: elsewhere the task is free.
    "tasks": _plain(
        exports.TaskRow,
        "task",
        order="number",
        state=_LEASED.format("'pending'", "state"),
        lease_until_ms=_LEASED.format("NULL", "lease_until_ms"),
        event=_LEASED.format("'expired'", "event"),
    ),
    "messages": _messages,
    "topics": _plain(exports.TopicRow, "topic_follower", order="topic, agent"),
    "consumers": _plain(exports.ConsumerRow, "consumer", order="name"),
    "sessions": _plain(exports.SessionRow, "session", order="session_id"),
    "conflicts": _conflicts,
    "inbox": _inbox,
    # Its bound stays held in the purses, as it does when a daemon is killed.
    "calls": _plain(
        exports.CallRow,
        "model_call",
        order="row",
        state=_OPEN.format("'unknown'", "state"),
        error=_OPEN.format(f"'{_UNSEEN}'", "error"),
        settled_at=_OPEN.format("at", "settled_at"),
    ),
    "purses": _plain(exports.PurseRow, "purse", order="kind, name"),
    "questions": _plain(exports.QuestionRow, "asked_question", order="row"),
    "forgotten": _plain(exports.ForgottenRow, "forgotten", order="id"),
    "queries": _plain(
        exports.QueryRow, "archive_query", order="number", where="state IN ('kept', 'answered')"
    ),
    "tombstones": _plain(exports.TombstoneRow, "tombstone", order="mark"),
    "audit": _plain(exports.AuditRow, "audit", order="row"),
}
