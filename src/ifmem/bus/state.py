"""What a reader sees on the bus: the state of shards and workers, and whole contexts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from ifmem.wire import blob


@dataclass(frozen=True, slots=True)
class ShardState:
    """A shard as the bus has it."""

    number: int
    speciality: str
    capacity: int
    tokens: int
    active: bool
    documents: int
    generation: int
    worker: str | None


@dataclass(frozen=True, slots=True)
class Look:
    """What a question needs to know of the shards, as it stood at one moment."""

    active: Mapping[int, bool]
    """For every shard, by number, whether a live worker holds it."""
    manifests: Mapping[int, bytes | None]
    """For every shard its manifest as it stands on the bus."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker as the bus has it; dead when its heartbeat has expired."""

    worker_id: str
    heartbeat: str | None
    """ISO-8601 UTC by the server's clock, None when it has expired."""

    @property
    def alive(self) -> bool:
        """True while the heartbeat is there."""
        return self.heartbeat is not None


class LibrarianState(NamedTuple):
    """A librarian as the bus has it."""

    number: int
    status: str
    """``active``, ``exhausted`` or ``offline``."""
    quota: int
    """Calls left today."""
    capacity: int
    """Tokens loaded."""


@dataclass(frozen=True)
class Context:
    """A shard's context in memory: every part with the texts of its passages."""

    shard: int
    generation: int
    tokens: int
    blobs: tuple[str, ...]
    """Digests, in order."""
    parts: tuple[blob.LoadedPart, ...]

    def text(self, sha256: str, ordinal: int) -> str | None:
        """The text of one passage, or None when the shard does not hold it."""
        return self._texts.get((sha256, ordinal))

    @cached_property
    def _texts(self) -> dict[tuple[str, int], str]:
        return {
            (loaded.part.sha256, passage.ordinal): text
            for loaded in self.parts
            for passage, text in zip(loaded.part.passages, loaded.texts, strict=True)
        }
