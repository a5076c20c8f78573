"""How deep forgetting goes: everything beside the store that holds words of what is gone.

The store goes first, with a note that the rest is due; the note goes last. Killed in between, the
rest is done at the next start, from the store alone.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Collection
from datetime import timedelta
from functools import partial

from ifmem import clock
from ifmem.errors import IfMemError, NotPermitted, Unavailable
from ifmem.index.snapshot import remove_snapshot
from ifmem.runtime.forgetting_rows import Erased
from ifmem.runtime.indexing import ARCHIVE_SNAPSHOT, SNAPSHOT, index_finding, write_index
from ifmem.runtime.space import Space
from ifmem.store import findings, forgettable
from ifmem.store.shards import ARCHIVE
from ifmem.wire.envelopes import Forgot, forgot
from ifmem.wire.forget_calls import Unreachable

log = logging.getLogger(__name__)

_PROVIDERS_HOLD = timedelta(hours=1)
_REPLIES_LIE = timedelta(minutes=1)
_HISTORY_SECONDS, _LONGEST_HISTORY_SECONDS = 10.0, 3_600.0
_LOOKS, _LOOK_SECONDS = 500, 0.01
_CHECKPOINTS, _CHECKPOINT_SECONDS = 25, 0.2
_PAUSE_SECONDS = 5.0
_WORTH_WRITING = 20_000
"""Passages from which on a start without a copy of the index takes noticeably longer."""
_MOST_LOOKED_FOR = 1_000
_IDS_TOLD = 500
"""Of one event; more are told by further ones."""
_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def log_is_trimmed(space: Space) -> None:
    """Wait until the store has what was accepted before, and the bus's log no longer."""
    entry = await space.bus.log.barrier()
    await space.caught_up(entry)
    for _ in range(_LOOKS):
        if not await space.bus.log.holds(entry):
            return
        await asyncio.sleep(_LOOK_SECONDS)


async def follow_up(space: Space, erased: Erased) -> None:
    """After each transaction: what the indexes, caches, the bus and followers have of it."""
    await asyncio.to_thread(_reindex, space, erased)
    space.answers.clear()
    space.contexts.let_go(erased.shards)
    space.shard_texts.let_go(erased.shards)
    space.findings_stored -= len(erased.findings)
    for finding_id, sequence in erased.findings.items():
        space.watchers.on_forgotten(finding_id, sequence)
    for finding_id, stored in erased.revoked.items():
        space.watchers.on_forgotten(finding_id, stored.sequence)
    await space.tell_bus(_tell(space, erased))


async def finish(
    space: Space, erased: Erased, *, history_seconds: float = _HISTORY_SECONDS
) -> list[Unreachable]:
    """After the last transaction: models, old blobs, files; what could not be reached.

    What fails is due until it is done: at once in the background, or at the next start.
    """
    left = list(_beyond(space, await space.read(forgettable.exports), erased))
    # A librarian reads findings with the archive.
    shards = erased.shards | ({ARCHIVE} if erased.findings or erased.revoked else set())
    await _cool(space, shards, left)
    missed: list[Unreachable] = []
    try:
        await _erase_on_bus(space, erased, left)
        if space.server.embedded and not await space.bus.erasing.rewrite_history(history_seconds):
            missed.append(Unreachable("the bus's own file", why="it is still being written anew"))
    except (Unavailable, NotPermitted) as error:
        missed.append(Unreachable("the bus", why=f"{error.message}; it is done once it answers"))
    await asyncio.to_thread(_purge_files, space)
    if not await _truncate_log(space):
        missed.append(Unreachable("the write-ahead log of the store", why="readers still need it"))
    if not missed:
        await space.write(partial(forgettable.set_due, due=False))
    space.erasing_due.set()
    return [*missed, *left]


async def resume(space: Space) -> None:
    """Finish what a forgetting before had no time for."""
    if not await space.read(forgettable.is_due):
        return
    log.info("space %s: a forgetting that was interrupted is finished", space.name)
    window = space.settings.findings.window
    newest = await space.read(partial(findings.newest, limit=window))
    await space.bus.findings.correct({one.finding_id: one.body for one in newest})
    await finish(space, Erased(), history_seconds=_LONGEST_HISTORY_SECONDS)


async def keep_forgotten(space: Space) -> None:
    """Finish what is due, at the start and whenever it becomes so, until cancelled."""
    while True:
        await space.attached.wait()
        space.erasing_due.clear()
        try:
            # Not to its end at any cost: what is due stays so.
            await resume(space)
        except IfMemError as error:
            log.warning("forgetting in space %s is not finished: %s", space.name, error.message)
            space.erasing_due.set()
        except Exception:
            log.exception("finishing a forgetting in space %s", space.name)
        if len(space.index) >= _WORTH_WRITING and not (space.directory / SNAPSHOT).exists():
            await write_index(space)
        await space.erasing_due.wait()
        # What could not be reached just now is given a moment; several requests come together.
        await asyncio.sleep(_PAUSE_SECONDS)


def drop_snapshots(space: Space) -> None:
    """Remove the copies of the indexes: they may hold words of what is gone from the store."""
    remove_snapshot(space.directory / SNAPSHOT)
    if remove_snapshot(space.directory / ARCHIVE_SNAPSHOT):
        # Else it would not be written again until something of it changes.
        space.archive.removed += 1


