"""OpenAI's chat protocol as a server speaks it: what the fakes of its vendors have in common.

Shapes as the SDK has them (openai 3.54: ``CompletionCreateParams``, ``ChatCompletionChunk``,
``CompletionUsage``) and as its API reference tells them, read 2026-11:

- a stream is chunks of ``choices[0].delta``, the last of them with a ``finish_reason``, then, only
  with ``stream_options.include_usage``, one chunk without choices that has ``usage``, then
  ``[DONE]``
- an answer that reaches ``max_completion_tokens`` ends with ``length``; reasoning counts
- a refusal comes as ``delta.refusal``; a filter ends an answer with ``content_filter``
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any

import msgspec

from ifmem import clock as system_clock
from ifmem.testing.loopback import Event, LoopbackServer, Reply, Request, Stream
from ifmem.testing.prefix_cache import BYTES_PER_TOKEN, quick_count

KEY = "sk-" + "fake-key-of-a-test"
"""The key that the fakes take; visibly nobody's."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a message."""

    role: str
    text: str
    marked: bool = False
    """A cache breakpoint stands behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A request for an answer, understood."""

    body: Mapping[str, Any]
    model: str
    parts: tuple[Part, ...]
    max_output: int
    schema: Mapping[str, Any] | None

    @property
    def question(self) -> str:
        """The last piece of the last message."""
        return self.parts[-1].text

    @property
    def prompt(self) -> bytes:
        """Everything the model reads, as one text: the bytes that prefixes are compared by."""
        return b"".join(piece for piece in self.pieces)

    @property
    def pieces(self) -> list[bytes]:
        """The bytes of each part; the first also has the schema that stands before it."""
        before = msgspec.json.encode(self.schema) if self.schema else b""
        pieces, role = [], ""
        for part in self.parts:
            opening = "" if part.role == role else f"<{part.role}>"
            pieces.append((opening + part.text).encode())
            role = part.role
        pieces[0] = before + pieces[0]
        return pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a fake answers to one request."""

    text: str = "It is on the shelf."
    refusal: str = ""
    finish: str = "stop"
    reasoning: int = 0
    """Tokens thought before the first word."""


@dataclass(slots=True, kw_only=True)
class Prompted:
    """What the cache made of a prompt, and what is to happen while the answer comes."""

    usage: Mapping[str, object]
    """The prompt's part of ``usage``; empty: the server tells none."""
    begun: Callable[[], None] = lambda: None
    ended: Callable[[bytes], None] = lambda text: None
    extra: Mapping[str, object] = field(default_factory=dict)
    """Beside ``usage`` in the chunk that has it."""


