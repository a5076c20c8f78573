"""What the audit tells of documents, tasks and messages: ids, digests and states, never content."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec

from ifmem import clock
from ifmem.domain.task import Task
from ifmem.engine.masking import mask
from ifmem.engine.tasks import Refusal, TaskEvent
from ifmem.store import audit
from ifmem.store.contents import Origin
from ifmem.wire.log_entries import Entry

_MESSAGE_ACTIONS: Final = {
    "sent": "send",
    "acknowledged": "acknowledge",
    "followed": "follow_topic",
    "unfollowed": "unfollow_topic",
}
_DAEMON: Final = "-"
_LONGEST_NAME: Final = 500


class _Sender(msgspec.Struct):
    sender: str = _DAEMON


def digest_at(connection: sqlite3.Connection, source: str) -> str | None:
    """The digest of what is stored of a source; None when nothing is."""
    found = connection.execute(
        "SELECT sha256 FROM document JOIN content USING (content_id) WHERE source = ?", (source,)
    ).fetchone()
    return None if found is None else str(found[0])


def document_saved(
    connection: sqlite3.Connection, origin: Origin, sha256: str, *, before: str | None
) -> None:
    """A document was stored; nothing when it is what it was."""
    if sha256 == before:
        return
    brought = "load" if origin.trust == "user" else "capture"
    at = clock.stamp(clock.now())
    _write(
        connection,
        entry=_document_entry(at, origin.source, sha256),
        at=at,
        action=brought if before is None else f"{brought}_changed",
        actor=origin.agent,
        subject=origin.source,
        reason=f"sha256 {sha256}",
    )


def documents_removed(
    connection: sqlite3.Connection, sources: Iterable[str], *, actor: str = _DAEMON
) -> None:
    """Documents were removed: their files are gone, or who may said so."""
    at = clock.stamp(clock.now())
    for source in sources:
        _write(
            connection,
            entry=_document_entry(at, source, "-"),
            at=at,
            action="remove",
            actor=actor,
            subject=source,
            reason="no longer kept",
        )


def task_stepped(
    connection: sqlite3.Connection, entry: Entry, event: TaskEvent, task: Task
) -> None:
    """A task took a step."""
    by = f", fence {event.fence}" if event.fence else ""
    _write(
        connection,
        entry=f"task:{entry.id}",
        at=clock.stamp_of_ms(entry.at_ms),
        action=f"task_{event.step}",
        actor=_harmless(event.worker or _DAEMON),
        subject=task.task_id,
        reason=f"now {task.state}, attempt {task.attempts} of {task.max_attempts}{by}",
        task_id=task.task_id,
    )


def task_refused(
    connection: sqlite3.Connection, entry: Entry, event: TaskEvent, refusal: Refusal
) -> None:
    """The store would not have a step that the bus took."""
    audit.note(
        connection,
        entry=f"task:{entry.id}",
        at=clock.stamp_of_ms(entry.at_ms),
        action=f"task_{event.step}",
        actor=_harmless(event.worker or _DAEMON),
        subject=event.task_id,
        reason=mask(refusal.message).text,
        task_id=event.task_id,
    )


def tasks_given_back(
    connection: sqlite3.Connection, leased: Iterable[tuple[str, str, int]], *, reason: str, at: str
) -> None:
    """Leases ended with the bus that knew them: id, holder and revision of each task."""
    for task_id, holder, revision in leased:
        audit.note(
            connection,
            entry=f"task:{task_id}:{revision}:given-back",
            at=at,
            type=audit.DECISION,
            severity=audit.INFO,
            action="task_expired",
            actor=_DAEMON,
            subject=task_id,
            reason=f"taken from {holder}: {reason}",
            task_id=task_id,
        )


def message_told(connection: sqlite3.Connection, entry: Entry) -> None:
    """A message was sent or acknowledged, a topic followed or left; expiries the bus tells."""
    event = entry.text("event")
    if event not in _MESSAGE_ACTIONS:
        return
    if event == "sent":
        recipients = entry.text("recipients").split()
        actor, subject = _sender(entry), entry.text("id")
        reason = f"to {recipients[0]}" if len(recipients) == 1 else f"to {len(recipients)} agents"
    elif event == "acknowledged":
        ids = entry.text("ids").split()
        actor, subject = entry.text("agent"), ids[0] if ids else "-"
        reason = "done with it" if len(ids) == 1 else f"done with it and {len(ids) - 1} more"
    else:
        actor, subject, reason = entry.text("agent"), entry.text("topic"), event
    _write(
        connection,
        entry=f"message:{entry.id}",
        at=clock.stamp_of_ms(entry.at_ms),
        action=_MESSAGE_ACTIONS[event],
        actor=_harmless(actor),
        subject=_harmless(subject),
        reason=_harmless(reason),
    )


def _document_entry(at: str, source: str, sha256: str) -> str:
    """Grows with time: ids of chance would have each row touch another page of the index."""
    named = hashlib.blake2b(source.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return f"document:{at}:{named}:{sha256[:12]}"


@lru_cache(maxsize=4_096)
def _harmless(name: str) -> str:
    """A name as it may be kept: whoever writes past our functions can put anything there."""
    return mask(name[:_LONGEST_NAME]).text


def _sender(entry: Entry) -> str:
    try:
        return msgspec.json.decode(entry.fields["body"], type=_Sender).sender
    except (KeyError, msgspec.MsgspecError):
        return _DAEMON


def _write(
    connection: sqlite3.Connection,
    *,
    entry: str,
    at: str,
    action: str,
    actor: str,
    subject: str,
    reason: str,
    task_id: str | None = None,
) -> None:
    audit.note(
        connection,
        entry=entry,
        at=at,
        type=audit.WRITE,
        severity=audit.INFO,
        action=action,
        actor=actor,
        subject=subject,
        reason=reason,
        task_id=task_id,
    )
