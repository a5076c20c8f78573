"""Which librarian answers: the fall-back chain, and what each try costs of its quota."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace

import msgspec

from ifmem import clock
from ifmem.domain.model import (
    EXTRACTIVE,
    Caching,
    Completion,
    ModelCall,
    ModelCard,
    Purpose,
)
from ifmem.domain.price import pico
from ifmem.domain.quota import Denied, Reservation
from ifmem.engine import librarian_reading
from ifmem.engine.quotas import Candidate, in_order, reason
from ifmem.engine.shard_budgets import most_tokens, o200k_budget
from ifmem.errors import (
    ConfigError,
    ContextOverflow,
    IfMemError,
    OutcomeUnknown,
    RateLimited,
)
from ifmem.llm.port import LanguageModel
from ifmem.runtime.allowances import librarians_of
from ifmem.runtime.archived import search_archive
from ifmem.runtime.asking import MOST_HITS
from ifmem.runtime.librarian_answering import Told, believed, extract, prompt_of
from ifmem.runtime.librarian_elsewhere import model_for
from ifmem.runtime.librarian_texts import Reading, read_archive, records_for
from ifmem.runtime.librarian_tries import Asked, Librarian, Tries, answer_of, raise_if_nobody
from ifmem.runtime.question_account import QuestionAccount
from ifmem.runtime.shard_prompts import LEAST_TOKENS
from ifmem.runtime.showing_librarians import show_librarians
from ifmem.runtime.space import Space
from ifmem.runtime.understanding import Question
from ifmem.store.archive_query_rows import ArchiveQuery
from ifmem.wire.answers import Answer

SPECIALITY = "archive"
"""Of what librarians read, as the ledger and the calibration of tokens name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A call that is reserved and may be made: by this process, or by a librarian elsewhere."""

    librarian: Librarian
    reservation: Reservation
    reading: Reading
    question: Question
    call: ModelCall
    structured: bool


def swarm(space: Space) -> dict[int, Librarian]:
    """The librarians of a space, by number."""
    entries = librarians_of(space.settings)
    return {
        one.librarian: Librarian(
            number=one.librarian,
            model=entries[one.librarian].model,
            capacity=entries[one.librarian].capacity,
            allowance=one,
        )
        for one in space.quotas.allowances(space.name)
    }


def tries_for(space: Space, query: ArchiveQuery) -> Tries:
    """The beginning of answering a question."""
    asked = msgspec.json.decode(query.params, type=Asked)
    seconds = min(space.settings.models.deadline_seconds, space.settings.archive.query_seconds)
    return Tries(
        query, asked, QuestionAccount(space.accounts), deadline=clock.monotonic() + seconds
    )


async def show_quotas(space: Space) -> None:
    """Have others see what is left, where anything is counted."""
    if space.quotas.is_metered:
        with contextlib.suppress(IfMemError):
            await show_librarians(space)


async def answer_from_archive(space: Space, query: ArchiveQuery) -> Answer:
    """The answer of the first librarian of the chain that gives one.

    Raises:
        QuotaExhausted: none may be asked before a reset; ``resets_at`` says when.
        IfMemError: none could be asked; the most telling reason.
    """
    tries = tries_for(space, query)
    for one in await chain(space, tries):
        told: Told | None
        if one.model == EXTRACTIVE:
            told = await _extracted(space, tries)
        else:
            told = await _by_model(space, tries, one)
        if told is not None:
            return answer_of(tries, one, told)
    raise_if_nobody(tries)
    assert tries.unbelieved is not None
    return answer_of(tries, *tries.unbelieved)


async def chain(space: Space, tries: Tries) -> list[Librarian]:
    """Whom to ask, first to last; who may not be asked now is noted."""
    librarians = swarm(space)
    remaining = {one.librarian: one for one in await space.quotas.remaining(space.name)}
    candidates = [
        Candidate(
            librarian=number,
            tier=one.tier,
            calls=remaining[number].calls if number in remaining else 0,
            denied=remaining[number].denied if number in remaining else None,
        )
        for number, one in librarians.items()
    ]
    order = in_order(candidates, hint=tries.query.hint)
    for one in order.passed_over:
        tries.pass_over(librarians[one.librarian], one.reason, one.denied)
    chosen = [librarians[number] for number in order.ask]
    if tries.asked.model != EXTRACTIVE:
        return _named(tries, chosen)
    # Whoever it is can quote the archive without a call.
    free = [one for one in chosen if one.model == EXTRACTIVE]
    return free or [replace(librarians[min(librarians)], model=EXTRACTIVE)]


def _named(tries: Tries, chosen: list[Librarian]) -> list[Librarian]:
    """Those of the model that was asked for go first."""
    model = tries.asked.model
    return chosen if model is None else sorted(chosen, key=lambda one: one.model != model)


async def _extracted(space: Space, tries: Tries) -> Told:
    question, hits = await search_archive(
        space, tries.query.question, most=MOST_HITS, filters=tries.asked.filters
    )
    return await extract(space, question, [hit.key for hit in hits])


async def _by_model(space: Space, tries: Tries, one: Librarian) -> Told | None:
    """What a librarian's model tells; None when it did not answer, which is noted."""
    offline = space.librarian_board.offline
    try:
        model = await model_for(space, one.number, one.model, tries.account)
        offline.pop(one.number, None)
        prepared = await prepare(space, tries, one, model.card)
    except IfMemError as error:
        if isinstance(error, ConfigError):
            offline[one.number] = error.message
        tries.errors.append(error)
        tries.pass_over(one, error.message)
        return None
    if prepared is None:
        return None
    try:
        completion = await _completed(model, prepared, tries.deadline)
    except IfMemError as error:
        await not_served(space, tries, prepared, error)
        return None
    return await served(space, tries, prepared, completion)


