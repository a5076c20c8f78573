"""Anthropic's Messages API on loopback: its caching, limits and refusals, as we understand them.

    with AnthropicServer(lambda request: "The answer.") as server:
        AnthropicModel(card, api_key=server.key, base_url=server.url)

Each rule names its source: "docs" are the vendor's pages under build-with-claude/ or api/, "SDK"
is anthropic 2.12.0. What it answers is the test's; tokens are counted four bytes each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count as numbers
from threading import Lock
from typing import Any

from ifmem import clock as system_clock
from ifmem.testing.anthropic_prompts import (
    LOOK_BACK,
    Fingerprint,
    InvalidRequest,
    ReadPrompt,
    read_prompt,
    refuse_bad_parameters,
    why_missed,
)
from ifmem.testing.loopback import Event, LoopbackServer, Reply, Request, Stream
from ifmem.testing.prefix_cache import BYTES_PER_TOKEN, CachedCall, PrefixCache, quick_count
from ifmem.testing.rate_limits import Allowance

KEY = "fake-" + "anthropic-" + "key"
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that the fake serves."""

    window: int
    max_output: int
    least_tokens: int
    """docs prompt-caching: a shorter prefix is processed without caching, and no error says so."""


MODELS: Mapping[str, ServedModel] = {
    "claude-haiku-5-5": ServedModel(1_000_000, 64_000, 512),
    "claude-sonnet-5-5": ServedModel(1_000_000, 64_000, 512),
    "claude-haiku-4-5": ServedModel(200_000, 64_000, 4_096),
}
"""Windows and least sizes as genai-prices 0.2.3 and docs prompt-caching had them in 2026-11."""


@dataclass(frozen=True, slots=True)
class Said:
    """An answer with more than its text; ``stop_reason`` as in SDK types/stop_reason.py."""

    text: str
    stop_reason: str = "end_turn"
    thinking_tokens: int = 0
    """Part of ``output_tokens`` (SDK types/output_tokens_details.py)."""


