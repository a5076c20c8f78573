"""A model that answers by a script, caches by a vendor's rules, and tells what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from ifmem.domain.ledger import CallState, LedgerRow
from ifmem.domain.model import (
    CacheRules,
    Caching,
    Completion,
    ModelCall,
    ModelCard,
    ModelRef,
    Stop,
    Warming,
)
from ifmem.domain.usage import TokenUsage
from ifmem.errors import IfMemError, NotFound
from ifmem.testing.prefix_cache import Block, PrefixCache, quick_count

BREAKPOINTS = CacheRules(
    caching=Caching.BREAKPOINT,
    warming=Warming.ZERO_TOKENS,
    least_tokens=16,
    lifetimes=(timedelta(minutes=5), timedelta(hours=1)),
)
"""As Anthropic caches, with a minimum that suits short tests."""


def card_with(rules: CacheRules, name: str = "scripted:model") -> ModelCard:
    """The card of a scripted model."""
    return ModelCard(
        ref=ModelRef.parse(name),
        window=100_000,
        max_output=4_000,
        cache=rules,
        tokens_per_o200k=1.0,
        structured=False,
    )


class ScriptedModel:
    """A language model of this process, which costs nothing and waits for nobody.

    Each call takes the next entry of ``script``: text is the answer, an error is raised, an event
    is waited for before the answer begins. When the script is over every answer is ``yes``.
    """

    def __init__(
        self,
        card: ModelCard | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime(2026, 1, 2, 9, tzinfo=UTC),
        script: Sequence[str | BaseException | asyncio.Event] = (),
    ) -> None:
        self._card = card or card_with(BREAKPOINTS)
        self._now = now
        self.script = list(script)
        self.cache = PrefixCache(clock=now, read_extends=self._card.cache.read_extends)
        self.calls: list[ModelCall] = []
        """Every call as it came, also those that failed."""
        self.running = 0
        self.most_running = 0
        self.dropped: list[str] = []
        self.closed = False

    @property
    def card(self) -> ModelCard:
        """As it was made with."""
        return self._card

    async def complete(self, call: ModelCall) -> Completion:
        """The next of the script."""
        self.calls.append(call)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            return await self._answered(call)
        finally:
            self.running -= 1

    async def warm(self, call: ModelCall) -> Completion:
        """Hold the prefix; of an object, its name is the handle."""
        completion = await self.complete(replace(call, max_output=0))
        if self._card.cache.caching is not Caching.OBJECT:
            return completion
        ends = self._now() + (call.lifetime or timedelta(hours=1))
        made = TokenUsage(cache_write_other=completion.usage.uncached)
        return replace(
            completion,
            usage=TokenUsage() if call.handle else made,
            handle=call.handle or f"caches/{len(self.calls)}",
            cached_until=ends,
        )

    async def count(self, text: str) -> int:
        """Four bytes a token."""
        return quick_count(text)

    async def drop(self, handle: str) -> None:
        """Noted."""
        self.dropped.append(handle)

    async def aclose(self) -> None:
        """Noted."""
        self.closed = True

    async def _answered(self, call: ModelCall) -> Completion:
        step = self.script.pop(0) if self.script else "yes"
        if isinstance(step, asyncio.Event):
            await step.wait()
            step = "yes"
        if isinstance(step, BaseException):
            raise step
        return Completion(
            text=step if call.max_output else "",
            stop=Stop.END,
            usage=self._usage(call, step),
            model=self._card.ref.model,
            first_token_ms=1.0 if call.max_output else None,
            total_ms=2.0,
            handle=call.handle if self._card.cache.caching is Caching.OBJECT else None,
        )

    def _usage(self, call: ModelCall, answer: str) -> TokenUsage:
        prefix = (call.prompt.rules + call.prompt.documents).encode()
        blocks = [
            Block(prefix, quick_count(prefix)),
            Block(call.prompt.question.encode(), quick_count(call.prompt.question)),
        ]
        output = quick_count(answer) if call.max_output else 0
        caching = self._card.cache.caching
        if call.handle is not None and caching is Caching.OBJECT:
            return TokenUsage(cache_read=blocks[0].tokens, uncached=blocks[1].tokens, output=output)
        if not self._keeps(call):
            return TokenUsage(uncached=blocks[0].tokens + blocks[1].tokens, output=output)
        met = self.cache.call(
            self._card.ref.model,
            blocks,
            writes={0: call.lifetime},
            least_tokens=self._card.cache.least_tokens,
        )
        met.answer_begun()
        if call.begun is not None:
            call.begun()
        written = sum(met.written.values())
        reports = caching is Caching.BREAKPOINT
        return TokenUsage(
            uncached=met.uncached + (0 if reports else written),
            cache_write_5m=written if reports and call.lifetime == timedelta(minutes=5) else 0,
            cache_write_1h=written if reports and call.lifetime == timedelta(hours=1) else 0,
            cache_read=met.read,
            output=output,
        )

    def _keeps(self, call: ModelCall) -> bool:
        if self._card.cache.caching is Caching.BREAKPOINT:
            return call.lifetime is not None
        return self._card.cache.caching in {Caching.IMPLICIT, Caching.ENGINE}


@dataclass
class ListedAccounts:
    """The account as a list, in the order of the calls; ``refuses`` is raised instead of taken."""

    rows: dict[str, LedgerRow] = field(default_factory=dict)
    limits: list[int | None] = field(default_factory=list)
    refuses: IfMemError | None = None

    async def intend(self, row: LedgerRow, *, limit: int | None) -> None:
        """Note the row."""
        if self.refuses is not None:
            raise self.refuses
        if row.call_id in self.rows:
            raise AssertionError(f"two calls have the id {row.call_id}")
        await asyncio.sleep(0)
        self.rows[row.call_id] = row
        self.limits.append(limit)

    async def settle(self, call_id: str, completion: Completion, *, cost: int) -> None:
        """Note what it cost."""
        await self._note(call_id, state=CallState.SETTLED, usage=completion.usage, cost=cost)

    async def fail(self, call_id: str, error: IfMemError) -> None:
        """Note that it failed."""
        await self._note(call_id, state=CallState.FAILED, error=error.message)

    async def lose(self, call_id: str, error: IfMemError | None) -> None:
        """Note that its end was not seen."""
        await self._note(call_id, state=CallState.UNKNOWN, error=error and error.message)

    @property
    def states(self) -> list[CallState]:
        """Of every row, oldest first."""
        return [row.state for row in self.rows.values()]

    async def _note(self, call_id: str, **changes: object) -> None:
        # As a store does, it lets others run before it has written.
        await asyncio.sleep(0)
        if call_id not in self.rows:
            raise NotFound(f"the account has no call {call_id}")
        self.rows[call_id] = replace(self.rows[call_id], **changes)  # type: ignore[arg-type]
