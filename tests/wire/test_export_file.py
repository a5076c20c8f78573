"""An export as a file: what a writer writes a reader reads, and nothing else."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.errors import IntegrityError, Invalid
from ifmem.wire.export_file import Reader, Writer
from ifmem.wire.exports import FORMAT, MEMBERS, SUMS, AuditHead, Manifest

LINES = {"topics": [b'{"topic":"scales"}', b'{"topic":"gates"}'], "findings": [b"{}"] * 5_000}


def manifest(writer: Writer, **changed: Any) -> Manifest:
    fields: dict[str, Any] = {
        "format": FORMAT,
        "ifmem": "1",
        "space": "default",
        "store_id": "s",
        "at": "2026-11-01T08:00:00.000Z",
        "content_sha256": "0" * 64,
        "documents": 0,
        "findings": 0,
        "tokens": 0,
        "last_sequence": 0,
        "epoch": 1,
        "audit_head": AuditHead(0),
        "tombstone_key": "0" * 64,
        "members": writer.members,
    }
    return Manifest(**{**fields, **changed})


def written(
    lines: Mapping[str, Sequence[bytes]] = LINES,
    change: Callable[[Manifest], Manifest] = lambda one: one,
) -> bytes:
    file = io.BytesIO()
    writer = Writer(file)
    for name in MEMBERS:
        writer.add(name, lines.get(name, ()))
    writer.end(change(manifest(writer)))
    return file.getvalue()


def read(data: bytes) -> dict[str, list[bytes]]:
    reader = Reader(io.BytesIO(data))
    reader.check_frame()
    return {name: list(reader.lines(name)) for name in MEMBERS}


WHOLE = written()
A_LINE = st.binary(max_size=200).map(lambda line: line.replace(b"\n", b" "))


@given(st.dictionaries(st.sampled_from(sorted(MEMBERS)), st.lists(A_LINE, max_size=20)))
def test_what_is_written_is_read(lines: dict[str, list[bytes]]) -> None:
    assert read(written(lines)) == {name: lines.get(name, []) for name in MEMBERS}


def test_a_line_longer_than_a_piece_is_read_whole() -> None:
    long = bytes(range(32, 127)) * 20_000
    assert read(written({"findings": [b"a", long, b"b"]}))["findings"] == [b"a", long, b"b"]


def test_it_is_a_tar_that_other_tools_unpack_and_check() -> None:
    with tarfile.open(fileobj=io.BytesIO(WHOLE)) as tar:
        names = tar.getnames()
        assert names == ["manifest.json", SUMS, *(f"{name}.ndjson.gz" for name in MEMBERS)]
        held = {name: tar.extractfile(name).read() for name in names}  # type: ignore[union-attr]
    assert gzip.decompress(held["topics.ndjson.gz"]).splitlines() == LINES["topics"]
    for line in held[SUMS].decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(held[name]).hexdigest() == digest


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_any_changed_byte_is_found(place: int, by: int) -> None:
    data = bytearray(WHOLE)
    data[place] ^= by
    with pytest.raises((IntegrityError, Invalid)):
        read(bytes(data))


@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_that_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises((IntegrityError, Invalid)):
        read(WHOLE[:length])


def test_something_added_at_the_end_is_refused() -> None:
    with pytest.raises(IntegrityError, match="something was added"):
        read(WHOLE + bytes(512))


def test_another_kind_of_file_is_named_as_one() -> None:
    with pytest.raises(Invalid, match="no export"):
        read(b"SQLite format 3\0" + bytes(4_096))


def test_a_newer_format_says_what_to_do() -> None:
    newer = written(change=lambda one: msgspec.structs.replace(one, format=FORMAT + 1))
    with pytest.raises(Invalid, match="update ifmem"):
        Reader(io.BytesIO(newer))


def test_a_member_that_holds_more_than_it_says_is_not_unpacked() -> None:
    """A gzip bomb: a manifest and sums that fit it, and a digest nobody could have known."""

    def smaller(whole: Manifest) -> Manifest:
        members = [
            msgspec.structs.replace(one, bytes=100) if one.name == "findings" else one
            for one in whole.members
        ]
        return msgspec.structs.replace(whole, members=tuple(members))

    reader = Reader(io.BytesIO(written({"findings": [b"0" * 1_000_000] * 50}, change=smaller)))
    reader.check_frame()
    heard: list[int] = []
    with pytest.raises(IntegrityError, match="findings"):
        list(reader.lines("findings", heard.append))
    assert len(heard) == 1


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "findings2", "documents"])
def test_members_with_other_names_are_refused(name: str) -> None:
    def renamed(whole: Manifest) -> Manifest:
        members = [
            msgspec.structs.replace(one, name=name) if one.name == "findings" else one
            for one in whole.members
        ]
        return msgspec.structs.replace(whole, members=tuple(members))

    with pytest.raises(IntegrityError, match="members"):
        Reader(io.BytesIO(written(change=renamed)))
