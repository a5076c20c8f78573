"""Messages as JSON: nothing is lost on the way, and nothing larger than allowed gets on it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.message import MAX_BODY_BYTES, Message
from ifmem.errors import Invalid
from ifmem.wire import message_json

ID = "00000000-0000-4000-8000-000000000001"
WORDS = st.text(max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=10,
)


def message(body: Any, **fields: Any) -> Message:
    return Message(**{"message_id": ID, "sender": "ada", "to": "grace", "body": body, **fields})


@given(
    st.text(max_size=50) | st.dictionaries(WORDS, VALUES, max_size=4),
    st.none() | st.text(min_size=1, max_size=64),
    st.sampled_from([{"to": "grace"}, {"to": None, "topic": "launch"}]),
    st.integers(1, 30 * 86_400),
)
def test_what_is_written_is_read_again(
    body: Any, action_type: str | None, recipient: dict[str, Any], seconds: int
) -> None:
    sent = message(
        body,
        action_type=action_type,
        reply_to=ID,
        correlation_id="c-1",
        life=timedelta(seconds=seconds),
        **recipient,
    )
    assert message_json.parse(message_json.to_json(sent)) == sent


def test_a_body_may_take_64_kb_and_no_byte_more() -> None:
    longest = "x" * (MAX_BODY_BYTES - 2)
    assert message_json.parse(message_json.to_json(message(longest))).body == longest
    with pytest.raises(Invalid, match="load the text as a document") as refused:
        message_json.to_json(message(longest + "x"))
    assert refused.value.facts == {"bytes": MAX_BODY_BYTES + 1, "limit": MAX_BODY_BYTES}


@pytest.mark.parametrize("value", [object(), {1, object()}, "\ud800"])
def test_a_body_that_is_no_json_is_refused_with_what_to_use(value: Any) -> None:
    with pytest.raises(Invalid, match="text, numbers, lists and objects"):
        message_json.to_json(message({"value": value}))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"\xff", b'{"message_id":1}', b'{"sender":"ada","body":"x"}']
)
def test_what_is_no_message_says_so(data: bytes) -> None:
    with pytest.raises(Invalid):
        message_json.parse(data)


def test_a_field_of_a_later_version_is_passed_over() -> None:
    fields = msgspec.json.decode(message_json.to_json(message("hello")))
    later = msgspec.json.encode({**fields, "urgency": "high", "schema_version": "1.9"})
    assert message_json.parse(later) == message("hello")