class AnthropicServer(LoopbackServer):
    """The vendor, for one account.

    Args:
        says: what is answered to a request of ``/v1/messages`` that is in order.
        key: the one that is accepted.
        requests_per_minute, input_tokens_per_minute: the account's limits; None: no end.
    """

    def __init__(
        self,
        says: Callable[[Request], str | Said] = lambda _: "Yes.",
        *,
        key: str = KEY,
        models: Mapping[str, ServedModel] = MODELS,
        clock: Callable[[], datetime] = system_clock.now,
        requests_per_minute: int | None = None,
        input_tokens_per_minute: int | None = None,
        keep: int = 1_000,
    ) -> None:
        super().__init__(clock=clock, keep=keep)
        self.key = key
        self.models = models
        # docs prompt-caching: a read starts the lifetime anew, at no cost.
        self.cache = PrefixCache(clock=clock, read_extends=True)
        self._says = says
        self._requests = Allowance(requests_per_minute, clock)
        self._tokens = Allowance(input_tokens_per_minute, clock)
        self._numbers = numbers(1)
        self._fingerprints: dict[str, Fingerprint] = {}
        self._fingerprints_lock = Lock()

    def answer(self, request: Request) -> Reply | Stream:
        request_id = f"req_{next(self._numbers):06}"
        if self.key not in (request.headers.get("x-api-key"), _bearer(request)):
            # docs api/errors: 401. SDK _client.py: since 2.x the key is sent as a bearer's.
            return _error(401, "authentication_error", "invalid API key", request_id)
        if "anthropic-version" not in request.headers:
            # docs api/versioning: the header is required.
            message = "anthropic-version: header is required"
            return _error(400, "invalid_request_error", message, request_id)
        if request.path.startswith("/v1/models"):
            return self._list_models(request, request_id)
        if not isinstance(request.body, dict):
            message = "the body is not valid JSON"
            return _error(400, "invalid_request_error", message, request_id)
        model = self.models.get(str(request.body.get("model")))
        if model is None:
            # docs api/errors: 404 not_found_error, the message names the model.
            message = f"model: {request.body.get('model')}"
            return _error(404, "not_found_error", message, request_id)
        try:
            if request.path == "/v1/messages/count_tokens":
                # SDK types/message_tokens_count.py: messages, system prompt and tools together.
                prompt = read_prompt(request.body, quick_count)
                return Reply({"input_tokens": prompt.tokens}, headers={"request-id": request_id})
            if request.path == "/v1/messages":
                return self._message(request, model, request_id)
        except InvalidRequest as refused:
            return _error(400, "invalid_request_error", str(refused), request_id)
        return _error(404, "not_found_error", "Not Found", request_id)

    def _list_models(self, request: Request, request_id: str) -> Reply:
        name = request.path.removeprefix("/v1/models").strip("/")
        headers = {"request-id": request_id}
        if not name:
            data = [_described(each, model) for each, model in self.models.items()]
            return Reply({"data": data, "has_more": False}, headers=headers)
        if name not in self.models:
            return _error(404, "not_found_error", f"model: {name}", request_id)
        return Reply(_described(name, self.models[name]), headers=headers)

    def _message(self, request: Request, model: ServedModel, request_id: str) -> Reply | Stream:
        body = request.body
        refuse_bad_parameters(body)
        if body["max_tokens"] > model.max_output:
            raise InvalidRequest(
                f"max_tokens: {body['max_tokens']} > {model.max_output}, the maximum allowed"
            )
        prompt = read_prompt(body, quick_count)
        if prompt.tokens > model.window:
            # docs context-windows: an error, and nothing is cut off in silence.
            raise InvalidRequest(
                f"prompt is too long: {prompt.tokens} tokens > {model.window} maximum"
            )
        call = self.cache.call(
            str(body["model"]),
            prompt.blocks,
            writes=dict(prompt.breakpoints),
            reads=sorted(prompt.breakpoints),
            look_back=LOOK_BACK,
            least_tokens=model.least_tokens,
        )
        # docs api/rate-limits: what is read from the cache does not count as input tokens.
        counted = call.prompt - call.read
        wait = max(self._requests.wait(1), self._tokens.wait(counted))
        if wait:
            told = {"retry-after": str(wait), **self._limits()}
            words = "This request would exceed your account's rate limit"
            return _error(429, "rate_limit_error", words, request_id, told)
        self._requests.take(1)
        self._tokens.take(counted)
        start = self._start(body, prompt, call)
        said = self._said(request, model, prompt.tokens)
        told = {"request-id": request_id, **self._limits()}
        if body.get("stream"):
            return Stream(_events(start, said, call), told)
        return Reply(_whole(start, said), headers=told, begin=call.answer_begun)

    def _start(self, body: Mapping[str, Any], prompt: ReadPrompt, call: CachedCall) -> Any:
        """The message before its first word: SDK types/message.py and types/usage.py."""
        number = f"msg_{next(self._numbers):06}"
        hour = call.written.get(HOUR, 0)
        written = sum(call.written.values())
        return {
            "id": number,
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "diagnostics": self._diagnose(body.get("diagnostics"), number, prompt.fingerprint),
            "usage": {
                # docs prompt-caching: only what stands after the last breakpoint.
                "input_tokens": call.uncached,
                "cache_creation_input_tokens": written,
                "cache_read_input_tokens": call.read,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": written - hour,
                    "ephemeral_1h_input_tokens": hour,
                },
                "output_tokens": 1,
                "service_tier": "standard",
            },
        }

    def _diagnose(
        self, asked: Mapping[str, Any] | None, number: str, now: Fingerprint
    ) -> Mapping[str, object] | None:
        """docs cache-diagnostics: fingerprints are kept of requests that carry the object only."""
        if asked is None:
            return None
        previous = asked.get("previous_message_id")
        with self._fingerprints_lock:
            before = self._fingerprints.get(str(previous))
            self._fingerprints[number] = now
        if previous is None:
            return None
        if before is None:
            return {"cache_miss_reason": {"type": "previous_message_not_found"}}
        reason = why_missed(before, now)
        return None if reason is None else {"cache_miss_reason": reason}

    def _said(self, request: Request, model: ServedModel, prompt_tokens: int) -> Said:
        """The test's answer, cut off where the API would.

        SDK types/message.py: ``max_tokens``, or ``model_context_window_exceeded`` when the window
        ends first. SDK types/message_create_params.py: ``max_tokens: 0`` generates nothing.
        """
        most = request.body["max_tokens"]
        if most == 0:
            return Said("", "max_tokens")
        answered = self._says(request)
        said = Said(answered) if isinstance(answered, str) else answered
        room = model.window - prompt_tokens
        for limit, reason in ((most, "max_tokens"), (room, "model_context_window_exceeded")):
            if quick_count(said.text) + said.thinking_tokens > limit:
                bytes_left = max(0, limit - said.thinking_tokens) * BYTES_PER_TOKEN
                text = said.text.encode()[:bytes_left].decode(errors="ignore")
                said = Said(text, reason, min(said.thinking_tokens, limit))
        return said

    def _limits(self) -> dict[str, str]:
        """docs api/rate-limits: limit, remaining, and when it is full again (RFC 3339)."""
        headers = {}
        for name, allowance in (("requests", self._requests), ("input-tokens", self._tokens)):
            if allowance.limit is not None:
                head = f"anthropic-ratelimit-{name}"
                headers[f"{head}-limit"] = str(allowance.limit)
                headers[f"{head}-remaining"] = str(allowance.left)
                headers[f"{head}-reset"] = system_clock.stamp(allowance.full_at)
        return headers


