"""Calls over a shard's documents: one first, hot as reported, remembered over restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ifmem.clock import new_id
from ifmem.domain.ledger import CallState, LedgerRow
from ifmem.domain.model import CacheRules, Caching, ModelCall, Purpose, Warming
from ifmem.domain.price import Price, Rates, pico
from ifmem.domain.prompt import Prompt
from ifmem.engine.hotness import Heat
from ifmem.errors import BudgetExceeded, Unavailable
from ifmem.llm.metered import Metered
from ifmem.model_settings import BudgetSettings
from ifmem.runtime.accounts import LedgerAccounts
from ifmem.runtime.warming import Warmth
from ifmem.store import hotness, ledger
from ifmem.store.database import Database
from ifmem.testing.scripted_model import BREAKPOINTS, ScriptedModel, card_with

NINE = datetime(2026, 1, 2, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DOCUMENTS = "the retry budget is three attempts a minute\n" * 400
IMPLICIT = CacheRules(caching=Caching.IMPLICIT)
TWO = CacheRules(caching=Caching.IMPLICIT, warming=Warming.TWO_QUESTIONS)
OBJECT = CacheRules(
    caching=Caching.OBJECT,
    warming=Warming.CREATE,
    least_tokens=16,
    lifetimes=(5 * MINUTE, HOUR),
    read_extends=False,
)
PRICE = Price(
    rates=Rates(
        uncached=1_000_000,
        cache_write_5m=1_250_000,
        cache_write_1h=2_000_000,
        cache_write_other=1_000_000,
        cache_read=100_000,
        output=0,
        reasoning=0,
    ),
    storage=500_000,
    source="settings",
    as_of="2026-01-01",
)


@dataclass
class Space:
    """A space's account and warmth over a store, at a moment that a test sets."""

    path: Path
    database: Database
    at: datetime = NINE
    budget: BudgetSettings = field(default_factory=BudgetSettings)

    def __post_init__(self) -> None:
        self.accounts = LedgerAccounts(self.database, self.budget, now=self.now)
        self.warmth = Warmth(
            self.database,
            self.accounts,
            lambda name, at: PRICE,
            name="notes",
            now=self.now,
        )

    def now(self) -> datetime:
        return self.at

    def scripted(self, rules: CacheRules = BREAKPOINTS, *script: Any) -> ScriptedModel:
        return ScriptedModel(card_with(rules), now=self.now, script=script)

    def metered(self, model: ScriptedModel) -> Metered:
        return Metered(model, self.accounts, lambda at: PRICE, now=self.now)

    def state(self, documents: str = DOCUMENTS) -> Heat:
        known = self.warmth.state(2, "scripted:model", prefix(documents), self.at)
        return known.state(self.at)

    def rows(self) -> list[LedgerRow]:
        return [row for _, row in self.database.read(lambda c: list(ledger.calls(c)))]

    def restarted(self) -> Space:
        self.database.close()
        return Space(self.path, Database(self.path), self.at, self.budget)


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Space]:
    path = tmp_path / "store.sqlite"
    made = Space(path, Database(path))
    yield made
    made.database.close()


def prompt(documents: str = DOCUMENTS, question: str = "how many?") -> Prompt:
    return Prompt(name="p", version=1, rules="rules", documents=documents, question=question)


def prefix(documents: str = DOCUMENTS) -> str:
    return prompt(documents).prefix_sha256


def call(documents: str = DOCUMENTS, **changes: Any) -> ModelCall:
    made = ModelCall(
        call_id=new_id(),
        prompt=prompt(documents),
        purpose=Purpose.ANSWER,
        max_output=20,
        question_id=new_id(),
        shard=2,
        generation=1,
    )
    return replace(made, **changes)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0)


async def ask(space: Space, model: ScriptedModel, **changes: Any) -> None:
    await space.warmth.complete(model, call(**changes))


