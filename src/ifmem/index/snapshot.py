"""The index on disk: a copy that spares a start the rebuilding; a lost one is made anew."""

from __future__ import annotations

import logging
import os
import threading
import zipfile
from pathlib import Path

import numpy as np

from ifmem.index.encoder import encoder_digest
from ifmem.index.sentence_encoder import SentenceEncoder
from ifmem.index.space_index import SpaceIndex

log = logging.getLogger(__name__)

_one_at_a_time = threading.Lock()
"""Else a copy that was begun before a removal could come after it."""
FORMAT = 1
"""Grows with every change of what is indexed or how."""


def write_snapshot(index: SpaceIndex, path: Path) -> None:
    """Write the index beside the store, replacing the copy before in one step.

    A disk that has no room for it costs the next start time, nothing else.
    """
    draft = _draft(path)
    with _one_at_a_time:
        try:
            # What was removed must not be found in the file either.
            index.purge()
            with draft.open("wb") as file:
                np.savez(file, allow_pickle=False, **index.arrays(), version=_version())
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            index.added = index.removed = 0
        except OSError as error:
            draft.unlink(missing_ok=True)
            log.warning("the index was not written to %s: %s", path, error)


def remove_snapshot(path: Path) -> bool:
    """Remove what was written, after whatever is being written; whether there was something."""
    with _one_at_a_time:
        was_there = path.exists()
        for one in (path, _draft(path)):
            one.unlink(missing_ok=True)
    return was_there


def read_snapshot(path: Path, sentences: SentenceEncoder | None = None) -> SpaceIndex | None:
    """The index that was written, or None when there is none that this version can use.

    Vectors of the sentence encoder are not in it: the store has them.
    """
    try:
        # Each array carries a checksum, which reading verifies.
        with np.load(path, allow_pickle=False) as kept:
            if not np.array_equal(kept["version"], _version()):
                return None
            return SpaceIndex.from_arrays({name: kept[name] for name in kept.files}, sentences)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        log.warning("the index in %s cannot be used and is built anew: %s", path, error)
        return None


def _draft(path: Path) -> Path:
    return path.with_suffix(".tmp")


def _version() -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(f"{FORMAT} {encoder_digest()}".encode(), np.uint8)
