"""A model that is asked again when it could not serve and nothing was billed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_any
from tenacity.stop import stop_base

from ifmem import clock
from ifmem.domain.model import Completion, ModelCall, ModelCard
from ifmem.errors import OutcomeUnknown, RateLimited, Unavailable
from ifmem.llm.port import LanguageModel

ATTEMPTS = 4
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 20.0
_LONGEST_TOLD_S = 120.0
"""A provider that asks to wait longer is not waited for: another model may answer meanwhile."""

Sleep = Callable[[float], Awaitable[None]]


class Retrying:
    """A model whose failures are tried again where that is safe and may help.

    Only ``Unavailable`` and ``RateLimited`` are: a call whose end was not seen may have been
    billed, and everything else would end the same way. Each further attempt has a ``call_id`` of
    its own. An attempt that could not begin before ``call.deadline`` is not waited for.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        now: Callable[[], float] = clock.monotonic,
        sleep: Sleep = asyncio.sleep,
        chance: Callable[[], float] = clock.chance,
    ) -> None:
        """The model, asked at most ``ATTEMPTS`` times a call."""
        self._model = model
        self._now = now
        self._sleep = sleep
        self._chance = chance

    @property
    def card(self) -> ModelCard:
        """As the model's."""
        return self._model.card

    async def complete(self, call: ModelCall) -> Completion:
        """As the model's, of the first attempt that ended well; else the last one's error."""
        return await self._repeated(self._model.complete, call)

    async def warm(self, call: ModelCall) -> Completion:
        """As the model's, of the first attempt that ended well; else the last one's error."""
        return await self._repeated(self._model.warm, call)

    async def count(self, text: str) -> int:
        """As the model's."""
        return await self._model.count(text)

    async def drop(self, handle: str) -> None:
        """As the model's."""
        await self._model.drop(handle)

    async def aclose(self) -> None:
        """As the model's."""
        await self._model.aclose()

    async def _repeated(
        self, send: Callable[[ModelCall], Awaitable[Completion]], call: ModelCall
    ) -> Completion:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(_may_be_repeated),
            stop=stop_any(stop_after_attempt(ATTEMPTS), _TooLate(call.deadline, self._now)),
            wait=self._wait,
            sleep=self._sleep,
            reraise=True,
        ):
            with attempt:
                first = attempt.retry_state.attempt_number == 1
                return await send(call if first else replace(call, call_id=clock.new_id()))
        raise AssertionError("tenacity returns or raises")

    def _wait(self, state: RetryCallState) -> float:
        told = _told(state)
        if told is not None:
            return told
        longest = min(_FIRST_WAIT_S * 2.0**state.attempt_number, _LONGEST_WAIT_S)
        return longest * (0.5 + self._chance() / 2)


class _TooLate(stop_base):
    """The next attempt could not begin before the caller needs the answer."""

    def __init__(self, deadline: float | None, now: Callable[[], float]) -> None:
        self._deadline = deadline
        self._now = now

    def __call__(self, retry_state: RetryCallState) -> bool:
        if (_told(retry_state) or 0.0) > _LONGEST_TOLD_S:
            return True
        if self._deadline is None:
            return False
        return self._now() + retry_state.upcoming_sleep >= self._deadline


def _may_be_repeated(error: BaseException) -> bool:
    return isinstance(error, Unavailable) and not isinstance(error, OutcomeUnknown)


def _told(state: RetryCallState) -> float | None:
    """Seconds that the provider asked to wait for."""
    error = state.outcome.exception() if state.outcome is not None else None
    told = error.facts.get("retry_after_s") if isinstance(error, RateLimited) else None
    return max(float(told), 0.0) if isinstance(told, (int, float)) else None
