"""A model whose every call is in the account: its bound before it is made, its cost after."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any, TypeVar

from ifmem import clock, tokens
from ifmem.domain.ledger import CallState, LedgerRow
from ifmem.domain.model import Completion, ModelCall, ModelCard, Warming
from ifmem.domain.price import Price
from ifmem.domain.prompt import Prompt
from ifmem.engine.budgets import upper_bound
from ifmem.errors import ConfigError, IfMemError, NotFound, OutcomeUnknown
from ifmem.llm.port import Accounts, LanguageModel

log = logging.getLogger(__name__)

ESTIMATE_MARGIN = 1.2
"""A prompt has at most so many times the tokens that are estimated: between code and prose, one
tokeniser makes up to 6 % more or less of an o200k token (ctok, 200 KB each), and unstated families
are guessed."""
WARMING_OUTPUT = 16
"""Tokens that warming generates at most: the least that any provider takes as a maximum."""
_CHARACTERS_OF_A_TOKEN = 4
"""At most, of any model: text that o200k packs better is not counted on to be so elsewhere."""
_PREFIXES_KEPT = 64

T = TypeVar("T")


class PrefixCounts:
    """o200k tokens of prompts up to the cache boundary; the last ones are remembered."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, int] = OrderedDict()

    async def of(self, prompt: Prompt) -> int:
        """Counted by us: asking the provider would cost a request for each call."""
        digest = prompt.prefix_sha256
        if digest not in self._known:
            counted = await asyncio.to_thread(tokens.count, prompt.rules + prompt.documents)
            self._known[digest] = counted
            if len(self._known) > _PREFIXES_KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(digest)
        return self._known[digest]


class Metered:
    """A model whose calls are accounted for.

    Guarantees:
        before: a call's row is committed, with its bound, before anything is sent; a call that
            would pass a limit is not sent.
        after: when this returns or raises, the row is settled, failed or lost, also when the caller
            went away; only a dead process leaves it an intent.
    """

    def __init__(
        self,
        model: LanguageModel,
        accounts: Accounts,
        price: Callable[[datetime], Price | None],
        *,
        counts: PrefixCounts | None = None,
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        """The model, paid at the price that holds when a call begins.

        Args:
            counts: shared by all models, so that a long prefix is counted once.
        """
        self._model = model
        self._accounts = accounts
        self._price = price
        self._now = now
        self._counts = counts or PrefixCounts()

    @property
    def card(self) -> ModelCard:
        """As the model's."""
        return self._model.card

    async def complete(self, call: ModelCall) -> Completion:
        """As the model's.

        Raises:
            BudgetExceeded: a limit would be passed; nothing was sent.
            ConfigError: nobody knows the model's price; nothing was sent.
        """
        return await self._accounted(self._model.complete, call, call.max_output)

    async def warm(self, call: ModelCall) -> Completion:
        """As the model's; raises as ``complete``."""
        requests = 2 if self.card.cache.warming is Warming.TWO_QUESTIONS else 1
        return await self._accounted(
            self._model.warm, call, max(call.max_output, WARMING_OUTPUT), requests=requests
        )

    async def count(self, text: str) -> int:
        """As the model's."""
        return await self._model.count(text)

    async def drop(self, handle: str) -> None:
        """As the model's."""
        await self._model.drop(handle)

    async def aclose(self) -> None:
        """As the model's."""
        await self._model.aclose()

    async def _accounted(
        self,
        send: Callable[[ModelCall], Awaitable[Completion]],
        call: ModelCall,
        max_output: int,
        *,
        requests: int = 1,
    ) -> Completion:
        row = await self._row(call, max_output, requests)
        await self._intend(row, call.limit)
        try:
            completion = await send(call)
        except OutcomeUnknown as error:
            await _noted(self._accounts.lose(row.call_id, error))
            raise
        except IfMemError as error:
            await _noted(self._accounts.fail(row.call_id, error))
            raise
        except BaseException:
            # Cancelled, or a defect of ours: nobody knows how far it had come.
            await _noted(self._accounts.lose(row.call_id, None))
            raise
        cost = row.price.cost(completion.usage)
        await _to_its_end(self._accounts.settle(row.call_id, completion, cost=cost))
        return completion

    async def _intend(self, row: LedgerRow, limit: int | None) -> None:
        try:
            await _to_its_end(self._accounts.intend(row, limit=limit))
        except asyncio.CancelledError:
            # The row may be there, and nothing was sent.
            error = IfMemError("the caller went away before the call was sent")
            await _noted(self._accounts.fail(row.call_id, error))
            raise

    async def _row(self, call: ModelCall, max_output: int, requests: int) -> LedgerRow:
        at = self._now()
        price = self._price(at)
        name = str(self.card.ref)
        if price is None:
            raise ConfigError(
                f"nobody knows what {name} costs: write its price into the settings as [[prices]], "
                "or say `free = true` of its provider",
                model=name,
            )
        factor = self.card.tokens_per_o200k
        held, asked = await self._counts.of(call.prompt), tokens.count(call.prompt.question)
        prefix, question = round(held * factor), round(asked * factor)
        bound = upper_bound(
            price,
            prompt_tokens=_most_tokens(prefix + question, call.prompt),
            max_output=max_output,
            lifetime=call.lifetime,
        )
        return LedgerRow(
            call_id=call.call_id,
            at=clock.stamp(at),
            state=CallState.INTENT,
            purpose=call.purpose,
            model=name,
            question_id=call.question_id,
            shard=call.shard,
            generation=call.generation,
            prompt_name=call.prompt.name,
            prompt_version=call.prompt.version,
            prefix_sha256=call.prompt.prefix_sha256,
            prefix_tokens=prefix,
            question_tokens=question,
            prompt_o200k=held + asked,
            bound=bound * requests,
            price=price,
        )


def _most_tokens(estimated: int, prompt: Prompt) -> int:
    characters = len(prompt.rules) + len(prompt.documents) + len(prompt.question)
    return round(max(estimated, characters / _CHARACTERS_OF_A_TOKEN) * ESTIMATE_MARGIN)


async def _to_its_end(step: Coroutine[Any, Any, T]) -> T:
    """Do a step to its end even when the caller goes away; then the caller is gone all the same."""
    task = asyncio.ensure_future(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                continue
        if not task.cancelled():
            task.exception()  # the caller does not wait for it any more
        raise


async def _noted(step: Coroutine[Any, Any, None]) -> None:
    """Do a step to its end; an account that cannot be written must not hide why it had to be."""
    try:
        await _to_its_end(step)
    except NotFound:
        return  # its row was refused, so there is none
    except IfMemError:
        log.exception("the account of a call could not be written")
