"""Which model answers for a shard, and which are asked after it, by configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ifmem.domain.shard import Speciality


class ShardModel(NamedTuple):
    """Who answers for a shard."""

    model: str
    """As `domain.model.ModelRef` writes it."""
    fall_back: tuple[str, ...]
    """Asked in this order when it cannot be reached, refuses or lacks a key; never itself, and
    none twice."""


class Entry(Protocol):
    """The model of some shards: a table `[[models.shards]]`."""

    @property
    def model(self) -> str: ...
    @property
    def shard(self) -> int | None: ...
    @property
    def speciality(self) -> Speciality | None: ...
    @property
    def fall_back(self) -> tuple[str, ...] | None: ...


class Configured(Protocol):
    """What `settings.models` says of it; this layer lies below the settings."""

    @property
    def default(self) -> str: ...
    @property
    def shards(self) -> Sequence[Entry]: ...
    @property
    def fall_back(self) -> tuple[str, ...]: ...


def model_of(models: Configured, shard: int, speciality: Speciality | str) -> ShardModel:
    """The first entry that matches the shard, else the default.

    An entry that names a shard and a speciality matches where both hold; one that names neither
    matches every shard.
    """
    for entry in models.shards:
        if entry.shard in (None, shard) and entry.speciality in (None, speciality):
            chain = models.fall_back if entry.fall_back is None else entry.fall_back
            return _chosen(entry.model, chain)
    return _chosen(models.default, models.fall_back)


def _chosen(model: str, chain: Sequence[str]) -> ShardModel:
    others = dict.fromkeys(one.strip() for one in chain)
    others.pop(model.strip(), None)
    return ShardModel(model.strip(), tuple(others))
