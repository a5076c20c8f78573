"""What a small model's plain words are worth: what one sentence of the shard holds of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ifmem.engine.analysis import terms
from ifmem.engine.answer_texts import WrittenAnswer
from ifmem.engine.evidence import best_evidence
from ifmem.engine.facts import facts, held_facts
from ifmem.engine.shard_answers import (
    Judged,
    Proof,
    Said,
    ShownDocument,
    Sought,
    cleaned,
    is_about,
    proof_at,
    sentences_of,
)

MOST_SENTENCES = 1_000
"""Of one passage: all of them."""


def judge_free(
    written: WrittenAnswer, sought: Sought, documents: Mapping[int, ShownDocument]
) -> Judged:
    """What is believed of an answer in plain words: each sentence as far as one sentence of the
    documents holds both what was asked and what it answers. That sentence is the quote.
    """
    if not written.found:
        return Judged()
    claims = [cleaned(sentence) for sentence in sentences_of(written.answer)]
    offered = _offered(sought, documents)
    proofs: list[Proof] = []
    said: list[Said] = []
    for claim in claims:
        proof = _proof_of(claim, sought.question, offered)
        if proof is None:
            continue
        if proof not in proofs:
            proofs.append(proof)
        said.append(Said(claim, (proofs.index(proof),)))
    return Judged(tuple(proofs), tuple(said), len(claims) - len(said))


@dataclass(frozen=True, slots=True)
class _Offered:
    """A sentence that holds something of what was asked."""

    proof: Proof
    support: float
    held: frozenset[str]
    """Terms of the question in it and its headings."""
    facts: frozenset[str]
    """Its facts that are not the question's."""


def _offered(sought: Sought, documents: Mapping[int, ShownDocument]) -> list[_Offered]:
    """The sentences that a plain answer may rest on, best first."""
    asked = held_facts(sought.question)
    offered: list[_Offered] = []
    for document in documents.values():
        start = 0
        for passage in document.passages:
            over = f"{document.source} {passage.header}"
            for one in best_evidence(sought.weights, passage.text, over, count=MOST_SENTENCES):
                proof = proof_at(document, start + one.start, start + one.end)
                if is_about(proof, document, sought):
                    held = sought.weights.keys() & {*terms(proof.quote), *terms(over)}
                    fresh = facts(proof.quote) - asked
                    offered.append(_Offered(proof, one.support, frozenset(held), fresh))
            start += len(passage.text)
    return sorted(offered, key=lambda one: -one.support)


def _proof_of(claim: str, question: str, offered: Sequence[_Offered]) -> Proof | None:
    """The sentence that holds what a claim adds to the question; None when another sentence that
    says something of that kind holds more of what was asked: the lighthouse is not the observatory.
    """
    asked = held_facts(question)
    stated = facts(claim) - asked
    added = frozenset(terms(claim)) - asked
    for one in offered:
        held = held_facts(one.proof.quote)
        is_held = stated <= held if stated else _holds_half(added, held)
        if is_held and not any(
            one.held < other.held and _same_kind(stated, other.facts) for other in offered
        ):
            return one.proof
    return None


def _same_kind(stated: frozenset[str], others: frozenset[str]) -> bool:
    """Another sentence states a number too, or a name too, where the answer does."""
    if any(fact[0].isdigit() for fact in stated):
        return any(fact[0].isdigit() for fact in others)
    return bool(others) or not stated


def _holds_half(added: frozenset[str], held: frozenset[str]) -> bool:
    return bool(added) and 2 * len(added & held) >= len(added)
