"""The spool: what hooks saw while no daemon ran, one call on a line, in the home.

A hook appends under the file's lock and looks again whether the file is still the spool. The
daemon renames the spool, waits for the lock, and has it to itself; it goes when all of it is done,
so what a killed daemon left is done again, to the same end.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec

from ifmem.places import SPOOL
from ifmem.wire.agent_calls import CaptureCall
from ifmem.wire.calls import Request

log = logging.getLogger(__name__)

TAKEN = "captured.taken.jsonl"
_LOOK_SECONDS = 5.0
_MOST_BYTES = 64 * 1024 * 1024
"""Far above what hooks let a spool grow to: no more of a file is read."""

Call = Callable[[str, CaptureCall], Awaitable[None]]
"""Captures an event for the space of that name."""


async def take_in_now_and_then(home: Path, call: Call) -> None:
    """Take in the spool at once and whenever there is one again, until cancelled."""
    while True:
        try:
            await take_in(home, call)
        except Exception:
            log.exception("the spool of captured events waits")
        await asyncio.sleep(_LOOK_SECONDS)


async def take_in(home: Path, call: Call) -> int:
    """Capture every event in the spool, one after the other; how many there were."""
    done = 0
    while events := await asyncio.to_thread(_taken, home):
        for space, event in events:
            try:
                await call(space, event)
            except Exception as error:
                log.warning("a spooled event was not captured: %s", error)
        await asyncio.to_thread((home / TAKEN).unlink, missing_ok=True)
        done += len(events)
    return done


def forget(home: Path, space: str, since: str) -> None:
    """Remove from the spool what happened in a space at or after a moment."""
    for name in (TAKEN, SPOOL):
        with contextlib.suppress(FileNotFoundError), _locked(home / name) as descriptor:
            lines = _read(descriptor).splitlines(keepends=True)
            kept = [line for line in lines if not _is_of(line, space, since)]
            if len(kept) < len(lines):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, b"".join(kept), 0)


def _taken(home: Path) -> list[tuple[str, CaptureCall]]:
    """The events of the spool, which from now on is only ours; none when there is no spool."""
    spool, taken = home / SPOOL, home / TAKEN
    while True:
        # What a daemon before us left is done first, and the spool after it.
        if not taken.exists():
            try:
                spool.rename(taken)
            except FileNotFoundError:
                return []
        with _locked(taken) as descriptor:
            events = list(_events(_read(descriptor)))
        if events:
            return events
        taken.unlink(missing_ok=True)


def _events(lines: bytes) -> Iterator[tuple[str, CaptureCall]]:
    for line in lines.splitlines():
        if not line.strip():
            continue
        event = _event(line)
        if event is None:
            log.warning("a line of the spool is no captured event: %.80r", line)
            continue
        space, call = event
        yield space, msgspec.structs.replace(call, wait=True)


def _event(line: bytes) -> tuple[str, CaptureCall] | None:
    """The space and the event of a line; None when it is something else."""
    try:
        request = msgspec.json.decode(line, type=Request)
        call = msgspec.json.decode(request.params, type=CaptureCall)
    except msgspec.MsgspecError:
        return None
    return (request.space, call) if request.method == "capture" else None


def _is_of(line: bytes, space: str, since: str) -> bool:
    event = _event(line)
    return event is not None and event[0] == space and (event[1].at or "~") >= since


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while size < _MOST_BYTES and (chunk := os.pread(descriptor, 1 << 20, size)):
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)
