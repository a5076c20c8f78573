"""The rules of Anthropic's API as the fake keeps them, asked with plain requests."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ifmem.testing.anthropic_server import KEY, AnthropicServer, Said

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MARK = {"cache_control": {"type": "ephemeral"}}
HOUR_MARK = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
PAGE = "a page of it. " * 1_000
"""3,500 tokens of four bytes."""


class Vendor:
    """The fake with a clock that is moved, and a client that speaks its JSON."""

    def __init__(self, **settings: Any) -> None:
        self.now = NOON
        self.said: str | Said = "Yes."
        self.server = AnthropicServer(lambda _: self.said, clock=lambda: self.now, **settings)

    def post(
        self, body: object, path: str = "/v1/messages", **headers: str
    ) -> tuple[int, Any, Any]:
        host, port = self.server.url.removeprefix("http://").split(":")
        client = http.client.HTTPConnection(host, int(port), timeout=30)
        sent = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        method = "GET" if body is None else "POST"
        client.request(method, path, None if body is None else json.dumps(body), sent)
        with client.getresponse() as response:
            raw = response.read()
            told = response.headers
        client.close()
        streamed = told["content-type"].startswith("text/event-stream")
        return response.status, raw.decode() if streamed else json.loads(raw), told

    def usage(self, body: object) -> dict[str, Any]:
        status, message, _ = self.post(body)
        assert status == 200, message
        return dict(message["usage"])

    def complaint(self, body: object) -> str:
        status, answer, _ = self.post(body)
        assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
        return str(answer["error"]["message"])


@pytest.fixture
def open_vendor() -> Iterator[Callable[..., Vendor]]:
    opened: list[Vendor] = []

    def open_one(**settings: Any) -> Vendor:
        vendor = Vendor(**settings)
        vendor.server.__enter__()
        opened.append(vendor)
        return vendor

    yield open_one
    for vendor in opened:
        vendor.server.__exit__(None, None, None)


@pytest.fixture
def vendor(open_vendor: Callable[..., Vendor]) -> Vendor:
    return open_vendor()


def text(words: str, **mark: object) -> dict[str, Any]:
    return {"type": "text", "text": words, **mark}


def asked(*content: dict[str, Any], **changes: object) -> dict[str, Any]:
    return {
        "model": "claude-haiku-5-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": list(content)}],
        **changes,
    }


def test_only_what_is_marked_is_kept_and_input_tokens_leave_it_out(vendor: Vendor) -> None:
    plain = vendor.usage(asked(text(PAGE), text("When?")))
    assert (plain["input_tokens"], plain["cache_creation_input_tokens"]) == (3_502, 0)
    cold = vendor.usage(asked(text(PAGE, **MARK), text("When?")))
    assert (cold["input_tokens"], cold["cache_creation_input_tokens"]) == (2, 3_500)
    assert cold["cache_creation"]["ephemeral_5m_input_tokens"] == 3_500
    hot = vendor.usage(asked(text(PAGE, **MARK), text("And where was it?")))
    assert (hot["input_tokens"], hot["cache_read_input_tokens"]) == (5, 3_500)
    assert hot["cache_creation_input_tokens"] == 0


def test_five_minutes_and_an_hour_are_counted_apart_and_end_apart(vendor: Vendor) -> None:
    body = asked(text(PAGE, **HOUR_MARK), text(PAGE, **MARK), text("When?"))
    first = vendor.usage(body)["cache_creation"]
    assert first == {"ephemeral_1h_input_tokens": 3_500, "ephemeral_5m_input_tokens": 3_500}
    vendor.now += timedelta(minutes=6)
    second = vendor.usage(body)
    assert second["cache_read_input_tokens"] == 3_500
    assert second["cache_creation"]["ephemeral_5m_input_tokens"] == 3_500
    vendor.now += timedelta(minutes=61)
    assert vendor.usage(body)["cache_read_input_tokens"] == 0


def test_a_short_prefix_is_not_cached_and_no_error_says_so(vendor: Vendor) -> None:
    body = asked(text(PAGE, **MARK), text("When?"), model="claude-haiku-4-5")
    assert vendor.usage(body)["cache_creation_input_tokens"] == 0
    assert vendor.usage(body)["cache_read_input_tokens"] == 0


def test_the_order_is_tools_then_system_then_messages(vendor: Vendor) -> None:
    tools = [{"name": "look", "input_schema": {}, "description": PAGE, **MARK}]
    body = asked(text("When?"), tools=tools, system="Be brief.")
    written = vendor.usage(body)["cache_creation_input_tokens"]
    assert written > 3_500
    assert vendor.usage({**body, "system": "Be long."})["cache_read_input_tokens"] == written
    marked_system = [text("Be brief.", **MARK)]
    other_tools = [{"name": "find", "input_schema": {}, "description": PAGE}]
    vendor.usage({**body, "system": marked_system})
    changed = vendor.usage({**body, "system": marked_system, "tools": other_tools})
    assert changed["cache_read_input_tokens"] == 0


def test_a_mark_on_top_of_the_request_is_one_on_its_last_block(vendor: Vendor) -> None:
    body = asked(text(PAGE), text("When?"), cache_control={"type": "ephemeral"})
    assert vendor.usage(body)["cache_creation_input_tokens"] == 3_502
    assert vendor.usage(body)["cache_read_input_tokens"] == 3_502


def test_twenty_blocks_are_looked_back_and_no_more(vendor: Vendor) -> None:
    vendor.usage(asked(text(PAGE, **MARK)))
    near = [text(f"line {number}") for number in range(18)]
    assert vendor.usage(asked(text(PAGE), *near, text("end", **MARK)))["cache_read_input_tokens"]
    far = [text(f"other line {number}") for number in range(19)]
    missed = vendor.usage(asked(text(PAGE), *far, text("end", **MARK)))
    assert missed["cache_read_input_tokens"] == 0


def test_more_than_four_marks_or_an_hour_after_five_minutes_are_refused(vendor: Vendor) -> None:
    five = [text(f"line {number}", **MARK) for number in range(5)]
    assert "Found 5" in vendor.complaint(asked(*five))
    vendor.usage(asked(*five[:4]))
    wrong = vendor.complaint(asked(text("first", **MARK), text("second", **HOUR_MARK)))
    assert "must not come after" in wrong


def test_a_call_of_no_tokens_writes_and_says_nothing(vendor: Vendor) -> None:
    status, message, _ = vendor.post(asked(text(PAGE, **MARK), max_tokens=0))
    assert (status, message["content"], message["stop_reason"]) == (200, [], "max_tokens")
    assert message["usage"]["output_tokens"] == 0
    assert message["usage"]["cache_creation_input_tokens"] == 3_500
    assert vendor.usage(asked(text(PAGE, **MARK), text("When?")))["cache_read_input_tokens"]


SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}


def formatted(schema: object) -> dict[str, Any]:
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


@pytest.mark.parametrize(
    "with_it", [{"stream": True}, formatted(SCHEMA), {"thinking": {"type": "enabled"}}]
)
def test_a_call_of_no_tokens_goes_with_nothing_that_shapes_an_answer(
    vendor: Vendor, with_it: dict[str, Any]
) -> None:
    assert "max_tokens: 0" in vendor.complaint(asked(text("When?"), max_tokens=0, **with_it))


def test_another_schema_is_another_prefix(vendor: Vendor) -> None:
    body = asked(text(PAGE, **MARK), text("When?"))
    vendor.usage({**body, **formatted(SCHEMA)})
    assert vendor.usage({**body, **formatted(SCHEMA)})["cache_read_input_tokens"]
    other = {**SCHEMA, "properties": {"found": {"type": "boolean"}}}
    assert vendor.usage({**body, **formatted(other)})["cache_read_input_tokens"] == 0
    assert vendor.usage(body)["cache_read_input_tokens"] == 0
    assert "additionalProperties" in vendor.complaint({**body, **formatted({"type": "object"})})


def test_a_prompt_beyond_the_window_is_refused_with_its_size(vendor: Vendor) -> None:
    body = asked(text("x" * 800_004), model="claude-haiku-4-5")
    assert vendor.complaint(body) == "prompt is too long: 200001 tokens > 200000 maximum"
    assert vendor.usage(asked(text("x" * 800_000), model="claude-haiku-4-5"))["input_tokens"]


def test_an_answer_ends_at_its_limit_or_at_the_window(vendor: Vendor) -> None:
    vendor.said = "word " * 100
    _, message, _ = vendor.post(asked(text("When?"), max_tokens=5))
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", 5)
    assert message["content"][0]["text"] == ("word " * 100)[:20]
    full = asked(text("x" * 799_960), model="claude-haiku-4-5", max_tokens=1_000)
    _, message, _ = vendor.post(full)
    assert message["stop_reason"] == "model_context_window_exceeded"
    assert message["usage"]["output_tokens"] == 10


def test_a_refusal_and_thinking_are_told_and_counted(vendor: Vendor) -> None:
    vendor.said = Said("I cannot.", "refusal", thinking_tokens=7)
    _, message, _ = vendor.post(asked(text("When?")))
    assert message["stop_reason"] == "refusal"
    assert message["usage"]["output_tokens"] == 10
    assert message["usage"]["output_tokens_details"] == {"thinking_tokens": 7}


def test_a_stream_tells_its_prompt_first_and_its_stop_last(vendor: Vendor) -> None:
    status, events, _ = vendor.post(asked(text(PAGE, **MARK), stream=True))
    names = [line.removeprefix("event: ") for line in events.splitlines() if "event:" in line]
    assert status == 200
    assert names == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    data = [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: ")]
    assert data[0]["message"]["usage"]["cache_creation_input_tokens"] == 3_500
    assert data[0]["message"]["stop_reason"] is None
    assert data[5]["delta"]["stop_reason"] == "end_turn"
    assert data[5]["usage"]["output_tokens"] == 1


@pytest.mark.parametrize(
    ("change", "reason", "missed"),
    [
        ({"model": "claude-sonnet-5-5"}, "model_changed", 3_503),
        ({"system": "Be long."}, "system_changed", 3_503),
        ({"tools": [{"name": "look", "input_schema": {}}]}, "tools_changed", 3_503),
        (asked(text("other " + PAGE, **MARK), text("When?")), "messages_changed", 3_500),
        (asked(text(PAGE, **MARK), text("Where?")), "messages_changed", 0),
        ({}, None, None),
    ],
)
def test_the_reason_of_a_miss_is_found_by_comparing_two_requests(
    vendor: Vendor, change: dict[str, Any], reason: str | None, missed: int | None
) -> None:
    first = asked(text(PAGE, **MARK), text("When?"), system="Be brief.")
    first["diagnostics"] = {"previous_message_id": None}
    _, message, _ = vendor.post(first)
    assert message["diagnostics"] is None
    again = {**first, **change, "diagnostics": {"previous_message_id": message["id"]}}
    again["system"] = change.get("system", "Be brief.")
    diagnostics = vendor.post(again)[1]["diagnostics"]
    if reason is None:
        assert diagnostics is None
    else:
        expected = {"type": reason, "cache_missed_input_tokens": missed}
        assert diagnostics == {"cache_miss_reason": expected}


def test_a_message_without_diagnostics_cannot_be_compared_with(vendor: Vendor) -> None:
    _, message, _ = vendor.post(asked(text("When?")))
    again = asked(text("When?"), diagnostics={"previous_message_id": message["id"]})
    reason = vendor.post(again)[1]["diagnostics"]["cache_miss_reason"]
    assert reason == {"type": "previous_message_not_found"}


def test_limits_are_told_and_kept_and_cache_reads_do_not_count(
    open_vendor: Callable[..., Vendor],
) -> None:
    vendor = open_vendor(requests_per_minute=3, input_tokens_per_minute=4_000)
    body = asked(text(PAGE, **MARK), text("When?"))
    status, _, told = vendor.post(body)
    assert status == 200
    assert told["anthropic-ratelimit-requests-remaining"] == "2"
    assert told["anthropic-ratelimit-input-tokens-remaining"] == "498"
    assert told["anthropic-ratelimit-input-tokens-reset"] == "2026-11-23T12:00:52.530Z"
    status, _, told = vendor.post(body)
    assert told["anthropic-ratelimit-input-tokens-remaining"] == "496"
    status, answer, told = vendor.post(asked(text("x" * 4_000)))
    assert (status, answer["error"]["type"]) == (429, "rate_limit_error")
    assert told["retry-after"] == "8"
    vendor.now += timedelta(seconds=7)
    assert vendor.post(asked(text("x" * 4_000)))[0] == 429
    vendor.now += timedelta(seconds=1)
    assert vendor.post(asked(text("x" * 4_000)))[0] == 200


def test_keys_versions_models_and_paths_are_checked(vendor: Vendor) -> None:
    body = asked(text("When?"))
    status, answer, told = vendor.post(body, x_api_key="other")
    assert (status, answer["error"]["type"]) == (401, "authentication_error")
    assert answer["request_id"] == told["request-id"]
    bearer = {"x_api_key": "", "authorization": f"Bearer {KEY}"}
    assert vendor.post(body, **bearer)[0] == 200
    status, answer, _ = vendor.post({**body, "model": "claude-1"})
    assert (status, answer["error"]["message"]) == (404, "model: claude-1")
    assert vendor.post(body, "/v1/elsewhere")[0] == 404
    assert "non-whitespace" in vendor.complaint(asked(text(" ")))
    assert "at least one message" in vendor.complaint({**body, "messages": []})
    assert "64000" in vendor.complaint({**body, "max_tokens": 64_001})


def test_models_are_listed_and_tokens_counted(vendor: Vendor) -> None:
    _, listed, _ = vendor.post(None, "/v1/models")
    assert "claude-haiku-4-5" in [model["id"] for model in listed["data"]]
    _, one, _ = vendor.post(None, "/v1/models/claude-haiku-4-5")
    assert (one["max_input_tokens"], one["lifecycle"]) == (200_000, "active")
    assert vendor.post(None, "/v1/models/claude-1")[0] == 404
    body = asked(text(PAGE), system="Be brief.")
    counted = vendor.post(body, "/v1/messages/count_tokens")[1]
    assert counted == {"input_tokens": 3_503}
