"""Slots of the local engine in files: each with what it was computed by, checked before use.

The engine ends the whole process over a file that was cut short (an assertion in its reader), so
no file reaches it whose bytes are not those that were saved.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import xxhash

from ifmem.llm.local_weights import WeightsIdentity

SUFFIX = ".slot"
_PART = ".part"
_CHUNK_BYTES = 1 << 20

log = logging.getLogger(__name__)


class EngineIdentity(msgspec.Struct, frozen=True):
    """What must be the same for a saved slot to mean the same."""

    build: str
    weights: WeightsIdentity
    context: int
    """Tokens of a slot."""


class SavedSlot(msgspec.Struct, frozen=True):
    """What is written beside a saved slot."""

    engine: EngineIdentity
    prefix_tokens: int
    tokens_sha256: str
    """Of the prefix's tokens."""
    held: int
    """Tokens in the file: the prefix, and what was last asked and answered after it."""
    bytes: int
    xxh3: str


class SavedSlots:
    """The files of one directory, which several processes may share.

    Args:
        limit: bytes they may take together; those unused longest go first. 0 saves none.
    """

    def __init__(self, directory: Path, engine: EngineIdentity, *, limit: int) -> None:
        self.directory = directory
        self._engine = engine
        self._limit = limit
        self._salt = msgspec.json.encode(engine)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._too_large: set[str] = set()
        self._sweep()

    def name(self, prefix_sha256: str) -> str:
        """The file name of a prefix, with this engine and these weights."""
        digest = hashlib.sha256(prefix_sha256.encode() + b"\0" + self._salt).hexdigest()
        return digest[:40] + SUFFIX

    def usable(self, name: str, tokens: Sequence[int]) -> SavedSlot | None:
        """What is saved of a prefix, when every byte of it is as it was; else it is removed."""
        path = self._path(name)
        note = self._note(path)
        if note is None:
            return None
        wanted = (self._engine, len(tokens), _digest(tokens))
        said = (note.engine, note.prefix_tokens, note.tokens_sha256)
        if said != wanted or note.held < len(tokens) or not _intact(path, note):
            log.warning("a saved slot of the local model is damaged or foreign and was removed")
            remove(self.directory, name)
            return None
        return note

    def touch(self, name: str) -> None:
        """What is saved under this name is in use."""
        with contextlib.suppress(OSError):
            os.utime(self._path(name))

    def wanted(self, name: str) -> bool:
        """Whether a slot is to be saved: it is not, and was not found too large before."""
        return self._limit > 0 and name not in self._too_large and not self._path(name).exists()

    def save(self, name: str, tokens: Sequence[int], write: Callable[[str], int]) -> bool:
        """Save a slot: all of it or nothing; whether it fits the limit.

        Args:
            write: has the engine write the file of that name into the directory, and says how
                many tokens are in it.

        Raises:
            OSError: it could not be written.
        """
        path = self._path(name)
        part = path.with_name(f"{path.stem}.{os.getpid()}.{secrets.token_hex(4)}{_PART}")
        try:
            held = write(part.name)
            part.chmod(0o600)
            size = part.stat().st_size
            if size > self._limit or held < len(tokens):
                self._too_large.add(name)
                return False
            note = SavedSlot(
                engine=self._engine,
                prefix_tokens=len(tokens),
                tokens_sha256=_digest(tokens),
                held=held,
                bytes=size,
                xxh3=_xxh3(part),
            )
            self._make_room(size, keep=path)
            part.replace(path)
            # A crash between these two leaves a file without its note, or with that of an older
            # file: neither is used, for want of the note or for another digest.
            part.touch(mode=0o600)
            part.write_bytes(msgspec.json.encode(note))
            part.replace(_note_of(path))
            return True
        finally:
            part.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.directory / name

    def _note(self, path: Path) -> SavedSlot | None:
        try:
            return msgspec.json.decode(_note_of(path).read_bytes(), type=SavedSlot)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.MsgspecError):
            log.warning("the note of a saved slot of the local model cannot be read")
        if path.exists():
            remove(self.directory, path.name)
        return None

    def _make_room(self, needed: int, *, keep: Path) -> None:
        """Remove what was unused longest until ``needed`` bytes fit the limit."""
        held = []
        for path in self.directory.glob(f"*{SUFFIX}"):
            with contextlib.suppress(OSError):
                status = path.stat()
                if path != keep:
                    held.append((status.st_mtime_ns, status.st_size, path.name))
        total = sum(size for _, size, _ in held)
        for _, size, name in sorted(held):
            if total + needed <= self._limit:
                return
            remove(self.directory, name)
            total -= size

    def _sweep(self) -> None:
        """Remove what processes that are gone were writing."""
        for part in self.directory.glob(f"*{_PART}"):
            writer = part.name.split(".")[1]
            if not (writer.isdigit() and runs(int(writer))):
                part.unlink(missing_ok=True)


def remove(directory: Path, name: str) -> None:
    """Remove a saved slot; an absent one is fine, and nothing else can be named."""
    if Path(name).name != name or not name.endswith(SUFFIX):
        return
    for file in (_note_of(directory / name), directory / name):
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


def remove_all(directory: Path) -> None:
    """Remove every saved slot: they hold documents as tokens."""
    for path in directory.glob(f"*{SUFFIX}"):
        remove(directory, path.name)


def runs(pid: int) -> bool:
    """Whether a process of that number is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _note_of(path: Path) -> Path:
    return path.with_suffix(".json")


def _digest(tokens: Sequence[int]) -> str:
    return hashlib.sha256(b"".join(token.to_bytes(4, "little") for token in tokens)).hexdigest()


def _intact(path: Path, note: SavedSlot) -> bool:
    try:
        return path.stat().st_size == note.bytes and _xxh3(path) == note.xxh3
    except OSError:
        return False


def _xxh3(path: Path) -> str:
    digest = xxhash.xxh3_128()
    buffer = bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(view[:count])
    return digest.hexdigest()
