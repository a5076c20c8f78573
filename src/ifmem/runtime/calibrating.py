"""How many tokens a model makes of a text: as observed, else as its card says."""

from __future__ import annotations

from functools import partial

from ifmem.domain.model import ModelCard
from ifmem.engine.shard_budgets import Factor
from ifmem.store import calibration
from ifmem.store.database import Database

_WORTH_KEEPING = 0.01
"""Share by which a factor must have moved to be written."""


class Calibration:
    """The factors of a space, kept in its store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._factors = database.read(calibration.all_factors)
        self._written = dict(self._factors)

    def factor(self, card: ModelCard, speciality: str) -> float:
        """Tokens of the model for one o200k token of such text."""
        held = self._factors.get((str(card.ref), speciality))
        return card.tokens_per_o200k if held is None else held.value

    def observe(self, card: ModelCard, speciality: str, *, o200k: int, reported: int) -> None:
        """Learn from a call whose prompt had ``o200k`` tokens and ``reported`` by the provider.

        What moved is written behind the call: a lost observation is made again by the next one.
        """
        key = (str(card.ref), speciality)
        held = self._factors.get(key, Factor(card.tokens_per_o200k))
        seen = held.observed(o200k, reported)
        self._factors[key] = seen
        written = self._written.get(key)
        if written is None or abs(seen.value - written.value) > _WORTH_KEEPING * written.value:
            self._written[key] = seen
            self._database.write(
                partial(calibration.keep, model=key[0], speciality=speciality, factor=seen)
            )