def _reindex(space: Space, erased: Erased) -> None:
    gone = [*erased.passage_ids, *(-sequence for sequence in erased.findings.values())]
    archived = space.archive.keys() if erased.revoked else set[int]()
    space.unindex([*gone, *(-one.sequence for one in erased.revoked.values())])
    space.archive_indexed(erased.archived)
    for stored in erased.revoked.values():
        index = space.archive if -stored.sequence in archived else space.index
        index_finding(index, stored)


async def _tell(space: Space, erased: Erased) -> None:
    live = erased.shards - {ARCHIVE}
    if live:
        if erased.named:
            # No blob is kept for what was rendered of a text that has changed in place.
            space.publisher.void(live)
        await space.publisher.publish(live)
    for finding_id in erased.findings:
        await space.bus.findings.drop(finding_id, stored=space.findings_stored)
    await space.bus.findings.correct({i: one.body for i, one in erased.revoked.items()})
    revoked = tuple(erased.revoked)
    told = (
        ("finding", list(erased.findings)),
        ("document", erased.sources),
        ("passage", erased.named),
    )
    for kind, ids in told:
        for first in range(0, len(ids), _IDS_TOLD):
            some = Forgot(kind, tuple(ids[first : first + _IDS_TOLD]), revoked)
            revoked = ()
            await space.bus.erasing.announce(
                forgot(
                    some,
                    tracking_id=clock.new_id(),
                    origin=space.worker_id,
                    at=clock.stamp(clock.now()),
                )
            )


async def _erase_on_bus(space: Space, erased: Erased, left: list[Unreachable]) -> None:
    bus = space.bus.erasing
    await space.publisher.sweep()
    await bus.drop_cached_results()
    await bus.drop_dead_letters(_tells(erased))
    if await bus.replies():
        left.append(
            Unreachable(
                "answers on their way to other hosts",
                until=_after(_REPLIES_LIE),
                why="whoever asked may not have read them yet",
            )
        )


def _tells(erased: Erased) -> Callable[[bytes], bool]:
    """Whether a dead letter tells of it: by id or source. After a restart, or when there is much to
    look for, all of them may."""
    if erased.is_empty or len(erased.sources) > _MOST_LOOKED_FOR:
        return lambda value: True
    ids = {one.encode() for one in (*erased.findings, *erased.quarantined)}
    names = [one.encode() for one in (*erased.sources, *erased.named)]

    def tells(value: bytes) -> bool:
        return not ids.isdisjoint(_UUID.findall(value)) or any(one in value for one in names)

    return tells


async def _cool(space: Space, shards: Collection[int], left: list[Unreachable]) -> None:
    held = [one for one in space.warmth.kept() if one.shard in shards]
    left += await cool(space, shards)
    if held:
        models = ", ".join(sorted({one.model for one in held}))
        left.append(
            Unreachable(
                f"what {models} cached by itself",
                until=_after(_PROVIDERS_HOLD),
                why="a provider's own cache ends with its lifetime",
            )
        )


async def cool(space: Space, shards: Collection[int]) -> list[Unreachable]:
    """Have models give up what they keep of these shards by our order, with the text in it.

    What a provider caches by itself ends with its lifetime, an hour at most.
    """
    left: list[Unreachable] = []
    for one in space.warmth.kept():
        if one.shard in shards and one.handle is not None:
            try:
                model = await space.models.model(one.model, space.accounts)
                await model.drop(one.handle)
            except IfMemError as error:
                log.warning("%s still holds shard %s: %s", one.model, one.shard, error.message)
                left.append(
                    Unreachable(
                        f"shard {one.shard} in a cache of {one.model}",
                        until=_after(_PROVIDERS_HOLD),
                        why=error.message,
                    )
                )
            else:
                space.warmth.let_go(one, "a text was forgotten")
    await asyncio.to_thread(space.models.remove_saved)
    return left


def _purge_files(space: Space) -> None:
    space.index.purge()
    space.archive.purge()
    # Written anew when the space is closed; at once only where building it anew takes long.
    drop_snapshots(space)


async def _truncate_log(space: Space) -> bool:
    for _ in range(_CHECKPOINTS):
        if await asyncio.wrap_future(space.database.truncate_log()):
            return True
        await asyncio.sleep(_CHECKPOINT_SECONDS)
    return False


def _beyond(space: Space, exports: Collection[str], erased: Erased) -> list[Unreachable]:
    """What lies outside of everything that ifmem writes to."""
    left = [
        Unreachable(f"the same text, loaded as {path}", why="forget it too, if it is to go")
        for path in dict.fromkeys(erased.elsewhere)
    ]
    left += [Unreachable(f"the export of {at}", why="delete the file") for at in exports]
    if not space.server.embedded:
        left.append(
            Unreachable(
                "files and replicas of the Redis server",
                why="whoever runs it decides about them: BGREWRITEAOF and BGSAVE write them anew",
            )
        )
    left.append(
        Unreachable("what agents have read", why="it stays in their conversations and their logs")
    )
    left.append(Unreachable("copies and backups of the home", why="they are not known here"))
    return left


def _after(duration: timedelta) -> str:
    return clock.stamp(clock.now() + duration)
