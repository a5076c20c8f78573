"""Models of the Gemini API: answers in a stream, and prefixes held as cache objects.

An object holds rules and documents; a call that names it sends its question alone. Objects are
paid by the hour, so they are made by ``warm`` only, and end by themselves.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ifmem import clock, tokens
from ifmem.domain.model import Caching, Completion, ModelCall, ModelCard, Stop
from ifmem.domain.usage import TokenUsage
from ifmem.errors import ConfigError, IfMemError, NotFound, NotPermitted
from ifmem.llm.gemini_answer import Answer
from ifmem.llm.gemini_errors import TooSmall, Translator
from ifmem.llm.gemini_request import (
    object_request,
    prolonging_request,
    question_request,
    title,
)

if TYPE_CHECKING:
    from google import genai
    from google.genai import types

OBJECT_GONE = "the cache object is gone"
OTHER_PREFIX = "the cache object holds another prefix"
TOO_SMALL = "the prefix is too small for a cache object"

_BASE_URL = "https://generativelanguage.googleapis.com"
_CONNECT_SECONDS = 10.0
_WARMING_QUESTION = "Answer with the one word: ready."
_WARMING_OUTPUT = 1
_OBJECTS_KNOWN = 1_000


@dataclass(frozen=True, slots=True)
class _Object:
    ends: datetime
    prefix: str
    """Digest of what it holds."""


class GeminiModel:
    """A ``LanguageModel`` on google-genai.

    Args:
        base_url: without a version; empty: Google's.
        key_name: where the key was looked for, to say in errors.
        timeout_seconds: of one request, from the connection to the end of its answer.

    Raises:
        ConfigError: no key, or the extra `gemini` is not installed.
    """

    def __init__(
        self,
        card: ModelCard,
        *,
        api_key: str,
        base_url: str = "",
        key_name: str = "GEMINI_API_KEY",
        timeout_seconds: float = 600,
    ) -> None:
        if not api_key:
            raise ConfigError(f"Gemini needs a key for {card.ref}: set {key_name}")
        if not (api_key.isascii() and api_key.isprintable() and " " not in api_key):
            raise ConfigError(f"{key_name} holds what no key does: a space or a special character")
        self._card = card
        self._timeout_seconds = timeout_seconds
        self._errors = Translator(card, key_name)
        self._client, self._http = _clients(api_key, base_url or _BASE_URL, timeout_seconds)
        self._objects: dict[str, _Object] = {}
        """Those that this process made or prolonged, by name."""

    @property
    def card(self) -> ModelCard:
        """What is known of it before a call."""
        return self._card

    async def complete(self, call: ModelCall) -> Completion:
        """The answer, by the object of ``call.handle`` while there is one; else all is sent."""
        if call.handle is None:
            return await self._ask(call, call.prompt.question, call.max_output)
        known = self._objects.get(call.handle)
        if known is not None and known.prefix != call.prompt.prefix_sha256:
            completion = await self._ask(call, call.prompt.question, call.max_output)
            return replace(completion, miss_reason=OTHER_PREFIX)
        started_ns = clock.stopwatch_ns()
        try:
            return await self._ask(call, call.prompt.question, call.max_output, handle=call.handle)
        except (NotFound, NotPermitted):
            # An object that is not there is said to be forbidden: nobody learns what exists. If
            # it was the key or the model, the same error comes again. Neither was billed.
            self._objects.pop(call.handle, None)
            first_try_ms = clock.milliseconds_since(started_ns)
            completion = await self._ask(call, call.prompt.question, call.max_output)
            return _later(replace(completion, miss_reason=OBJECT_GONE), first_try_ms)

    async def warm(self, call: ModelCall) -> Completion:
        """Have the prefix held: an object, made or prolonged, or else a shortest question.

        A prolonged object costs no tokens, a new one its tokens once; both cost storage.
        """
        if self._card.cache.caching is not Caching.OBJECT:
            return await self._ask(call, _WARMING_QUESTION, _WARMING_OUTPUT)
        if call.handle is not None:
            prolonged = await self._prolonged(call, call.handle)
            if prolonged is not None:
                return prolonged
        prefix = await self.count(call.prompt.rules + call.prompt.documents)
        if prefix >= self._card.cache.least_tokens:
            try:
                return await self._made(call, prefix)
            except TooSmall:
                pass  # The service counts for itself, and only its count matters.
        completion = await self._ask(call, _WARMING_QUESTION, _WARMING_OUTPUT)
        return replace(completion, miss_reason=TOO_SMALL)

    async def count(self, text: str) -> int:
        """o200k's count by the card's factor, rounded up."""
        counted = await asyncio.to_thread(tokens.count, text)
        return math.ceil(counted * self._card.tokens_per_o200k)

    async def drop(self, handle: str) -> None:
        """Delete a cache object; one that is gone is fine."""
        self._objects.pop(handle, None)
        try:
            async with self._translated():
                await self._client.aio.caches.delete(name=handle)
        except NotFound:
            pass

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aio.aclose()
        await self._http.aclose()
        self._client.close()

    async def _ask(
        self, call: ModelCall, question: str, max_output: int, *, handle: str | None = None
    ) -> Completion:
        request = question_request(
            self._card, call, question=question, max_output=max_output, handle=handle
        )
        answer = Answer(clock.stopwatch_ns(), call.begun)
        async with self._translated():
            stream = await self._client.aio.models.generate_content_stream(**request)
            async for chunk in stream:
                answer.take(chunk)
        return self._completion(answer, handle)

    def _completion(self, answer: Answer, handle: str | None) -> Completion:
        total_ms = clock.milliseconds_since(answer.started_ns)
        try:
            stop, usage = answer.stop, answer.usage
        except ValueError as error:
            raise self._errors.cut_short(f"ended in the middle: {error}") from error
        held = self._objects.get(handle) if handle else None
        return Completion(
            text="".join(answer.text),
            stop=stop,
            usage=usage,
            model=answer.model or self._card.ref.model,
            first_token_ms=answer.first_token_ms,
            total_ms=total_ms,
            request_id=answer.request_id,
            handle=handle,
            cached_until=held.ends if held else None,
        )

    async def _made(self, call: ModelCall, estimated: int) -> Completion:
        """A new object; its tokens are paid once, as prompt."""
        started_ns = clock.stopwatch_ns()
        request = object_request(self._card, call)
        async with self._translated():
            made = await self._client.aio.caches.create(**request)
        told = made.usage_metadata.total_token_count if made.usage_metadata else None
        written = estimated if told is None else told
        return self._held(call, made, started_ns, TokenUsage(cache_write_other=written))

    async def _prolonged(self, call: ModelCall, handle: str) -> Completion | None:
        """The object with its lifetime begun anew; None when it is gone or holds other text."""
        started_ns = clock.stopwatch_ns()
        request = prolonging_request(call, handle)
        try:
            async with self._translated():
                updated = await self._client.aio.caches.update(**request)
        except (NotFound, NotPermitted):
            self._objects.pop(handle, None)
            return None
        if not (updated.display_name or "").startswith(title(call)):
            # What it holds is told by nobody else; after a restart its title alone knows.
            await self.drop(handle)
            return None
        return self._held(call, updated, started_ns, TokenUsage())

    def _held(
        self, call: ModelCall, held: types.CachedContent, started_ns: int, usage: TokenUsage
    ) -> Completion:
        if not held.name or held.expire_time is None:
            raise self._errors.cut_short("did not name the cache object and its end")
        ends = held.expire_time.astimezone(UTC)
        while len(self._objects) >= _OBJECTS_KNOWN:
            del self._objects[next(iter(self._objects))]
        self._objects[held.name] = _Object(ends, call.prompt.prefix_sha256)
        return Completion(
            text="",
            stop=Stop.END,
            usage=usage,
            model=self._card.ref.model,
            first_token_ms=None,
            total_ms=clock.milliseconds_since(started_ns),
            handle=held.name,
            cached_until=ends,
        )

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        """Errors of the SDK become ours, and a request its time limit."""
        import httpx2
        from google.genai import errors

        try:
            async with asyncio.timeout(self._timeout_seconds):
                yield
        except IfMemError:
            raise
        except TimeoutError as error:
            raise self._errors.cut_short(
                f"gave no whole answer within {self._timeout_seconds:g} s"
            ) from error
        except (errors.APIError, httpx2.HTTPError, ValueError, RecursionError) as error:
            raise self._errors.translate(error) from error


def _later(completion: Completion, ms: float) -> Completion:
    first = completion.first_token_ms
    return replace(
        completion,
        first_token_ms=None if first is None else first + ms,
        total_ms=completion.total_ms + ms,
    )


def _clients(api_key: str, base_url: str, timeout_seconds: float) -> tuple[genai.Client, Any]:
    """The SDK's client and the connections under it.

    Everything that the SDK would take from the environment is given: the key, the address, the
    version, and that this is not Google's cloud.
    """
    try:
        import httpx2
        from google import genai
        from google.genai import types
    except ImportError as error:
        raise ConfigError("models of Gemini need an extra: pip install 'ifmem[gemini]'") from error

    async def connect_sooner(request: httpx2.Request) -> None:
        # The SDK gives one limit to all steps; a connection is not waited for that long.
        limits = request.extensions.get("timeout", {})
        limits["connect"] = min(_CONNECT_SECONDS, timeout_seconds)

    http = httpx2.AsyncClient(event_hooks={"request": [connect_sooner]})
    client = genai.Client(
        enterprise=False,
        api_key=api_key,
        http_options=types.HttpOptions(
            base_url=base_url,
            api_version="v1beta",
            timeout=max(1, math.ceil(timeout_seconds * 1_000)),
            httpx_async_client=http,
        ),
    )
    return client, http
