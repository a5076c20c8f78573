"""What a model's words are worth: quotes that code finds, and sentences that such quotes hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ifmem.engine.analysis import names, terms
from ifmem.engine.answer_texts import ClaimedQuote, WrittenAnswer
from ifmem.engine.evidence import locate, on_one_line, sentences
from ifmem.engine.facts import facts, held_facts, numbers
from ifmem.engine.masking import holds_mask

LEAD_CHARACTERS = 300
"""A name in the text so far before a quote is what the quote's `it` may mean."""
WEIGHTY = 0.5
"""A term of the question counts when it weighs at least this part of the weightiest one."""
_FEW_WORDS = 4
"""A shorter quote is shown as the sentence it stands in."""
_AROUND = 2_000
"""Characters looked at for the sentence of a short quote."""
_NUMBERED = re.compile(r"\s*\[\d{1,3}(?:,\s*\d{1,3})*\]")


@dataclass(frozen=True, slots=True)
class ShownPassage:
    """A passage of a document as a model read it."""

    text: str
    header: str


@dataclass(frozen=True)
class ShownDocument:
    """A document as a model read it; its passages cover its text without a gap."""

    number: int
    source: str
    passages: tuple[ShownPassage, ...]

    @cached_property
    def text(self) -> str:
        """All of it."""
        return "".join(passage.text for passage in self.passages)

    def header_at(self, offset: int) -> str:
        """The header of the passage at a place of the text."""
        end = 0
        for passage in self.passages:
            end += len(passage.text)
            if offset < end:
                return passage.header
        return ""


@dataclass(frozen=True, slots=True)
class Sought:
    """A question, and what evidence for it must hold."""

    question: str
    weights: Mapping[str, float]
    """Of its terms, and of those of what is lacking."""
    lacking: frozenset[str] = frozenset()
    """Terms of what other shards said is missing: evidence may be about that alone."""

    @property
    def keys(self) -> frozenset[str]:
        """Its names, or without any its weighty terms; and what is lacking."""
        named = names(self.question) & self.weights.keys()
        if named:
            return self.lacking | named
        least = WEIGHTY * max(self.weights.values(), default=0.0)
        weighty = {term for term, weight in self.weights.items() if weight >= least}
        return self.lacking | weighty

    @property
    def is_named(self) -> bool:
        """It is about something that has a name."""
        return bool(names(self.question) & self.weights.keys())

    def share_held(self, texts: Iterable[str]) -> float:
        """The share of the question's weight that these texts hold together, 0..1."""
        total = sum(self.weights.values())
        held = {term for text in texts for term in terms(text)}.intersection(self.weights)
        return sum(self.weights[term] for term in held) / total if total > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Proof:
    """A quote that code found."""

    document: int
    start: int
    """In the text of the document, from the search."""
    end: int
    quote: str
    """As the document has it."""
    about: str
    """What stands around it and says what it is about: source, header, the text before."""
    claim: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence of an answer, and the places of the proofs that hold its facts."""

    text: str
    proofs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """What is believed of one shard's answer."""

    proofs: tuple[Proof, ...] = ()
    said: tuple[Said, ...] = ()
    """Sentences of the answer that the proofs hold; empty: the quotes are the answer."""
    unverified: int = 0
    """Quotes, ids and sentences that were dropped."""
    missing: str = ""

    @property
    def found(self) -> bool:
        """Without a proof a shard has found nothing, whatever it says."""
        return bool(self.proofs)


def judge_structured(
    written: WrittenAnswer, sought: Sought, documents: Mapping[int, ShownDocument]
) -> Judged:
    """What is believed of an answer with quotes.

    Args:
        written: what the model wrote; ``found: false`` with quotes is believed as little as
            ``found: true`` without.
        sought: the question.
        documents: those that count for it, by number.
    """
    dropped = written.malformed
    proofs: list[Proof] = []
    for claimed in written.quotes if written.found else ():
        proof = _proof(claimed, sought, documents)
        if proof is None:
            dropped += 1
        elif not any(_overlap(proof, other) for other in proofs):
            proofs.append(proof)
    if not proofs:
        return Judged(unverified=dropped, missing=written.missing)
    said, struck = supported(written.answer, proofs, sought.question)
    return Judged(tuple(proofs), said, dropped + struck, written.missing)


