"""What has come of an answer of Anthropic's Messages API so far, whole or event by event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ifmem import clock
from ifmem.domain.model import Stop
from ifmem.domain.usage import TokenUsage
from ifmem.llm.anthropic_usage import brought_up_to_date, token_usage

if TYPE_CHECKING:
    from anthropic.types import Message, RawMessageStreamEvent

_STOPS = {
    "max_tokens": Stop.LENGTH,
    "model_context_window_exceeded": Stop.LENGTH,
    "refusal": Stop.REFUSED,
}
"""Of SDK 2.12's ``types/stop_reason.py``; every other is an end."""


@dataclass(slots=True)
class AnswerSoFar:
    """Grows while it is read; ``ended`` says whether nothing that matters is missing."""

    started_ns: int
    """Of ``clock.stopwatch_ns``, when the call was made."""
    headers: Mapping[str, str] = field(default_factory=dict)
    message_id: str = ""
    model: str = ""
    first_token_ms: float | None = None
    _texts: list[str] = field(default_factory=list)
    _stop_reason: str = ""
    _reported: dict[str, Any] = field(default_factory=dict)
    _miss: Mapping[str, Any] = field(default_factory=dict)

    @property
    def begun(self) -> bool:
        """The vendor has told what the prompt was."""
        return bool(self.message_id)

    @property
    def ended(self) -> bool:
        """Its usage and its stop were told; what comes after is only the protocol's farewell."""
        return self.begun and bool(self._stop_reason)

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def stop(self) -> Stop:
        return _STOPS.get(self._stop_reason, Stop.END)

    @property
    def usage(self) -> TokenUsage:
        return token_usage(self._reported)

    @property
    def miss_reason(self) -> str | None:
        """The vendor's word for a prefix that was not read, where it explains what was written.

        It compares the requests' structure, so another question alone is ``messages_changed``:
        that says nothing about a prefix that was read, or that had lapsed.
        """
        usage = self.usage
        if not self._miss or usage.cache_write <= usage.cache_read:
            return None
        missed = self._miss.get("cache_missed_input_tokens")
        if isinstance(missed, int) and 2 * missed < usage.cache_write:
            return None
        return str(self._miss.get("type"))

    def take(self, event: RawMessageStreamEvent) -> None:
        """The next event of a stream."""
        match event.type:
            case "message_start":
                self._begin(event.message)
            case "content_block_delta" if event.delta.type == "text_delta":
                if self.first_token_ms is None and event.delta.text:
                    self.first_token_ms = clock.milliseconds_since(self.started_ns)
                self._texts.append(event.delta.text)
            case "message_delta":
                self._stop_reason = event.delta.stop_reason or self._stop_reason
                self._reported = brought_up_to_date(self._reported, event.usage.to_dict())

    def take_whole(self, message: Message) -> bool:
        """A message that came in one piece; False when it is none."""
        # The SDK does not check what it is given unless it is told to be strict with everything.
        if not getattr(message, "id", None) or getattr(message, "usage", None) is None:
            return False
        self._begin(message)
        self._texts = [block.text for block in message.content if block.type == "text"]
        self._stop_reason = message.stop_reason or "end_turn"
        return True

    def _begin(self, message: Message) -> None:
        self.message_id = message.id
        self.model = message.model
        self._reported = message.usage.to_dict()
        if message.diagnostics is not None and message.diagnostics.cache_miss_reason is not None:
            self._miss = message.diagnostics.cache_miss_reason.to_dict()
