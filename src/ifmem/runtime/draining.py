"""The drainer: takes the log of the bus into the store, a batch in one transaction."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import msgspec

from ifmem import clock
from ifmem.archive_settings import TrustSettings
from ifmem.bus.log import Committed, RawEntry
from ifmem.domain.finding import Finding
from ifmem.errors import IfMemError, Invalid
from ifmem.runtime.adopting import adopted, holds_new_mask
from ifmem.runtime.indexing import index_new_findings
from ifmem.runtime.settling import settle_tasks_if_possible
from ifmem.runtime.space import Space
from ifmem.runtime.storing import on_stored, touch_sessions
from ifmem.store import audit, findings, messages, meta, quarantine, tasks
from ifmem.store.findings import StoredFinding
from ifmem.store.tasks import Waiting
from ifmem.wire import finding_json
from ifmem.wire.log_entries import Entry, Verdict, position, read_entry

log = logging.getLogger(__name__)

BATCH = 1_000
"""Entries of one transaction: enough for the disk's sync to weigh little."""
_BLOCK_MS = 2_000
_RETRY_SECONDS = 1.0
_WIDEST_GAP = 10**9
"""Numbers that a bus which was lost may have given out since the last one stored."""


@dataclass
class _Applied:
    """What a transaction made of a batch."""

    new: list[StoredFinding] = field(default_factory=list)
    sequences: dict[str, int] = field(default_factory=dict)
    """By finding id; 0 for one that was refused, negative for one in quarantine."""
    lowered: dict[str, bytes] = field(default_factory=dict)
    """Findings that claimed more than their author may, or held credentials, as stored."""
    masked: bool = False
    """One came with a credential in it, past our functions."""
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    unreadable: dict[str, tuple[RawEntry, str]] = field(default_factory=dict)
    superseded: list[int] = field(default_factory=list)
    """Sequences of findings that are not believed any more."""
    is_unsettled: bool = False
    """Something waits for a person, and the bus or an author has to be told."""
    contradicted: list[Waiting] = field(default_factory=list)
    """Tasks that the bus has otherwise than the store."""
    unknown: list[str] = field(default_factory=list)
    """Tasks that the bus has and the store does not."""


@dataclass(frozen=True, slots=True)
class _Said:
    """A finding that an entry carries."""

    entry: str
    finding_id: str
    sequence: int
    body: bytes


async def drain(space: Space) -> None:
    """Drain for as long as the bus answers.

    A store that cannot write stops the draining, not the drainer: the bus is told to take nothing
    new, whoever waits is told, and the same batch is tried again.

    Raises:
        Unavailable: the bus did not answer.
        NotPermitted: another bridge owns the space.
    """
    last = "0-0"
    while True:
        raw = await space.bus.log.read(last, count=BATCH, block_ms=_BLOCK_MS)
        if raw:
            await _take(space, raw)
            last = raw[-1][0].decode()


async def drain_all(space: Space) -> None:
    """Drain what the log holds now; errors as ``drain``."""
    while raw := await space.bus.log.read("0-0", count=BATCH):
        await _take(space, raw)


async def _take(space: Space, raw: Sequence[RawEntry]) -> None:
    applied = await _committed(space, raw)
    upto = raw[-1][0].decode()
    space.publishing.difference_update(applied.sequences)
    if applied.is_unsettled:
        await settle_tasks_if_possible(space)
        space.inbox_due.set()
    # Whoever waits in this process need not wait for the bus to be told.
    space.acknowledgements.advance(upto, applied.verdicts)
    for entry, (fields, reason) in applied.unreadable.items():
        body = msgspec.json.encode(
            {k.decode("utf-8", "replace"): repr(v) for k, v in fields[1].items()}
        )
        await space.bus.log.dead_letter(entry=entry, reason=reason, message=body)
    await space.bus.log.drained(
        space.lease,
        Committed(
            position=upto,
            findings=list(applied.sequences.items()),
            verdicts=applied.verdicts,
            stored=space.findings_stored,
            epoch=space.epoch,
        ),
        window=space.settings.findings.window,
    )
    if applied.lowered:
        await space.bus.findings.correct(applied.lowered)
    if applied.masked:
        space.history_due.set()
    if applied.contradicted:
        await space.bus.tasks.correct(applied.contradicted)
    if applied.unknown:
        await space.bus.tasks.drop(applied.unknown)


