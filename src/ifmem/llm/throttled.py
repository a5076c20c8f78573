"""A provider's limits, shared by all its models: each call waits for its turn, in order."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from ifmem import clock
from ifmem.domain.model import Caching, Completion, ModelCall, ModelCard, RateLimits
from ifmem.domain.usage import TokenUsage
from ifmem.engine.throttling import Allowance, Grant
from ifmem.errors import RateLimited
from ifmem.llm.port import LanguageModel

_CHARACTERS_OF_A_TOKEN = 4
"""Of o200k in English; corrected by what the provider counted, once it has answered."""
_SHORTEST_WAIT_S = 0.001
_LATELY_S = 300.0
"""The shortest lifetime of a cached prefix; if it was gone all the same, the provider says so."""
_PREFIXES_KEPT = 256

Sleep = Callable[[float], Awaitable[None]]


class Throttle:
    """Who may call a provider when: first come, first served.

    Guarantees:
        limits: in no minute more requests or prompt tokens are let go than configured; none while
            the provider asked to wait, or said that none is left.
        order: calls go in the order in which they came; one that is cancelled gives up its place.
    """

    def __init__(
        self,
        requests_per_minute: int = 0,
        tokens_per_minute: int = 0,
        *,
        now: Callable[[], float] = clock.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """A throttle that nothing has passed yet; 0 leaves a limit to what the provider says."""
        self._allowance = Allowance(
            requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute
        )
        self._now = now
        self._sleep = sleep
        self._turn = asyncio.Lock()
        self._counted: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """When a call over a prefix was answered last, and what of it counted."""

    def expected(self, prefix_sha256: str) -> int | None:
        """Prompt tokens that counted of a call over this prefix lately; None when none was."""
        at, counted = self._counted.get(prefix_sha256, (-math.inf, 0))
        return counted if self._now() < at + _LATELY_S else None

    async def turn(self, tokens: int) -> Grant:
        """Return when a call with so many prompt tokens may go."""
        async with self._turn:
            while (wait := self._allowance.wait(self._now(), tokens)) > 0:
                await self._sleep(max(wait, _SHORTEST_WAIT_S))
            self._allowance, grant = self._allowance.grant(self._now(), tokens)
            return grant

    def heard(
        self, grant: Grant, prefix_sha256: str, tokens: int, limits: RateLimits | None
    ) -> None:
        """A call was answered: what of it counted, and what the headers said is left."""
        self._allowance = self._allowance.corrected(grant, tokens).heard(self._now(), limits)
        self._counted[prefix_sha256] = (self._now(), tokens)
        self._counted.move_to_end(prefix_sha256)
        if len(self._counted) > _PREFIXES_KEPT:
            self._counted.popitem(last=False)

    def refused(self, retry_after_s: float | None) -> None:
        """The provider asked to wait."""
        self._allowance = self._allowance.refused(self._now(), retry_after_s)


class Throttled:
    """A model whose calls wait for their turn at its provider."""

    def __init__(self, model: LanguageModel, throttle: Throttle) -> None:
        self._model = model
        self._throttle = throttle

    @property
    def card(self) -> ModelCard:
        """As the model's."""
        return self._model.card

    async def complete(self, call: ModelCall) -> Completion:
        """As the model's, in its turn."""
        return await self._in_turn(self._model.complete, call)

    async def warm(self, call: ModelCall) -> Completion:
        """As the model's, in its turn."""
        return await self._in_turn(self._model.warm, call)

    async def count(self, text: str) -> int:
        """As the model's."""
        return await self._model.count(text)

    async def drop(self, handle: str) -> None:
        """As the model's: giving up is never made to wait."""
        await self._model.drop(handle)

    async def aclose(self) -> None:
        """As the model's."""
        await self._model.aclose()

    async def _in_turn(
        self, send: Callable[[ModelCall], Awaitable[Completion]], call: ModelCall
    ) -> Completion:
        digest = call.prompt.prefix_sha256
        expected = self._throttle.expected(digest) if _spares_reads(self.card) else None
        grant = await self._throttle.turn(
            _roughly(self.card, call) if expected is None else expected
        )
        try:
            completion = await send(call)
        except RateLimited as error:
            self._throttle.refused(_retry_after(error))
            raise
        counted = _counted(self.card, completion.usage)
        self._throttle.heard(grant, digest, counted, completion.limits)
        return completion


def _roughly(card: ModelCard, call: ModelCall) -> int:
    prompt = call.prompt
    characters = len(prompt.rules) + len(prompt.documents) + len(prompt.question)
    return round(characters / _CHARACTERS_OF_A_TOKEN * card.tokens_per_o200k)


def _counted(card: ModelCard, usage: TokenUsage) -> int:
    """Prompt tokens that use up a limit."""
    if _spares_reads(card):
        return usage.prompt - usage.cache_read
    return usage.prompt


def _spares_reads(card: ModelCard) -> bool:
    """What was read from a cache uses no limit up (Anthropic, on most models): a hot prefix may be
    larger than what is left of a minute."""
    return card.cache.caching is Caching.BREAKPOINT


def _retry_after(error: RateLimited) -> float | None:
    told = error.facts.get("retry_after_s")
    return float(told) if isinstance(told, (int, float)) else None
