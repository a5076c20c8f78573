"""Blobs: what went in comes out, or an integrity error; never something else."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.errors import IntegrityError
from ifmem.wire.blob import (
    BlobEntry,
    BlobPart,
    BlobPassage,
    LoadedPart,
    Manifest,
    decode,
    decode_manifest,
    encode,
    encode_manifest,
    has_digest,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
documents = st.lists(st.tuples(texts, st.lists(texts, max_size=4)), max_size=4)


def loaded(source: str, passages: list[str], tokens: int = 7) -> LoadedPart:
    return LoadedPart(
        BlobPart(
            source=source,
            sha256=hashlib.sha256(source.encode()).hexdigest(),
            kind="prose",
            tokens=tokens,
            passages=tuple(
                BlobPassage(len(text), number, number + 1, number + 2, 3, f"{source} > {number}")
                for number, text in enumerate(passages)
            ),
        ),
        tuple(passages),
    )


def packed(parts: list[LoadedPart]) -> tuple[BlobEntry, bytes]:
    return encode([one.part for one in parts], "".join("".join(one.texts) for one in parts))


SMALL = [loaded("/a.md", ["naïve ", "𝄞\0 end\n"]), loaded("/b.md", [""])]


@given(documents)
def test_what_is_packed_comes_out_the_same(given_documents: list[tuple[str, list[str]]]) -> None:
    parts = [loaded(source, passages) for source, passages in given_documents]
    entry, data = packed(parts)
    assert decode(entry, data) == parts


def test_an_entry_describes_its_bytes() -> None:
    entry, data = packed(SMALL)
    assert entry.sha256 == hashlib.sha256(data).hexdigest()
    assert (entry.bytes, entry.tokens) == (len(data), 14)
    assert data[:4] == b"IFM1"


def test_the_same_parts_make_the_same_blob() -> None:
    assert packed(SMALL) == packed([loaded("/a.md", ["naïve ", "𝄞\0 end\n"]), SMALL[1]])
    assert packed(SMALL)[0].sha256 != packed(SMALL[::-1])[0].sha256


def test_every_single_flipped_bit_is_noticed() -> None:
    entry, data = packed(SMALL)
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError, match="does not match its checksum"):
            decode(entry, bytes(damaged))


def test_every_missing_end_is_noticed_and_so_is_a_longer_one() -> None:
    entry, data = packed(SMALL)
    for end in range(len(data)):
        with pytest.raises(IntegrityError):
            decode(entry, data[:end])
    with pytest.raises(IntegrityError):
        decode(entry, data + b"\0")


def test_a_missing_blob_is_an_error_that_names_it_and_the_remedy() -> None:
    entry, _ = packed(SMALL)
    with pytest.raises(IntegrityError, match=r"is missing from the bus.*doctor --repair") as caught:
        decode(entry, None)
    assert caught.value.facts == {"blob": entry.sha256}


def test_another_blob_under_the_name_is_noticed() -> None:
    entry, _ = packed(SMALL)
    _, other = packed(SMALL[::-1])
    with pytest.raises(IntegrityError):
        decode(entry, other)


def test_the_slow_check_compares_the_name_itself() -> None:
    entry, data = packed(SMALL)
    assert has_digest(entry, data)
    assert not has_digest(entry, data + b"\0")
    assert not has_digest(msgspec.structs.replace(entry, sha256="0" * 64), data)


def test_a_manifest_comes_out_the_same() -> None:
    entry, _ = packed(SMALL)
    manifest = Manifest(shard=3, generation=2, tokens=14, blobs=(entry, entry))
    assert decode_manifest(encode_manifest(manifest)) == manifest


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"[]", b"null", b"\xff", b'{"shard": "3"}', b'{"shard":3,"generation"']
)
def test_damaged_bytes_are_no_manifest(damage: bytes) -> None:
    with pytest.raises(IntegrityError, match="manifest"):
        decode_manifest(damage)
