"""A question with what it takes to judge evidence for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from ifmem.engine.evidence import question_weights, unknown_names
from ifmem.index.space_index import SpaceIndex, Where


@dataclass(frozen=True, slots=True)
class Question:
    """A question with what it takes to judge evidence for it."""

    text: str
    weights: Mapping[str, float]
    unknown: tuple[str, ...]
    """Its names that occur nowhere in what is searched."""


def understood(index: SpaceIndex, text: str, where: Where | None) -> Question:
    """A question's words by weight, and its names that are nowhere in what is searched."""
    occurs = partial(index.occurs, where=where)
    return Question(text, question_weights(text, index.idf), unknown_names(text, occurs))
