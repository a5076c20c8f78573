"""An open space: its store, index and bus, and the one way a change goes through all three."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ifmem.bus.bus import Bus
from ifmem.bus.connection import Server
from ifmem.bus.feed import Feed
from ifmem.bus.ownership import Lease
from ifmem.errors import OutcomeUnknown, Refused, Unavailable
from ifmem.index.sentence_encoder import NAME, SentenceEncoder
from ifmem.index.space_index import SpaceIndex
from ifmem.llm.registry import Models
from ifmem.runtime.accounts import LedgerAccounts
from ifmem.runtime.acknowledging import Acknowledgements
from ifmem.runtime.answer_cache import AnswerCache
from ifmem.runtime.archive_desk import ArchiveDesk
from ifmem.runtime.arrivals import Arrivals
from ifmem.runtime.calibrating import Calibration
from ifmem.runtime.captures import Captures
from ifmem.runtime.contexts import Contexts
from ifmem.runtime.insisting import REBUILDING, committed, insist
from ifmem.runtime.librarian_board import LibrarianBoard
from ifmem.runtime.publishing import Publisher
from ifmem.runtime.quotas import Quotas
from ifmem.runtime.saving import Changes
from ifmem.runtime.shard_texts import ShardTexts
from ifmem.runtime.source_states import TextCache
from ifmem.runtime.together import Together
from ifmem.runtime.warming import Warmth
from ifmem.runtime.watchers import Watchers
from ifmem.settings import Settings
from ifmem.store import contents, embeddings
from ifmem.store.database import Database
from ifmem.wire.log_entries import Verdict

T = TypeVar("T")
Given = TypeVar("Given")


class LogStep(Protocol):
    """What a function on the server answers that writes to the log."""

    @property
    def is_new(self) -> bool:
        """False when it was done before: then ``entry`` may be of somebody else."""

    @property
    def entry(self) -> str:
        """With whose commit it is durable."""


Logged = TypeVar("Logged", bound=LogStep)

_SEARCHES = 1
"""Steps of searches that run at once in a space."""
_SERVED_TOGETHER = 8
"""Callers served by one step. More gain nothing, and the first of them would wait for the last."""


class Beside(Protocol):
    """Leads from one space to another of its home."""

    async def __call__(self, name: str, create: bool, /) -> Space | None:
        """The space of that name, opened; None when there is none and none is to be made."""


async def _alone(name: str, create: bool, /) -> Space | None:
    return None


@dataclass
class Space:
    """Everything about one space that the daemon has open.

    A change of documents goes to the store first, and is acknowledged only after that; then to the
    index, so that the next recall finds it; then to the bus. Findings, tasks and messages go the
    other way: to the bus's log first, and are acknowledged when the store has taken it over. What
    the bus shows is put right from the store whenever it was away.
    """

    name: str
    directory: Path
    settings: Settings
    store_id: str
    worker_id: str
    """The bridge as a worker: host and process."""
    bridge_id: str
    """Another one for every start."""
    database: Database
    index: SpaceIndex
    """Of what is live."""
    archive: SpaceIndex
    """Of what is archived."""
    server: Server
    bus: Bus
    feed: Feed
    publisher: Publisher
    contexts: Contexts
    accounts: LedgerAccounts
    calibration: Calibration
    models: Models
    warmth: Warmth
    """What the providers hold of the shards."""
    quotas: Quotas
    """How often the librarians may be asked; those of the whole home."""
    sentences: SentenceEncoder | None = None
    """The encoder of the extra ``semantic``; None when that is off or not installed."""
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One load or ending at a time; searches and findings go on beside it."""
    moving: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held from a commit that changes which findings are found until the indexes are as it is."""
    findings_stored: int = 0
    """Findings in the log."""
    epoch: int = 0
    """Of the log, as the bus was last told."""
    degraded: str | None = None
    """Why the bus's picture may be behind the store's."""
    acknowledgements: Acknowledgements = field(default_factory=Acknowledgements)
    publishing: set[str] = field(default_factory=set)
    """Findings of our own callers that the store has not committed: their trust is theirs."""
    arrivals: Arrivals = field(default_factory=Arrivals)
    """Who waits for messages."""
    watchers: Watchers = field(default_factory=Watchers)
    captures: Captures = field(default_factory=Captures)
    """What hooks of agents saw and the store has not."""
    beside: Beside = _alone
    """Another space of the same home."""
    desk: ArchiveDesk = field(default_factory=ArchiveDesk)
    """What the librarians have in memory."""
    librarian_board: LibrarianBoard = field(default_factory=LibrarianBoard)
    """What is shown of them."""
    answers: AnswerCache = field(default_factory=AnswerCache)
    shard_texts: ShardTexts = field(default_factory=ShardTexts)
    verified_texts: TextCache = field(default_factory=TextCache)
    """What the pages of a verification share."""
    packing_due: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when shards may have outgrown what their models can take."""
    inbox_due: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an author is to be asked for more, or claims are to be judged."""
    history_due: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the bus's file holds a credential that somebody wrote past our functions."""
    erasing_due: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when what was forgotten may still lie outside of the store."""
    attached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while the bus is known to be in line with the store."""
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by whoever finds that the bus does not answer; the bridge looks at once."""
    _lease: Lease | None = None
    _computing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_SEARCHES))
    _together: dict[Callable[..., Any], Together[Any, Any]] = field(default_factory=dict)
    _unfinished: set[asyncio.Task[Any]] = field(default_factory=set)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Commit ``work``; its result once it is durable."""
        return await asyncio.wrap_future(self.database.write(work))

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` reads, off the event loop."""
        return await asyncio.to_thread(self.database.read, work)

    async def compute(self, step: Callable[..., T], *args: Any, **named: Any) -> T:
        """Run a step of a search off the event loop, one at a time.

        Searches are bound by the interpreter lock. Measured with eight callers: recall p50 48 ms
        with a thread each, 33 with two, 28 with one.
        """
        async with self._computing:
            return await asyncio.to_thread(step, *args, **named)

    async def compute_together(
        self, step: Callable[[Space, Sequence[Given]], Sequence[T]], given: Given
    ) -> T:
        """As ``compute``, by one step for all who wait for that step: what each was given.

        Threads change hands less often, and what several questions need is looked up once.
        """
        return await self._served(partial(self.compute, step, self), step, given)

    async def look_up_together(
        self, step: Callable[[Space, Sequence[Given]], Sequence[T]], given: Given
    ) -> T:
        """The same for a step that may wait for a disk: beside the searches."""
        return await self._served(lambda some: asyncio.to_thread(step, self, some), step, given)

    async def _served(
        self,
        serve: Callable[[Sequence[Given]], Awaitable[Sequence[T]]],
        step: Callable[..., Any],
        given: Given,
    ) -> T:
        together = self._together.get(step)
        if together is None:
            together = self._together[step] = Together(serve, most=_SERVED_TOGETHER)
        result: T = await together(given)
        return result

    async def change(self, work: Callable[[sqlite3.Connection], Changes]) -> Changes:
        """Commit a change of documents, then tell the index and the bus of it."""
        return await self.finish(self._change(work))

    async def finish(self, step: Coroutine[Any, Any, T]) -> T:
        """Run a step to its end even when the caller goes away half way."""
        return await asyncio.shield(self.begin(step))

    def begin(self, step: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Have a step run by itself; closing the space waits for its end."""
        task = asyncio.ensure_future(step)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return task

    async def tell_bus(self, step: Coroutine[Any, Any, None]) -> None:
        """Do a step on the bus; when it cannot be reached, have it put right later instead."""
        try:
            await step
        except Unavailable as error:
            self.mark_lost(error.message)

    def mark_lost(self, reason: str) -> None:
        """The bus did not answer: what it shows is put right from the store once it does."""
        self.degraded = reason
        self.attached.clear()
        self.lost.set()

    async def insist(self, step: Callable[[], Awaitable[T]]) -> T:
        """Do a step that may be repeated; when the bus is away, again once it is back.

        Raises:
            Unavailable: it was away for longer than ``bus.outage_seconds``, or takes nothing new.
        """
        return await insist(
            step, within=self.settings.bus.outage_seconds, recovered=self._recovered
        )

    async def commit(
        self, step: Callable[[], Awaitable[Logged]], *, durable: bool = True, **facts: object
    ) -> Logged:
        """Do a step that may be repeated, and wait until the store has committed its entry.

        A bus that is lost between the two takes the entry with it: then the step is done again.

        Raises:
            Refused: the store would not have it.
            OutcomeUnknown: it was not committed in time; ``facts`` say what to repeat.
        """
        while True:
            losses = self.acknowledgements.losses
            taken = await self.insist(step)
            if not durable:
                return taken
            try:
                if losses == self.acknowledgements.losses:
                    wait = self.durable if taken.is_new else self.caught_up
                    await wait(taken.entry, **facts)
                    return taken
            except OutcomeUnknown:
                if losses == self.acknowledgements.losses:
                    raise

    async def _recovered(self, error: Unavailable) -> None:
        if error.facts.get("reason") != REBUILDING:
            self.mark_lost(error.message)
        await self.attached.wait()

    async def durable(self, entry: str, **facts: object) -> Verdict | None:
        """Wait until the store has committed an entry of the log.

        Raises:
            Refused: the store would not have it.
            OutcomeUnknown: it was not committed in time; ``facts`` say what to repeat.
        """
        seconds = self.settings.bus.commit_seconds
        return await committed(self.acknowledgements.wait(entry, seconds=seconds), **facts)

    async def caught_up(self, entry: str, **facts: object) -> None:
        """Wait until the store has committed what was said up to an entry of somebody else."""
        with contextlib.suppress(Refused):
            await self.durable(entry, **facts)

    @property
    def lease(self) -> Lease:
        """Our right to write what the store has committed."""
        if self._lease is None:
            raise Unavailable("this daemon has not claimed the space yet")
        return self._lease

    @lease.setter
    def lease(self, lease: Lease) -> None:
        self._lease = lease

    @property
    def lease_duration(self) -> timedelta:
        """For how long the lease is taken."""
        return timedelta(seconds=self.settings.bus.lease_seconds)

    async def settle(self) -> None:
        """Wait for the steps whose callers went away."""
        while self._unfinished:
            await asyncio.wait(self._unfinished)

    async def _change(self, work: Callable[[sqlite3.Connection], Changes]) -> Changes:
        changes = await self.write(work)
        await asyncio.to_thread(self._index, changes)
        self.publisher.void(changes.rewritten)
        await self.tell_bus(self.publisher.publish(changes.shards | changes.rewritten))
        return changes

    def unindex(self, keys: Iterable[int]) -> None:
        """Take passages or findings out of every answer, live or archived."""
        gone = list(keys)
        self.index.remove(gone)
        self.archive.remove(gone)
        # What librarians were last shown may hold it.
        self.desk.whole = None

    def _index(self, changes: Changes) -> None:
        self.unindex(changes.removed)
        for content_id in changes.added:
            self._index_content(self.index, content_id)
        self.archive_indexed(changes.archived)

    def archive_indexed(self, content_ids: Sequence[int]) -> None:
        """Move texts that the store has archived from one index to the other.

        First into the archive: meanwhile a search may find them in both, never in none.
        """
        for content_id in content_ids:
            keys = self._index_content(self.archive, content_id)
            self.index.remove(keys)
            # What was forgotten meanwhile was not in the archive yet.
            still = self.database.read(partial(contents.tokens_by_id, ids=keys))
            self.archive.remove([key for key in keys if key not in still])

    def _index_content(self, index: SpaceIndex, content_id: int) -> list[int]:
        passages = self.database.read(partial(contents.passages_of, content_id=content_id))
        index.add(passages)
        keys = [one.passage_id for one in passages]
        if self.sentences is not None:
            # What was made of a text goes with it from one index to the other.
            read = partial(embeddings.of_keys, encoder=NAME, keys=keys)
            index.add_embedded(self.database.read(read))
        return keys
