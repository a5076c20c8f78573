"""A model as judge of claims that no rule can compare: in the background, within its budget."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from functools import partial

from ifmem import clock
from ifmem.domain.model import EXTRACTIVE, LOCAL, ModelCall, ModelRef, Purpose, Stop
from ifmem.engine.conflicts import Verdict
from ifmem.errors import BudgetExceeded, ConfigError, IfMemError, Invalid, Unavailable
from ifmem.index.space_index import Wanted
from ifmem.llm.providers import merged, provider_of
from ifmem.prompts.contradiction import contradiction, verdict_in
from ifmem.prompts.fencing import FencedDocument
from ifmem.runtime.believing import dispute
from ifmem.runtime.space import Space
from ifmem.settings import Settings
from ifmem.store import audit, conflicts
from ifmem.store.findings import StoredFinding
from ifmem.wire import finding_json

log = logging.getLogger(__name__)

NEAREST = 3
"""Claims of the topic that a new one is judged against."""
_LOOKED_AT = 200
"""Newest claims of a topic among which the nearest are chosen."""
_AT_ONCE = 50
_MOST_OUTPUT = 64
"""Tokens: a verdict, and room for a model that thinks aloud."""


def require_judge(settings: Settings) -> None:
    """Nothing, when no judge is named or a model can have that name.

    Raises:
        ConfigError: no model has it, or one that is not called.
    """
    name = settings.trust.judge
    if not name:
        return
    try:
        ref = ModelRef.parse(name)
        if ref.provider == EXTRACTIVE:
            raise ValueError("`extractive` judges nothing: name a model, or leave it empty")
        if ref.provider != LOCAL:
            provider_of(merged(settings.providers), ref.provider)
    except (ValueError, Invalid) as error:
        raise ConfigError(f"trust.judge: {error}", setting="trust.judge") from error


async def judge_waiting(space: Space) -> bool:
    """Judge the claims that wait for it, oldest first; whether a conflict came of it.

    What is not judged now waits: for the next day's budget, a key, or a provider that answers.

    Raises:
        Unavailable: the provider does not answer now.
    """
    if not space.settings.trust.judge:
        return False
    opened = False
    while waiting := await space.read(partial(conflicts.to_judge, limit=_AT_ONCE)):
        for stored, topic, unit in waiting:
            try:
                opened |= await _judged(space, stored, topic, unit)
            except (BudgetExceeded, ConfigError) as error:
                log.info("claims of space %s wait for a judge: %s", space.name, error.message)
                return opened
    return opened


async def _judged(space: Space, stored: StoredFinding, topic: str, unit: str) -> bool:
    """Compare a finding with the nearest of its topic, and note that it was compared."""
    opened = False
    for other in await _nearest(space, stored, topic):
        verdict = await _verdict(space, topic, other, stored)
        note = partial(_note, stored=stored, other=other, topic=topic, unit=unit, verdict=verdict)
        opened |= await space.write(note)
    await space.write(partial(conflicts.judged, sequence=stored.sequence))
    return opened


async def _nearest(space: Space, stored: StoredFinding, topic: str) -> Sequence[StoredFinding]:
    read = partial(conflicts.current_of, topic=topic, before=stored.sequence, limit=_LOOKED_AT)
    others = {-one.sequence: one for one in await space.read(read)}
    if len(others) <= NEAREST:
        return list(others.values())
    claim = finding_json.searched(stored.body).claim
    wanted = Wanted(claim, NEAREST, lambda row: row.key in others)
    (hits,) = await space.compute(space.index.search_together, [wanted])
    nearest = [others.pop(hit.key) for hit in hits]
    # What is archived is in another index: the newest of the rest fill the places that are left.
    return [*nearest, *list(others.values())[: NEAREST - len(nearest)]]


async def _verdict(
    space: Space, topic: str, earlier: StoredFinding, later: StoredFinding
) -> Verdict:
    model = await space.models.model(space.settings.trust.judge, space.accounts)
    structured = model.card.structured
    shown = [_shown(number, one) for number, one in enumerate((earlier, later), start=1)]
    call = ModelCall(
        call_id=clock.new_id(),
        prompt=contradiction(topic, *shown, structured=structured),
        purpose=Purpose.JUDGE,
        max_output=min(_MOST_OUTPUT, model.card.max_output),
    )
    try:
        completion = await model.complete(call)
    except (BudgetExceeded, ConfigError, Unavailable):
        raise
    except IfMemError as error:
        # Such as claims too long for its window: asking again would tell no more.
        log.warning("%s cannot judge: %s", space.settings.trust.judge, error.message)
        return Verdict.UNCLEAR
    if completion.stop is not Stop.END:
        return Verdict.UNCLEAR
    return Verdict(verdict_in(completion.text, structured=structured))


def _shown(number: int, stored: StoredFinding) -> FencedDocument:
    finding = finding_json.parse(stored.body)
    source = f"finding:{finding.finding_id}"
    return FencedDocument(number, source, finding.content_sha256, finding.claim)


def _note(
    connection: sqlite3.Connection,
    *,
    stored: StoredFinding,
    other: StoredFinding,
    topic: str,
    unit: str,
    verdict: Verdict,
) -> bool:
    """Note a verdict, and open a conflict where both still stand and contradict each other."""
    both_stand = conflicts.are_current(connection, (stored.sequence, other.sequence))
    contradicts = verdict is Verdict.YES and both_stand
    if contradicts:
        dispute(
            connection,
            stored,
            [(other.finding_id, other.task_id)],
            kind="text",
            topic=topic,
            unit=unit,
            rationale="a model judged that claims of one topic contradict each other",
        )
    audit.note(
        connection,
        entry=f"judge:{stored.finding_id}:{other.finding_id}",
        at=clock.stamp(clock.now()),
        type=audit.DECISION,
        severity=audit.INFO,
        action="judge",
        actor="judge",
        subject=stored.finding_id,
        reason=f"contradicts finding {other.finding_id}: {verdict}",
        task_id=stored.task_id,
    )
    return contradicts
