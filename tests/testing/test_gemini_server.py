"""The loopback Gemini keeps the rules that the adapter is tested against."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import msgspec
import pytest

from ifmem.testing.gemini_server import KEY, GeminiServer, Said, ServedModel

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MODELS = {
    "plain": ServedModel(10_000, 1_024),
    "argon": ServedModel(10_000, 1_024, objects=False),
}
LONG = "The harbour has two piers.\n" * 200
HALF_HOUR, HOUR = timedelta(minutes=30), timedelta(hours=1)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def server(says: Any = lambda _: "Yes.", **changes: Any) -> GeminiServer:
    return GeminiServer(says, **{"models": MODELS, "clock": Clock()} | changes)


def ask(
    vendor: GeminiServer, path: str, body: object = None, *, method: str = "POST", key: str = KEY
) -> tuple[int, Any]:
    response = httpx2.request(
        method, f"{vendor.url}/v1beta/{path}", json=body, headers={"x-goog-api-key": key}
    )
    return response.status_code, response.json()


def content(text: str, **fields: object) -> dict[str, object]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], **fields}


def made(vendor: GeminiServer, text: str = LONG, **fields: object) -> dict[str, Any]:
    status, told = ask(vendor, "cachedContents", content(text, model="models/plain", **fields))
    assert status == 200, told
    return dict(told)


def refused(answer: tuple[int, Any]) -> tuple[int, str]:
    status, body = answer
    assert body["error"]["code"] == status
    return status, body["error"]["status"]


def usage(vendor: GeminiServer, text: str, model: str = "plain", **fields: object) -> Any:
    status, told = ask(vendor, f"models/{model}:generateContent", content(text, **fields))
    assert status == 200, told
    return told["usageMetadata"]


def test_an_object_holds_tokens_until_its_end_and_no_longer() -> None:
    with server() as vendor:
        held = made(vendor, ttl="1800s")
        tokens = held["usageMetadata"]["totalTokenCount"]
        assert tokens == len(LONG) // 4
        assert held["expireTime"] == "2026-11-23T12:30:00.000Z"
        reading = usage(vendor, "How many?", cachedContent=held["name"])
        assert reading["cachedContentTokenCount"] == tokens
        assert reading["promptTokenCount"] == tokens + 3
        vendor.clock.now += HALF_HOUR  # type: ignore[attr-defined]
        late = ask(
            vendor, "models/plain:generateContent", content("How?", cachedContent=held["name"])
        )
        assert refused(late) == (403, "PERMISSION_DENIED")
        assert vendor.objects.live == []


def test_reading_an_object_does_not_move_its_end_and_patching_it_does() -> None:
    with server() as vendor:
        held = made(vendor)
        assert held["expireTime"] == "2026-11-23T13:00:00.000Z"
        vendor.clock.now += HALF_HOUR  # type: ignore[attr-defined]
        usage(vendor, "How many?", cachedContent=held["name"])
        assert ask(vendor, held["name"], method="GET")[1]["expireTime"] == held["expireTime"]
        _, moved = ask(vendor, held["name"], {"ttl": "3600s"}, method="PATCH")
        assert moved["expireTime"] == "2026-11-23T13:30:00.000Z"
        assert moved["createTime"] == held["createTime"]


def test_storage_is_paid_from_making_to_deletion_or_end() -> None:
    with server() as vendor:
        deleted, left = made(vendor), made(vendor, ttl="7200s")
        tokens = deleted["usageMetadata"]["totalTokenCount"]
        vendor.clock.now += HALF_HOUR  # type: ignore[attr-defined]
        assert vendor.objects.token_hours == tokens
        assert ask(vendor, deleted["name"], method="DELETE") == (200, {})
        vendor.clock.now += HOUR * 10  # type: ignore[attr-defined]
        assert vendor.objects.token_hours == tokens * 2.5
        assert refused(ask(vendor, deleted["name"], method="DELETE"))[0] == 403
        assert refused(ask(vendor, left["name"], {"ttl": "9s"}, method="PATCH"))[0] == 403


def test_objects_are_listed_while_they_last() -> None:
    with server() as vendor:
        made(vendor, ttl="60s", displayName="short")
        made(vendor, displayName="long")
        vendor.clock.now += HALF_HOUR  # type: ignore[attr-defined]
        _, told = ask(vendor, "cachedContents", method="GET")
    assert [each["displayName"] for each in told["cachedContents"]] == ["long"]


def test_objects_are_refused_that_are_too_small_or_of_models_without_them() -> None:
    with server() as vendor:
        status, body = ask(vendor, "cachedContents", content("short", model="models/plain"))
        assert (status, "too small" in body["error"]["message"]) == (400, True)
        assert "min_total_token_count=1024" in body["error"]["message"]
        argon = ask(vendor, "cachedContents", content(LONG, model="models/argon"))
        assert refused(argon) == (404, "NOT_FOUND")
        bad = ask(vendor, "cachedContents", content(LONG, model="models/plain", ttl="an hour"))
        assert refused(bad) == (400, "INVALID_ARGUMENT")
        assert vendor.objects.live == []


def test_what_an_object_may_hold_cannot_stand_beside_it_nor_another_model_use_it() -> None:
    with server() as vendor:
        name = made(vendor)["name"]
        system = {"parts": [{"text": "Be brief."}]}
        both = content("How?", cachedContent=name, systemInstruction=system)
        assert refused(ask(vendor, "models/plain:generateContent", both))[0] == 400
        other = ask(vendor, "models/argon:generateContent", content("How?", cachedContent=name))
        assert refused(other)[0] == 400


def test_what_is_missing_can_be_told_as_not_found() -> None:
    with server(missing=404) as vendor:
        assert refused(ask(vendor, "cachedContents/none", method="GET")) == (404, "NOT_FOUND")


def test_an_equal_prefix_is_found_again_in_whole_steps() -> None:
    with server() as vendor:
        assert "cachedContentTokenCount" not in usage(vendor, LONG + "How many?")
        again = usage(vendor, LONG + "Which one is longer?")
        assert 0.9 < again["cachedContentTokenCount"] / again["promptTokenCount"] < 1
        assert again["cachedContentTokenCount"] % 64 == 0
        changed = usage(vendor, LONG.replace("two", "2", 1))
        assert "cachedContentTokenCount" not in changed
        assert "cachedContentTokenCount" not in usage(vendor, LONG, model="argon")


def test_what_is_left_over_after_the_last_step_is_not_found_again() -> None:
    with server() as vendor:
        usage(vendor, LONG)
        again = usage(vendor, LONG)
    assert again["cachedContentTokenCount"] == again["promptTokenCount"] // 64 * 64
    assert again["promptTokenCount"] % 64


def test_a_short_prefix_is_never_found_again() -> None:
    with server() as vendor:
        for _ in range(2):
            assert "cachedContentTokenCount" not in usage(vendor, "word " * 500)


def test_a_stream_says_the_same_as_the_whole_answer_and_counts_as_it_goes() -> None:
    text = "The tide turns at noon. " * 20
    with server(lambda _: Said(text, thoughts=7)) as vendor:
        asked = content("When?")
        _, whole = ask(vendor, "models/plain:generateContent", asked)
        response = httpx2.post(
            f"{vendor.url}/v1beta/models/plain:streamGenerateContent?alt=sse",
            json=asked,
            headers={"x-goog-api-key": KEY},
        )
    chunks = [
        msgspec.json.decode(line.removeprefix("data: "))
        for line in response.text.splitlines()
        if line
    ]
    parts = [
        part for chunk in chunks for part in chunk["candidates"][0]["content"].get("parts", [])
    ]
    assert "".join(part["text"] for part in parts) == text
    assert whole["candidates"][0]["content"]["parts"] == [{"text": text}]
    assert chunks[-1]["usageMetadata"] == whole["usageMetadata"]
    assert [chunk["candidates"][0].get("finishReason") for chunk in chunks[-2:]] == [None, "STOP"]
    counted = [chunk["usageMetadata"]["candidatesTokenCount"] for chunk in chunks]
    assert counted == sorted(counted)
    told = whole["usageMetadata"]
    assert told["totalTokenCount"] == 2 + 7 + told["candidatesTokenCount"]


def test_thoughts_and_text_share_the_maximum() -> None:
    limit = {"generationConfig": {"maxOutputTokens": 10}}
    with server(lambda _: Said("word " * 100, thoughts=7)) as vendor:
        _, told = ask(vendor, "models/plain:generateContent", content("Why?", **limit))
    usage_told = told["usageMetadata"]
    assert told["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert (usage_told["thoughtsTokenCount"], usage_told["candidatesTokenCount"]) == (7, 3)


def test_thoughts_end_at_the_maximum_too() -> None:
    limit = {"generationConfig": {"maxOutputTokens": 10}}
    with server(lambda _: Said("word", thoughts=70)) as vendor:
        told = usage(vendor, "Why?", **limit)
    assert (told["thoughtsTokenCount"], told["candidatesTokenCount"]) == (10, 0)


def test_a_prompt_held_back_has_no_candidate() -> None:
    with server(lambda _: Said("", blocked="SAFETY")) as vendor:
        _, told = ask(vendor, "models/plain:generateContent", content("Why?"))
    assert told["promptFeedback"] == {"blockReason": "SAFETY"}
    assert "candidates" not in told


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("models/none:generateContent", content("Why?"), 404),
        ("models/plain:dream", content("Why?"), 404),
        ("tunedModels/x", content("Why?"), 404),
        ("models/plain:generateContent", content("w" * 40_004), 400),
        (
            "models/plain:generateContent",
            content("x", generationConfig={"maxOutputTokens": 0}),
            400,
        ),
        ("models/plain:generateContent", ["no object"], 400),
        ("cachedContents/object-1/x", {}, 404),
    ],
)
def test_what_cannot_be_served_is_refused(path: str, body: object, status: int) -> None:
    with server() as vendor:
        assert refused(ask(vendor, path, body))[0] == status


def test_a_wrong_key_is_an_invalid_argument_with_its_reason() -> None:
    with server() as vendor:
        status, body = ask(vendor, "models/plain:generateContent", content("Why?"), key="fake")
    assert status == 400
    assert body["error"]["details"][0]["reason"] == "API_KEY_INVALID"


def test_too_many_requests_are_told_how_long_to_wait() -> None:
    with server(requests_per_minute=1) as vendor:
        assert usage(vendor, "Why?")
        status, body = ask(vendor, "models/plain:generateContent", content("Why?"))
        assert (status, body["error"]["details"][0]["retryDelay"]) == (429, "60s")
        vendor.clock.now += timedelta(seconds=60)  # type: ignore[attr-defined]
        assert usage(vendor, "Why?")


def test_tokens_are_counted_as_they_are_billed() -> None:
    with server() as vendor:
        _, told = ask(vendor, "models/plain:countTokens", content(LONG))
        assert told["totalTokens"] == usage(vendor, LONG)["promptTokenCount"]
