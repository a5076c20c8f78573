"""Who waits for the same step is served by one: nobody gets what is older than the question."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from ifmem.runtime.together import Together

PATIENCE_S = 20


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await work()

    asyncio.run(main())


class Doubling:
    """A step that doubles numbers, and waits at its gate while that is closed."""

    def __init__(self) -> None:
        self.served: list[list[int]] = []
        self.began = asyncio.Event()
        self.gate = asyncio.Event()

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.served.append(list(numbers))
        self.began.set()
        await self.gate.wait()
        if 13 in numbers:
            raise ValueError("unlucky")
        return [2 * number for number in numbers]


def test_those_who_come_while_a_step_runs_are_served_by_the_next_one() -> None:
    async def work() -> None:
        step = Doubling()
        together = Together(step, most=3)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(together(1))
            await step.began.wait()
            later = [group.create_task(together(number)) for number in (2, 3, 4, 5)]
            await asyncio.sleep(0)
            assert step.served == [[1]]
            step.gate.set()
        assert [first.result(), *(one.result() for one in later)] == [2, 4, 6, 8, 10]
        assert step.served == [[1], [2, 3, 4], [5]], "at most three at once, in their order"

    run(work)


def test_a_caller_sees_what_was_true_after_it_came() -> None:
    async def work() -> None:
        truth = 0
        began, gate = asyncio.Event(), asyncio.Event()

        async def look(askers: Sequence[None]) -> list[int]:
            seen = truth
            began.set()
            await gate.wait()
            return [seen] * len(askers)

        together = Together(look, most=9)
        async with asyncio.TaskGroup() as group:
            before = group.create_task(together(None))
            await began.wait()
            truth = 1
            after = group.create_task(together(None))
            await asyncio.sleep(0)
            gate.set()
        assert (before.result(), after.result()) == (0, 1)

    run(work)


def test_a_caller_who_goes_away_leaves_the_others_their_results() -> None:
    async def work() -> None:
        step = Doubling()
        together = Together(step, most=9)
        async with asyncio.TaskGroup() as group:
            leaving, staying = (group.create_task(together(number)) for number in (1, 2))
            await step.began.wait()
            waiting, gone = (group.create_task(together(number)) for number in (3, 4))
            await asyncio.sleep(0)
            leaving.cancel()
            gone.cancel()
            await asyncio.sleep(0)
            step.gate.set()
        assert (staying.result(), waiting.result()) == (4, 6)
        assert leaving.cancelled()
        assert gone.cancelled()
        assert step.served == [[1, 2], [3]], "who has gone is not served"

    run(work)


def test_what_a_step_raises_its_callers_get_and_the_next_are_served() -> None:
    async def work() -> None:
        step = Doubling()
        step.gate.set()
        together = Together(step, most=9)
        said = await asyncio.wait_for(_outcomes(together, 13, 1), PATIENCE_S)
        assert [str(one) for one in said] == ["unlucky", "unlucky"]
        assert await together(5) == 10

    run(work)


async def _outcomes(together: Together[int, int], *numbers: int) -> list[object]:
    said: list[object] = []

    async def one(number: int) -> None:
        try:
            said.append(await together(number))
        except ValueError as error:
            said.append(error)

    async with asyncio.TaskGroup() as group:
        for number in numbers:
            group.create_task(one(number))
    return said


def test_nobody_waits_for_a_step_that_was_ended() -> None:
    async def work() -> None:
        step = Doubling()
        together = Together(step, most=1)
        async with asyncio.TaskGroup() as group:
            callers = [group.create_task(together(number)) for number in (1, 2)]
            await step.began.wait()
            (running,) = asyncio.all_tasks() - {asyncio.current_task(), *callers}
            running.cancel()
        assert all(one.cancelled() for one in callers)
        step.gate.set()
        with pytest.raises(ValueError, match="unlucky"):
            await together(13)

    run(work)
