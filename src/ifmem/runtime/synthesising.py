"""One text from what several shards found: by a model where that helps, else by code."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ifmem import clock
from ifmem.domain.model import EXTRACTIVE, ModelCall, Purpose, Stop
from ifmem.engine.joining import Voice, join_by_code, keep_cited
from ifmem.errors import IfMemError, Invalid
from ifmem.prompts.fencing import FencedDocument, as_written
from ifmem.prompts.synthesis import synthesis
from ifmem.runtime.consulted import Consulted
from ifmem.runtime.shard_prompts import Asking

MOST_OUTPUT = 600
"""Tokens of a joined answer: six sentences."""


@dataclass(frozen=True, slots=True)
class Joined:
    """An answer's text, whose numbers are those of the voices' citations, counted through."""

    text: str
    struck: int = 0
    """Sentences of the model that no finding holds."""


async def join(asking: Asking, found: Sequence[Consulted], *, lacking: str) -> Joined:
    """The answer of these shards together.

    Several shards of models are joined by a model that writes prose well; a failure, or a text of
    which nothing is left, leaves the sentences that code puts together.
    """
    voices = [Voice(tuple(c.quote for c in one.citations), one.said) for one in found]
    by_code = Joined(join_by_code(voices))
    name = _model(asking, found)
    if name is None or asking.deadline <= clock.monotonic():
        return by_code
    try:
        async with asyncio.timeout(asking.deadline - clock.monotonic()):
            written = await _written(asking, name, found, lacking)
    except (IfMemError, TimeoutError):
        # The findings stand: joining them is a service, not the answer.
        return by_code
    if written is None:
        return by_code
    quotes = [quote for voice in voices for quote in voice.quotes]
    text, struck = keep_cited(written, quotes, asking.question.text)
    return Joined(text or by_code.text, struck)


def _model(asking: Asking, found: Sequence[Consulted]) -> str | None:
    """Who joins them; None when code does."""
    spoken = [one for one in found if one.model != EXTRACTIVE]
    named = asking.models.synthesis
    if len(spoken) < 2 or named == EXTRACTIVE:
        return None
    models = asking.space.models
    try:
        candidates = [named] if named else [one.model for one in spoken]
        return next((name for name in candidates if models.card(name).structured), None)
    except Invalid:
        return None


async def _written(
    asking: Asking, name: str, found: Sequence[Consulted], lacking: str
) -> str | None:
    citations = [citation for one in found for citation in one.citations]
    findings = [
        FencedDocument(number, one.source, one.sha256 or "", one.quote)
        for number, one in enumerate(citations, start=1)
    ]
    model = await asking.space.models.model(name, asking.account)
    call = ModelCall(
        call_id=clock.new_id(),
        prompt=synthesis(findings, asking.question.text, lacking=lacking),
        purpose=Purpose.SYNTHESIS,
        max_output=min(MOST_OUTPUT, model.card.max_output),
        question_id=asking.question_id,
        limit=asking.limit,
        deadline=asking.deadline,
    )
    completion = await model.complete(call)
    return None if completion.stop is Stop.REFUSED else as_written(completion.text)
