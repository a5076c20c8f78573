"""A librarian's model that another process calls with a key of its own, as if it were here.

The question, its lease and the quota stay with the owner: what leaves is one reserved call, and
what comes back is believed as far as code finds its quotes.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime

import msgspec

from ifmem import clock
from ifmem.domain.model import EXTRACTIVE, Completion, ModelCall, ModelCard, Stop
from ifmem.domain.usage import TokenUsage
from ifmem.errors import Invalid, OutcomeUnknown, Refused, Unavailable, from_wire
from ifmem.llm.metered import Metered
from ifmem.llm.port import Accounts, LanguageModel
from ifmem.runtime.allowances import librarians_of
from ifmem.runtime.elsewhere_desk import RETURNS_SECONDS, ElsewhereDesk, Hand, Lent
from ifmem.runtime.space import Space
from ifmem.wire.librarian_calls import (
    LibrarianAccepted,
    LibrarianAnswerCall,
    LibrarianClaimCall,
    LibrarianClaimed,
    LibrarianTask,
    SaidByModel,
)

LONGEST_WAIT_S = 30.0


async def model_for(space: Space, number: int, name: str, accounts: Accounts) -> LanguageModel:
    """A librarian's model, whose calls are never repeated: of a process elsewhere while one
    serves that librarian, else of this one.

    Raises:
        Invalid: no model has that name.
        ConfigError: its key, its extra or its price is missing here, and nobody serves it.
    """
    desk = space.desk.elsewhere
    if not desk.has_been_here(number):
        return await space.models.once(name, accounts)
    there = ElsewhereModel(
        desk, number, space.models.card(name), silence_s=space.settings.archive.lease_seconds
    )

    def price(at: datetime) -> object:
        return space.models.price(name, at)

    return Metered(there, accounts, price)  # type: ignore[arg-type]


async def librarian_claim(space: Space, call: LibrarianClaimCall) -> LibrarianClaimed:
    """The next call of one of these librarians' models, for who makes it elsewhere.

    Raises:
        Invalid: a number is no librarian's that has a model.
    """
    with_models = {n for n, one in librarians_of(space.settings).items() if one.model != EXTRACTIVE}
    strangers = set(call.librarians) - with_models
    if strangers or not with_models:
        raise Invalid(
            f"librarian {min(strangers, default=1)} has no model that could be called elsewhere: "
            "see `ifmem librarians`, and [[librarians]] in the owner's settings",
            librarians=sorted(with_models),
        )
    desk = space.desk.elsewhere
    desk.seen = {key: at for key, at in desk.seen.items() if _is_recent(at)}
    hand = Hand(call.worker, call.librarians, asyncio.get_running_loop().create_future())
    desk.hands.append(hand)
    desk.came.set()
    seconds = min(max(call.wait_seconds, 0.0), LONGEST_WAIT_S)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return LibrarianClaimed(await hand.given)
        return LibrarianClaimed()
    finally:
        if hand in desk.hands:
            desk.hands.remove(hand)
        desk.seen[call.worker, call.librarians] = clock.monotonic()


async def librarian_answer(space: Space, call: LibrarianAnswerCall) -> LibrarianAccepted:
    """Take what a model said elsewhere.

    Raises:
        Invalid: it is neither an answer nor an error.
        Refused: nobody waits for it any more, or it is another process's call.
    """
    desk = space.desk.elsewhere
    lent = desk.lent.get(call.call_id)
    if lent is None or lent.worker != call.worker or lent.said.done():
        raise Refused(
            f"call {call.call_id[:60]} is answered by somebody else, or came too late",
            call_id=call.call_id[:100],
        )
    if call.said is not None:
        try:
            lent.said.set_result(_completion(call.said))
        except Invalid as error:
            lent.said.set_exception(OutcomeUnknown(error.message))
            raise
    elif call.error is not None:
        lent.said.set_exception(from_wire(call.error))
    else:
        raise Invalid("say what the model said, or the error that it ended with")
    return LibrarianAccepted(call.call_id)


class ElsewhereModel:
    """A model that another process calls."""

    def __init__(
        self, desk: ElsewhereDesk, number: int, card: ModelCard, *, silence_s: float
    ) -> None:
        """The model of a librarian.

        Args:
            desk: where processes wait.
            number: the librarian's.
            card: what is known of its model.
            silence_s: a process that is silent for so long has lost the call.
        """
        self._desk = desk
        self._number = number
        self._card = card
        self._silence_s = silence_s

    @property
    def card(self) -> ModelCard:
        """As the owner's settings have it."""
        return self._card

    async def complete(self, call: ModelCall) -> Completion:
        """The answer; raises what the other process met.

        Raises:
            Unavailable: no process came for it; nothing was sent.
            OutcomeUnknown: the process that had it did not answer.
        """
        hand = await self._hand()
        worker = hand.worker
        lent = Lent(worker, self._number, asyncio.get_running_loop().create_future())
        self._desk.lent[call.call_id] = lent
        seconds = self._seconds(call)
        hand.given.set_result(_task(self._number, str(self._card.ref), call, seconds))
        try:
            async with asyncio.timeout(seconds):
                return await lent.said
        except TimeoutError:
            raise OutcomeUnknown(f"{worker}, who makes its calls, did not answer") from None
        finally:
            del self._desk.lent[call.call_id]

    async def warm(self, call: ModelCall) -> Completion:
        """As ``complete``."""
        return await self.complete(call)

    async def count(self, text: str) -> int:
        """Estimated: nobody is asked."""
        return len(text) // 4

    async def drop(self, handle: str) -> None:
        """Nothing is held."""

    async def aclose(self) -> None:
        """Nothing is open."""

    async def _hand(self) -> Hand:
        """A process that waits; one that was here lately is on its way back."""
        try:
            async with asyncio.timeout(RETURNS_SECONDS):
                while True:
                    hand = self._desk.take(self._number)
                    if hand is not None:
                        return hand
                    self._desk.came.clear()
                    await self._desk.came.wait()
        except TimeoutError:
            raise Unavailable("who makes its calls has gone") from None

    def _seconds(self, call: ModelCall) -> float:
        if call.deadline is None:
            return self._silence_s
        return min(self._silence_s, max(0.0, call.deadline - clock.monotonic()))


def _is_recent(at: float) -> bool:
    return at >= clock.monotonic() - RETURNS_SECONDS


def _task(number: int, model: str, call: ModelCall, seconds: float) -> LibrarianTask:
    prompt = call.prompt
    return LibrarianTask(
        call_id=call.call_id,
        librarian=number,
        model=model,
        name=prompt.name,
        version=prompt.version,
        rules=prompt.rules,
        documents=prompt.documents,
        question=prompt.question,
        schema=None if prompt.schema is None else dict(prompt.schema),
        max_output=call.max_output,
        seconds=seconds,
    )


def _completion(said: SaidByModel) -> Completion:
    """Raises ``Invalid`` for a usage or a stop that is none."""
    try:
        return Completion(
            text=said.text,
            stop=Stop(said.stop),
            usage=msgspec.convert(said.usage, TokenUsage),
            model=said.model,
            first_token_ms=said.first_token_ms,
            total_ms=said.total_ms,
        )
    except (ValueError, msgspec.ValidationError) as error:
        raise Invalid(f"this is no answer of a model: {error}") from error
