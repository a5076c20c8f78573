"""An answer of Gemini's stream, put together chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from ifmem import clock
from ifmem.domain.model import Stop
from ifmem.domain.usage import TokenUsage

if TYPE_CHECKING:
    from google.genai.types import (
        Candidate,
        GenerateContentResponse,
        GenerateContentResponseUsageMetadata,
    )

_STOPS: Mapping[str, Stop] = MappingProxyType(
    {
        "STOP": Stop.END,
        "MAX_TOKENS": Stop.LENGTH,
        # It would go on in another request, which we do not make.
        "CONTINUATION": Stop.LENGTH,
        "MALFORMED_RESPONSE": Stop.LENGTH,
    }
)
"""Every other reason is one of the service for holding the answer back (SAFETY, RECITATION, …)."""


@dataclass(slots=True)
class Answer:
    """What has come of an answer so far."""

    started_ns: int
    begun: Callable[[], None] | None = None
    """Called at its first token."""
    text: list[str] = field(default_factory=list)
    finish: str | None = None
    metadata: GenerateContentResponseUsageMetadata | None = None
    model: str | None = None
    request_id: str | None = None
    first_token_ms: float | None = None

    def take(self, chunk: GenerateContentResponse) -> None:
        """Add a chunk; its usage counts for everything until then."""
        self.metadata = chunk.usage_metadata or self.metadata
        self.model = chunk.model_version or self.model
        self.request_id = chunk.response_id or self.request_id
        feedback = chunk.prompt_feedback
        if feedback is not None and feedback.block_reason is not None:
            # The prompt itself was held back: there is no candidate to end.
            self.finish = str(feedback.block_reason.value)
        if chunk.candidates:
            self._choose(chunk.candidates[0])

    @property
    def stop(self) -> Stop:
        """Why it ended.

        Raises:
            ValueError: it has not.
        """
        if self.finish is None:
            raise ValueError("the answer has not ended")
        return _STOPS.get(self.finish, Stop.REFUSED)

    @property
    def usage(self) -> TokenUsage:
        """Its tokens, taken apart.

        Raises:
            ValueError: they were not told, or cannot be.
        """
        return usage_of(self.metadata)

    def _choose(self, candidate: Candidate) -> None:
        if candidate.finish_reason is not None:
            self.finish = str(candidate.finish_reason.value)
        parts = (candidate.content.parts if candidate.content else None) or []
        for part in parts:
            if part.text and not part.thought:
                self.text.append(part.text)
                self._begin()

    def _begin(self) -> None:
        if self.first_token_ms is None:
            self.first_token_ms = clock.milliseconds_since(self.started_ns)
            if self.begun is not None:
                self.begun()


def usage_of(told: GenerateContentResponseUsageMetadata | None) -> TokenUsage:
    """What Gemini reports, in buckets that do not overlap.

    ``prompt_token_count`` includes what was read from a cache; results of tools are prompt beside
    it; thoughts are billed as output and are not among the candidates (google-genai 3.4, the
    description of ``total_token_count``). What is written to an implicit cache is not told and
    costs nothing beyond the prompt.

    Raises:
        ValueError: nothing was told of the prompt, or more was read than sent.
    """
    if told is None or told.prompt_token_count is None:
        raise ValueError("the answer did not tell its usage")
    read = told.cached_content_token_count or 0
    return TokenUsage(
        uncached=told.prompt_token_count + (told.tool_use_prompt_token_count or 0) - read,
        cache_read=read,
        output=told.candidates_token_count or 0,
        reasoning=told.thoughts_token_count or 0,
    )