def _bearer(request: Request) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ")


def _events(start: Any, said: Said, call: CachedCall) -> Iterator[Event]:
    """docs streaming: the order of events; SDK types/message_delta_usage.py: cumulative usage."""
    call.answer_begun()
    yield _event("message_start", message=start)
    block = {"type": "text", "text": ""}
    yield _event("content_block_start", index=0, content_block=block)
    yield _event("ping")
    for piece in _pieces(said.text):
        delta = {"type": "text_delta", "text": piece}
        yield _event("content_block_delta", index=0, delta=delta)
    yield _event("content_block_stop", index=0)
    end = {"stop_reason": said.stop_reason, "stop_sequence": None}
    yield _event("message_delta", delta=end, usage=_output(said))
    yield _event("message_stop")


def _whole(start: Any, said: Said) -> dict[str, object]:
    """docs prompt-caching (pre-warming): with ``max_tokens: 0`` the content is empty."""
    content = [{"type": "text", "text": said.text}] if said.text else []
    usage = {**start["usage"], **_output(said)}
    return {**start, "content": content, "stop_reason": said.stop_reason, "usage": usage}


def _event(kind: str, **fields: object) -> Event:
    return Event({"type": kind, **fields}, kind)


def _pieces(text: str, size: int = 64) -> Iterator[str]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


def _output(said: Said) -> dict[str, object]:
    return {
        "output_tokens": quick_count(said.text) + said.thinking_tokens,
        "output_tokens_details": {"thinking_tokens": said.thinking_tokens},
    }


def _described(name: str, model: ServedModel) -> dict[str, object]:
    """SDK types/model_info.py."""
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": model.window,
        "max_tokens": model.max_output,
    }


def _error(
    status: int, kind: str, message: str, request_id: str, headers: Mapping[str, str] | None = None
) -> Reply:
    """docs api/errors: the shape, the ``request-id`` header, and the id again in the body."""
    body = {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": request_id,
    }
    return Reply(body, status, {"request-id": request_id, **(headers or {})})