def supported(answer: str, proofs: Sequence[Proof], question: str) -> tuple[tuple[Said, ...], int]:
    """The sentences of an answer that the proofs hold, with their proofs, and how many do not.

    A sentence with a number or a name that stands in no quote is not believed, nor is one that
    has no word in common with any.
    """
    asked = held_facts(question)
    quoted = [held_facts(proof.quote) for proof in proofs]
    around = [held_facts(proof.about) for proof in proofs]
    known = asked.union(*quoted)
    named = known.union(*around)
    kept: list[Said] = []
    struck = 0
    for sentence in map(cleaned, sentences_of(answer)):
        stated = facts(sentence)
        needed = stated - asked
        words = frozenset(terms(sentence))
        # What a quote is about may stand before it; its numbers must stand in it.
        is_held = numbers(sentence) <= known and stated <= named
        if not is_held or (words and not words & frozenset().union(*quoted, *around)):
            struck += 1
            continue
        kept.append(Said(sentence, _holding(needed or words, quoted)))
    return tuple(kept), struck


def _holding(wanted: frozenset[str], quoted: Sequence[frozenset[str]]) -> tuple[int, ...]:
    """The fewest proofs that hold together what of the wanted any of them holds."""
    left = wanted.intersection(frozenset().union(*quoted))
    chosen: list[int] = []
    while left:
        best = max(range(len(quoted)), key=lambda place: len(left & quoted[place]))
        chosen.append(best)
        left -= quoted[best]
    return tuple(sorted(chosen)) or (0,)


def _proof(
    claimed: ClaimedQuote, sought: Sought, documents: Mapping[int, ShownDocument]
) -> Proof | None:
    document = documents.get(claimed.document) if claimed.document is not None else None
    if document is None or holds_mask(claimed.quote):
        return None
    place = locate(claimed.quote.strip().strip('"“”'), document.text)
    if place is None:
        return None
    if len(document.text[slice(*place)].split()) < _FEW_WORDS:
        place = _sentence_around(document.text, *place)
    proof = proof_at(document, *place)
    if holds_mask(proof.quote) or not is_about(proof, document, sought):
        return None
    return replace(proof, claim=claimed.claim)


def proof_at(document: ShownDocument, start: int, end: int) -> Proof:
    """The proof at a place of a document."""
    quote = document.text[start:end].strip()
    header = document.header_at(start)
    lead = document.text[max(0, start - LEAD_CHARACTERS) : start]
    about = f"{document.source} {header} {lead}"
    return Proof(document.number, start, end, quote, about)


def is_about(proof: Proof, document: ShownDocument, sought: Sought) -> bool:
    """The quote is about what the question names: it, its headings, or what leads up to it."""
    headings = f"{document.source} {document.header_at(proof.start)}"
    around = proof.about if sought.is_named else headings
    return bool(sought.keys & {*terms(proof.quote), *terms(around)})


def _sentence_around(text: str, start: int, end: int) -> tuple[int, int]:
    first = max(0, start - _AROUND)
    for begins, ends in sentences(text[first : end + _AROUND]):
        if begins + first <= start and end <= ends + first:
            return begins + first, ends + first
    return start, end


def _overlap(one: Proof, other: Proof) -> bool:
    return one.document == other.document and one.start < other.end and other.start < one.end


def sentences_of(answer: str) -> list[str]:
    """The sentences of an answer."""
    return [answer[start:end] for start, end in sentences(answer)]


def cleaned(sentence: str) -> str:
    """A sentence on one line, without numbers of citations that the model made up."""
    return on_one_line(_NUMBERED.sub("", sentence))
