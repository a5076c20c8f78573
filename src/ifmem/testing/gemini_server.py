"""The Gemini API on loopback: its cache objects, implicit caching, limits and refusals.

    with GeminiServer(lambda request: "The answer.") as server:
        GeminiModel(card, api_key=server.key, base_url=server.url)

Each rule names its source: "docs" are the pages of ai.google.dev/gemini-api/docs, "SDK" is
google-genai 3.4.0, "seen" is how the service words it, written down nowhere. What it answers is the
test's; tokens are counted four bytes each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import count as numbers
from typing import Any

import msgspec

from ifmem import clock as system_clock
from ifmem.testing.gemini_objects import CacheObjects, GeminiRefusal
from ifmem.testing.loopback import Event, LoopbackServer, Reply, Request, Stream
from ifmem.testing.prefix_cache import (
    BYTES_PER_TOKEN,
    CachedCall,
    PrefixCache,
    cut,
    quick_count,
)
from ifmem.testing.rate_limits import Allowance

KEY = "fake-" + "gemini-" + "key"
_MODEL_PATH = re.compile(r"/v1beta/models/([^/:]+):(\w+)")
_STEP_TOKENS = 64
"""In which steps implicit caching matches is said nowhere: small ones."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that the fake serves."""

    window: int
    least_tokens: int
    """docs caching: of an object, and of a prefix that is found again by itself."""
    objects: bool = True


MODELS: Mapping[str, ServedModel] = {
    "gemini-3.8-flash": ServedModel(1_000_000, 4_096),
    "gemini-2.5-flash": ServedModel(1_048_576, 2_048),
    "gemini-4-argon": ServedModel(1_048_576, 4_096, objects=False),
}
"""Windows as genai-prices 0.2.3 has them; least sizes as docs caching had them in 2026-07."""


@dataclass(frozen=True, slots=True)
class Said:
    """An answer with more than its text."""

    text: str
    finish: str = "STOP"
    """SDK types.FinishReason."""
    thoughts: int = 0
    """Tokens beside those of the text, within the same maximum (docs thinking)."""
    blocked: str = ""
    """SDK types.BlockedReason: the prompt is held back, and no candidate comes."""


class GeminiServer(LoopbackServer):
    """The vendor, for one project.

    Args:
        says: what is answered to a request for content that is in order.
        key: the one that is accepted.
        requests_per_minute: of the project; None: no end.
        missing: the status with which objects that are not there are refused.
    """

    def __init__(
        self,
        says: Callable[[Request], str | Said] = lambda _: "Yes.",
        *,
        key: str = KEY,
        models: Mapping[str, ServedModel] = MODELS,
        clock: Callable[[], datetime] = system_clock.now,
        requests_per_minute: int | None = None,
        missing: int = 403,
        keep: int = 1_000,
    ) -> None:
        super().__init__(clock=clock, keep=keep)
        self.key = key
        self.models = models
        self.objects = CacheObjects(clock=clock, missing=missing)
        # For how long an implicit prefix is kept is said nowhere: until a test evicts it.
        self.cache = PrefixCache(clock=clock)
        self._says = says
        self._requests = Allowance(requests_per_minute, clock)
        self._numbers = numbers(1)

    def answer(self, request: Request) -> Reply | Stream:
        try:
            self._let_in(request)
            if request.path.startswith("/v1beta/cachedContents"):
                return self._object(request)
            return self._generate(request)
        except GeminiRefusal as refused:
            return refused.reply()

    def _let_in(self, request: Request) -> None:
        if request.headers.get("x-goog-api-key") != self.key:
            # seen: a wrong key is an invalid argument, told apart by ErrorInfo's reason alone.
            raise GeminiRefusal(
                400,
                "INVALID_ARGUMENT",
                "API key not valid. Please pass a valid API key.",
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"},
            )
        wait = self._requests.wait(1)
        if wait:
            # docs rate-limits; google.rpc.RetryInfo. There is no header.
            raise GeminiRefusal(
                429,
                "RESOURCE_EXHAUSTED",
                f"You exceeded your current quota. Please retry in {wait}s.",
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait}s"},
            )
        self._requests.take(1)

    def _object(self, request: Request) -> Reply:
        if request.method == "POST":
            body = _body(request)
            name = str(body.get("model", "")).removeprefix("models/")
            model = self._model(name, "createCachedContent")
            if not model.objects:
                raise _no_model(name, "createCachedContent")
            size = _tokens(body)
            if size < model.least_tokens:
                # seen: the least size is told with the refusal.
                raise GeminiRefusal(
                    400,
                    "INVALID_ARGUMENT",
                    f"Cached content is too small. total_token_count={size}, "
                    f"min_total_token_count={model.least_tokens}",
                )
            return self.objects.create(name, body, tokens=size)
        return self.objects.serve(request)

    def _generate(self, request: Request) -> Reply | Stream:
        path = _MODEL_PATH.fullmatch(request.path)
        if path is None:
            raise GeminiRefusal(404, "NOT_FOUND", "Requested entity was not found.")
        name, method = path.groups()
        model = self._model(name, method)
        body = _body(request)
        if method == "countTokens":
            return Reply({"totalTokens": _tokens(body)})
        if method not in {"generateContent", "streamGenerateContent"}:
            raise _no_model(name, method)
        held = self.objects.used(name, body) if "cachedContent" in body else 0
        prompt = held + _tokens(body)
        if prompt > model.window:
            raise GeminiRefusal(
                400,
                "INVALID_ARGUMENT",
                f"The input token count ({prompt}) exceeds the maximum number of tokens allowed "
                f"({model.window}).",
            )
        most = body.get("generationConfig", {}).get("maxOutputTokens", 8_192)
        if most < 1:
            raise GeminiRefusal(400, "INVALID_ARGUMENT", "max_output_tokens must be positive.")
        # docs caching: an object is read whole; without one, equal prefixes are found.
        call = None if held else self._implicit(name, model, body)
        read = held if call is None else call.read
        said = _cut_off(self._says(request), most)
        chunks = self._chunks(name, said, prompt, read)
        if method == "streamGenerateContent":
            return Stream(_begun(chunks, call))
        *_, last = whole = list(chunks)
        text = "".join(_text(chunk) for chunk in whole)
        if "candidates" in last:
            last["candidates"][0]["content"] = {"role": "model", "parts": [{"text": text}]}
        return Reply(last, begin=None if call is None else call.answer_begun)

    def _model(self, name: str, method: str) -> ServedModel:
        model = self.models.get(name)
        if model is None:
            raise _no_model(name, method)
        return model

    def _implicit(self, name: str, model: ServedModel, body: Mapping[str, Any]) -> CachedCall:
        """docs caching: on by default, for prefixes from a least size on; writing costs nothing."""
        shared = [body.get("systemInstruction"), body.get("contents")]
        text = "\0".join(_texts(shared)).encode()
        blocks = cut(text, _STEP_TOKENS)
        whole = [index for index, block in enumerate(blocks) if block.tokens == _STEP_TOKENS]
        return self.cache.call(
            name, blocks, writes=dict.fromkeys(whole), reads=whole, least_tokens=model.least_tokens
        )

    def _chunks(self, name: str, said: Said, prompt: int, read: int) -> Iterator[dict[str, Any]]:
        """SDK types.GenerateContentResponse; the usage of each chunk counts all until then."""
        shared = {"modelVersion": name, "responseId": f"answer-{next(self._numbers):06}"}
        usage: dict[str, int] = {"promptTokenCount": prompt, "totalTokenCount": prompt}
        if read:
            usage["cachedContentTokenCount"] = read
        if said.blocked:
            feedback = {"blockReason": said.blocked}
            yield {"promptFeedback": feedback, "usageMetadata": usage, **shared}
            return
        if said.thoughts:
            usage["thoughtsTokenCount"] = said.thoughts
        sent = ""
        for piece in _pieces(said.text):
            sent += piece
            candidate = {"content": {"role": "model", "parts": [{"text": piece}]}, "index": 0}
            yield {"candidates": [candidate], "usageMetadata": _so_far(usage, sent), **shared}
        end = {"content": {"role": "model"}, "finishReason": said.finish, "index": 0}
        yield {"candidates": [end], "usageMetadata": _so_far(usage, sent), **shared}