async def _committed(space: Space, raw: Sequence[RawEntry]) -> _Applied:
    refusing = False
    while True:
        try:
            # To its end: what is committed and not indexed would never be.
            applied = await space.finish(_commit(space, raw))
        except IfMemError as error:
            log.warning("the store of %s cannot commit: %s", space.name, error.message)
            space.degraded = error.message
            space.acknowledgements.fail(error.message)
            await space.bus.log.refuse(space.lease, error.message)
            refusing = True
            await asyncio.sleep(_RETRY_SECONDS)
            await space.bus.ownership.renew(space.lease, space.lease_duration)
        else:
            if refusing:
                space.degraded = None
                await space.bus.log.refuse(space.lease, "")
            return applied


async def _commit(space: Space, raw: Sequence[RawEntry]) -> _Applied:
    async with space.moving:
        own = frozenset(space.publishing)
        work = partial(_apply, raw=raw, own=own, trust=space.settings.trust)
        applied = await space.write(work)
        await asyncio.to_thread(_index, space, applied)
    space.findings_stored += len(applied.new)
    if applied.new:
        space.watchers.on_committed()
    return applied


def _apply(
    connection: sqlite3.Connection,
    *,
    raw: Sequence[RawEntry],
    own: frozenset[str],
    trust: TrustSettings,
) -> _Applied:
    """Apply a batch and its position; every entry may come again after a crash."""
    applied = _Applied()
    kinds: dict[str, list[Entry]] = {"finding": [], "task": [], "message": [], "audit": []}
    for one in raw:
        try:
            entry = read_entry(*one)
            if entry.kind not in kinds:
                raise Invalid(f"{entry.kind!r} is no kind of entry")
            kinds[entry.kind].append(entry)
        except Invalid as error:
            _unreadable(applied, one, error)
    by_id = {one[0].decode(): one for one in raw}
    for entry in kinds["audit"]:
        try:
            audit.append(connection, entry)
        except Invalid as error:
            _unreadable(applied, by_id[entry.id], error)
    said = _apply_tasks(connection, applied, kinds["task"], by_id)
    _note(applied, messages.apply(connection, kinds["message"]), by_id)
    for entry in kinds["finding"]:
        try:
            said.append(
                _Said(entry.id, entry.text("id"), entry.integer("sequence"), entry.fields["body"])
            )
        except (Invalid, KeyError) as error:
            _unreadable(applied, by_id[entry.id], error)
    for one_said in sorted(said, key=lambda one: position(one.entry)):
        try:
            _append(connection, applied, one_said, own, trust)
        except Invalid as error:
            applied.sequences[one_said.finding_id] = 0
            _unreadable(applied, by_id[one_said.entry], error)
    meta.set_drained(connection, raw[-1][0].decode())
    return applied


def _apply_tasks(
    connection: sqlite3.Connection,
    applied: _Applied,
    entries: Sequence[Entry],
    by_id: Mapping[str, RawEntry],
) -> list[_Said]:
    """The steps of tasks, and the findings that accepted completions carry."""
    done = tasks.apply(connection, entries)
    _note(applied, done.verdicts, by_id)
    touch_sessions(connection, done.begun)
    applied.sequences |= dict.fromkeys(done.refused_findings, 0)
    applied.contradicted = tasks.waiting(connection, done.contradicted)
    applied.unknown = sorted(done.contradicted - {task.task_id for task, _ in applied.contradicted})
    return [_Said(*row) for row in done.findings]


