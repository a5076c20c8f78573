"""The account of a call: committed with its bound before it, settled, failed or lost after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ifmem.domain.ledger import CallState, LedgerRow
from ifmem.domain.model import CacheRules, Caching, Completion, ModelCall, Purpose, Warming
from ifmem.domain.price import Price, Rates
from ifmem.domain.prompt import Prompt
from ifmem.errors import (
    BudgetExceeded,
    ConfigError,
    IfMemError,
    NotPermitted,
    OutcomeUnknown,
    RateLimited,
    Unavailable,
)
from ifmem.llm.metered import Metered
from ifmem.testing.scripted_model import BREAKPOINTS, ListedAccounts, ScriptedModel, card_with

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
PRICE = Price(
    rates=Rates(
        uncached=10,
        cache_write_5m=12,
        cache_write_1h=20,
        cache_write_other=12,
        cache_read=1,
        output=50,
        reasoning=50,
    ),
    source="settings",
    as_of="2026-01-01",
)
DOCUMENTS = "the retry budget is three attempts a minute " * 40
PROMPT = Prompt(name="shard_answer", version=3, rules="rules", documents=DOCUMENTS, question="how?")


def call(**changes: Any) -> ModelCall:
    made = ModelCall(
        call_id="c1",
        prompt=PROMPT,
        purpose=Purpose.ANSWER,
        max_output=10,
        question_id="q1",
        shard=2,
        generation=7,
        lifetime=timedelta(minutes=5),
        limit=1_000_000,
    )
    return replace(made, **changes)


def metered(model: ScriptedModel, accounts: ListedAccounts, price: Price | None = PRICE) -> Metered:
    return Metered(model, accounts, lambda at: price, now=lambda: NOON)


class Watching(ScriptedModel):
    """A model that looks at the account when it is called."""

    def __init__(self, accounts: ListedAccounts, **named: Any) -> None:
        super().__init__(**named)
        self._accounts = accounts
        self.seen: list[LedgerRow] = []

    async def complete(self, call: ModelCall) -> Completion:
        self.seen.append(self._accounts.rows[call.call_id])
        return await super().complete(call)


def test_the_row_is_there_with_its_bound_before_anything_is_sent() -> None:
    accounts = ListedAccounts()
    model = Watching(accounts)
    asyncio.run(metered(model, accounts).complete(call()))
    (row,) = model.seen
    assert (row.state, row.purpose, row.model) == (
        CallState.INTENT,
        Purpose.ANSWER,
        "scripted:model",
    )
    assert (row.question_id, row.shard, row.generation) == ("q1", 2, 7)
    assert (row.prompt_name, row.prompt_version) == ("shard_answer", 3)
    assert (row.prefix_sha256, row.at) == (PROMPT.prefix_sha256, "2026-01-02T12:00:00.000Z")
    assert row.prefix_tokens > row.question_tokens > 0
    assert row.price == PRICE
    assert accounts.limits == [1_000_000]


def test_the_settled_cost_is_that_of_the_usage_and_within_the_bound() -> None:
    accounts = ListedAccounts()
    completion = asyncio.run(metered(ScriptedModel(), accounts).complete(call()))
    (row,) = accounts.rows.values()
    assert row.state is CallState.SETTLED
    assert row.usage == completion.usage
    assert 0 < row.cost == PRICE.cost(completion.usage) <= row.bound


def test_the_price_is_that_of_the_moment_at_which_the_call_began() -> None:
    asked: list[datetime] = []

    def price(at: datetime) -> Price:
        asked.append(at)
        return PRICE

    model = Metered(ScriptedModel(), ListedAccounts(), price, now=lambda: NOON)
    asyncio.run(model.complete(call()))
    assert asked == [NOON]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (OutcomeUnknown("cut"), CallState.UNKNOWN),
        (Unavailable("503"), CallState.FAILED),
        (RateLimited("429"), CallState.FAILED),
        (NotPermitted("key"), CallState.FAILED),
        (ValueError("a defect of ours"), CallState.UNKNOWN),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_call_that_failed_is_free_unless_it_may_have_been_billed(
    error: Exception, state: CallState
) -> None:
    accounts = ListedAccounts()
    with pytest.raises(type(error)) as raised:
        asyncio.run(metered(ScriptedModel(script=[error]), accounts).complete(call()))
    assert raised.value is error
    assert accounts.states == [state]
    (row,) = accounts.rows.values()
    assert (row.cost, row.bound > 0) == (0, True)


def test_a_call_over_a_limit_is_not_sent() -> None:
    accounts, model = ListedAccounts(refuses=BudgetExceeded("the day's limit")), ScriptedModel()
    with pytest.raises(BudgetExceeded):
        asyncio.run(metered(model, accounts).complete(call()))
    assert model.calls == []


def test_a_model_without_a_known_price_is_not_called() -> None:
    accounts, model = ListedAccounts(), ScriptedModel()
    with pytest.raises(ConfigError, match=r"scripted:model.*\[\[prices\]\]"):
        asyncio.run(metered(model, accounts, price=None).complete(call()))
    assert (model.calls, accounts.rows) == ([], {})


def test_a_caller_that_goes_away_leaves_its_call_unknown_not_under_way() -> None:
    async def main() -> None:
        accounts, model = ListedAccounts(), ScriptedModel(script=[asyncio.Event()])
        task = asyncio.ensure_future(metered(model, accounts).complete(call()))
        await until(lambda: bool(model.calls))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert accounts.states == [CallState.UNKNOWN]

    asyncio.run(main())


def test_a_caller_that_goes_away_twice_does_not_break_the_account() -> None:
    async def main() -> None:
        accounts, model = Slow(), ScriptedModel(script=[asyncio.Event()])
        task = asyncio.ensure_future(metered(model, accounts).complete(call()))
        await until(lambda: bool(model.calls))
        accounts.open.clear()
        task.cancel()
        await until(lambda: accounts.writing)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        accounts.open.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert accounts.states == [CallState.UNKNOWN]

    asyncio.run(main())


def test_a_caller_that_goes_away_while_the_row_is_written_has_sent_nothing() -> None:
    async def main() -> None:
        accounts, model = Slow(), ScriptedModel()
        accounts.open.clear()
        task = asyncio.ensure_future(metered(model, accounts).complete(call()))
        await until(lambda: accounts.writing)
        task.cancel()
        await asyncio.sleep(0)
        accounts.open.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert accounts.states == [CallState.FAILED]
        assert model.calls == []

    asyncio.run(main())


def test_a_caller_that_goes_away_before_its_call_is_refused_is_simply_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        accounts, model = Slow(), ScriptedModel()
        accounts.refuses = BudgetExceeded("the day's limit")
        accounts.open.clear()
        task = asyncio.ensure_future(metered(model, accounts).complete(call()))
        await until(lambda: accounts.writing)
        task.cancel()
        await asyncio.sleep(0)
        accounts.open.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (accounts.rows, caplog.records) == ({}, [])

    asyncio.run(main())


def test_an_answered_call_is_settled_even_when_the_caller_goes_away_meanwhile() -> None:
    async def main() -> None:
        accounts, begin = Slow(), asyncio.Event()
        model = ScriptedModel(script=[begin])
        task = asyncio.ensure_future(metered(model, accounts).complete(call()))
        await until(lambda: bool(model.calls))
        accounts.open.clear()
        begin.set()
        await until(lambda: accounts.writing)
        task.cancel()
        await asyncio.sleep(0)
        accounts.open.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert accounts.states == [CallState.SETTLED]

    asyncio.run(main())


def test_an_account_that_cannot_be_written_does_not_hide_why_the_call_failed() -> None:
    class Broken(ListedAccounts):
        async def fail(self, call_id: str, error: IfMemError) -> None:
            raise IfMemError("no space is left")

    with pytest.raises(Unavailable, match="503"):
        asyncio.run(metered(ScriptedModel(script=[Unavailable("503")]), Broken()).complete(call()))


def test_warming_is_a_row_of_its_purpose_and_twice_the_bound_where_it_takes_two_requests() -> None:
    bounds = []
    for warming in (Warming.FIRST_CALL, Warming.TWO_QUESTIONS):
        rules = CacheRules(caching=Caching.IMPLICIT, warming=warming)
        accounts = ListedAccounts()
        warm = call(purpose=Purpose.WARM, max_output=0, lifetime=None)
        asyncio.run(metered(ScriptedModel(card_with(rules)), accounts).warm(warm))
        (row,) = accounts.rows.values()
        assert (row.purpose, row.state) == (Purpose.WARM, CallState.SETTLED)
        bounds.append(row.bound)
    assert bounds[1] == 2 * bounds[0] > 0


def test_the_bound_covers_a_tokeniser_that_makes_a_fifth_more_than_its_card_says() -> None:
    accounts = ListedAccounts()
    asyncio.run(metered(ScriptedModel(), accounts).complete(call()))
    (row,) = accounts.rows.values()
    assert row.bound >= 1.2 * (row.prefix_tokens + row.question_tokens) * 12


def test_tokens_before_the_call_are_estimated_by_the_cards_factor() -> None:
    plain, dense = ListedAccounts(), ListedAccounts()
    heavy = replace(card_with(BREAKPOINTS), tokens_per_o200k=1.5)
    asyncio.run(metered(ScriptedModel(), plain).complete(call()))
    asyncio.run(metered(ScriptedModel(heavy), dense).complete(call()))
    (light,), (heavier,) = plain.rows.values(), dense.rows.values()
    assert heavier.prefix_tokens == round(1.5 * light.prefix_tokens)
    assert heavier.prompt_o200k == light.prompt_o200k == light.prefix_tokens + light.question_tokens


class Slow(ListedAccounts):
    """An account whose writes wait until it is open."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()
        self.writing = False

    async def intend(self, row: LedgerRow, *, limit: int | None) -> None:
        await self._held(super().intend(row, limit=limit))

    async def settle(self, call_id: str, completion: Completion, *, cost: int) -> None:
        await self._held(super().settle(call_id, completion, cost=cost))

    async def lose(self, call_id: str, error: IfMemError | None) -> None:
        await self._held(super().lose(call_id, error))

    async def _held(self, step: Coroutine[Any, Any, None]) -> None:
        self.writing = not self.open.is_set()
        try:
            await self.open.wait()
        except BaseException:
            step.close()
            raise
        await step
        self.writing = False


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0)