def _so_far(usage: Mapping[str, int], sent: str) -> dict[str, int]:
    """SDK: the total is the sum of prompt, candidates, tools' results and thoughts."""
    written = quick_count(sent)
    total = usage["promptTokenCount"] + usage.get("thoughtsTokenCount", 0) + written
    return {**usage, "candidatesTokenCount": written, "totalTokenCount": total}


def _begun(chunks: Iterator[dict[str, Any]], call: CachedCall | None) -> Iterator[Event]:
    if call is not None:
        call.answer_begun()
    for chunk in chunks:
        yield Event(chunk)


def _cut_off(said: str | Said, most: int) -> Said:
    """docs thinking: thoughts and text share the maximum."""
    whole = Said(said) if isinstance(said, str) else said
    if quick_count(whole.text) + whole.thoughts <= most:
        return whole
    thoughts = min(whole.thoughts, most)
    text = whole.text.encode()[: (most - thoughts) * BYTES_PER_TOKEN].decode(errors="ignore")
    return Said(text, "MAX_TOKENS", thoughts, whole.blocked)


def _body(request: Request) -> dict[str, Any]:
    if not isinstance(request.body, dict):
        raise GeminiRefusal(400, "INVALID_ARGUMENT", "Invalid JSON payload received.")
    return request.body


def _no_model(name: str, method: str) -> GeminiRefusal:
    return GeminiRefusal(
        404,
        "NOT_FOUND",
        f"models/{name} is not found for API version v1beta, or is not supported for {method}.",
    )


def _tokens(body: Mapping[str, Any]) -> int:
    shared = (body.get("systemInstruction"), body.get("contents"))
    return sum(quick_count(text) for text in _texts(list(shared)))


def _texts(value: object) -> Iterator[str]:
    """Every text of contents and parts, in order; what is no text counts by its JSON."""
    if isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict) and "parts" in value:
        yield from _texts(value["parts"])
    elif isinstance(value, dict) and "text" in value:
        yield str(value["text"])
    elif value is not None:
        yield msgspec.json.encode(value).decode()


def _text(chunk: Mapping[str, Any]) -> str:
    candidates = chunk.get("candidates") or [{}]
    parts = candidates[0].get("content", {}).get("parts", [])
    return "".join(part.get("text", "") for part in parts)


def _pieces(text: str, size: int = 64) -> Iterator[str]:
    for start in range(0, len(text), size):
        yield text[start : start + size]
