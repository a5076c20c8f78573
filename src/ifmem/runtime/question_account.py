"""What the calls of one question used and cost, beside the account of the space."""

from __future__ import annotations

from ifmem.domain.ledger import LedgerRow
from ifmem.domain.model import Completion
from ifmem.domain.usage import TokenUsage
from ifmem.errors import IfMemError
from ifmem.llm.port import Accounts


class QuestionAccount:
    """Passes every entry on to the space's account and adds up those of one question.

    Warming for the question counts too; so does an answer that was thrown away.
    """

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self.usage = TokenUsage()
        self.cost = 0
        """Pico-dollars."""

    async def intend(self, row: LedgerRow, *, limit: int | None) -> None:
        """As the account."""
        await self._accounts.intend(row, limit=limit)

    async def settle(self, call_id: str, completion: Completion, *, cost: int) -> None:
        """As the account."""
        self.usage += completion.usage
        self.cost += cost
        await self._accounts.settle(call_id, completion, cost=cost)

    async def fail(self, call_id: str, error: IfMemError) -> None:
        """As the account."""
        await self._accounts.fail(call_id, error)

    async def lose(self, call_id: str, error: IfMemError | None) -> None:
        """As the account."""
        await self._accounts.lose(call_id, error)
