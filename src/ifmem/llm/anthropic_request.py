"""A call as a request of Anthropic's Messages API, marked where its prefix ends.

The order of a request is that of the cache, tools → system → messages: the rules are the system's,
and the documents, which are recalled text, stand in the user's message before the question.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from ifmem.domain.model import ModelCall, ModelCard
from ifmem.domain.prompt import Prompt

SHORT = timedelta(minutes=5)
BLOCK_CHARACTERS = 65_536
"""Of the text blocks that documents are sent in, about: what is appended leaves all but the last
block as they were, so a prefix that grew is read up to there and not written anew."""


def request_of(
    card: ModelCard, call: ModelCall, max_tokens: int, *, question: bool = True
) -> dict[str, Any]:
    """The arguments of ``messages.create``.

    Empty texts are left out, because the API refuses them. Without a question the prefix alone is
    sent, unless there is none.
    """
    prompt = call.prompt
    content = list(_document_blocks(prompt.documents, call.lifetime))
    if prompt.question and (question or not content):
        content.append({"type": "text", "text": prompt.question})
    request: dict[str, Any] = {
        "model": card.ref.model,
        "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": content}],
    }
    if prompt.rules:
        request["system"] = [{"type": "text", "text": prompt.rules}]
    schema = schema_of(card, prompt)
    if schema is not None:
        request["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    return request


def schema_of(card: ModelCard, prompt: Prompt) -> dict[str, Any] | None:
    """The answer's schema in the dialect that the API takes (closed objects, no bounds), if any."""
    if not card.structured or prompt.schema is None:
        return None
    from anthropic import transform_schema

    return transform_schema(dict(prompt.schema))


def kept_for(lifetime: timedelta) -> timedelta:
    """Of the two lifetimes that can be asked for, the one that is long enough if any is."""
    return SHORT if lifetime <= SHORT else timedelta(hours=1)


def cut(documents: str) -> Iterator[str]:
    """Blocks of whole lines; where one ends depends on what is before it, not on what follows."""
    start = 0
    while start < len(documents):
        end = documents.find("\n", start + BLOCK_CHARACTERS) + 1 or len(documents)
        if not documents[end:].strip():
            end = len(documents)  # the API refuses a block of white space
        yield documents[start:end]
        start = end


def _document_blocks(documents: str, lifetime: timedelta | None) -> Iterator[dict[str, Any]]:
    """The documents in blocks, marked at the end of the last whole one and of all.

    The two marks name two entries: the shorter one is still a prefix after more is appended.
    """
    texts = list(cut(documents))
    for number, text in enumerate(texts):
        block: dict[str, Any] = {"type": "text", "text": text}
        if lifetime is not None and number >= len(texts) - 2:
            ttl = "5m" if kept_for(lifetime) == SHORT else "1h"
            block["cache_control"] = {"type": "ephemeral", "ttl": ttl}
        yield block
