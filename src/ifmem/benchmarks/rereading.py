"""What ``bench load`` is compared with: the same files read again, in growing completeness."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ifmem import clock, tokens
from ifmem.domain.document import Draft, Skipped
from ifmem.engine.kinds import kind_of
from ifmem.engine.passages import split
from ifmem.ingest.files import read_file
from ifmem.ingest.walk import Found, walk
from ifmem.wire import blob
from ifmem.wire.blob import BlobEntry

_MAX_BYTES = 32 * 1024 * 1024

WHAT = {
    "warm_read": "read the files, all in the page cache: bytes, nothing decoded",
    "cold_read": "the same after asking the kernel to drop them (posix_fadvise DONTNEED)",
    "read_tokenise": "read, decode, count tokens (o200k)",
    "full": "walk the tree, read, decode, split into passages, count each (o200k)",
    "ingest": "what `ifmem load` does before it stores: `full` with masking and sha256",
    "packed_file": "the same contexts, one file a shard: read, checksum, decode to the same result",
    "packed_file_bytes": "read those files and do nothing with the bytes",
}


@dataclass(frozen=True, slots=True)
class Packed:
    """A shard's context as one blob in a file."""

    path: Path
    entry: BlobEntry


def baselines(
    tree: Path, packed: Sequence[Packed]
) -> Mapping[str, tuple[Callable[[], object], Callable[[], object] | None]]:
    """What to time, and what to do before each time, by name; see ``WHAT``."""
    paths = [Path(found.path) for found in _walk(tree)]
    rows: dict[str, tuple[Callable[[], object], Callable[[], object] | None]] = {
        "warm_read": (lambda: _read(paths), None),
        "read_tokenise": (lambda: _read_and_count(paths), None),
        "full": (lambda: full(tree), None),
        "ingest": (lambda: ingest(tree), None),
        "packed_file": (lambda: _unpack(packed), None),
        "packed_file_bytes": (lambda: _read([one.path for one in packed]), None),
    }
    if hasattr(os, "posix_fadvise"):
        rows["cold_read"] = (lambda: _read(paths), lambda: _drop(paths))
    return rows


def measure(
    work: Callable[[], object], before: Callable[[], object] | None, *, n: int, warm_up: int
) -> list[float]:
    """Milliseconds of each of ``n`` runs, after those that are discarded."""
    samples = []
    for turn in range(warm_up + n):
        if before is not None:
            before()
        started = clock.stopwatch_ns()
        result = work()
        taken = clock.milliseconds_since(started)
        if turn >= warm_up:
            samples.append(taken)
        del result
    return samples


def full(tree: Path) -> list[tuple[str, list[str], list[int]]]:
    """Each file's passages with their token counts, made anew from the disk."""
    made = []
    for found in _walk(tree):
        path = Path(found.path)
        text = path.read_bytes().decode("utf-8")
        texts = [text[s.start : s.end] for s in split(text, kind_of(path.name), path.name)]
        made.append((found.path, texts, tokens.count_each(texts)))
    return made


def ingest(tree: Path) -> list[tuple[Draft, list[int]]]:
    """The drafts of all files with the token counts of their passages."""
    made = []
    for found in _walk(tree):
        draft = read_file(found, max_bytes=_MAX_BYTES)
        if isinstance(draft, Skipped):
            continue
        counts = tokens.count_each(draft.text[span.start : span.end] for span in draft.spans)
        made.append((draft, counts))
    return made


def digests(tree: Path) -> dict[str, str]:
    """By source: sha256 of the text that ``ifmem load`` makes of it."""
    return {
        draft.source: hashlib.sha256(draft.text.encode()).hexdigest() for draft, _ in ingest(tree)
    }


def _walk(tree: Path) -> list[Found]:
    return list(walk([tree], allow=(), on_skip=lambda _: None))


def _read(paths: Sequence[Path]) -> list[bytes]:
    return [path.read_bytes() for path in paths]


def _read_and_count(paths: Sequence[Path]) -> list[int]:
    return [tokens.count(path.read_bytes().decode("utf-8")) for path in paths]


def _unpack(packed: Sequence[Packed]) -> list[list[blob.LoadedPart]]:
    return [blob.decode(one.entry, one.path.read_bytes()) for one in packed]


def _drop(paths: Sequence[Path]) -> None:
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            # What is not on the disk yet cannot be dropped.
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)