def _append(
    connection: sqlite3.Connection,
    applied: _Applied,
    said: _Said,
    own: frozenset[str],
    trust: TrustSettings,
) -> None:
    if findings.was_forgotten(connection, said.finding_id):
        applied.sequences[said.finding_id] = 0
        applied.verdicts[said.entry] = Verdict(
            "refused",
            f"finding {said.finding_id} was forgotten: remember it under another id, or lift that "
            f"first with `ifmem forget --lift {said.finding_id}`",
            {"finding_id": said.finding_id},
        )
        return
    finding = finding_json.parse(said.body)
    if finding.finding_id != said.finding_id:
        raise Invalid(f"the entry is of {said.finding_id}, its body of {finding.finding_id}")
    body = finding_json.as_durable(said.body)
    if said.finding_id not in own:
        # Whoever has the bus's credentials wrote it: what nobody has checked is only claimed.
        finding = replace(adopted(said.finding_id, said.body), durable=True)
        body = finding_json.to_json(finding)
        applied.masked |= holds_new_mask(said.body, body)
    last = findings.last_sequence(connection)
    # A number far beyond the last was given out by nobody; taken, it would use up all others.
    place = said.sequence if said.sequence - last <= _WIDEST_GAP else 0
    held = _quarantined(connection, finding, body, place)
    if held is not None:
        applied.sequences[finding.finding_id] = -held
        return
    sequence, is_new = findings.append(
        connection,
        finding_id=finding.finding_id,
        author=finding.worker_id,
        task_id=finding.task_id,
        topic=finding.topic,
        said_at=finding.timestamp,
        tokens=finding.tokens,
        body=body,
        run=finding.session_id,
        sequence=place,
    )
    applied.sequences[finding.finding_id] = sequence
    stored = findings.by_sequence(connection, [sequence])[sequence]
    if is_new:
        applied.new.append(stored)
        done = on_stored(connection, finding, stored, trust)
        applied.is_unsettled |= done.is_unsettled
        if done.superseded is not None:
            applied.superseded.append(done.superseded)
    # Said again after a crash, it stays as it was stored: who may claim what is no longer known.
    if stored.body != finding_json.as_durable(said.body):
        applied.lowered[said.finding_id] = stored.body


def _quarantined(
    connection: sqlite3.Connection, finding: Finding, body: bytes, place: int
) -> int | None:
    """The sequence of a finding that is, or now comes, into quarantine; None for any other."""
    held = quarantine.sequence_of(connection, finding.finding_id)
    known = held is not None or findings.by_id(connection, finding.finding_id) is not None
    if known or not finding.is_quarantined:
        return held
    audit.note(
        connection,
        entry=f"quarantine:{finding.finding_id}",
        at=clock.stamp(clock.now()),
        type=audit.DECISION,
        action="quarantine",
        actor=finding.worker_id,
        subject=finding.finding_id,
        reason="its author's word waits until somebody releases it",
        task_id=finding.task_id,
    )
    row = StoredFinding(
        sequence=place,
        finding_id=finding.finding_id,
        author=finding.worker_id,
        task_id=finding.task_id,
        topic=finding.topic,
        said_at=finding.timestamp,
        tokens=finding.tokens,
        body=body,
        run=finding.session_id,
    )
    return quarantine.append(connection, row)


def _note(
    applied: _Applied, verdicts: Mapping[str, Verdict], by_id: Mapping[str, RawEntry]
) -> None:
    applied.verdicts |= verdicts
    for entry, verdict in verdicts.items():
        if verdict.outcome == "unreadable":
            applied.unreadable[entry] = (by_id[entry], verdict.message)


def _unreadable(applied: _Applied, raw: RawEntry, error: Exception) -> None:
    entry = raw[0].decode("utf-8", "replace")
    applied.verdicts[entry] = Verdict("unreadable", str(error))
    applied.unreadable[entry] = (raw, str(error))


def _index(space: Space, applied: _Applied) -> None:
    index_new_findings(space, applied.new)
    space.unindex(-sequence for sequence in applied.superseded)
