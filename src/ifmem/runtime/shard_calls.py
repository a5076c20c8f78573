"""Asking one shard by its model: the prompt that fits, the fall-back chain, what is believed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from ifmem import clock, tokens
from ifmem.bus.state import Context, ShardState
from ifmem.domain.model import EXTRACTIVE, Completion, ModelCall, ModelCard, Purpose, Stop
from ifmem.domain.prompt import Prompt
from ifmem.engine.answer_texts import Unreadable, WrittenAnswer, read_free, read_structured
from ifmem.engine.confidence import shard_confidence
from ifmem.engine.hotness import HELD_SHARE
from ifmem.engine.plain_answers import judge_free
from ifmem.engine.shard_answers import Judged, Said, ShownDocument, Sought, judge_structured
from ifmem.engine.shard_models import model_of
from ifmem.errors import BudgetExceeded, ContextOverflow, IfMemError
from ifmem.llm.port import LanguageModel
from ifmem.prompts.fencing import as_written
from ifmem.runtime.consulted import Consulted, most_telling
from ifmem.runtime.proofs import cited
from ifmem.runtime.shard_prompts import (
    MOST_EXCERPT_TOKENS,
    Asking,
    OtherSide,
    Shown,
    fitting,
    passages_of,
    prompt_of,
)

_DECLINED = "the model declined to answer"


@dataclass(frozen=True, slots=True)
class _Heard:
    """A completion, and what is believed of it."""

    completion: Completion
    judged: Judged
    unreadable: str | None = None
    hot: bool = False
    why_cold: str | None = None


async def consult(
    asking: Asking, state: ShardState, *, lacking: str = "", other: OtherSide | None = None
) -> Consulted:
    """Ask a shard by the first model of its chain that answers.

    A shard that cannot be asked comes back with its ``error``.

    Args:
        asking: the question.
        state: the shard.
        lacking: what other shards said is missing.
        other: the other side's quotes, in a dispute.

    Raises:
        BudgetExceeded: its call would pass a limit.
    """
    first, others = model_of(asking.models, state.number, state.speciality)
    tried: list[str] = []
    failures: list[IfMemError] = []
    last: Consulted | None = None
    try:
        context = await asking.space.insist(lambda: asking.space.contexts.fetch(state.number))
    except IfMemError as error:
        return _failed(state, first, error)
    for name in (first, *others):
        if name == EXTRACTIVE:
            # Its sentences are offered beside those of agents' findings, whoever else answers.
            last = Consulted(shard=state.number, model=name)
        else:
            try:
                is_last = len(tried) == len(others)
                within = asking if is_last else _part_of_the_time(asking)
                last = await _by_model(within, state, context, name, lacking, other)
            except BudgetExceeded:
                raise
            except IfMemError as error:
                failures.append(error)
                last = _failed(state, name, most_telling(failures))
        last = replace(last, fell_back_from=tuple(tried))
        if last.failure is None and last.error != _DECLINED:
            return last
        tried.append(name)
    assert last is not None
    return last


def _part_of_the_time(asking: Asking) -> Asking:
    """Half of what is left: attempts on one model shall not use up the time of the next."""
    now = clock.monotonic()
    return replace(asking, deadline=now + max(0.0, asking.deadline - now) / 2)


def _failed(state: ShardState, model: str, error: IfMemError) -> Consulted:
    return Consulted(
        shard=state.number, model=model, whole=False, error=error.message, failure=error
    )


async def _by_model(
    asking: Asking,
    state: ShardState,
    context: Context,
    name: str,
    lacking: str,
    other: OtherSide | None,
) -> Consulted:
    space = asking.space
    model = await space.models.model(name, asking.account)
    shown = await fitting(asking, state, context, model.card, lacking)
    if not shown.documents:
        return Consulted(shard=state.number, model=name, whole=shown.whole, silent=True)
    try:
        heard = await _ask(asking, state, model, shown, lacking, other)
    except ContextOverflow:
        if not shown.whole:
            raise
        # Its own count was larger than estimated: passages fit.
        shown = await passages_of(asking, context, MOST_EXCERPT_TOKENS // 2, lacking)
        heard = await _ask(asking, state, model, shown, lacking, other)
    return await _consulted(asking, state, name, shown, heard)


async def _consulted(
    asking: Asking, state: ShardState, name: str, shown: Shown, heard: _Heard
) -> Consulted:
    consulted = Consulted(
        shard=state.number,
        model=name,
        whole=shown.whole,
        hot=heard.hot,
        why_cold=heard.why_cold,
    )
    if heard.completion.stop is Stop.REFUSED:
        return replace(consulted, error=_DECLINED)
    if heard.unreadable is not None:
        told = f"the model's answer could not be read: {heard.unreadable}"
        return replace(consulted, error=told, unverified=1)
    judged = heard.judged
    cites = await cited(asking.space, state.number, shown.text.documents, judged.proofs)
    places = {old: new for new, old in enumerate(n for n, one in enumerate(cites) if one)}
    kept = tuple(one for one in cites if one is not None)
    said = tuple(
        Said(one.text, tuple(places[n] for n in one.proofs))
        for one in judged.said
        if all(n in places for n in one.proofs)
    )
    unverified = judged.unverified + len(cites) - len(kept) + len(judged.said) - len(said)
    held = asking.sought().share_held(
        text for n in places for text in (judged.proofs[n].quote, judged.proofs[n].about)
    )
    return replace(
        consulted,
        found=bool(kept),
        citations=kept,
        said=said,
        missing=judged.missing,
        unverified=unverified,
        confidence=shard_confidence(held=held, verified=len(kept), unverified=unverified),
    )


async def _ask(
    asking: Asking,
    state: ShardState,
    model: LanguageModel,
    shown: Shown,
    lacking: str,
    other: OtherSide | None,
) -> _Heard:
    """The model's answer; one that was cut off is asked for again, once, with twice the room."""
    prompt = prompt_of(asking, model.card, shown, lacking, other)
    room = min(asking.models.max_output, model.card.max_output)
    sent = partial(
        _heard, asking, state, model, shown, prompt, lacking=lacking, disputed=other is not None
    )
    heard = await sent(room)
    twice = min(2 * room, model.card.max_output)
    if heard.completion.stop is Stop.LENGTH and not heard.judged.found and twice > room:
        try:
            return await sent(twice)
        except BudgetExceeded:
            return heard
    return heard


