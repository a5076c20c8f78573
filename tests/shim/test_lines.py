"""Lines of JSON-RPC: however they arrive, whole ones come out, and long ones do not fill memory."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.shim.lines import Lines, TooLong, known_id, parsed

texts = st.lists(st.binary(max_size=30).map(lambda text: text.replace(b"\n", b"")), max_size=8)
LIMIT = 1_000


@given(texts, st.data())
def test_lines_are_the_same_however_the_stream_is_cut(
    whole: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(line + b"\n" for line in whole)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader = Lines(LIMIT)
    seen = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        seen += list(reader.feed(stream[start:end]))
    assert seen == [line for line in whole if line.strip()]
    assert reader.end() is None


@given(st.integers(0, 30), st.integers(1, 9))
def test_a_line_of_the_limit_passes_and_a_longer_one_does_not(extra: int, chunk: int) -> None:
    reader = Lines(20)
    stream = b"x" * (extra or 1) + b"\nnext\n"
    seen = [
        line for at in range(0, len(stream), chunk) for line in reader.feed(stream[at : at + chunk])
    ]
    assert seen == [b"x" * (extra or 1) if extra <= 20 else TooLong(None), b"next"]


@pytest.mark.parametrize("number", [7, "seven", 'a "quoted" one', -1])
@pytest.mark.parametrize("place", ["first", "last"])
def test_the_id_of_a_line_that_is_too_long_is_told(number: int | str, place: str) -> None:
    call = {"method": "tools/call", "params": {"id": 9, "text": "x" * 5_000}}
    head = {"jsonrpc": "2.0", "id": number}
    message = head | call if place == "first" else call | head
    line = json.dumps(message).encode() + b"\n"
    reader = Lines(LIMIT)
    seen = [one for at in range(0, len(line), 100) for one in reader.feed(line[at : at + 100])]
    assert seen == [TooLong(number)]


@pytest.mark.parametrize(
    "message",
    [
        {"method": "m", "params": {"id": 9, "text": "x" * 5_000}, "jsonrpc": "2.0"},
        {"params": {"text": "x" * 5_000, "deeper": {"id": 9}}},
        {"params": {"text": "x" * 5_000 + '"id":9}'}},
        {"params": {"id": 9, "text": "x" * 5_000}},
    ],
)
def test_an_id_inside_the_parameters_is_not_the_message_s(message: object) -> None:
    (seen,) = Lines(LIMIT).feed(json.dumps(message).encode() + b"\n")
    assert seen == TooLong(None)


def test_a_long_line_is_not_kept_while_it_arrives() -> None:
    reader = Lines(LIMIT)
    for _ in range(1_000):
        assert list(reader.feed(b"y" * 1_000)) == []
        kept = sum(map(len, reader._parts)) + len(reader._head or b"") + len(reader._tail)
        assert kept <= 2 * LIMIT


def test_a_line_without_its_end_is_there_at_the_end() -> None:
    reader = Lines(LIMIT)
    assert list(reader.feed(b'{"a"')) == []
    assert list(reader.feed(b": 1}")) == []
    assert reader.end() == b'{"a": 1}'


@pytest.mark.parametrize(
    "line", [b"{", b"nonsense", b'{"a": NaN}', b"[1, Infinity]", b"\xff\xfe", b"[" * 100_000]
)
def test_what_is_no_json_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):
        parsed(line)


@pytest.mark.parametrize("number", [None, True, 1.5, [], {}])
def test_what_cannot_be_an_id_is_none(number: object) -> None:
    assert known_id({"id": number}) is None
