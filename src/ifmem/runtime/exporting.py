"""Exporting: one snapshot of a live space as one file, complete or not there at all."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import BinaryIO

import msgspec

from ifmem import clock
from ifmem.engine.exports import content_digest
from ifmem.errors import Failed, IfMemError, Invalid, NotFound, NotPermitted, Refused
from ifmem.runtime.space import Space
from ifmem.store import audit, exports, meta
from ifmem.wire.export_calls import ExportCall, Exported
from ifmem.wire.export_file import Writer
from ifmem.wire.exports import FACTS, FORMAT, MEMBERS, Manifest

Progress = Callable[[int, int, str], None]
_LARGE = frozenset({"documents", "findings"})
"""The members whose rows are counted as progress."""


async def export_space(space: Space, call: ExportCall, progress: Progress) -> Exported:
    """Write everything that the space knows at this moment into one file; writes go on.

    Raises:
        Refused: the file exists.
        NotFound: its directory does not.
        Failed: there is no room for it, or it cannot be written; nothing is left of it.
    """
    target = require_path(call.path)
    _require_free(target, force=call.force)
    # What was accepted is in it, too, unless the bus is away: then it was not acknowledged.
    await space.tell_bus(_drained(space))
    return await space.finish(_export(space, target, progress, force=call.force))


def require_path(given: str) -> Path:
    """The file that a caller names.

    Raises:
        Invalid: it is no absolute path.
    """
    if not given.startswith("/") or "\0" in given:
        raise Invalid(f"{given[:200]!r} is no absolute path: name the file by its whole path")
    return Path(given)


async def _drained(space: Space) -> None:
    await space.caught_up(await space.bus.log.barrier())


async def _export(space: Space, target: Path, progress: Progress, *, force: bool) -> Exported:
    started = clock.stopwatch_ns()
    part = target.with_name(f".{target.name[:100]}.{clock.new_id()}.part")
    try:
        manifest = await asyncio.to_thread(_write_part, space, part, progress)
        await space.write(partial(_note, manifest=manifest, actor=space.worker_id))
        size = await asyncio.to_thread(_put_in_place, part, target, force=force)
    except OSError as error:
        raise _translated(error, target) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return Exported(
        path=str(target),
        bytes=size,
        findings=manifest.findings,
        documents=manifest.documents,
        tokens=manifest.tokens,
        content_sha256=manifest.content_sha256,
        seconds=round(clock.milliseconds_since(started) / 1000, 3),
    )


def _write_part(space: Space, part: Path, progress: Progress) -> Manifest:
    made = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(made, "w+b") as file:
        manifest = space.database.read_together(partial(_write, space, file, progress))
        file.flush()
        os.fsync(file.fileno())
    return manifest


def _write(
    space: Space, file: BinaryIO, progress: Progress, connection: sqlite3.Connection
) -> Manifest:
    totals = exports.totals(connection)
    writer = Writer(file)
    done = 0
    for name in MEMBERS:
        lines = _lines(connection, name)
        if name in _LARGE:
            lines = _counted(lines, name, done, totals.rows, progress)
        member = writer.add(name, lines)
        done += member.rows if name in _LARGE else 0
    facts = [one for one in writer.members if one.name in FACTS]
    manifest = Manifest(
        format=FORMAT,
        ifmem=metadata.version("ifmem"),
        space=space.name,
        store_id=space.store_id,
        at=clock.stamp(clock.now()),
        content_sha256=content_digest((one.name, one.rows, one.sha256) for one in facts),
        documents=totals.documents,
        findings=totals.findings,
        tokens=totals.tokens,
        last_sequence=totals.last_sequence,
        epoch=meta.position(connection).epoch,
        audit_head=totals.audit_head,
        tombstone_key=totals.tombstone_key,
        members=writer.members,
    )
    writer.end(manifest)
    return manifest


def _lines(connection: sqlite3.Connection, name: str) -> Iterator[bytes]:
    encode = msgspec.json.Encoder().encode
    return map(encode, exports.rows_of(connection, name))


def _counted(
    lines: Iterator[bytes], name: str, done: int, total: int, progress: Progress
) -> Iterator[bytes]:
    for number, line in enumerate(lines, done + 1):
        yield line
        if number % 256 == 0 or number in (done + 1, total):
            progress(number, total, name)


def _note(connection: sqlite3.Connection, manifest: Manifest, actor: str) -> None:
    audit.note(
        connection,
        entry=clock.new_id(),
        at=clock.stamp(clock.now()),
        type=audit.WRITE,
        severity=audit.INFO,
        action="export",
        actor=actor,
        subject=manifest.content_sha256,
        reason=f"{manifest.documents} documents and {manifest.findings} findings were copied",
    )


def _require_free(target: Path, *, force: bool) -> None:
    if target.is_dir():
        raise Invalid(f"{target} is a directory: name a file in it, such as {target}/ifmem.tar")
    if not target.parent.is_dir():
        raise NotFound(f"there is no directory {target.parent}: make it, or name another file")
    if not force and (target.exists() or target.is_symlink()):
        raise _exists(target)


def _put_in_place(part: Path, target: Path, *, force: bool) -> int:
    """Give the file its name; its size."""
    size = part.stat().st_size
    if force:
        part.replace(target)
    else:
        try:
            # In one step, so that a file which came meanwhile is not replaced.
            os.link(part, target)
        except FileExistsError as error:
            raise _exists(target) from error
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                raise
            # A file system without links.
            _require_free(target, force=False)
            part.replace(target)
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return size


def _exists(target: Path) -> Refused:
    return Refused(f"{target} exists: name another file, or say --force", path=str(target))


def _translated(error: OSError, target: Path) -> IfMemError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Failed(f"there is no room for {target}: free some, or name a file on another disk")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return NotPermitted(f"{target.parent} cannot be written: name a file where you may write")
    return Failed(f"{target} could not be written: {error.strerror or error}")