async def _heard(
    asking: Asking,
    state: ShardState,
    model: LanguageModel,
    shown: Shown,
    prompt: Prompt,
    max_output: int,
    *,
    lacking: str,
    disputed: bool,
) -> _Heard:
    space = asking.space
    call = ModelCall(
        call_id=clock.new_id(),
        prompt=prompt,
        purpose=Purpose.DISPUTE if disputed else Purpose.ANSWER,
        max_output=max_output,
        question_id=asking.question_id,
        shard=state.number,
        generation=shown.generation,
        speciality=state.speciality,
        limit=asking.limit,
        deadline=asking.deadline,
    )
    completion = await space.warmth.complete(model, call)
    judged, unreadable = await asyncio.to_thread(
        _judged,
        completion,
        asking.sought(lacking),
        shown.documents,
        structured=model.card.structured,
    )
    space.calibration.observe(
        model.card,
        state.speciality,
        o200k=await asyncio.to_thread(_counted, prompt, shown),
        reported=completion.usage.prompt,
    )
    hot, why_cold = _heat(asking, model.card, call, completion)
    return _Heard(completion, judged, unreadable, hot, why_cold)


def _counted(prompt: Prompt, shown: Shown) -> int:
    """o200k tokens of a prompt."""
    held = shown.text.tokens if shown.whole else 0
    return held + tokens.count(prompt.rules) + tokens.count(prompt.question)


def _heat(
    asking: Asking, card: ModelCard, call: ModelCall, completion: Completion
) -> tuple[bool, str | None]:
    """Whether the provider read the prefix from its cache, and why not."""
    if not call.prompt.documents:
        return False, "it was asked with passages, which are not kept"
    seen = asking.space.warmth.state(
        call.shard, str(card.ref), call.prompt.prefix_sha256, clock.now()
    )
    read = completion.usage.cache_read
    if 0 < read >= HELD_SHARE * seen.prefix_tokens:
        return True, None
    return False, completion.miss_reason or seen.why_missed


def _judged(
    completion: Completion,
    sought: Sought,
    documents: Mapping[int, ShownDocument],
    *,
    structured: bool,
) -> tuple[Judged, str | None]:
    if structured:
        written = read_structured(completion.text, cut=completion.stop is Stop.LENGTH)
    else:
        written = read_free(completion.text)
    if isinstance(written, Unreadable):
        return Judged(), written.reason
    judge = judge_structured if structured else judge_free
    return judge(_as_sources_have_it(written), sought, documents), None


def _as_sources_have_it(written: WrittenAnswer) -> WrittenAnswer:
    """The answer without what fencing put into the documents that it quotes."""
    return replace(
        written,
        quotes=tuple(replace(one, quote=as_written(one.quote)) for one in written.quotes),
        answer=as_written(written.answer),
    )
