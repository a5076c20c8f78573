"""What a new finding does to what is believed: supersession, conflicts, and the inbox.

Runs in the transaction that stores it. The rules are in ``engine/conflicts.py`` and
``engine/policy.py``; a finding without topic, with confidence, costs a lookup and an insert.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from ifmem.archive_settings import TrustSettings
from ifmem.domain.finding import Finding, SpeechAct, Trust
from ifmem.engine import policy
from ifmem.engine.conflicts import apart, difference, disagrees, folded, states
from ifmem.engine.policy import Decision
from ifmem.store import audit, conflicts, findings, inbox, repetitions, supersession
from ifmem.store.conflicts import Stated
from ifmem.store.findings import StoredFinding
from ifmem.wire import finding_json

MOST_SIDES = 100
"""Findings made sides when a conflict opens; each further one that disagrees becomes one."""
_TRUST = list(Trust)


@dataclass(frozen=True, slots=True)
class Consequences:
    """What is to be done outside the store."""

    superseded: int | None = None
    """The sequence of the finding that is not believed any more."""
    is_unsettled: bool = False
    """Tasks are to be blocked, an author asked, or a model to judge."""


NOTHING = Consequences()


def believe(
    connection: sqlite3.Connection, finding: Finding, stored: StoredFinding, trust: TrustSettings
) -> Consequences:
    """Draw the consequences of a finding that is new in the log."""
    superseded = None if finding.supersedes is None else _supersede(connection, finding, stored)
    decisions = policy.decide(finding, low_confidence=trust.low_confidence, sources=trust.sources)
    for one in decisions:
        _put(connection, one, finding, stored)
    _hold_repeated(connection, finding, stored)
    unsettled = any(one.kind == policy.SINGLE_SOURCE for one in decisions)
    if states(finding):
        unsettled |= _compare(connection, finding, stored, trust)
    if superseded is None and not unsettled:
        return NOTHING
    return Consequences(superseded, unsettled)


def dispute(
    connection: sqlite3.Connection,
    opener: StoredFinding,
    others: Iterable[tuple[str, str | None]],
    *,
    kind: str,
    topic: str,
    unit: str,
    rationale: str,
) -> str:
    """Make findings sides of the open conflict of their topic, which is opened when there is none.

    Args:
        connection: of the transaction.
        opener: the newest of them.
        others: id and task of the rest.
        kind: ``value`` or ``text``.
        topic: folded.
        unit: folded; empty for none.
        rationale: without anything that they say.

    Returns:
        The conflict's id, which is that of its item as well.
    """
    conflict_id = conflicts.open_of(connection, topic, unit)
    decision = Decision(policy.CONFLICT, rationale)
    if conflict_id is None:
        conflict_id = inbox.id_of(kind, opener.finding_id)
        conflicts.open_conflict(
            connection,
            conflict_id,
            kind=kind,
            topic=topic,
            unit=unit,
            at=opener.said_at,
            rationale=rationale,
        )
        inbox.open_item(
            connection,
            item_id=conflict_id,
            kind=policy.CONFLICT,
            subject=conflict_id,
            rationale=rationale,
            at=opener.said_at,
            task_id=opener.task_id,
        )
    sides = [(opener.finding_id, opener.task_id), *others]
    conflicts.add_sides(connection, conflict_id, [finding_id for finding_id, _ in sides])
    inbox.block(connection, conflict_id, {task_id for _, task_id in sides if task_id})
    _note(connection, decision, opener, subject=conflict_id)
    return conflict_id


def _supersede(
    connection: sqlite3.Connection, finding: Finding, stored: StoredFinding
) -> int | None:
    older = finding.supersedes
    assert older is not None
    theirs = supersession.trust_of(connection, older)
    if theirs is None or older == finding.finding_id:
        # The link stays: what it names may be in quarantine, forgotten, or come later.
        return None
    lower = theirs in _TRUST and _TRUST.index(finding.trust) > _TRUST.index(Trust(theirs))
    sequence = None
    if not lower:
        sequence = supersession.supersede(connection, older, by=stored.sequence, at=stored.said_at)
    reason = f"superseded by {finding.finding_id}"
    if lower:
        reason = f"not superseded by {finding.finding_id}: its trust is {finding.trust}, below"
    elif sequence is None:
        reason = f"superseded before; {finding.finding_id} names it too"
    audit.note(
        connection,
        entry=f"supersede:{finding.finding_id}",
        at=stored.said_at,
        type=audit.DECISION,
        severity=audit.INFO,
        action="supersede",
        actor=stored.author,
        subject=older,
        reason=reason,
        task_id=stored.task_id,
    )
    return sequence


def _compare(
    connection: sqlite3.Connection, finding: Finding, stored: StoredFinding, trust: TrustSettings
) -> bool:
    topic, unit, value = folded(finding.topic), folded(finding.unit), finding.value
    known = () if value is None else conflicts.extremes(connection, topic, unit)
    to_judge = value is None and bool(trust.judge)
    conflicts.state(
        connection, stored.sequence, topic=topic, unit=unit, value=value, to_judge=to_judge
    )
    if value is None or not disagrees(value, [one.value for one in known], trust.tolerance):
        return to_judge
    _open(connection, stored, value, known, (topic, unit), trust.tolerance)
    return True


def _open(
    connection: sqlite3.Connection,
    stored: StoredFinding,
    value: float,
    known: Sequence[Stated],
    about: tuple[str, str],
    tolerance: float,
) -> None:
    is_apart = partial(apart, value, tolerance=tolerance)
    others = [one for one in known if is_apart(one.value)]
    if conflicts.open_of(connection, *about) is None:
        others = conflicts.apart_from(connection, *about, is_apart, most=MOST_SIDES)
    differ = difference([value, *(one.value for one in others)])
    dispute(
        connection,
        stored,
        [(one.finding_id, one.task_id) for one in others],
        kind="value",
        topic=about[0],
        unit=about[1],
        rationale=f"values of one topic differ by {differ} of the larger; "
        f"{tolerance:.0%} is tolerated",
    )


def _hold_repeated(connection: sqlite3.Connection, finding: Finding, stored: StoredFinding) -> None:
    mark = policy.mark(finding)
    first = repetitions.first_of(connection, mark)
    repetitions.add(connection, stored.sequence, mark)
    if first is None or finding.speech_act is not SpeechAct.INFORM:
        return
    before = findings.by_sequence(connection, [first])[first]
    if policy.said(finding_json.parse(before.body)) != policy.said(finding):
        return
    decision = policy.repeats(before.finding_id)
    held = inbox.open_count(connection, policy.DUPLICATE, at_most=policy.MOST_HELD)
    if held < policy.MOST_HELD:
        inbox.open_item(
            connection,
            item_id=inbox.id_of(policy.DUPLICATE, before.finding_id),
            kind=policy.DUPLICATE,
            subject=before.finding_id,
            rationale="this claim was made again; every finding that makes it is kept",
            at=stored.said_at,
            task_id=stored.task_id,
        )
    _note(connection, decision, stored, subject=stored.finding_id)


def _put(
    connection: sqlite3.Connection, decision: Decision, finding: Finding, stored: StoredFinding
) -> None:
    inbox.open_item(
        connection,
        item_id=inbox.id_of(decision.kind, finding.finding_id),
        kind=decision.kind,
        subject=finding.finding_id,
        rationale=decision.rationale,
        at=stored.said_at,
        task_id=stored.task_id,
        told=decision.kind != policy.SINGLE_SOURCE,
    )
    _note(connection, decision, stored, subject=stored.finding_id)


def _note(
    connection: sqlite3.Connection, decision: Decision, stored: StoredFinding, *, subject: str
) -> None:
    audit.note(
        connection,
        entry=f"{decision.kind}:{stored.finding_id}",
        at=stored.said_at,
        type=audit.DECISION,
        severity=audit.INFO if decision.act is SpeechAct.HOLD else audit.WARNING,
        action=str(decision.act),
        actor=stored.author,
        subject=subject,
        reason=f"{decision.kind}: {decision.rationale}",
        task_id=stored.task_id,
    )
