"""Questions that nothing answers: real ones, asked about something else."""

from __future__ import annotations

import random
import re
from collections.abc import Container, Sequence

from ifmem.benchmarks.planted import Needle, invented_names

_OTHER_THINGS = (
    *("submarine", "violin", "pharmacy", "tractor", "cathedral", "volcano", "penguin", "trumpet"),
    *("orchard", "caravan", "dolphin", "sculptor", "waterfall", "microscope", "pyramid"),
    *("blanket", "hurricane", "ballet", "camel", "locomotive", "tiger", "cinema", "avalanche"),
    *("saxophone", "embassy", "lobster", "carousel", "pendulum", "accordion", "canyon"),
    *("parachute", "walrus", "trombone", "igloo", "monastery", "scarecrow"),
)
_ASKING = frozenset(
    ("which", "whose", "where", "there", "their", "under", "while", "about", "every", "would")
)
_LEAST_LETTERS = 5
_WORD = re.compile(r"\w+")


def unanswerable(needles: Sequence[Needle], vocabulary: Container[str], *, seed: int) -> list[str]:
    """For each question one about something else.

    A named question gets another invented name, a paraphrased one another noun for one of its
    longer words.

    Args:
        vocabulary: lower-case words that the texts contain; no invented name is among them.
    """
    chance = random.Random(seed)
    names = (name for name in invented_names(chance, "") if name.lower() not in vocabulary)
    things = chance.sample(_OTHER_THINGS, len(_OTHER_THINGS))
    made = []
    for needle in needles:
        if needle.category == "named":
            old, new = _name_in(needle.question), next(names)
        else:
            old, new = chance.choice(_long_words(needle.question)), things.pop()
            things = things or chance.sample(_OTHER_THINGS, len(_OTHER_THINGS))
        made.append(re.sub(rf"\b{re.escape(old)}\b", new, needle.question, count=1))
    return made


def with_swapped_names(needles: Sequence[Needle]) -> list[str]:
    """Each named question with the name of another: both are there, the answer is not.

    Harder than an invented name, which no text contains.
    """
    named = [needle.question for needle in needles if needle.category == "named"]
    names = [_name_in(question) for question in named]
    others = names[1:] + names[:1]
    return [
        re.sub(rf"\b{re.escape(name)}\b", other, question, count=1)
        for question, name, other in zip(named, names, others, strict=True)
    ]


def _name_in(question: str) -> str:
    """The first capitalised word after the beginning."""
    words: list[str] = _WORD.findall(question)
    return next(word for word in words[1:] if word[0].isupper())


def _long_words(question: str) -> list[str]:
    words = [word for word in _WORD.findall(question) if word.islower() and word not in _ASKING]
    longer = [word for word in words if len(word) >= _LEAST_LETTERS]
    return longer or words
