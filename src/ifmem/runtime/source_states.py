"""What sources are now: as stored when they are unchanged, else as the disk has them."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path

from ifmem.domain.document import Draft, Skipped
from ifmem.engine.anchoring import LinedText
from ifmem.engine.verification import Text
from ifmem.errors import NotFound
from ifmem.ingest import reasons
from ifmem.ingest.fence import Fence
from ifmem.ingest.files import read_file
from ifmem.ingest.walk import walk
from ifmem.settings import IngestSettings
from ifmem.store import citations, contents
from ifmem.store.citations import StoredText

_MOST_CHARACTERS = 32_000_000
_MOST_DIGESTS = 50_000

Signature = tuple[int, int, int, int]
"""What changes with a file: size, both its times, and which file it is."""


class TextCache:
    """Texts and digests that pages of one run share; bounded, and safe between threads."""

    def __init__(self) -> None:
        self._texts: OrderedDict[Hashable, Text | str] = OrderedDict()
        self._digests: OrderedDict[str, tuple[Signature, str]] = OrderedDict()
        self._characters = 0
        self._lock = threading.Lock()

    def text(self, key: Hashable, read: Callable[[], Text | str]) -> Text | str:
        """The text of a key, or why there is none; read unless it is here."""
        with self._lock:
            known = self._texts.get(key)
            if known is not None:
                self._texts.move_to_end(key)
                return known
        found = read()
        with self._lock:
            if key not in self._texts:
                self._texts[key] = found
                self._characters += _weight(found)
            while self._characters > _MOST_CHARACTERS and len(self._texts) > 1:
                _, dropped = self._texts.popitem(last=False)
                self._characters -= _weight(dropped)
        return found

    def digest(self, path: str, looks: Signature, read: Callable[[], str]) -> str:
        """The digest of a file that looks like this; read unless it did so before."""
        with self._lock:
            known = self._digests.get(path)
        if known is not None and known[0] == looks:
            return known[1]
        found = read()
        with self._lock:
            self._digests[path] = (looks, found)
            while len(self._digests) > _MOST_DIGESTS:
                self._digests.popitem(last=False)
        return found

    def clear(self) -> None:
        """Forget everything: the run has ended, or another one begins."""
        with self._lock:
            self._texts.clear()
            self._digests.clear()
            self._characters = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A source as it was read."""

    text: str
    sha256: str


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a source: its text now, or why there is none."""

    now: Text | None
    gone: str = ""
    is_known: bool = True
    """False for what is neither a file nor anything that was ever loaded: a URL, say."""


@dataclass
class Sources:
    """The sources that the citations of one page name; each is looked at once."""

    connection: sqlite3.Connection
    ingest: IngestSettings
    cache: TextCache
    _states: dict[str, State] = field(default_factory=dict)
    _snapshots: dict[str, LinedText | None] = field(default_factory=dict)

    def state(self, source: str) -> State:
        """What a source is now."""
        known = self._states.get(source)
        if known is None:
            known = self._states[source] = self._looked_at(source)
        return known

    def snapshot(self, sha256: str) -> LinedText | None:
        """A stored text whose bytes have this digest."""
        if sha256 not in self._snapshots:
            stored = citations.texts_of(self.connection, sha256)
            self._snapshots[sha256] = self._stored(stored[0]).text if stored else None
        return self._snapshots[sha256]

    def _looked_at(self, source: str) -> State:
        stored = citations.text_at(self.connection, source)
        if not source.startswith("/"):
            if stored is not None:
                return State(self._stored(stored))
            is_ours = source.startswith(("chat:", "captured:", "git+file:"))
            return State(None, "was forgotten, or never loaded here", is_known=is_ours)
        looks = _looks(source)
        if looks is None:
            return State(None, "is gone from the disk")
        if stored is not None and stored.sha256 == self._digest(source, looks):
            return State(self._stored(stored))
        return self._on_disk(source, looks)

    def _digest(self, path: str, looks: Signature) -> str | None:
        """The digest of the bytes of a file that was loaded; None when they cannot be read."""
        try:
            return self.cache.digest(path, looks, lambda: _digest_of(path))
        except OSError:
            return None

    def _on_disk(self, source: str, looks: Signature) -> State:
        def read() -> Text | str:
            found = read_present(self.ingest, source)
            return found if isinstance(found, str) else Text(LinedText(found.text), found.sha256)

        text = self.cache.text((source, looks), read)
        return State(None, text) if isinstance(text, str) else State(text)

    def _stored(self, stored: StoredText) -> Text:
        def read() -> Text:
            text = contents.text_of(self.connection, stored.content_id)
            return Text(LinedText(text), stored.sha256)

        text = self.cache.text((stored.content_id, stored.stamp), read)
        assert isinstance(text, Text)
        return text


def read_present(
    ingest: IngestSettings, source: str, *, fence: Fence | None = None
) -> Snapshot | str:
    """A file as it is now, read by the same rules as a load; or why it is not read.

    Args:
        ingest: what may be read.
        source: its path, behind a fence as ``Fence.named`` gave it.
        fence: nothing outside is read.
    """
    if Path(source).is_dir():
        return "is a directory"
    skipped: list[Skipped] = []
    try:
        for found in walk([Path(source)], allow=ingest.allow, fence=fence, on_skip=skipped.append):
            draft = read_file(found, max_bytes=ingest.max_file_bytes, fence=fence)
            if isinstance(draft, Draft):
                return Snapshot(draft.text, draft.sha256)
            skipped.append(draft)
    except NotFound:
        return reasons.VANISHED
    if any(one.reason == reasons.NOT_PERMITTED for one in skipped):
        return reasons.NOT_PERMITTED
    return skipped[0].reason if skipped else reasons.VANISHED


def _looks(path: str) -> Signature | None:
    """What a file looks like, links followed; None when there is no file."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _digest_of(path: str) -> str:
    # A pipe that took the file's place meanwhile must not block us.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _weight(text: Text | str) -> int:
    return 100 + (len(text) if isinstance(text, str) else len(text.text.text))
