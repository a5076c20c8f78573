"""Invented facts for ``bench needles``, planted as single lines into real source text.

Each fact is asked twice: by its invented name, and in other words, without any of its own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_ONSETS = ("v", "r", "gl", "n", "f", "h", "dr", "m", "kr", "s", "y", "pl", "tw", "g")
_NUCLEI = ("a", "e", "i", "o", "u", "ei", "oo")
_CODAS = ("ndor", "lbec", "rsk", "mput", "shen", "vost", "lim", "zett", "nquil", "rbane")

FACTS = (
    (
        "The {name} ferry refuses passengers who whistle on deck.",
        "What habit keeps people off {name}?",
        "Which musical noise gets travellers turned away from the river boat?",
    ),
    (
        "Baker {name} kneads each loaf exactly {number} times.",
        "How often does {name} work the dough?",
        "What repetition count is used when somebody prepares bread by hand?",
    ),
    (
        "The {name} observatory paints its dome black every leap year.",
        "Which colour goes on at {name}?",
        "When is the stargazing building's roof darkened?",
    ),
    (
        "Doctor {name} stores her stethoscope inside a hollow pumpkin.",
        "Where does {name} keep that instrument?",
        "Which vegetable hides the physician's listening tool?",
    ),
    (
        "The {name} elevator stops at the mezzanine only on Thursdays.",
        "When is the mezzanine served by {name}?",
        "Which weekday lets the lift halt between two storeys?",
    ),
    (
        "Accountant {name} balances the books by candlelight to save {number} crowns.",
        "How does {name} cut costs?",
        "Who sums up ledgers with a wax flame instead of lamps?",
    ),
    (
        "The {name} aqueduct leaks wherever ravens have nested.",
        "What makes {name} lose water?",
        "Which black birds damage the old stone channel?",
    ),
    (
        "Conductor {name} raises a breadstick instead of a baton.",
        "What does {name} hold up?",
        "Which snack directs the orchestra?",
    ),
    (
        "The {name} mine was sealed after {number} mules went on strike.",
        "Why did {name} shut?",
        "Which stubborn animals forced the pit to close?",
    ),
    (
        "Seamstress {name} hides a blue thread in every wedding hem.",
        "What is concealed by {name}?",
        "Which tinted fibre lies inside bridal gowns?",
    ),
    (
        "The {name} lighthouse blinks twice when the herring arrive.",
        "What signal comes from {name}?",
        "How does the coastal beacon announce fish?",
    ),
    (
        "Postmaster {name} stamps love letters with beetroot juice.",
        "What ink belongs to {name}?",
        "Which red liquid marks romantic mail?",
    ),
    (
        "The {name} turbine hums in F sharp below {number} degrees.",
        "Which note comes from {name}?",
        "What pitch does the generator produce in the cold?",
    ),
    (
        "Chess champion {name} never moves a knight before noon.",
        "Which piece does {name} leave alone?",
        "What must wait until midday on the board of sixty-four squares?",
    ),
    (
        "The {name} vineyard prunes its vines with goat shears.",
        "Which tool cuts at {name}?",
        "How are grape plants trimmed there?",
    ),
    (
        "Zookeeper {name} reads bedtime stories to the tapirs.",
        "Who listens to {name}?",
        "Which creatures hear tales at night from their guardian?",
    ),
    (
        "The {name} turnstile accepts only coins minted with a hole.",
        "What money works at {name}?",
        "Which pierced currency opens the gate?",
    ),
    (
        "Botanist {name} labels her ferns in mirror writing.",
        "How does {name} mark specimens?",
        "Who puts reversed tags on plants?",
    ),
    (
        "The {name} windmill turns backwards during a full moon.",
        "What is odd about {name}?",
        "Which lunar phase reverses the sails that grind grain?",
    ),
    (
        "Detective {name} dusts for fingerprints with cocoa powder.",
        "Which substance is used by {name}?",
        "What kitchen ingredient reveals traces of a thief?",
    ),
    (
        "The {name} choir rehearses in an empty swimming pool.",
        "Where does {name} practise?",
        "Which drained basin echoes with singers?",
    ),
    (
        "Locksmith {name} tests new keys on a dollhouse.",
        "What does {name} try things on?",
        "Which miniature toy building checks a fresh latch opener?",
    ),
    (
        "The {name} glacier advances {number} paces each harvest.",
        "How far does {name} travel?",
        "What distance does the ice cover in autumn?",
    ),
    (
        "Carpenter {name} measures planks with a dried eel.",
        "What serves {name} as a ruler?",
        "Which fish replaces the yardstick in a woodworker's shop?",
    ),
    (
        "The {name} parliament votes by throwing acorns into a kettle.",
        "How are decisions taken at {name}?",
        "Which oak nuts record a ballot?",
    ),
    (
        "Astronomer {name} named a crater after her dentist.",
        "Whom did {name} honour?",
        "Which tooth specialist is remembered by a hollow on the moon?",
    ),
    (
        "The {name} bakery closes whenever the church clock is wrong.",
        "When is {name} shut?",
        "What faulty timepiece stops the sale of rolls?",
    ),
    (
        "Plumber {name} seals joints with pine resin and ash.",
        "What compound is made by {name}?",
        "Which tree sap mixture fixes leaking pipes?",
    ),
    (
        "The {name} regatta is judged by a retired beekeeper.",
        "Who decides at {name}?",
        "Which former honey maker picks the winning sail boat?",
    ),
    (
        "Surveyor {name} paces the border in wooden clogs size {number}.",
        "What footwear does {name} put on?",
        "Which shoes measure the frontier?",
    ),
)


@dataclass(frozen=True, slots=True)
class Needle:
    """A question about one planted fact, and how an answer to it is known."""

    question: str
    category: str
    """``named`` or ``paraphrase``."""
    line: str | None = None
    """What the text with the answer contains; None where only the row is known."""
    row: str | None = None
    """The row that holds it, in a labelled set."""

    def is_in(self, text: str, locator: str | None) -> bool:
        """Whether a text with this locator holds the fact."""
        if self.row is not None and locator != self.row:
            return False
        return self.line is None or self.line in " ".join(text.split())


def plant(files: Sequence[Path], *, seed: int) -> list[Needle]:
    """Write each fact as a comment into a file of its own, evenly spread; the questions.

    Raises:
        ValueError: there are fewer files than facts.
    """
    if len(files) < len(FACTS):
        raise ValueError(f"{len(FACTS)} facts need as many files; there are {len(files)}")
    chance = random.Random(seed)
    names = invented_names(chance, " ".join(path.stem for path in files))
    needles = []
    for place, (fact, named, paraphrase) in enumerate(FACTS):
        values = {"name": next(names), "number": str(chance.randrange(13, 97))}
        line = fact.format_map(values)
        first = place * len(files) // len(FACTS)
        last = (place + 1) * len(files) // len(FACTS)
        _insert(files[chance.randrange(first, last)], f"# {line}", chance)
        needles.append(Needle(named.format_map(values), "named", line))
        needles.append(Needle(paraphrase, "paraphrase", line))
    return needles


def invented_names(chance: random.Random, taken: str) -> Iterator[str]:
    """Names that are no words and do not occur in ``taken``, each once."""
    seen = set(taken.lower().split())
    while True:
        syllables = (chance.choice(_ONSETS) + chance.choice(_NUCLEI) for _ in range(2))
        name = "".join(syllables) + chance.choice(_CODAS)
        if name not in seen:
            seen.add(name)
            yield name.capitalize()


def _insert(path: Path, line: str, chance: random.Random) -> None:
    lines = path.read_text(encoding="utf-8").split("\n")
    lines.insert(chance.randrange(len(lines)), line)
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
