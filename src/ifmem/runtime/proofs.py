"""From a proof in what a model read to a citation: found once more, in the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial

from msgspec import structs

from ifmem.domain.passage import Passage
from ifmem.engine.shard_answers import Proof
from ifmem.runtime.citing import is_stale
from ifmem.runtime.quoting import passage_citation
from ifmem.runtime.shard_texts import Piece, ReadDocument
from ifmem.runtime.space import Space
from ifmem.store import contents
from ifmem.wire.answers import CitationShape


async def cited(
    space: Space, shard: int, documents: Sequence[ReadDocument], proofs: Sequence[Proof]
) -> list[CitationShape | None]:
    """A citation for each proof, in order; None for one that the store does not hold (any more).

    Args:
        shard: that the documents were read in.
        documents: what the model read; numbered from 1.
        proofs: found in them.
    """
    citations: list[CitationShape | None] = []
    for proof in proofs:
        document = documents[proof.document - 1]
        pieces = _around(document, proof)
        ordinals = [piece.passage.ordinal for piece in pieces]
        rows = await space.read(
            partial(_rows, sha256=document.part.sha256, ordinals=ordinals, pieces=pieces)
        )
        citation = passage_citation(rows, proof.quote)
        if citation is not None:
            stale = await is_stale(space, citation.source)
            citation = structs.replace(citation, shard=shard, stale=stale)
        citations.append(citation)
    return citations


def _around(document: ReadDocument, proof: Proof) -> list[Piece]:
    """The passages that a proof stands in."""
    found: list[Piece] = []
    start = 0
    for piece in document.pieces:
        end = start + len(piece.text)
        if start < proof.end and proof.start < end:
            found.append(piece)
        start = end
    return found


def _rows(
    connection: sqlite3.Connection, sha256: str, ordinals: Sequence[int], pieces: Sequence[Piece]
) -> list[Passage]:
    """The stored passages that were read; empty when they are gone or others."""
    # Two readers may have made different texts of the same bytes.
    wanted = [piece.text for piece in pieces]
    found = contents.passages_at(connection, sha256, ordinals)
    for at in range(0, len(found), max(len(pieces), 1)):
        rows = found[at : at + len(pieces)]
        if [row.text for row in rows] == wanted:
            return rows
    return []
