"""The three vendors' streaming protocols, answered from a script: one tool call after the other."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ifmem.testing.loopback import Event, LoopbackServer, Reply, Request, Stream


@dataclass(frozen=True)
class ToolCall:
    """What the model is scripted to call; ``tool`` as its agent names it."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


class ScriptedVendor(LoopbackServer):
    """Asks for the calls of its script in turn, then says ``done``; keeps what came back."""

    def __init__(self, *script: ToolCall) -> None:
        super().__init__()
        self.script: Sequence[ToolCall] = script
        self.results: list[Any] = []
        self.offered: list[Any] = []
        self._turn = threading.Lock()

    def answer(self, request: Request) -> Reply | Stream:
        if request.method != "POST" or not isinstance(request.body, dict):
            return Reply({"data": [], "models": []})
        return self.reply(request)

    def reply(self, request: Request) -> Reply | Stream:
        raise NotImplementedError

    def next_call(self, results: list[Any], tools: list[Any]) -> ToolCall | None:
        """The call after those whose results the conversation has."""
        with self._turn:
            if len(results) > len(self.results):
                self.results = results
            if tools:
                self.offered = tools
        return self.script[len(results)] if tools and len(results) < len(self.script) else None


class ScriptedAnthropic(ScriptedVendor):
    def reply(self, request: Request) -> Reply | Stream:
        if request.path.endswith("count_tokens"):
            return Reply({"input_tokens": 10})
        body = request.body
        results = [
            block
            for message in body["messages"]
            if isinstance(message["content"], list)
            for block in message["content"]
            if block["type"] == "tool_result"
        ]
        call = self.next_call(results, body.get("tools") or [])
        if not body.get("stream"):
            return Reply(_anthropic_message([{"type": "text", "text": "done"}]))
        return Stream(_anthropic_events(call, len(results)))


def _anthropic_message(content: list[Any]) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "scripted",
        "content": content,
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


def _anthropic_events(call: ToolCall | None, turn: int) -> Iterator[Event]:
    start = {**_anthropic_message([]), "stop_reason": None}
    yield _named({"type": "message_start", "message": start})
    if call is None:
        block: Any = {"type": "text", "text": ""}
        delta: Any = {"type": "text_delta", "text": "done"}
    else:
        block = {"type": "tool_use", "id": f"toolu_{turn}", "name": call.tool, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(dict(call.arguments))}
    yield _named({"type": "content_block_start", "index": 0, "content_block": block})
    yield _named({"type": "content_block_delta", "index": 0, "delta": delta})
    yield _named({"type": "content_block_stop", "index": 0})
    reason = "end_turn" if call is None else "tool_use"
    ending = {"stop_reason": reason, "stop_sequence": None}
    yield _named({"type": "message_delta", "delta": ending, "usage": {"output_tokens": 5}})
    yield _named({"type": "message_stop"})


def _named(data: dict[str, Any]) -> Event:
    return Event(data, data["type"])


class ScriptedResponses(ScriptedVendor):
    def reply(self, request: Request) -> Reply | Stream:
        body = request.body
        results = [item for item in body["input"] if item.get("type", "").endswith("call_output")]
        call = self.next_call(results, body.get("tools") or [])
        return Stream(_responses_events(call, len(results)))


def _responses_events(call: ToolCall | None, turn: int) -> Iterator[Event]:
    yield _named({"type": "response.created", "response": {"id": f"resp_{turn}"}})
    if call is None:
        text = [{"type": "output_text", "text": "done"}]
        item: dict[str, Any] = {"type": "message", "role": "assistant", "content": text}
    elif call.tool == "apply_patch":
        item = {
            "type": "custom_tool_call",
            "name": call.tool,
            "input": call.arguments["patch"],
            "call_id": f"call_{turn}",
        }
    else:
        namespace, _, name = call.tool.rpartition("/")
        item = {
            "type": "function_call",
            "name": name,
            "arguments": json.dumps(dict(call.arguments)),
            "call_id": f"call_{turn}",
            **({"namespace": namespace} if namespace else {}),
        }
    yield _named({"type": "response.output_item.done", "item": {"id": f"item_{turn}", **item}})
    usage = {
        "input_tokens": 10,
        "input_tokens_details": None,
        "output_tokens": 5,
        "output_tokens_details": None,
        "total_tokens": 15,
    }
    yield _named({"type": "response.completed", "response": {"id": f"resp_{turn}", "usage": usage}})


class ScriptedGemini(ScriptedVendor):
    def reply(self, request: Request) -> Reply | Stream:
        body = request.body
        results = [
            part["functionResponse"]
            for content in body.get("contents", [])
            for part in content.get("parts", [])
            if "functionResponse" in part
        ]
        call = self.next_call(results, body.get("tools") or [])
        chunk = _gemini_chunk(call)
        if request.path.endswith("streamGenerateContent"):
            return Stream([Event(chunk)])
        return Reply(chunk if request.path.endswith("generateContent") else {"totalTokens": 10})


def _gemini_chunk(call: ToolCall | None) -> dict[str, Any]:
    part: dict[str, Any] = {"text": "done"}
    if call is not None:
        part = {"functionCall": {"name": call.tool, "args": dict(call.arguments)}}
    return {
        "candidates": [
            {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}
        ],
        "usageMetadata": {
            "promptTokenCount": 10,
            "candidatesTokenCount": 5,
            "totalTokenCount": 15,
        },
    }