def test_a_call_gets_what_makes_its_prefix_readable_to_the_next(space: Space) -> None:
    model = space.scripted()
    asyncio.run(ask(space, model))
    (sent,) = model.calls
    assert (sent.lifetime, sent.cache_key) == (5 * MINUTE, "notes-2")
    assert space.state() is Heat.HOT


def test_of_questions_to_a_cold_prefix_one_goes_first_and_the_others_read_what_it_wrote(
    space: Space,
) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        model = space.scripted(BREAKPOINTS, gate)
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(ask(space, model))
            await until(lambda: bool(model.calls))
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(model.calls) == 1
            gate.set()
        assert len(model.calls) == 5
        assert space.warmth.state(2, "scripted:model", prefix(), NINE).read_tokens > 4_000

    asyncio.run(main())


def test_the_others_go_as_soon_as_the_first_answer_has_begun(space: Space) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        model = space.scripted(BREAKPOINTS, gate)
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(space, model))
            await until(lambda: bool(model.calls))
            group.create_task(ask(space, model))
            begun = model.calls[0].begun
            assert begun is not None
            begun()
            await until(lambda: len(model.calls) == 2)
            gate.set()

    asyncio.run(main())


def test_a_caller_is_told_of_its_own_first_token_too(space: Space) -> None:
    told: list[str] = []
    asyncio.run(ask(space, space.scripted(), begun=lambda: told.append("begun")))
    assert told == ["begun"]


def test_when_the_first_fails_the_next_becomes_first(space: Space) -> None:
    async def main() -> None:
        model = space.scripted(BREAKPOINTS, Unavailable("503"), asyncio.Event())
        gate = model.script[1]
        assert isinstance(gate, asyncio.Event)
        tasks = [asyncio.ensure_future(ask(space, model)) for _ in range(3)]
        await until(lambda: len(model.calls) == 2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(model.calls) == 2
        gate.set()
        with pytest.raises(Unavailable):
            await tasks[0]
        for task in tasks[1:]:
            await task
        assert len(model.calls) == 3

    asyncio.run(main())


def test_when_the_first_goes_away_the_next_becomes_first(space: Space) -> None:
    async def main() -> None:
        model = space.scripted(BREAKPOINTS, asyncio.Event())
        first = asyncio.ensure_future(ask(space, model))
        await until(lambda: bool(model.calls))
        second = asyncio.ensure_future(ask(space, model))
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert len(model.calls) == 2

    asyncio.run(main())


def test_who_waits_for_the_first_may_go_away(space: Space) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        model = space.scripted(BREAKPOINTS, gate)
        first = asyncio.ensure_future(ask(space, model))
        await until(lambda: bool(model.calls))
        second = asyncio.ensure_future(ask(space, model))
        await asyncio.sleep(0)
        second.cancel()
        gate.set()
        await first
        with pytest.raises(asyncio.CancelledError):
            await second
        assert len(model.calls) == 1

    asyncio.run(main())


def test_prefixes_and_models_do_not_wait_for_each_other(space: Space) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        held = space.scripted(BREAKPOINTS, gate)
        other = ScriptedModel(card_with(BREAKPOINTS, "scripted:other"), now=space.now)
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(space, held))
            await until(lambda: bool(held.calls))
            await ask(space, held, documents="something else\n" * 400, shard=3)
            await ask(space, other)
            gate.set()

    asyncio.run(main())


def test_to_a_hot_prefix_all_go_at_once(space: Space) -> None:
    async def main() -> None:
        model = space.scripted()
        await ask(space, model)
        gate = asyncio.Event()
        model.script = [gate, gate, gate]
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(ask(space, model))
            await until(lambda: model.running == 3)
            gate.set()

    asyncio.run(main())


def test_once_it_lapsed_one_goes_first_again(space: Space) -> None:
    async def main() -> None:
        model = space.scripted()
        await ask(space, model)
        space.at += 6 * MINUTE
        assert space.state() is Heat.COLD
        gate = asyncio.Event()
        model.script = [gate]
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(ask(space, model))
            await until(lambda: len(model.calls) == 2)
            for _ in range(20):
                await asyncio.sleep(0)
            assert model.running == 1
            gate.set()
        known = space.warmth.state(2, "scripted:model", prefix(), space.at)
        assert known.why_missed == "lapsed 1 min ago"

    asyncio.run(main())


