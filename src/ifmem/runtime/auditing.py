"""The audit, asked: its rows by agent, task, time and kind, and whether its chain holds."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from functools import partial
from typing import Any, get_args

from ifmem import clock
from ifmem.engine.masking import mask
from ifmem.errors import Failed, Invalid, Refused
from ifmem.runtime.space import Space
from ifmem.store import audit
from ifmem.store.audit_anchor import NoHead, read_head, read_key
from ifmem.store.audit_chain import ACCEPTED, Chain, last_row, verify_chain
from ifmem.store.database import Database
from ifmem.wire import audit_checkpoints
from ifmem.wire.audit_calls import (
    AcceptBreakCall,
    AuditCall,
    AuditCheck,
    AuditLine,
    Checkpoint,
    CheckpointCheck,
)
from ifmem.wire.shapes import Page

MOST_ROWS = 1_000
_LONGEST_REASON = 500


async def list_audit(space: Space, call: AuditCall) -> Page[AuditLine]:
    """Rows of the audit, newest first.

    Raises:
        Invalid: a type, severity or cursor that there is not.
    """
    limit = max(1, min(call.limit, MOST_ROWS))
    read = partial(audit.page, wanted=_wanted(call), before=_place(call.after), limit=limit)
    rows = await space.read(read)
    lines = [
        AuditLine(
            row=row.row,
            at=row.at,
            type=row.type,
            severity=row.severity,
            action=row.action,
            actor=row.actor,
            subject=row.subject,
            reason=row.reason,
            task_id=row.task_id,
            seal=row.seal,
        )
        for row in rows
    ]
    return Page(lines, next=f"{rows[-1].at} {rows[-1].row}" if len(rows) == limit else None)


async def check_audit(space: Space) -> AuditCheck:
    """Whether every row of the audit is as it was written, and none is missing.

    Raises:
        Failed: the file is damaged.
    """
    chain = await asyncio.to_thread(_walked, space.database)
    return AuditCheck(
        rows=chain.rows,
        intact=chain.intact,
        first_broken=chain.first_broken,
        why=chain.why,
        accepted=chain.accepted,
    )


async def accept_break(space: Space, call: AcceptBreakCall) -> AuditCheck:
    """Note that a person has looked into the first break; the check goes on behind it from now on.

    Raises:
        Refused: nothing is broken.
        Invalid: no reason is given.
    """
    reason = mask(" ".join(call.reason.split())).text[:_LONGEST_REASON]
    if not reason:
        raise Invalid("say why the break is accepted: it is kept in the audit")
    # What vanished at the end is noted by the first transaction after that.
    await space.write(lambda connection: None)
    chain = await asyncio.to_thread(_walked, space.database)
    if chain.intact or chain.first_broken is None:
        raise Refused("the audit is intact: there is nothing to accept")
    places = f"{chain.first_broken}-{chain.last_broken or chain.first_broken}"
    await space.write(
        partial(
            audit.note,
            entry=f"{ACCEPTED}{places}",
            at=clock.stamp(clock.now()),
            type=audit.DECISION,
            severity=audit.CRITICAL,
            action="audit_accepted",
            actor=mask(call.by).text[:_LONGEST_REASON],
            subject=f"row:{chain.first_broken}",
            reason=reason,
        )
    )
    return await check_audit(space)


async def checkpoint(space: Space) -> Checkpoint:
    """What a checkpoint of this moment says, unsigned: the key is not the daemon's to see.

    Raises:
        Failed: the audit is not intact.
    """
    checked = await check_audit(space)
    if not checked.intact:
        raise Failed(
            f"the audit is not intact from row {checked.first_broken} on ({checked.why}): "
            "a checkpoint would vouch for it",
            first_broken=checked.first_broken,
        )
    head = await space.read(last_row)
    return Checkpoint(
        space=space.name,
        store_id=space.store_id,
        rows=head.row,
        head=head.seal,
        at=clock.stamp(clock.now()),
    )


async def check_checkpoint(
    space: Space, checkpoint: Mapping[str, Any], public_key: str = ""
) -> CheckpointCheck:
    """Whether the row that a checkpoint names still has the seal it signs.

    Rows before it are vouched for as far as ``check_audit`` finds the chain intact up to it.

    Args:
        space: the space to look into.
        checkpoint: as ``ifmem audit checkpoint`` printed it.
        public_key: Ed25519, in hex, that it must be signed with; empty for the one it names.

    Raises:
        Invalid: no checkpoint, one of another store, or one with another signature.
        ConfigError: the extra that checks signatures is not installed.
    """
    signed = audit_checkpoints.read(checkpoint, public_key)
    if signed.store_id != space.store_id:
        raise Invalid(
            f"the checkpoint is of another store ({signed.store_id}) than space {space.name} has",
            store_id=signed.store_id,
        )
    seal = await space.read(partial(_seal_of, row=signed.rows))
    if seal == signed.head:
        return CheckpointCheck(signed.rows, True)
    what = "is not there" if seal is None else "is another one"
    return CheckpointCheck(
        signed.rows, False, f"row {signed.rows}, signed at {signed.at}, {what}: it was rewritten"
    )


def _walked(database: Database) -> Chain:
    key = read_key(database.path)
    # Before the rows: it may lag behind them, and never leads.
    head = NoHead.ABSENT if key is None else read_head(database.path, key)
    return database.read_together(partial(verify_chain, key=key, head=head))


def _seal_of(connection: sqlite3.Connection, row: int) -> str | None:
    if row == 0:
        return ""
    found = connection.execute(
        "SELECT CAST(seal AS BLOB) FROM audit WHERE row = ?", (row,)
    ).fetchone()
    return None if found is None else (found[0] or b"").decode("utf-8", "replace")


def _wanted(call: AuditCall) -> audit.Wanted:
    for name, value, known in (
        ("type", call.type, get_args(audit.Type)),
        ("severity", call.severity, get_args(audit.Severity)),
    ):
        if value is not None and value not in known:
            raise Invalid(f"there is no {name} {value[:40]!r}: use {', '.join(known)}")
    return audit.Wanted(
        actor=call.agent,
        task_id=call.task,
        since=call.since,
        until=call.until,
        type=call.type,  # type: ignore[arg-type]
        severity=call.severity,  # type: ignore[arg-type]
        action=call.action,
        subject=call.subject,
    )


def _place(after: str) -> tuple[str, int] | None:
    if not after:
        return None
    at, _, row = after.rpartition(" ")
    if not (at and row.isdecimal() and len(row) < 19):
        raise Invalid(f"{after[:60]!r} is no place in the audit: give `next` of the page before")
    return at, int(row)
