"""What every language model offers, whoever serves it."""

from __future__ import annotations

from typing import Protocol

from ifmem.domain.ledger import LedgerRow
from ifmem.domain.model import Completion, ModelCall, ModelCard
from ifmem.errors import IfMemError


class LanguageModel(Protocol):
    """A model that can be called.

    Errors, the same for every vendor:
        ConfigError: no key, no weights, or the extra is not installed; nothing was sent.
        NotPermitted: the key is wrong or lacks the right; not billed.
        NotFound: there is no such model (any more); not billed.
        ContextOverflow: the prompt does not fit the window; not billed.
        RateLimited: too many requests or tokens; ``retry_after_s`` when told; not billed.
        Unavailable: the vendor could not serve or be reached (5xx, no connection); not billed.
        OutcomeUnknown: the connection ended after the request was sent and before its usage was
            told: it may have been billed.
        Failed: the vendor would not take the request for another reason; not billed.
    """

    @property
    def card(self) -> ModelCard:
        """What is known of it before a call."""

    async def complete(self, call: ModelCall) -> Completion:
        """The answer. A refusal or a truncation is a ``stop``, not an error: both are billed."""

    async def warm(self, call: ModelCall) -> Completion:
        """Have the provider hold ``call.prompt``'s prefix; generates as little as it can.

        May make more than one request where the provider needs that; the usage is their sum.
        """

    async def count(self, text: str) -> int:
        """Tokens of a text in the model's own count, or estimated: ``card.exact_count``."""

    async def drop(self, handle: str) -> None:
        """Give up a held prefix: a cache object is deleted, a slot freed. Absent ones are fine."""

    async def aclose(self) -> None:
        """Let go of connections and processes."""


class Accounts(Protocol):
    """Where calls are accounted for, and refused when a limit would be passed."""

    async def intend(self, row: LedgerRow, *, limit: int | None) -> None:
        """Commit a call with its upper bound before it is made.

        Args:
            row: its state is ``INTENT``.
            limit: pico-dollars that the row's question may cost, all its calls together.

        Raises:
            BudgetExceeded: a limit would be passed; no row was written.
        """

    async def settle(self, call_id: str, completion: Completion, *, cost: int) -> None:
        """Commit what a call cost, in pico-dollars. The same call again changes nothing."""

    async def fail(self, call_id: str, error: IfMemError) -> None:
        """The call ended without service: it cost nothing."""

    async def lose(self, call_id: str, error: IfMemError | None) -> None:
        """The call's end was not seen: it may have cost up to its bound."""