def test_where_it_takes_two_questions_two_go_alone_before_the_others(space: Space) -> None:
    async def main() -> None:
        gates = [asyncio.Event() for _ in range(4)]
        model = space.scripted(TWO, *gates)
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(ask(space, model))
            for number, gate in enumerate(gates[:2], start=1):
                await until(lambda number=number: len(model.calls) == number)
                for _ in range(20):
                    await asyncio.sleep(0)
                assert model.running == 1
                gate.set()
            await until(lambda: model.running == 2)
            for gate in gates[2:]:
                gate.set()
        assert space.state() is Heat.HOT

    asyncio.run(main())


def test_warming_where_it_takes_two_questions_does_both(space: Space) -> None:
    model = space.scripted(TWO)
    asyncio.run(space.warmth.warm(model, call(purpose=Purpose.WARM)))
    assert space.warmth.state(2, "scripted:model", prefix(), NINE).calls == 2


def test_a_prompt_without_documents_is_none_of_its_business(space: Space) -> None:
    model = space.scripted()
    made = call("")
    asyncio.run(space.warmth.complete(model, made))
    assert model.calls == [made]
    assert space.warmth.kept() == []


def test_warming_makes_the_next_question_hot(space: Space) -> None:
    async def main() -> None:
        model = space.scripted()
        await space.warmth.warm(model, call(purpose=Purpose.WARM, question_id=None))
        assert space.state() is Heat.HOT
        await ask(space, model)
        assert space.warmth.state(2, "scripted:model", prefix(), NINE).read_tokens > 4_000

    asyncio.run(main())


def test_hotness_is_remembered_over_a_restart_until_its_end(space: Space) -> None:
    asyncio.run(ask(space, space.scripted()))
    again = space.restarted()
    space.database = again.database
    assert again.state() is Heat.HOT
    again.at += 5 * MINUTE
    assert again.state() is Heat.COLD
    known = again.warmth.of_shard("scripted:model", 2)
    assert known is not None
    assert known.why_cold(again.at) == "lapsed 0 s ago"


def test_a_shard_that_grew_has_one_report_and_its_questions_are_not_forgotten(
    space: Space,
) -> None:
    async def main() -> None:
        model = space.scripted()
        await ask(space, model)
        space.at += MINUTE
        grown = DOCUMENTS + "and a fourth on Sundays\n"
        await ask(space, model, documents=grown)
        (known,) = space.warmth.kept()
        assert known.prefix_sha256 == prefix(grown)
        assert space.warmth.state(2, "scripted:model", prefix(), NINE).last_call_at is None
        assert (known.why_missed, known.gap) == ("documents were added since the last call", MINUTE)

    asyncio.run(main())
    again = space.restarted()
    space.database = again.database
    assert len(again.database.read(hotness.all_reports)) == 1


def test_a_hot_prefix_keeps_its_lifetime_and_a_cold_one_gets_what_the_gaps_ask_for(
    space: Space,
) -> None:
    async def main() -> None:
        model = space.scripted()
        for minutes in (0, 20, 2):
            space.at += minutes * MINUTE
            await ask(space, model)
        assert [one.lifetime for one in model.calls] == [5 * MINUTE, 5 * MINUTE, 5 * MINUTE]
        space.at += 30 * MINUTE
        await ask(space, model)
        assert model.calls[-1].lifetime == HOUR

    asyncio.run(main())


def test_no_object_is_made_before_questions_come_often_enough(space: Space) -> None:
    async def main() -> None:
        model = space.scripted(OBJECT)
        await ask(space, model)
        space.at += 2 * HOUR
        await ask(space, model)
        assert [one.max_output for one in model.calls] == [20, 20]

    asyncio.run(main())
    assert [row.purpose for row in space.rows()] == []


