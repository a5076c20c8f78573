"""Callers who wait for the same kind of step are served by one step for all of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Given = TypeVar("Given")
Result = TypeVar("Result")


class Together(Generic[Given, Result]):
    """Runs a step for whoever waits; those who come while it runs wait for the next run.

    Guarantees:
        freshness: a run begins after each of its callers had come, so it sees what they had done.
        one at a time: there is never more than one run.
        isolation: a caller who goes away leaves the others their results.
    """

    def __init__(
        self, step: Callable[[Sequence[Given]], Awaitable[Sequence[Result]]], *, most: int
    ) -> None:
        """Nobody waits yet.

        Args:
            step: the results for its callers, in their order; what it raises, all of them get.
            most: callers served by one run.
        """
        self._step = step
        self._most = most
        self._waiting: deque[tuple[Given, asyncio.Future[Result]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, given: Given) -> Result:
        """The result for one caller."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((given, result))
        if self._running is None:
            # A task of its own: the caller whose turn it is may go away before the others.
            self._running = asyncio.ensure_future(self._run())
        return await result

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._serve([self._waiting.popleft() for _ in range(self._next_size())])
        finally:
            self._running = None
            for _, result in self._waiting:
                result.cancel()
            self._waiting.clear()

    def _next_size(self) -> int:
        return min(self._most, len(self._waiting))

    async def _serve(self, callers: Sequence[tuple[Given, asyncio.Future[Result]]]) -> None:
        there = [(given, result) for given, result in callers if not result.done()]
        if not there:
            return
        try:
            found = await self._step([given for given, _ in there])
        except Exception as error:
            for _, result in there:
                if not result.done():
                    result.set_exception(error)
        except BaseException:
            for _, result in there:
                result.cancel()
            raise
        else:
            for (_, result), one in zip(there, found, strict=True):
                if not result.done():
                    result.set_result(one)