async def _completed(model: LanguageModel, prepared: Prepared, deadline: float) -> Completion:
    """The model's answer; raises as ``LanguageModel``."""
    try:
        async with asyncio.timeout(max(0.0, deadline - clock.monotonic())):
            return await model.complete(prepared.call)
    except TimeoutError:
        raise OutcomeUnknown("its model did not answer in time") from None


async def prepare(space: Space, tries: Tries, one: Librarian, card: ModelCard) -> Prepared | None:
    """A reserved call with what the librarian reads; None when it is not granted, which is noted.

    Raises:
        IfMemError: it cannot be made; nothing is charged.
    """
    reserved = await space.quotas.reserve(one.allowance)
    if isinstance(reserved, Denied):
        tries.pass_over(one, reason(reserved), reserved)
        return None
    try:
        most = librarian_reading.room(one.capacity, _budget(space, card))
        question, hits = await search_archive(
            space,
            tries.query.question,
            most=records_for(most),
            filters=tries.asked.filters,
        )
        keys = [hit.key for hit in hits]
        reading = await read_archive(space, keys, tries.asked.filters, most)
    except BaseException:
        await space.quotas.refund(reserved)
        raise
    space.desk.loaded[one.number] = reading.tokens
    prompt = prompt_of(reading, tries.query.question, card)
    stays_hot = (
        reading.whole
        and space.settings.models.keep_hot != "off"
        and card.cache.caching is Caching.BREAKPOINT
        and card.cache.lifetimes
    )
    cost = tries.asked.max_cost or space.settings.budget.per_question
    return Prepared(
        librarian=one,
        reservation=reserved,
        reading=reading,
        question=question,
        structured=card.structured,
        call=ModelCall(
            call_id=clock.new_id(),
            prompt=prompt,
            purpose=Purpose.LIBRARIAN,
            max_output=min(space.settings.models.max_output, card.max_output),
            question_id=tries.query.query_id,
            speciality=SPECIALITY,
            lifetime=card.cache.lifetimes[0] if stays_hot else None,
            cache_key=f"librarian-{one.number}",
            limit=pico(cost),
            deadline=tries.deadline,
        ),
    )


def _budget(space: Space, card: ModelCard) -> int:
    """o200k tokens of documents that a prompt of the model may hold.

    Raises:
        ContextOverflow: there is no room for a record.
    """
    models = space.settings.models
    most = o200k_budget(
        most_tokens(
            card,
            space.models.price(str(card.ref), clock.now()),
            quality_cap=models.quality_cap,
            max_output=min(models.max_output, card.max_output),
        ),
        space.calibration.factor(card, SPECIALITY),
    )
    if most < LEAST_TOKENS:
        raise ContextOverflow(
            f"{card.ref} has a window of {card.window:,} tokens, too little for a record of the "
            "archive: name a larger model, or lower models.max_output",
            needed=LEAST_TOKENS,
            window=card.window,
        )
    return most


async def served(
    space: Space, tries: Tries, prepared: Prepared, completion: Completion
) -> Told | None:
    """What is believed of an answer that was served; None when its words are none."""
    await space.quotas.settle(prepared.reservation)
    told = await believed(
        space,
        prepared.question,
        prepared.reading,
        completion,
        structured=prepared.structured,
    )
    if told.failed is None:
        return told
    tries.unbelieved = (prepared.librarian, told)
    tries.pass_over(prepared.librarian, told.failed)
    return None


async def not_served(space: Space, tries: Tries, prepared: Prepared, error: IfMemError) -> None:
    """Charge what may have been served, give back what was not, and note why."""
    quotas = space.quotas
    tries.errors.append(error)
    denied = None
    if isinstance(error, RateLimited):
        told = error.facts.get("retry_after_s")
        seconds = float(told) if isinstance(told, (int, float)) else None
        await quotas.refuse(prepared.reservation, retry_after_s=seconds)
        denied = await _denied(space, prepared.librarian.number)
    elif not isinstance(error, OutcomeUnknown):
        # Nothing was served; what nobody heard the end of may have been, and stays charged.
        await quotas.refund(prepared.reservation)
    tries.pass_over(prepared.librarian, error.message, denied)


async def _denied(space: Space, number: int) -> Denied | None:
    remaining = await space.quotas.remaining(space.name)
    return next((one.denied for one in remaining if one.librarian == number), None)
