"""What a shard's model is told when another shard's quote does not go with its answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ifmem.domain.prompt import Prompt
from ifmem.prompts.fencing import FencedDocument, fence
from ifmem.prompts.shard_answer import SCHEMA, asked, rules

VERSION = 1


def dispute(
    documents: str,
    question: str,
    *,
    structured: bool,
    own: str,
    others: Sequence[FencedDocument],
    excerpts: Iterable[FencedDocument] = (),
    only: Sequence[int] | None = None,
) -> Prompt:
    """The prompt that shows a shard the other side's quotes, once.

    It shares every byte before the boundary with the prompt that asked the shard first.

    Args:
        documents: the shard, as in ``shard_answer``.
        question: as asked.
        structured: the model keeps to a JSON schema.
        own: what this shard answered.
        others: the quotes of the other side; their numbers are none of the shard's documents.
        excerpts: as in ``shard_answer``.
        only: as in ``shard_answer``.
    """
    shown = fence(excerpts)
    own_answer = FencedDocument(0, "your answer", "", own)
    return Prompt(
        name="dispute",
        version=VERSION,
        rules=rules(structured=structured),
        documents=documents,
        question=(
            (f"Excerpts of the documents:\n\n{shown}\n" if shown else "")
            + asked(question, only=only)
            + "\nYou answered before:\n"
            + own_answer.fenced
            + "\nOther documents, which you have not read, hold these quotes:\n"
            + fence(others)
            + "\nThey do not seem to go together. Look at your own documents again. If they still "
            "prove your answer, give it again with its quotes, and prefer what is newer or more "
            "exact; if they do not, say that nothing was found. Quote your own documents only.\n"
        ),
        schema=SCHEMA if structured else None,
    )
