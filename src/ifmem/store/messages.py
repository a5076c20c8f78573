"""Messages as the store has them: what was sent, who is not done with it, who follows what."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from ifmem.domain.message import OpenMessage, TopicFollowers, require_name
from ifmem.errors import Invalid
from ifmem.store import audit_notes
from ifmem.store.chunks import in_chunks
from ifmem.wire.log_entries import Entry, Verdict


def apply(connection: sqlite3.Connection, entries: Sequence[Entry]) -> dict[str, Verdict]:
    """Apply entries of kind ``message`` in log order; the verdict where it is not simply yes.

    Applying the same entries again changes nothing.
    """
    verdicts: dict[str, Verdict] = {}
    for entry in entries:
        try:
            verdict = _applied(connection, entry)
        except Invalid as error:
            verdict = Verdict("unreadable", error.message)
        if verdict is not None:
            verdicts[entry.id] = verdict
    return verdicts


def open_messages(
    connection: sqlite3.Connection,
    now_ms: int,
    *,
    after: tuple[int, str] = (0, ""),
    limit: int = -1,
) -> list[OpenMessage]:
    """What somebody still has to acknowledge and may, in order.

    Args:
        now_ms: what has expired by then is left out.
        after: sequence and id of the last one of the page before.
        limit: at most so many; -1 for all.
    """
    rows = connection.execute(
        "SELECT message_id, sequence, sent_ms, expires_ms, body, group_concat(agent, ' ') "
        "FROM message JOIN recipient USING (message_id) "
        "WHERE ended IS NULL AND expires_ms > ? AND (sequence, message_id) > (?, ?) "
        "GROUP BY sequence, message_id ORDER BY sequence, message_id LIMIT ?",
        (now_ms, *after, limit),
    )
    return [
        OpenMessage(
            message_id=message_id,
            sequence=sequence,
            sent_ms=sent_ms,
            expires_ms=expires_ms,
            body=body.encode(),
            recipients=tuple(sorted(agents.split())),
        )
        for message_id, sequence, sent_ms, expires_ms, body, agents in rows
    ]


def topics(connection: sqlite3.Connection) -> list[TopicFollowers]:
    """Who follows each topic, and who left it."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    rows = connection.execute(
        "SELECT topic, agent, follows FROM topic_follower ORDER BY topic, agent"
    )
    for topic, agent, follows in rows:
        followers, left = found.setdefault(topic, ([], []))
        (followers if follows else left).append(agent)
    return [
        TopicFollowers(topic, tuple(followers), tuple(left))
        for topic, (followers, left) in found.items()
    ]


def agents(connection: sqlite3.Connection) -> list[str]:
    """Everybody to whom something was sent that is still kept."""
    return [name for (name,) in connection.execute("SELECT DISTINCT agent FROM recipient")]


def done_among(connection: sqlite3.Connection, agent: str, ids: Sequence[str]) -> list[str]:
    """Those of these messages with which the agent is done."""
    done: list[str] = []
    for some, marks in in_chunks(ids):
        rows = connection.execute(
            "SELECT message_id FROM recipient WHERE agent = ? AND ended IS NOT NULL "
            f"AND message_id IN ({marks})",
            (agent, *some),
        )
        done += [message_id for (message_id,) in rows]
    return done


def last_sequence(connection: sqlite3.Connection) -> int:
    """The highest sequence of a message that is kept."""
    (number,) = connection.execute("SELECT coalesce(max(sequence), 0) FROM message").fetchone()
    return int(number)


def sequence_of(connection: sqlite3.Connection, message_id: str) -> int | None:
    """The sequence of the message of that id; None when none is kept."""
    row = connection.execute(
        "SELECT sequence FROM message WHERE message_id = ?", (message_id,)
    ).fetchone()
    return None if row is None else int(row[0])


def overdue(connection: sqlite3.Connection, now_ms: int, limit: int) -> dict[str, list[str]]:
    """By agent, messages whose time is over and that nobody has closed yet."""
    found: dict[str, list[str]] = {}
    rows = connection.execute(
        "SELECT agent, message_id FROM message JOIN recipient USING (message_id) "
        "WHERE ended IS NULL AND expires_ms <= ? ORDER BY expires_ms, agent LIMIT ?",
        (now_ms, limit),
    )
    for agent, message_id in rows:
        found.setdefault(agent, []).append(message_id)
    return found


def expire(connection: sqlite3.Connection, now_ms: int) -> int:
    """Remove what everybody is done with and whose time is over; how many messages."""
    return connection.execute(
        "DELETE FROM message WHERE expires_ms <= ? AND NOT EXISTS (SELECT 1 FROM recipient "
        "WHERE recipient.message_id = message.message_id AND ended IS NULL)",
        (now_ms,),
    ).rowcount


def _applied(connection: sqlite3.Connection, entry: Entry) -> Verdict | None:
    event = entry.text("event")
    step = _EVENTS.get(event)
    if step is None:
        raise Invalid(f"{event[:40]!r} is no event of a message")
    return step(connection, entry)


def _sent(connection: sqlite3.Connection, entry: Entry) -> Verdict | None:
    message_id, sequence = entry.text("id"), entry.integer("sequence")
    recipients = [require_name(one, "recipient") for one in entry.text("recipients").split()]
    values = (message_id, sequence, entry.integer("sent"), entry.integer("expires"))
    body = entry.text("body")
    known = sequence_of(connection, message_id)
    if known is not None:
        if known == sequence:
            return None
        return Verdict(
            "known",
            f"message {message_id} was sent before: its readers drop the second by its id",
            {"message_id": message_id, "sequence": str(known)},
        )
    connection.execute("INSERT INTO message VALUES (?, ?, ?, ?, ?)", (*values, body))
    connection.executemany(
        "INSERT INTO recipient (message_id, agent) VALUES (?, ?)",
        [(message_id, agent) for agent in recipients],
    )
    audit_notes.message_told(connection, entry)
    return None


def _ended(connection: sqlite3.Connection, entry: Entry) -> None:
    agent, event = entry.text("agent"), entry.text("event")
    connection.executemany(
        "UPDATE recipient SET ended = ? WHERE message_id = ? AND agent = ?",
        [(event, message_id, agent) for message_id in entry.text("ids").split()],
    )
    audit_notes.message_told(connection, entry)


def _followed(connection: sqlite3.Connection, entry: Entry) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO topic_follower VALUES (?, ?, ?)",
        (
            require_name(entry.text("topic"), "topic"),
            require_name(entry.text("agent"), "agent"),
            entry.text("event") == "followed",
        ),
    )
    audit_notes.message_told(connection, entry)


_EVENTS: dict[str, Callable[[sqlite3.Connection, Entry], Verdict | None]] = {
    "sent": _sent,
    "acknowledged": _ended,
    "expired": _ended,
    "followed": _followed,
    "unfollowed": _followed,
}
