"""What the channels carry: read under every name it ever had, and never a reason to stop."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.finding import Finding, SpeechAct
from ifmem.errors import Invalid
from ifmem.wire.envelopes import (
    Announced,
    Custody,
    Envelope,
    Hint,
    head,
    read_announcement,
    read_envelope,
    write_envelope,
)
from ifmem.wire.queries import read_query, read_ready, read_response

ID = "00000000-0000-4000-8000-000000000001"
AT = "2026-01-02T03:04:05.000Z"
FINDING = Finding(
    finding_id=ID,
    worker_id='a "quoted" name',
    timestamp=AT,
    claim="The port is 6379.",
    speech_act=SpeechAct.ESCALATE,
)
ENVELOPE = Envelope(
    tracking_id="t-1",
    origin="ada",
    dispatched_at=AT,
    speech_act=SpeechAct.REQUEST,
    schema_version="1.1",
    ttl_seconds=60,
    chain_of_custody=(Custody("ada", "wrote", AT),),
    signature="s",
    contents={"finding_id": ID},
    unknown={"priority": 3},
)


def payload(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_the_head_of_a_finding_becomes_an_envelope_and_an_announcement_once_it_is_closed() -> None:
    said = head(FINDING) + f',"dispatched_at":"{AT}","cursor":"8","previous":"7","finding":{{}}}}'
    assert read_announcement(said.encode()) == Announced(8, 7, b"{}")
    envelope = read_envelope(said.encode())
    assert (envelope.tracking_id, envelope.origin) == (ID, FINDING.worker_id)
    assert (envelope.speech_act, envelope.dispatched_at) == (SpeechAct.ESCALATE, AT)
    assert envelope.contents == {"finding_id": ID}


def test_a_large_finding_does_not_ride_along() -> None:
    said = head(FINDING) + ',"cursor":"8","previous":"0"}'
    assert read_announcement(said.encode()) == Announced(8, 0, None)


@pytest.mark.parametrize(
    "hint",
    [
        ID,
        ID.upper(),
        f" {ID}\n",
        f'"{ID}"',
        f"finding:{ID}",
        json.dumps({"finding_id": ID}),
        json.dumps({"finding_id": ID, "cursor": "9"}),
        json.dumps({"tracking_id": "t", "contents": {"finding_id": ID}}),
        json.dumps({"payload_id": "t", "content": {"finding_id": ID}}),
        json.dumps({"content": f"finding:{ID}"}),
        json.dumps({"finding": {"finding_id": ID}}),
    ],
)
def test_whatever_names_a_finding_without_its_place_is_a_hint(hint: str) -> None:
    assert read_announcement(hint.encode()) == Hint(ID)


def test_an_object_that_names_no_finding_is_a_hint_at_nothing_in_particular() -> None:
    assert read_announcement(b'{"event":"something"}') == Hint(None)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_invalid(data: bytes) -> None:
    for read in (read_announcement, read_envelope, read_query, read_response, read_ready):
        try:
            read(data)
        except Invalid as error:
            assert error.message


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
_NAMES = (
    "tracking_id origin contents content chain_of_custody ttl_seconds speech_act schema_version "
    "signature cursor previous finding query_id question from shard_hint shard_id answer "
    "confidence sources timestamp max_tokens"
)


@given(st.dictionaries(st.sampled_from(_NAMES.split()), _values))
def test_any_object_is_read_or_invalid(data: dict[str, Any]) -> None:
    for read in (read_announcement, read_envelope, read_query, read_response, read_ready):
        try:
            read(payload(data))
        except Invalid as error:
            assert error.message


def test_an_envelope_is_read_as_it_was_written() -> None:
    assert read_envelope(write_envelope(ENVELOPE)) == ENVELOPE


def test_earlier_names_are_read() -> None:
    said = {
        "payload_id": "t-1",
        "source_agent": "ada",
        "timestamp": AT,
        "content": {"finding_id": ID},
        "speech_act": "REQUEST",
        "schema_version": "1.1",
        "ttl_seconds": 60,
        "ttt_headers": {
            "traceable_id": "t-1",
            "transparent_lineage": [{"agent": "ada", "action": "wrote", "ts": AT}],
            "trustworthy_signature": "x",
        },
        "signature": "s",
        "priority": 3,
    }
    assert read_envelope(payload(said)) == ENVELOPE


def test_our_own_names_go_before_earlier_ones() -> None:
    said = {"tracking_id": "t", "payload_id": "old", "origin": "ada", "contents": {"x": 1}}
    envelope = read_envelope(payload(said))
    assert envelope.tracking_id == "t"
    assert envelope.unknown == {"payload_id": "old"}


def test_a_text_as_contents_is_kept_as_one() -> None:
    assert read_envelope(payload({"message_id": "m", "content": "hello"})).contents == {
        "text": "hello"
    }


@pytest.mark.parametrize(
    "change",
    [
        {"contents": None},
        {"tracking_id": 3},
        {"speech_act": "shout"},
        {"schema_version": "9.9"},
        {"ttl_seconds": 0},
        {"ttl_seconds": 86_401},
        {"ttl_seconds": True},
        {"chain_of_custody": 3},
        {"chain_of_custody": [{"no": "agent"}]},
    ],
)
def test_a_field_that_breaks_its_rule_is_invalid(change: dict[str, Any]) -> None:
    said = {"tracking_id": "t", "origin": "ada", "contents": {"finding_id": ID}, **change}
    with pytest.raises(Invalid):
        read_envelope(payload(said))


def test_a_query_is_read_bare_or_in_an_envelope_and_under_earlier_names() -> None:
    bare = read_query(
        payload(
            {"query_id": "q", "timestamp": AT, "from": "ada", "question": "Why?", "shard_hint": 2}
        )
    )
    assert (bare.query_id, bare.sender, bare.question, bare.shard_hint) == ("q", "ada", "Why?", 2)
    assert bare.max_tokens == 500
    inner = {"id": "q", "query": "Why?", "target_shard": "shard2", "max_tokens": "500"}
    enveloped = {"tracking_id": "t", "origin": "ada", "dispatched_at": AT, "contents": inner}
    assert read_query(payload(enveloped)) == bare


def test_a_query_that_asks_nothing_is_invalid() -> None:
    for said in ({"query_id": "q"}, {"question": "Why?"}, {"query_id": "q", "question": " "}):
        with pytest.raises(Invalid):
            read_query(payload(said))
    with pytest.raises(Invalid):
        read_query(payload({"query_id": "q", "question": "Why?", "max_tokens": 0}))


def test_a_response_that_finds_nothing_says_so_and_cites_nothing() -> None:
    said = {
        "query_id": "q",
        "shard_id": "librarian-3",
        "answer": "Not in archive.",
        "confidence": 0.4,
        "sources": ["/desk/a.py:1-2"],
    }
    response = read_response(payload(said))
    assert (response.found, response.sources, response.shard_id) == (False, (), 3)
    found = read_response(payload({**said, "answer": "It is 3."}))
    assert (found.found, found.sources) == (True, ("/desk/a.py:1-2",))


@pytest.mark.parametrize("change", [{"confidence": 1.5}, {"query_id": ""}, {"sources": [1, {}]}])
def test_a_response_that_breaks_a_rule_is_invalid(change: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        read_response(payload({"query_id": "q", "shard_id": 1, "answer": "3", **change}))


def test_a_shard_says_that_it_is_ready() -> None:
    ready = read_ready(payload({"shard_id": "shard4", "status": "ready", "tokens_loaded": 200}))
    assert (ready.shard_id, ready.tokens_loaded) == (4, 200)
