"""Claude by Anthropic's Messages API: we mark the end of the documents, and it keeps the prefix."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ifmem import clock, tokens
from ifmem.domain.model import Completion, ModelCall, ModelCard
from ifmem.errors import ConfigError, IfMemError, OutcomeUnknown
from ifmem.llm.anthropic_answer import AnswerSoFar
from ifmem.llm.anthropic_errors import limits_left, translated, unreadable
from ifmem.llm.anthropic_request import kept_for, request_of, schema_of

if TYPE_CHECKING:
    import anthropic
    from anthropic.types import Message, RawMessageStreamEvent

BASE_URL = "https://api.anthropic.com"
"""Said here, so that a variable of the environment does not send keys elsewhere."""
CONNECT_SECONDS = 10.0
MOST_REMEMBERED = 1_024
"""Shards whose last message is kept, to ask why a prefix was not read."""


class AnthropicModel:
    """A ``LanguageModel`` (see ``llm/port.py``) on the official SDK.

    Args:
        key_name: the setting or variable that held the key, for messages.
        timeout_seconds: of silence, between any two pieces of an answer.

    Raises:
        ConfigError: no key, one that cannot be a key, or the SDK is not installed.
    """

    def __init__(
        self,
        card: ModelCard,
        *,
        api_key: str,
        base_url: str = "",
        key_name: str = "ANTHROPIC_API_KEY",
        timeout_seconds: float = 600,
    ) -> None:
        self._card = card
        self._key = _checked(api_key.strip(), key_name, str(card.ref))
        self._key_name = key_name
        try:
            import anthropic
        except ImportError as error:
            raise ConfigError(
                f"{card.ref} needs a further package: pip install 'ifmem[anthropic]'",
                extra="anthropic",
            ) from error
        self._client = anthropic.AsyncAnthropic(
            api_key=self._key,
            base_url=base_url or BASE_URL,
            max_retries=0,
            timeout=anthropic.Timeout(
                timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds)
            ),
            open_telemetry=False,
        )
        self._messages: OrderedDict[str, str] = OrderedDict()

    @property
    def card(self) -> ModelCard:
        return self._card

    async def complete(self, call: ModelCall) -> Completion:
        """The answer, read as it is written; a stop is told in the last event but one."""
        return await self._read(call, request_of(self._card, call, call.max_output))

    async def warm(self, call: ModelCall) -> Completion:
        """Have the prefix written, and nothing generated, or one token where that is refused.

        ``max_tokens: 0`` goes neither with a stream nor with a structured output (docs
        build-with-claude/prompt-caching, pre-warming), and without its schema another prefix would
        be written: the format is part of it (docs build-with-claude/structured-outputs).
        """
        if schema_of(self._card, call.prompt) is not None:
            return await self._read(call, request_of(self._card, call, 1, question=False))
        return await self._write(call, request_of(self._card, call, 0, question=False))

    async def count(self, text: str) -> int:
        """Tokens by the vendor's counter, over the network, if the card says it is exact."""
        if not self._card.exact_count:
            return math.ceil(tokens.count(text) * self._card.tokens_per_o200k)
        if not text.strip():
            return 0
        import anthropic

        try:
            counted = await self._client.messages.count_tokens(
                model=self._card.ref.model, messages=[{"role": "user", "content": text}]
            )
        except anthropic.AnthropicError as error:
            raise self._translated(error) from error
        except ValueError as error:
            raise unreadable(str(self._card.ref)) from error
        return counted.input_tokens

    async def drop(self, handle: str) -> None:
        """Nothing: a prefix has no name here, and is kept until its lifetime ends."""

    async def aclose(self) -> None:
        await self._client.close()

    async def _read(self, call: ModelCall, request: Mapping[str, Any]) -> Completion:
        import anthropic
        import httpx2

        answer = AnswerSoFar(clock.stopwatch_ns())
        try:
            raw = await self._client.messages.with_raw_response.create(
                stream=True, **request, **self._diagnostics(call)
            )
            answer.headers = raw.headers
            stream: anthropic.AsyncStream[RawMessageStreamEvent] = await raw.parse()
            async with stream:
                async for event in stream:
                    answer.take(event)
                    if event.type == "message_start" and call.begun is not None:
                        call.begun()  # the entry is readable once the answer has begun
        except anthropic.AnthropicError as error:
            if not answer.ended:
                raise self._lost(answer) if answer.begun else self._translated(error) from error
        except (httpx2.HTTPError, ValueError, AttributeError) as error:
            # Attributes: the SDK builds events unchecked, and a foreign one lacks what is read.
            if not answer.ended:
                raise self._lost(answer) from error
        if not answer.ended:
            raise self._lost(answer)
        return self._completion(call, answer)

    async def _write(self, call: ModelCall, request: Mapping[str, Any]) -> Completion:
        import anthropic

        answer = AnswerSoFar(clock.stopwatch_ns())
        try:
            raw = await self._client.messages.with_raw_response.create(
                **request, **self._diagnostics(call)
            )
            answer.headers = raw.headers
            message: Message = await raw.parse()
        except anthropic.AnthropicError as error:
            raise self._translated(error) from error
        except ValueError as error:
            raise unreadable(str(self._card.ref)) from error
        if not answer.take_whole(message):
            raise unreadable(str(self._card.ref))
        if call.begun is not None:
            call.begun()
        return self._completion(call, answer)

    def _completion(self, call: ModelCall, answer: AnswerSoFar) -> Completion:
        usage = answer.usage
        until = None
        if call.lifetime is not None:
            self._remember(call.cache_key, answer.message_id)
            if usage.cache_write + usage.cache_read > 0:
                until = clock.now() + kept_for(call.lifetime)
        return Completion(
            text=answer.text,
            stop=answer.stop,
            usage=usage,
            model=answer.model or self._card.ref.model,
            first_token_ms=answer.first_token_ms,
            total_ms=clock.milliseconds_since(answer.started_ns),
            request_id=answer.headers.get("request-id"),
            cached_until=until,
            miss_reason=answer.miss_reason,
            limits=limits_left(answer.headers),
        )

    def _diagnostics(self, call: ModelCall) -> dict[str, Any]:
        """Ask why the prefix was not read, by the shard's last message, if it shall be kept."""
        if call.lifetime is None or not call.cache_key:
            return {}
        previous = self._messages.get(call.cache_key)
        return {"diagnostics": {"previous_message_id": previous}}

    def _remember(self, cache_key: str, message_id: str) -> None:
        if not cache_key:
            return
        self._messages[cache_key] = message_id
        self._messages.move_to_end(cache_key)
        if len(self._messages) > MOST_REMEMBERED:
            self._messages.popitem(last=False)

    def _translated(self, error: anthropic.AnthropicError) -> IfMemError:
        return translated(error, model=str(self._card.ref), key=self._key, key_name=self._key_name)

    def _lost(self, answer: AnswerSoFar) -> OutcomeUnknown:
        """The answer was cut off: what was told of its usage goes along."""
        return OutcomeUnknown(
            f"the answer of {self._card.ref} was cut off: the call may be billed, ask again",
            model=str(self._card.ref),
            request_id=answer.headers.get("request-id"),
            usage=asdict(answer.usage) if answer.begun else None,
        )


def _checked(key: str, key_name: str, model: str) -> str:
    if not key:
        raise ConfigError(f"{model} needs a key: set {key_name}", key_name=key_name)
    if not key.isascii() or not key.isprintable():
        raise ConfigError(
            f"{key_name} holds characters that are in no key: set it anew", key_name=key_name
        )
    return key