class Problem(Exception):
    """The request is answered with an error."""

    def __init__(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.reply = Reply(body, status, headers or {})


class ChatServer(LoopbackServer):
    """A server of the protocol; a vendor's own rules come in through the methods below.

    Args:
        models: what it serves, with the tokens of each window.
        key: the one it takes; empty: any.
    """

    def __init__(
        self,
        *,
        models: Mapping[str, int],
        key: str = KEY,
        clock: Callable[[], datetime] = system_clock.now,
    ) -> None:
        super().__init__(clock=clock)
        self.models = dict(models)
        self.key = key
        self.chats: list[Chat] = []
        """What was understood and answered, oldest first."""
        self.script: Callable[[Chat], Script] = lambda chat: Script()
        self._next: deque[Script] = deque()
        self._answering = Lock()

    def reply_next(self, *scripts: Script) -> None:
        """What the next answers are, one for each request that gets one."""
        self._next.extend(scripts)

    def answer(self, request: Request) -> Reply | Stream:
        try:
            self._authenticate(request)
            path = request.path.removeprefix("/v1")
            if path == "/models" and request.method == "GET":
                return Reply({"object": "list", "data": [_model(name) for name in self.models]})
            if path != "/chat/completions" or request.method != "POST":
                raise self.problem(404, f"Invalid URL ({request.method} {request.path})")
            return self._chat(request)
        except Problem as problem:
            return problem.reply

    # --- a vendor's own ---

    def problem(
        self, status: int, message: str, code: str | None = None, param: str | None = None
    ) -> Problem:
        """An error as the vendor writes it."""
        kind = "invalid_request_error" if status < 500 else "server_error"
        error = {"message": message, "type": kind, "param": param, "code": code}
        return Problem(status, {"error": error})

    def check(self, chat: Chat) -> None:
        """Refuse what the vendor does not take.

        Raises:
            Problem: the request is answered with it.
        """

    def unknown_model(self, chat: Chat) -> Problem:
        """The error of a model that is not served."""
        message = f"The model `{chat.model}` does not exist or you do not have access to it."
        return self.problem(404, message, "model_not_found")

    def overflow(self, chat: Chat, needed: int, window: int) -> Problem:
        """The error of a prompt that does not fit."""
        message = (
            f"This model's maximum context length is {window} tokens. However, your messages"
            f" resulted in {needed} tokens. Please reduce the length of the messages."
        )
        return self.problem(400, message, "context_length_exceeded", "messages")

    def prompted(self, chat: Chat) -> Prompted:
        """What its cache makes of the prompt."""
        return Prompted(usage={"prompt_tokens": quick_count(chat.prompt)})

    def headers(self, chat: Chat) -> Mapping[str, str]:
        """Of an answer; may refuse the request for its rate."""
        return {}

    # --- the protocol ---

    def _authenticate(self, request: Request) -> None:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            raise self.problem(401, "Incorrect API key provided.", "invalid_api_key")

    def _chat(self, request: Request) -> Reply | Stream:
        chat = self._understand(request.body)
        window = self.models.get(chat.model)
        if window is None:
            raise self.unknown_model(chat)
        self.check(chat)
        needed = quick_count(chat.prompt)
        if needed + chat.max_output > window:
            raise self.overflow(chat, needed, window)
        with self._answering:
            headers = {"x-request-id": f"req_{len(self.chats)}"} | dict(self.headers(chat))
            prompted = self.prompted(chat)
            self.chats.append(chat)
            script = self._next.popleft() if self._next else self.script(chat)
        return Stream(self._events(chat, prompted, script), headers)

    def _understand(self, body: Any) -> Chat:
        if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
            raise self.problem(400, "We could not parse the JSON body of your request.")
        if body.get("stream") is not True:
            raise self.problem(400, "this fake only streams", param="stream")
        limit = body.get("max_completion_tokens", body.get("max_tokens", 4_096))
        if not isinstance(limit, int) or limit < 1:
            raise self.problem(400, "Invalid 'max_tokens': expected a value >= 1.")
        form = body.get("response_format") or {}
        return Chat(
            body=body,
            model=str(body.get("model")),
            parts=tuple(part for message in body["messages"] for part in _parts(message)),
            max_output=limit,
            schema=form.get("json_schema", {}).get("schema"),
        )

    def _events(self, chat: Chat, prompted: Prompted, script: Script) -> Iterator[Event]:
        stated = {"id": "chatcmpl-fake", "object": "chat.completion.chunk", "model": chat.model}
        with_usage = bool((chat.body.get("stream_options") or {}).get("include_usage"))

        def chunk(choices: Sequence[object], **further: object) -> Event:
            usage = {"usage": None} if with_usage else {}
            return Event(stated | {"choices": choices} | usage | further)

        prompted.begun()
        yield chunk([_choice({"role": "assistant", "content": ""})])
        room = max(0, chat.max_output - script.reasoning)
        spoken = script.refusal or script.text
        said = spoken.encode()[: room * BYTES_PER_TOKEN].decode(errors="ignore")
        for piece in _pieces(said):
            yield chunk([_choice({"refusal" if script.refusal else "content": piece})])
        prompted.ended(said.encode())
        yield chunk([_choice({}, script.finish if said == spoken else "length")])
        if with_usage and prompted.usage:
            yield chunk([], usage=_usage(prompted.usage, said, script), **prompted.extra)
        yield Event("[DONE]")


def _usage(prompt: Mapping[str, object], said: str, script: Script) -> dict[str, object]:
    completion = quick_count(said) + script.reasoning
    total = completion + int(str(prompt["prompt_tokens"]))
    return {
        **prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "completion_tokens_details": {"reasoning_tokens": script.reasoning},
    }


def _parts(message: Any) -> Iterator[Part]:
    role, content = str(message["role"]), message["content"]
    if isinstance(content, str):
        yield Part(role, content)
        return
    for part in content:
        yield Part(role, part["text"], "prompt_cache_breakpoint" in part)


def _pieces(text: str) -> list[str]:
    """A text in pieces of a few characters, as tokens come."""
    return [text[start : start + 8] for start in range(0, len(text), 8)]


def _choice(delta: Mapping[str, object], finish: str | None = None) -> dict[str, object]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "nobody"}
