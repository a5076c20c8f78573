"""Asking again: only what was not billed and may go well, as told, and never too late."""

from __future__ import annotations

import asyncio

import pytest

from ifmem.domain.ledger import CallState
from ifmem.domain.model import ModelCall, Purpose
from ifmem.domain.price import FREE
from ifmem.domain.prompt import Prompt
from ifmem.errors import (
    BudgetExceeded,
    ConfigError,
    ContextOverflow,
    Failed,
    IfMemError,
    NotFound,
    NotPermitted,
    OutcomeUnknown,
    RateLimited,
    Refused,
    Unavailable,
)
from ifmem.llm.metered import Metered
from ifmem.llm.retrying import ATTEMPTS, Retrying
from ifmem.llm.throttled import Throttle, Throttled
from ifmem.testing.scripted_model import ListedAccounts, ScriptedModel

PROMPT = Prompt(name="t", version=1, rules="rules", documents="", question="q")


def call(deadline: float | None = None) -> ModelCall:
    return ModelCall(
        call_id="first", prompt=PROMPT, purpose=Purpose.ANSWER, max_output=10, deadline=deadline
    )


class Sleeper:
    """Sleeps that are noted and take no time but on its own clock."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def now(self) -> float:
        return sum(self.slept)


def retrying(model: ScriptedModel, sleeper: Sleeper, chance: float = 1.0) -> Retrying:
    return Retrying(model, now=sleeper.now, sleep=sleeper.sleep, chance=lambda: chance)


def test_a_model_that_comes_back_is_asked_again_with_growing_pauses() -> None:
    model, sleeper = ScriptedModel(script=[Unavailable("503")] * 3 + ["there"]), Sleeper()
    completion = asyncio.run(retrying(model, sleeper).complete(call()))
    assert (completion.text, sleeper.slept) == ("there", [1.0, 2.0, 4.0])


def test_chance_spreads_the_pauses_down_to_half() -> None:
    model, sleeper = ScriptedModel(script=[Unavailable("503")] * 3), Sleeper()
    asyncio.run(retrying(model, sleeper, chance=0.0).complete(call()))
    assert sleeper.slept == [0.5, 1.0, 2.0]


def test_after_four_attempts_the_last_error_is_told() -> None:
    errors = [Unavailable(f"failure {n}") for n in range(1, 9)]
    model, sleeper = ScriptedModel(script=errors), Sleeper()
    with pytest.raises(Unavailable, match="failure 4"):
        asyncio.run(retrying(model, sleeper).complete(call()))
    assert len(model.calls) == ATTEMPTS == 4


def test_a_provider_that_says_how_long_to_wait_is_given_that_time() -> None:
    model = ScriptedModel(script=[RateLimited("429", retry_after_s=7.5), RateLimited("429")])
    sleeper = Sleeper()
    asyncio.run(retrying(model, sleeper).complete(call()))
    assert sleeper.slept == [7.5, 2.0]


def test_a_provider_that_asks_for_minutes_is_not_waited_for() -> None:
    model, sleeper = ScriptedModel(script=[RateLimited("429", retry_after_s=3_600)]), Sleeper()
    with pytest.raises(RateLimited):
        asyncio.run(retrying(model, sleeper).complete(call()))
    assert sleeper.slept == []


@pytest.mark.parametrize(
    "error",
    [
        OutcomeUnknown("cut"),
        Refused("no"),
        ContextOverflow("long"),
        BudgetExceeded("dear"),
        NotPermitted("key"),
        NotFound("gone"),
        ConfigError("none"),
        Failed("odd"),
        IfMemError("odd"),
        ValueError("a defect"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_may_have_been_billed_or_would_end_the_same_way_is_not_repeated(
    error: Exception,
) -> None:
    model, sleeper = ScriptedModel(script=[error]), Sleeper()
    with pytest.raises(type(error)) as raised:
        asyncio.run(retrying(model, sleeper).complete(call()))
    assert raised.value is error
    assert (len(model.calls), sleeper.slept) == (1, [])


def test_no_attempt_begins_after_the_caller_has_stopped_waiting() -> None:
    model, sleeper = ScriptedModel(script=[Unavailable("503")] * 4), Sleeper()
    with pytest.raises(Unavailable):
        asyncio.run(retrying(model, sleeper).complete(call(deadline=3.0)))
    # One second, then two would end at the deadline.
    assert (len(model.calls), sleeper.slept) == (2, [1.0])


def test_warming_is_repeated_too() -> None:
    model, sleeper = ScriptedModel(script=[Unavailable("503")]), Sleeper()
    asyncio.run(retrying(model, sleeper).warm(call()))
    assert len(model.calls) == 2


def test_every_attempt_waits_its_turn_and_is_a_row_of_its_own() -> None:
    async def main() -> None:
        sleeper, accounts = Sleeper(), ListedAccounts()
        model = ScriptedModel(script=[RateLimited("429", retry_after_s=5), Unavailable("503")])
        throttle = Throttle(now=sleeper.now, sleep=sleeper.sleep)
        metered = Metered(model, accounts, lambda at: FREE)
        wrapped = Retrying(
            Throttled(metered, throttle), now=sleeper.now, sleep=sleeper.sleep, chance=lambda: 1.0
        )
        await wrapped.complete(call())
        assert accounts.states == [CallState.FAILED, CallState.FAILED, CallState.SETTLED]
        assert next(iter(accounts.rows)) == "first"
        assert len({one.call_id for one in model.calls}) == 3

    asyncio.run(main())


def test_a_caller_that_goes_away_ends_the_waiting() -> None:
    async def main() -> None:
        model = ScriptedModel(script=[RateLimited("429", retry_after_s=60)])
        waiting = asyncio.ensure_future(Retrying(model).complete(call()))
        while not model.calls:  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert len(model.calls) == 1

    asyncio.run(main())
