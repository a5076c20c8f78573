"""A streamed answer of OpenAI's chat protocol, put together from its chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ifmem import clock


@dataclass(slots=True)
class StreamedAnswer:
    """What has come so far.

    Args:
        started_ns: when it was asked for, by ``clock.stopwatch_ns``.
        begun: called when the first piece of text comes, and not again.
    """

    started_ns: int
    begun: Callable[[], None] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    text: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    finish: str = ""
    """Why it ended; empty while it has not."""
    usage: object = None
    """As the server reports it, unchecked."""
    timings: object = None
    """llama.cpp's, unchecked."""
    model: str = ""
    first_token_ms: float | None = None

    def take(self, chunk: Any) -> None:
        """Add a chunk.

        Raises:
            ValueError: it is no JSON object.
        """
        # The SDK builds its types without checking them, so plain data is read with care.
        if not hasattr(chunk, "to_dict"):
            raise ValueError("a chunk is no object")
        data: dict[str, Any] = chunk.to_dict(warnings=False)
        self.usage = data.get("usage") or self.usage
        self.timings = data.get("timings") or self.timings
        if isinstance(model := data.get("model"), str):
            self.model = model
        choices = data.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            self._choose(choices[0])

    def _choose(self, choice: Mapping[str, Any]) -> None:
        if isinstance(reason := choice.get("finish_reason"), str):
            self.finish = reason
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return
        for name, parts in (("content", self.text), ("refusal", self.refusal)):
            if isinstance(piece := delta.get(name), str) and piece:
                parts.append(piece)
                self._came()

    def _came(self) -> None:
        if self.first_token_ms is not None:
            return
        self.first_token_ms = clock.milliseconds_since(self.started_ns)
        if self.begun is not None:
            self.begun()
