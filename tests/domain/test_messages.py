"""What a message may be: one recipient or one topic, names that are names, a bounded life."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ifmem.domain.message import LONGEST_LIFE, SHORTEST_LIFE, Message, require_name
from ifmem.errors import Invalid

ID = "00000000-0000-4000-8000-000000000001"


def message(**fields: Any) -> Message:
    return Message(**{"message_id": ID, "sender": "ada", "body": "hello", "to": "grace", **fields})


def test_a_message_goes_to_an_agent_or_to_a_topic() -> None:
    assert message().to == "grace"
    assert message(to=None, topic="launch").topic == "launch"


@pytest.mark.parametrize("fields", [{"to": None}, {"topic": "launch"}])
def test_it_goes_to_exactly_one_of_them(fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="one agent or to one topic"):
        message(**fields)


@pytest.mark.parametrize("name", ["a", "Ada.L_2@host-9", "9lives", "x" * 128])
def test_names_of_agents_and_topics(name: str) -> None:
    assert require_name(name, "agent") == name


@pytest.mark.parametrize("name", ["", " ada", "-ada", "a b", "a:b", "ä", "x" * 129, "a\n", "{a}"])
def test_what_cannot_name_anybody_is_refused_where_it_stands(name: str) -> None:
    for field in ({"sender": name}, {"to": name}, {"to": None, "topic": name}):
        with pytest.raises(Invalid, match="is no name"):
            message(**field)


@pytest.mark.parametrize(
    "fields",
    [
        {"message_id": "1"},
        {"reply_to": "the first one"},
        {"action_type": "x" * 65},
        {"action_type": ""},
        {"correlation_id": "x" * 129},
    ],
)
def test_ids_and_words_have_their_form_and_length(fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        message(**fields)


def test_a_life_is_between_a_second_and_thirty_days() -> None:
    assert message(life=SHORTEST_LIFE).life == SHORTEST_LIFE
    assert message(life=LONGEST_LIFE).life == LONGEST_LIFE
    for life in (timedelta(0), timedelta(seconds=-1), LONGEST_LIFE + timedelta(seconds=1)):
        with pytest.raises(Invalid, match="30 days"):
            message(life=life)