def test_an_object_is_made_when_it_pays_and_its_storage_is_a_row_of_its_own(space: Space) -> None:
    async def main() -> None:
        model = space.scripted(OBJECT)
        metered = space.metered(model)
        for _ in range(4):
            await space.warmth.complete(metered, call())
            space.at += 2 * MINUTE
        assert [one.purpose for one in model.calls] == [
            Purpose.ANSWER,
            Purpose.ANSWER,
            Purpose.WARM,
            Purpose.ANSWER,
            Purpose.ANSWER,
        ]
        assert [one.handle for one in model.calls] == [None, None, None, "caches/3", "caches/3"]

    asyncio.run(main())
    (known,) = space.warmth.kept()
    assert (known.is_object, known.hot_until) == (True, NINE + 4 * MINUTE + HOUR)
    (storage,) = [row for row in space.rows() if row.purpose is Purpose.STORAGE]
    assert storage.state is CallState.INTENT
    (made,) = [row for row in space.rows() if row.purpose is Purpose.WARM]
    assert (made.question_id, made.background) == (None, True)
    assert storage.bound >= known.prefix_tokens * PRICE.storage
    assert storage.background


def test_an_object_that_would_pass_the_background_limit_is_not_made_and_the_answer_comes(
    space: Space,
) -> None:
    space.budget = BudgetSettings(background_per_day="0")
    space.__post_init__()

    async def main() -> None:
        model = space.scripted(OBJECT)
        for _ in range(3):
            await space.warmth.complete(space.metered(model), call())
            space.at += MINUTE
        assert [one.purpose for one in model.calls] == [Purpose.ANSWER] * 3
        with pytest.raises(BudgetExceeded):
            await space.warmth.warm(space.metered(model), call(purpose=Purpose.WARM))

    asyncio.run(main())


def test_an_object_that_could_not_be_made_costs_no_storage(space: Space) -> None:
    model = space.scripted(OBJECT, Unavailable("503"))
    with pytest.raises(Unavailable):
        asyncio.run(space.warmth.warm(model, call(purpose=Purpose.WARM)))
    assert [(row.state, row.cost) for row in space.rows()] == [(CallState.FAILED, 0)]


def test_the_object_of_a_shard_that_changed_is_to_be_ended(space: Space) -> None:
    async def main() -> None:
        model = space.scripted(OBJECT)
        await space.warmth.warm(model, call(purpose=Purpose.WARM))
        await ask(space, model, documents=DOCUMENTS + "more\n")

    asyncio.run(main())
    assert [one.handle for one in space.warmth.take_replaced()] == ["caches/1"]
    assert space.warmth.take_replaced() == []


def test_storage_is_settled_for_what_passed_and_once(space: Space) -> None:
    asyncio.run(space.warmth.warm(space.scripted(OBJECT), call(purpose=Purpose.WARM)))
    (known,) = space.warmth.kept()

    async def main() -> None:
        for minutes in (30, 50):
            await space.warmth.storage.end(known, NINE + minutes * MINUTE)

    asyncio.run(main())
    (row,) = space.rows()
    assert row.state is CallState.SETTLED
    assert row.storage_token_hours == -(-known.prefix_tokens // 2)
    assert row.cost == row.storage_token_hours * PRICE.storage < pico("0.01")
    assert row.usage.prompt == 0


def test_the_storage_of_an_object_that_a_crash_left_behind_is_settled_by_the_next_process(
    space: Space,
) -> None:
    asyncio.run(space.warmth.warm(space.scripted(OBJECT), call(purpose=Purpose.WARM)))
    again = space.restarted()
    space.database = again.database

    async def main() -> None:
        await again.accounts.lose_all_intents()
        (known,) = again.warmth.kept()
        await again.warmth.storage.end(known, NINE + 9 * HOUR)

    asyncio.run(main())
    (row,) = again.rows()
    assert row.state is CallState.SETTLED
    assert 0 < row.cost <= row.bound
