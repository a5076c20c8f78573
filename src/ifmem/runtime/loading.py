"""Loading: from paths to searchable passages, resumable at any point.

Files are compared with the store by size, time and inode, and read in sorted order; each batch is
one transaction. What a kill leaves behind is the state after some batch, and the next load goes on
from there to the same end.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path

from ifmem import clock
from ifmem.domain.document import Draft, Skipped
from ifmem.domain.task import NO_RUN, require_run
from ifmem.engine.masking import mask
from ifmem.errors import Invalid
from ifmem.ingest.fence import Fence
from ifmem.ingest.files import read_file, read_text
from ifmem.ingest.git_log import read_git_log
from ifmem.ingest.rows import read_rows
from ifmem.ingest.walk import Found, walk
from ifmem.runtime.fencing import fence_of, require_named, require_source
from ifmem.runtime.indexing import keep_index
from ifmem.runtime.repacking import capacities
from ifmem.runtime.saving import Changes, Placement, Prepared, load_again, prepare, remove, save
from ifmem.runtime.space import Space
from ifmem.store import captured, contents, reports, sessions
from ifmem.store.contents import Known, Origin
from ifmem.wire.calls import LoadCall, LoadRowsCall, LoadTextCall
from ifmem.wire.shapes import LoadReport, ShardTokens, SkippedPath

BATCH_BYTES = 4 * 1024 * 1024
BATCH_FILES = 512
_SETTLED = timedelta(seconds=2)
"""A file changed this shortly before it was read may change again within the same time stamp."""

Progress = Callable[[int, int, str], None]
"""Called with files done, files in all, and the path just read."""


@dataclass
class _Tally:
    skipped: list[Skipped] = field(default_factory=list)
    masked: int = 0
    read: int = 0
    unchanged: int = 0
    removed: int = 0
    refused: int = 0
    stale: list[str] = field(default_factory=list)
    """Stored documents whose file can no longer be read."""

    def refuse(self, changes: Changes) -> None:
        """Count what found no room."""
        self.skipped += changes.skipped
        self.refused += len(changes.skipped) - changes.forgotten


@dataclass(frozen=True)
class _Plan:
    """What a load will do, decided before it changes anything."""

    wanted: list[Found]
    known: frozenset[str]
    gone: list[str]
    roots: list[str]
    captured: list[str]
    """Unchanged files that only hooks of agents brought until now."""
    again: list[str]
    """Unchanged files that the session had not loaded, or that are archived."""
    fence: Fence | None


async def load(space: Space, call: LoadCall, progress: Progress) -> LoadReport:
    """Bring the store in line with the files below these paths.

    Raises:
        Invalid: no path was given.
        NotFound: a path does not exist; nothing was changed.
        NotPermitted: a path is not inside the caller's roots, or is not there; nothing was changed.
        Refused: the session was ended.
    """
    if not call.paths:
        raise Invalid("load needs at least one path")
    await _require_session(space, call.run)
    started = clock.stopwatch_ns()
    tally = _Tally()
    async with space.loading:
        plan = await space.read(partial(_plan, call, tally))
        if plan.gone:
            await space.change(partial(remove, sources=plan.gone))
        if plan.captured:
            await space.write(partial(captured.give_to_user, wanted=plan.captured))
        tally.removed = len(plan.gone)
        placement = _placement(space, call)
        by = _Loader(call.run, space.worker_id)
        await _load_again(space, plan.again, placement, by, tally)
        prepared = _prepared(call, plan, tally, progress, placement.least_capacity, by)
        while batch := await asyncio.to_thread(_next_batch, prepared):
            changes = await space.change(partial(save, batch=batch, placement=placement))
            tally.refuse(changes)
        if tally.stale:
            await space.change(partial(remove, sources=tally.stale))
        await keep_index(space)
        space.packing_due.set()
        space.warmth.stir()
        return await _report(space, plan.roots, tally, started)


async def _load_again(
    space: Space, sources: Sequence[str], placement: Placement, by: _Loader, tally: _Tally
) -> None:
    for first in range(0, len(sources), BATCH_FILES):
        work = partial(
            load_again,
            sources=sources[first : first + BATCH_FILES],
            placement=placement,
            run=by.run,
            agent=by.agent,
            at=clock.stamp(clock.now()),
        )
        tally.refuse(await space.change(work))


async def load_text(space: Space, call: LoadTextCall) -> LoadReport:
    """Store a text that the caller holds, under the source it names."""
    source, group = _harmless(call)
    draft = read_text(call.text, source=source, name=source, group=group)
    return await _load_draft(space, draft, call.run)


async def load_rows(space: Space, call: LoadRowsCall) -> LoadReport:
    """Store the rows of a labelled set, each a passage of one document."""
    source, group = _harmless(call)
    return await _load_draft(space, read_rows(call.rows, source=source, group=group), call.run)


def _harmless(call: LoadTextCall | LoadRowsCall) -> tuple[str, str | None]:
    """Under which name, and in which group, a text is stored: within the fence, masked."""
    fence = fence_of(call.within, elsewhere=call.elsewhere)
    source = mask(require_source(fence, call.source, elsewhere=call.elsewhere)).text
    return source, None if call.group is None else mask(call.group).text


async def _require_session(space: Space, run: str) -> None:
    if require_run(run) != NO_RUN:
        await space.read(partial(sessions.require_open, session_id=run))


async def _load_draft(space: Space, draft: Draft, run: str) -> LoadReport:
    started = clock.stopwatch_ns()
    await _require_session(space, run)
    tally = _Tally(read=1, masked=draft.masked)
    placement = _placement(space, LoadCall())
    origin = _Loader(run, space.worker_id).origin_of_text(draft)
    prepared = prepare(draft, origin, capacity=placement.least_capacity)
    async with space.loading:
        changes = await space.change(partial(save, batch=[prepared], placement=placement))
    space.packing_due.set()
    space.warmth.stir()
    tally.refuse(changes)
    return await _report(space, [draft.source], tally, started)


def _plan(call: LoadCall, tally: _Tally, connection: sqlite3.Connection) -> _Plan:
    fence = fence_of(call.within)
    if fence is None:
        paths = [Path(path) for path in call.paths]
        roots = sorted({_root(path) for path in paths})
    else:
        roots = sorted({require_named(fence, path) for path in call.paths})
        paths = [Path(root) for root in roots]
    allow = call.ingest.allow
    found = list(walk(paths, allow=allow, fence=fence, on_skip=tally.skipped.append))
    known: dict[str, Known] = {}
    for root in roots:
        known |= contents.known_below(connection, root)
    wanted = [one for one in found if not _is_unchanged(one, known.get(one.path))]
    tally.unchanged = len(found) - len(wanted)
    same = {one.path for one in found} - {one.path for one in wanted}
    brought = [source for source in captured.sources(connection) if source in same]
    again = sessions.not_loaded_by(connection, call.run, sorted(same))
    gone = sorted(known.keys() - {one.path for one in found})
    return _Plan(wanted, frozenset(known), gone, roots, brought, again, fence)


def _root(path: Path) -> str:
    """Where what a path names is stored: a link to a file stands for itself, not for its target."""
    return str(path.resolve() if path.is_dir() else path.parent.resolve() / path.name)


def _is_unchanged(found: Found, known: Known | None) -> bool:
    return known is not None and (known.size, known.mtime_ns, known.inode) == (
        found.size,
        found.mtime_ns,
        found.inode,
    )


def _prepared(
    call: LoadCall, plan: _Plan, tally: _Tally, progress: Progress, capacity: int, by: _Loader
) -> Iterator[Prepared]:
    """Read and count the wanted files one by one; a skipped one that was stored is removed."""
    for root in plan.roots:
        log = read_git_log(Path(root), commits=call.ingest.git_commits, fence=plan.fence)
        if isinstance(log, Skipped):
            tally.skipped.append(log)
        elif log is not None:
            yield prepare(log, by.origin_of_text(log, root=root), capacity=capacity)
    for done, found in enumerate(plan.wanted, 1):
        draft = read_file(found, max_bytes=call.ingest.max_file_bytes, fence=plan.fence)
        progress(done, len(plan.wanted), found.path)
        if isinstance(draft, Skipped):
            tally.skipped.append(draft)
            if found.path in plan.known:
                tally.stale.append(found.path)
            continue
        tally.read += 1
        tally.masked += draft.masked
        yield prepare(draft, by.origin_of_file(found), capacity=capacity)


def _next_batch(prepared: Iterator[Prepared]) -> list[Prepared]:
    batch: list[Prepared] = []
    size = 0
    for one in islice(prepared, BATCH_FILES):
        batch.append(one)
        size += one.draft.size
        if size >= BATCH_BYTES:
            break
    return batch


def _placement(space: Space, call: LoadCall) -> Placement:
    rules = (
        tuple(entry.rule() for entry in call.placement)
        if call.placement
        else space.settings.placement_rules()
    )
    return Placement(rules, capacities=capacities(space), limit=space.settings.shards.limit)


@dataclass(frozen=True, slots=True)
class _Loader:
    """Who loads: the session, and the agent."""

    run: str
    agent: str

    def origin_of_file(self, found: Found) -> Origin:
        read_at = clock.now()
        settled = read_at.timestamp() - found.mtime_ns / 1e9 > _SETTLED.total_seconds()
        return Origin(
            source=found.path,
            root=found.root,
            size=found.size,
            mtime_ns=found.mtime_ns if settled else -1,
            inode=found.inode,
            loaded_at=clock.stamp(read_at),
            run=self.run,
            agent=self.agent,
        )

    def origin_of_text(self, draft: Draft, root: str = "") -> Origin:
        return Origin(
            source=draft.source,
            root=root,
            size=draft.size,
            mtime_ns=-1,
            inode=0,
            loaded_at=clock.stamp(clock.now()),
            run=self.run,
            agent=self.agent,
        )


async def _report(space: Space, roots: Sequence[str], tally: _Tally, started: int) -> LoadReport:
    totals = await space.read(partial(reports.totals_below, roots=roots))
    shards = await space.read(reports.shard_tokens)
    return LoadReport(
        documents=totals.documents,
        passages=totals.passages,
        tokens=totals.tokens,
        bytes=totals.bytes,
        seconds=round(clock.milliseconds_since(started) / 1000, 3),
        masked=tally.masked,
        skipped=[SkippedPath(one.path, one.reason) for one in tally.skipped],
        shards=[ShardTokens(*row) for row in shards],
        read=tally.read,
        unchanged=tally.unchanged,
        removed=tally.removed,
        refused=tally.refused,
    )
