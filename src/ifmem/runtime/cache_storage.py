"""The account of cache objects: what holding one costs, as a row of its own.

A row is written before an object is made or prolonged, with the whole lifetime as its bound, and
settled when that ends, by what passed of it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from ifmem import clock
from ifmem.domain.ledger import CallState, LedgerRow
from ifmem.domain.model import Completion, ModelCall, Purpose, Stop
from ifmem.domain.price import FREE, Price
from ifmem.domain.usage import TokenUsage
from ifmem.engine.hotness import Hotness
from ifmem.engine.keeping_alive import storage_token_hours
from ifmem.errors import IfMemError
from ifmem.runtime.accounts import LedgerAccounts

_HOUR = timedelta(hours=1)

PriceOf = Callable[[str, datetime], Price | None]
"""A model's price at a moment."""


class CacheStorage:
    """Rows for the storage of a space's cache objects."""

    def __init__(self, accounts: LedgerAccounts, price: PriceOf) -> None:
        self._accounts = accounts
        self._price = price

    async def begin(
        self, model: str, call: ModelCall, *, tokens: int, at: datetime, lifetime: timedelta
    ) -> str:
        """Commit that an object of so many tokens will be held; the id of the row.

        Raises:
            BudgetExceeded: the background's limit would be passed; no row was written.
        """
        price = self._price(model, at) or FREE
        held = storage_token_hours(tokens, at, at + lifetime)
        row = LedgerRow(
            call_id=clock.new_id(),
            at=clock.stamp(at),
            state=CallState.INTENT,
            purpose=Purpose.STORAGE,
            model=model,
            question_id=None,
            shard=call.shard,
            generation=call.generation,
            prompt_name=call.prompt.name,
            prompt_version=call.prompt.version,
            prefix_sha256=call.prompt.prefix_sha256,
            prefix_tokens=tokens,
            question_tokens=0,
            bound=held * price.storage,
            price=price,
            storage_token_hours=held,
        )
        await self._accounts.intend(row, limit=None)
        return row.call_id

    async def give_up(self, storage_id: str, reason: str) -> None:
        """No object was made."""
        await self._accounts.fail(storage_id, IfMemError(reason))

    async def end(self, hotness: Hotness, at: datetime) -> None:
        """An object, or a lifetime of it, has ended: what passed of it is settled.

        Repeating this, also in another process, changes nothing.
        """
        if hotness.storage_id is None or hotness.storage_from is None:
            return
        promised = hotness.hot_until or hotness.storage_from + (hotness.lifetime or _HOUR)
        until = min(at, promised)
        price = self._price(hotness.model, hotness.storage_from) or FREE
        held = storage_token_hours(hotness.prefix_tokens, hotness.storage_from, until)
        await self._accounts.settle(
            hotness.storage_id,
            _NOTHING_CALLED,
            cost=held * price.storage,
            storage_token_hours=held,
        )


_NOTHING_CALLED = Completion(
    text="", stop=Stop.END, usage=TokenUsage(), model="", first_token_ms=None, total_ms=0.0
)
