"""What lies beside the store for its audit: the key of the seals, and where the chain ends.

The anchor is written after each commit that added rows, by one small write in place, and is not
forced to disk: that would double the cost of a commit. After a loss of power it may lag behind the
store, whose commits are on disk before it is written; it never leads. The same holds for a process
that is killed between the two.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import secrets
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ifmem.errors import Failed

log = logging.getLogger(__name__)

KEY_BYTES = 32
_STORE = "store.sqlite"
_SIZE = 256
_READS = 3
"""A reader may come in the middle of a write."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last row of the audit; row 0 is before the first."""

    row: int
    seal: str


class NoHead(Enum):
    """Why it is not known where the audit ended."""

    ABSENT = "absent"
    CHANGED = "changed"


def key_file(store: Path) -> Path:
    """Where the key of a store lies."""
    return store.with_name(_beside(store, "audit.key"))


def head_file(store: Path) -> Path:
    """Where the anchor of a store's audit lies."""
    return store.with_name(_beside(store, "audit.head"))


def read_key(store: Path) -> bytes | None:
    """The key of a store; None when it is not there.

    Raises:
        Failed: what lies there is no key.
    """
    try:
        key = key_file(store).read_bytes()
    except FileNotFoundError:
        return None
    if len(key) != KEY_BYTES:
        raise Failed(
            f"{key_file(store)} is damaged: restore it from a copy, or remove it; without it the "
            "audit so far can no longer be checked"
        )
    return key


def read_head(store: Path, key: bytes) -> Head | NoHead:
    """Where the audit ended when something was last added to it."""
    path = head_file(store)
    for _ in range(_READS):
        try:
            head = _parsed(path.read_bytes(), key)
        except FileNotFoundError:
            return NoHead.ABSENT
        if head is not None:
            return head
    return NoHead.CHANGED


def make_anchored_key(store: Path) -> bytes:
    """A new key for a store, its anchor before the first row.

    The anchor is on disk before the key is: a key without an anchor means that one was lost.
    """
    key = secrets.token_bytes(KEY_BYTES)
    _replace(head_file(store), _bytes(Head(0, ""), key))
    _replace(key_file(store), key)
    return key


def write_head(store: Path, head: Head, key: bytes) -> None:
    """Anchor the audit at a row; one that cannot be written stays behind, which the log tells."""
    try:
        # Opened anew: one that somebody removed meanwhile is there again.
        file = os.open(head_file(store), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(file, _bytes(head, key), 0)
            os.ftruncate(file, _SIZE)
        finally:
            os.close(file)
    except OSError as error:
        log.warning("%s could not be written: %s", head_file(store), error.strerror)


def _beside(store: Path, name: str) -> str:
    return name if store.name == _STORE else f"{store.name}.{name}"


def _bytes(head: Head, key: bytes) -> bytes:
    said = f"head\0{head.row}\0{head.seal}".encode()
    mac = hmac.digest(key, said, hashlib.sha256).hex()
    text = json.dumps({"row": head.row, "seal": head.seal, "mac": mac})
    return text.ljust(_SIZE - 1).encode() + b"\n"


def _parsed(said: bytes, key: bytes) -> Head | None:
    """The head, when these are to the last byte what was written for it."""
    try:
        fields = json.loads(said)
        head = Head(int(fields["row"]), str(fields["seal"]))
    except (ValueError, TypeError, KeyError):
        return None
    return head if hmac.compare_digest(said, _bytes(head, key)) else None


def _replace(path: Path, said: bytes) -> None:
    """Whole or not at all, readable by its owner only, on disk when this returns."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(file, "wb") as opened:
            opened.write(said)
            opened.flush()
            os.fsync(opened.fileno())
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
