"""Importing: an export checked whole, stored in one transaction, and shown by index and bus.

Killed before the commit, nothing of it is there; killed after it, the next start brings index and
bus in line with the store. Either way the same import again ends in the same state.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from ifmem import clock
from ifmem.domain.finding import Citation, Finding
from ifmem.domain.passage import Passage
from ifmem.engine import exports as rules
from ifmem.errors import Failed, Invalid, NotFound, NotPermitted
from ifmem.runtime.exporting import Progress, require_path
from ifmem.runtime.import_checks import (
    Checked,
    body_of,
    check,
    masked_finding,
    masked_row,
    rows_of,
)
from ifmem.runtime.imported_texts import Texts, take_texts
from ifmem.runtime.indexing import FINDINGS_SHARD, index_finding, keep_index
from ifmem.runtime.repacking import capacities
from ifmem.runtime.saving import Placement
from ifmem.runtime.space import Space
from ifmem.store import audit, contents, findings, imports, meta, sessions
from ifmem.store.imported_findings import Sequences, take_findings, take_quarantined
from ifmem.store.imports import Tally
from ifmem.store.shards import ARCHIVE
from ifmem.wire import finding_json
from ifmem.wire.export_calls import Differing, ImportCall, Imported, Taken
from ifmem.wire.export_file import Reader
from ifmem.wire.exports import MEMBERS, Manifest

_MOST_NAMED = 100
_FINDINGS_TOGETHER, _TEXTS_TOGETHER = 500, 20
"""Indexed while the log waits: some ten milliseconds of work."""
_SHOWN_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class _Plan:
    """An export that may be taken."""

    reader: Reader
    checked: Checked
    moves: Mapping[str, str]
    placement: Placement
    actor: str

    @property
    def manifest(self) -> Manifest:
        return self.reader.manifest


@dataclass
class _Done:
    """What the transaction made of it."""

    restored: bool = False
    tallies: dict[str, Tally] = field(default_factory=dict)
    texts: Texts = field(default_factory=Texts)
    said: Sequences = field(default_factory=Sequences)
    masked: int = 0

    @property
    def is_new(self) -> bool:
        return any(tally.new for tally in self.tallies.values())


class _UndoneError(Exception):
    """Takes a dry run back."""


async def import_space(space: Space, call: ImportCall, progress: Progress) -> Imported:
    """Take an export into the space: all of it, or nothing.

    Into an empty space it is restored with its sequences, cursors and tasks. Into another it is
    merged: what is here already stays as it is, what was forgotten here stays away.

    Raises:
        NotFound: there is no such file.
        Invalid: it is no export, or one of a newer ifmem.
        IntegrityError: a byte of it is not as it was written.
        Refused: a document finds no room.
        Failed: the disk has no room for it.
    """
    started = clock.stopwatch_ns()
    moves = rules.require_moves(call.moved)
    with await asyncio.to_thread(_opened, require_path(call.path)) as file:
        reader = await asyncio.to_thread(Reader, file)
        _require_room(space, reader.manifest)
        heard = _Heard(reader, progress)
        checked = await asyncio.to_thread(check, reader, heard.checking)
        async with space.loading:
            plan = _Plan(reader, checked, moves, _placement(space), space.worker_id)
            done = await space.finish(_import(space, plan, heard, dry_run=call.dry_run))
    return _told(call, reader.manifest, done, started)


async def _import(space: Space, plan: _Plan, heard: _Heard, *, dry_run: bool) -> _Done:
    done = _Done()
    try:
        await space.write(partial(_take, plan=plan, done=done, heard=heard, undo=dry_run))
    except _UndoneError:
        return done
    if done.is_new:
        await _show(space, done)
    return done


def _take(
    connection: sqlite3.Connection, *, plan: _Plan, done: _Done, heard: _Heard, undo: bool
) -> None:
    done.restored = imports.is_empty(connection)
    for name in MEMBERS:
        tally = done.tallies[name] = Tally()
        rows = rows_of(plan.reader, name, heard.storing)
        _take_member(connection, name, rows, tally, plan, done)
    if done.restored:
        imports.set_used(connection, plan.manifest)
    if undo:
        raise _UndoneError
    _note(connection, plan, done)
    if done.is_new:
        # The bus shows none of it: it is rebuilt as one that was lost, and no fence that was given
        # out where the export comes from is ever given out again.
        position = meta.position(connection)
        epoch = max(position.epoch, plan.manifest.epoch) + 1
        meta.set_position(connection, replace(position, epoch=epoch))


def _take_member(
    connection: sqlite3.Connection,
    name: str,
    rows: Iterator[Any],
    tally: Tally,
    plan: _Plan,
    done: _Done,
) -> None:
    suspect = {number for member, number in plan.checked.unmasked if member == name}
    restore = done.restored
    match name:
        case "documents":
            marked = ((row, number in suspect) for number, row in enumerate(rows))
            done.texts = take_texts(
                connection, marked, tally, placement=plan.placement, moves=plan.moves
            )
            done.masked += done.texts.masked
        case "findings":
            given = _given(rows, suspect, plan.moves, done)
            done.said = take_findings(connection, given, tally, restore=restore)
        case "quarantined":
            given = _given(rows, suspect, plan.moves, done)
            take_quarantined(connection, given, tally, restore=restore)
        case "tombstones":
            imports.take_tombstones(connection, rows, tally, plan.manifest)
        case _:
            clean = (_clean(row, done) if n in suspect else row for n, row in enumerate(rows))
            imports.take(connection, name, clean, tally, restore=restore)


def _given(
    rows: Iterator[Any], suspect: set[int], moves: Mapping[str, str], done: _Done
) -> Iterator[tuple[Any, Finding]]:
    """Each row with its finding: the body as it is, unless it is masked or cites what was moved."""
    from msgspec.structs import replace as with_fields

    for number, row in enumerate(rows):
        body = row.body
        finding = finding_json.parse(body.encode())
        if number in suspect:
            body = masked_finding(body)
            done.masked += body != row.body
            finding = finding_json.parse(body.encode())
        if moves and (there := _moved(finding, moves)) != finding:
            body = body_of(there)
            finding = finding_json.parse(body.encode())
        yield (row if body is row.body else with_fields(row, body=body)), finding


def _moved(finding: Finding, moves: Mapping[str, str]) -> Finding:
    """The finding with its citations pointing to where their sources lie here."""
    cited = tuple(
        replace(one, source=rules.moved(one.source, moves)) if isinstance(one, Citation) else one
        for one in finding.citations
    )
    return replace(finding, citations=cited)


def _clean(row: Any, done: _Done) -> Any:
    done.masked += 1
    return masked_row(row)


def _note(connection: sqlite3.Connection, plan: _Plan, done: _Done) -> None:
    """Where this store's chain takes over from the source's."""
    manifest, head = plan.manifest, plan.manifest.audit_head
    audit.note(
        connection,
        entry=clock.new_id(),
        at=clock.stamp(clock.now()),
        type=audit.WRITE,
        severity=audit.INFO,
        action="import",
        actor=plan.actor,
        subject=manifest.content_sha256,
        reason=(
            f"{'restored' if done.restored else 'merged'} from store {manifest.store_id}, whose "
            f"audit ended with row {head.row}, seal {head.seal or 'none'}"
        ),
    )


async def _show(space: Space, done: _Done) -> None:
    """Make what was stored searchable, and have the bus show it."""
    space.findings_stored += done.tallies["findings"].new
    for some in _groups([*done.texts.live, *done.texts.archived], _TEXTS_TOGETHER):
        async with space.moving:
            await asyncio.to_thread(_index_texts, space, some)
    for some in _groups([*done.said.live, *done.said.archived], _FINDINGS_TOGETHER):
        async with space.moving:
            await asyncio.to_thread(_index_findings, space, some)
    await keep_index(space)
    space.packing_due.set()
    space.warmth.stir()
    space.mark_lost("an export was imported: the bus is filled anew")
    # A bus that stays away longer is put right whenever it comes back.
    with suppress(TimeoutError):
        async with asyncio.timeout(_SHOWN_SECONDS):
            await space.attached.wait()
    space.watchers.on_committed()


def _groups(numbers: list[int], together: int) -> Iterator[list[int]]:
    return (numbers[first : first + together] for first in range(0, len(numbers), together))


def _index_texts(space: Space, content_ids: list[int]) -> None:
    for content_id in content_ids:
        archived, passages = space.database.read_together(partial(_passages, content_id))
        (space.archive if archived else space.index).add(passages)


def _passages(content_id: int, connection: sqlite3.Connection) -> tuple[bool, list[Passage]]:
    archived = sessions.is_archived(connection, content_id)
    return archived, contents.passages_of(connection, content_id)


def _index_findings(space: Space, sequences: list[int]) -> None:
    def read(connection: sqlite3.Connection) -> tuple[set[int], dict[int, Any]]:
        archived = sessions.archived_among(connection, sequences)
        return archived, findings.by_sequence(connection, sequences)

    archived, stored = space.database.read_together(read)
    for sequence, one in stored.items():
        if sequence in archived:
            index_finding(space.archive, one, shard=ARCHIVE)
        else:
            index_finding(space.index, one, shard=FINDINGS_SHARD)


class _Heard:
    """Tells how far an import has come: each byte is checked, then stored."""

    def __init__(self, reader: Reader, progress: Callable[[int, int, str], None]) -> None:
        self._total = 2 * sum(one.packed_bytes for one in reader.manifest.members)
        self._progress = progress
        self._done = 0

    def checking(self, size: int) -> None:
        self._tell(size, "checking")

    def storing(self, size: int) -> None:
        self._tell(size, "storing")

    def _tell(self, size: int, what: str) -> None:
        self._done += size
        self._progress(self._done, self._total, what)


def _opened(path: Path) -> BinaryIO:
    try:
        # Does not wait for somebody to write into a pipe.
        made = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"there is no file {path}: name what `ifmem export` wrote") from error
    except PermissionError as error:
        raise NotPermitted(f"{path} may not be read: check its owner") from error
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror or error}") from error
    if not stat.S_ISREG(os.fstat(made).st_mode):
        os.close(made)
        raise Invalid(f"{path} is no file: name what `ifmem export` wrote")
    return os.fdopen(made, "rb")


def _require_room(space: Space, manifest: Manifest) -> None:
    """A file may claim to hold more than any disk has."""
    needed = sum(one.bytes for one in manifest.members)
    free = shutil.disk_usage(space.directory).free
    if needed > free:
        raise Failed(
            f"the export holds {needed:,} bytes and {space.directory} has room for {free:,}: free "
            "some, or use another --home",
            needed=needed,
            free=free,
        )


def _placement(space: Space) -> Placement:
    settings = space.settings
    return Placement(
        settings.placement_rules(), capacities=capacities(space), limit=settings.shards.limit
    )


def _told(call: ImportCall, manifest: Manifest, done: _Done, started: int) -> Imported:
    outcome = "checked" if call.dry_run else "merged" if done.is_new else "known"
    if done.restored and not call.dry_run:
        outcome = "restored"
    named = [
        Differing(member, one) for member, tally in done.tallies.items() for one in tally.named
    ]
    return Imported(
        path=call.path,
        outcome=outcome,
        content_sha256=manifest.content_sha256,
        source=manifest.store_id,
        at=manifest.at,
        findings=done.tallies["findings"].new,
        documents=done.tallies["documents"].new,
        tokens=done.texts.tokens + done.said.tokens,
        masked=done.masked,
        members={
            name: Taken(
                new=one.new,
                known=one.known,
                differing=one.differing,
                blocked=one.blocked,
                left=one.left,
            )
            for name, one in done.tallies.items()
        },
        differing=named[:_MOST_NAMED],
        seconds=round(clock.milliseconds_since(started) / 1000, 3),
    )
