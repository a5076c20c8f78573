"""What Gemini is sent: of a question, and of a cache object."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ifmem import clock
from ifmem.domain.model import ModelCall, ModelCard

if TYPE_CHECKING:
    from google.genai import types

_LIFETIME = timedelta(hours=1)
"""The service's own default (ai.google.dev, caching; read 2026-11)."""
_LONGEST_TITLE = 128


def question_request(
    card: ModelCard,
    call: ModelCall,
    *,
    question: str,
    max_output: int,
    handle: str | None = None,
) -> dict[str, Any]:
    """The arguments of ``generate_content_stream``; by an object, the question alone.

    An object has the system's instruction in itself, and the service refuses a second one.
    """
    config: dict[str, Any] = {
        "max_output_tokens": max_output,
        "automatic_continuation": False,  # each request has a row of its own in the account
        "thinking_config": _thinking(card.ref.model),
    }
    if handle:
        config["cached_content"] = handle
    elif call.prompt.rules:
        config["system_instruction"] = call.prompt.rules
    if call.prompt.schema is not None and card.structured:
        config["response_mime_type"] = "application/json"
        config["response_json_schema"] = dict(call.prompt.schema)
    texts = [question] if handle else [call.prompt.documents, question]
    return {
        "model": card.ref.model,
        "contents": _content(*texts),
        "config": _types().GenerateContentConfig(**config),
    }


def object_request(card: ModelCard, call: ModelCall) -> dict[str, Any]:
    """The arguments of ``caches.create``: rules and documents, for the call's lifetime."""
    config = _types().CreateCachedContentConfig(
        system_instruction=call.prompt.rules or None,
        contents=_content(call.prompt.documents),
        ttl=_ttl(call.lifetime),
        display_name=f"{title(call)} {call.cache_key}".strip()[:_LONGEST_TITLE],
    )
    return {"model": card.ref.model, "config": config}


def prolonging_request(call: ModelCall, handle: str) -> dict[str, Any]:
    """The arguments of ``caches.update``: the lifetime begins anew."""
    return {
        "name": handle,
        "config": _types().UpdateCachedContentConfig(ttl=_ttl(call.lifetime)),
    }


def title(call: ModelCall) -> str:
    """How the title of an object begins, which says what it holds: the service never does."""
    return f"ifmem {call.prompt.prefix_sha256[:16]}"


def _types() -> Any:
    from google.genai import types

    return types


def _content(*texts: str) -> list[types.Content]:
    """One turn of the user; each text is a part of its own, so no text changes another."""
    made = _types()
    parts = [made.Part(text=text) for text in texts if text]
    return [made.Content(role="user", parts=parts)]


def _thinking(model: str) -> dict[str, Any] | None:
    """As little as the model can: thoughts count within ``max_output``, and would use it up.

    ai.google.dev, thinking: a level from Gemini 3 on, a budget for 2.5, where Pro thinks at least
    128 tokens; models before refuse either.
    """
    if re.match(r"gemini-[3-9]", model):
        return {"thinking_level": "LOW"}
    if model.startswith("gemini-2.5-"):
        return {"thinking_budget": 128 if model.startswith("gemini-2.5-pro") else 0}
    return None


def _ttl(lifetime: timedelta | None) -> str:
    return f"{clock.in_seconds(lifetime or _LIFETIME):g}s"
