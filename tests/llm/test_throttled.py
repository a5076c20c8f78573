"""Waiting for one's turn at a provider: in order, shared by its models, given up when cancelled."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from ifmem.domain.model import (
    CacheRules,
    Caching,
    Completion,
    ModelCall,
    Purpose,
    RateLimits,
    Stop,
)
from ifmem.domain.prompt import Prompt
from ifmem.domain.usage import TokenUsage
from ifmem.errors import RateLimited
from ifmem.llm.throttled import Throttle, Throttled
from ifmem.testing.scripted_model import BREAKPOINTS, ScriptedModel, card_with


class Hours:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.at = 0.0
        self.asleep = asyncio.Event()

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds
        self.asleep.set()
        await asyncio.sleep(0)


def call(name: str = "c", characters: int = 400) -> ModelCall:
    prompt = Prompt(name="t", version=1, rules="", documents="x" * characters, question="")
    return ModelCall(call_id=name, prompt=prompt, purpose=Purpose.ANSWER, max_output=10)


class Told(ScriptedModel):
    """A model whose answers carry these headers, and that says when each was made."""

    def __init__(self, hours: Hours, *limits: RateLimits | None, rules: CacheRules) -> None:
        super().__init__(card_with(rules))
        self._hours = hours
        self._limits = list(limits)
        self.times: list[float] = []

    async def complete(self, call: ModelCall) -> Completion:
        self.times.append(self._hours.at)
        await super().complete(call)
        return Completion(
            text="yes",
            stop=Stop.END,
            usage=TokenUsage(uncached=10, cache_read=90),
            model="m",
            first_token_ms=1.0,
            total_ms=1.0,
            limits=self._limits.pop(0) if self._limits else None,
        )


IMPLICIT = CacheRules(caching=Caching.IMPLICIT)


def test_calls_go_in_the_order_in_which_they_came() -> None:
    async def main() -> None:
        hours = Hours()
        throttle = Throttle(1, now=hours.now, sleep=hours.sleep)
        model = ScriptedModel()
        async with asyncio.TaskGroup() as group:
            for n in range(6):
                group.create_task(Throttled(model, throttle).complete(call(f"c{n}")))
        assert [one.call_id for one in model.calls] == [f"c{n}" for n in range(6)]
        assert hours.at == pytest.approx(300.0)

    asyncio.run(main())


def test_two_models_of_a_provider_share_its_limit() -> None:
    async def main() -> None:
        hours = Hours()
        throttle = Throttle(1, now=hours.now, sleep=hours.sleep)
        await Throttled(ScriptedModel(), throttle).complete(call())
        await Throttled(ScriptedModel(card_with(BREAKPOINTS, "s:other")), throttle).warm(call())
        assert hours.at == pytest.approx(60.0)

    asyncio.run(main())


def test_who_is_cancelled_while_waiting_gives_up_its_place() -> None:
    async def main() -> None:
        hours = Hours()
        held = asyncio.Event()

        async def sleep(seconds: float) -> None:
            await held.wait()
            hours.at += seconds

        throttle = Throttle(1, now=hours.now, sleep=sleep)
        await throttle.turn(1)
        first = asyncio.ensure_future(throttle.turn(1))
        second = asyncio.ensure_future(throttle.turn(1))
        await asyncio.sleep(0)
        first.cancel()
        held.set()
        assert (await second).at == pytest.approx(60.0)
        assert first.cancelled()

    asyncio.run(main())


def test_a_refusal_of_one_call_makes_the_next_wait_as_long_as_was_said() -> None:
    async def main() -> None:
        hours = Hours()
        throttle = Throttle(now=hours.now, sleep=hours.sleep)
        refusing = ScriptedModel(script=[RateLimited("slow down", retry_after_s=9)])
        with pytest.raises(RateLimited):
            await Throttled(refusing, throttle).complete(call())
        await Throttled(ScriptedModel(), throttle).complete(call())
        assert hours.at == 9.0

    asyncio.run(main())


def test_headers_that_say_nothing_is_left_make_the_next_wait_until_it_is_filled_up() -> None:
    async def main() -> None:
        hours = Hours()
        throttle = Throttle(now=hours.now, sleep=hours.sleep)
        spent = RateLimits(requests_left=0, resets_in=timedelta(seconds=20))
        model = Told(hours, spent, rules=IMPLICIT)
        for _ in range(3):
            await Throttled(model, throttle).complete(call())
        assert model.times == [0.0, 20.0, 20.0]

    asyncio.run(main())


@pytest.mark.parametrize(("rules", "second"), [(BREAKPOINTS, 0.0), (IMPLICIT, 60.0)])
def test_what_was_read_from_a_cache_uses_no_tokens_up_where_the_vendor_says_so(
    rules: CacheRules, second: float
) -> None:
    async def main() -> None:
        hours = Hours()
        throttle = Throttle(tokens_per_minute=105, now=hours.now, sleep=hours.sleep)
        model = Told(hours, rules=rules)
        await Throttled(model, throttle).complete(call())
        await Throttled(model, throttle).complete(call())
        assert model.times == [0.0, pytest.approx(second)]

    asyncio.run(main())


def test_counting_dropping_and_closing_wait_for_nobody() -> None:
    async def main() -> None:
        hours = Hours()
        throttle = Throttle(1, now=hours.now, sleep=hours.sleep)
        await throttle.turn(1)
        model = ScriptedModel()
        throttled = Throttled(model, throttle)
        assert await throttled.count("four") == 1
        await throttled.drop("caches/1")
        await throttled.aclose()
        assert (model.dropped, model.closed, hours.at) == (["caches/1"], True, 0.0)

    asyncio.run(main())


def test_a_prefix_that_was_not_asked_lately_may_count_in_full_again() -> None:
    async def main() -> None:
        hours = Hours()
        throttle = Throttle(tokens_per_minute=105, now=hours.now, sleep=hours.sleep)
        model = Told(hours, rules=BREAKPOINTS)
        await Throttled(model, throttle).complete(call())
        hours.at = 300.0
        await throttle.turn(50)
        await Throttled(model, throttle).complete(call())
        assert model.times == [0.0, pytest.approx(360.0)]

    asyncio.run(main())
