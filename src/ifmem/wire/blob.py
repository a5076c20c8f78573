"""A blob: consecutive document parts of one shard in one immutable, content-addressed value.

Layout: ``IFM1``, the header's length as four bytes (big-endian), then two MessagePack values: the
header, which is the parts as arrays in the order of their fields, and the texts of all passages as
one array of strings. A blob's name is the sha256 of all its bytes; on the hot path the manifest's
xxh3 is checked instead, which is some ten times faster.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import msgspec
import xxhash

from ifmem.errors import IntegrityError

MAGIC = b"IFM1"
TARGET_BYTES = 256 * 1024
"""A blob closes with the part that takes it past this size."""


# The structs hold no cycles. Untracked by the garbage collector, thousands of them are made in
# one go without waking it, which halves the time at the 95th percentile.
class BlobPassage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A passage in a blob; its text has so many ``characters``."""

    characters: int
    ordinal: int
    first_line: int
    last_line: int
    tokens: int
    header: str


class BlobPart(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A document part in a blob."""

    source: str
    sha256: str
    kind: str
    tokens: int
    passages: tuple[BlobPassage, ...]


class BlobEntry(msgspec.Struct, frozen=True):
    """A blob as its shard's manifest names it."""

    sha256: str
    xxh3: str
    bytes: int
    tokens: int


class Manifest(msgspec.Struct, frozen=True):
    """A shard's context: its blobs in order. Growing appends; anything else is a generation."""

    shard: int
    generation: int
    tokens: int
    blobs: tuple[BlobEntry, ...]


class LoadedPart(msgspec.Struct, frozen=True, gc=False):
    """A part with the texts of its passages, ready to use."""

    part: BlobPart
    texts: tuple[str, ...]


_parts_decoder = msgspec.msgpack.Decoder(tuple[BlobPart, ...])
_texts_decoder = msgspec.msgpack.Decoder(tuple[str, ...])
_manifest_decoder = msgspec.json.Decoder(Manifest)


def encode(parts: Sequence[BlobPart], text: str) -> tuple[BlobEntry, bytes]:
    """The blob that holds these parts, and how a manifest names it.

    Args:
        text: the texts of all passages of all parts, joined.
    """
    header = msgspec.msgpack.encode(parts)
    texts = msgspec.msgpack.encode(list(_cut(parts, text)))
    data = MAGIC + len(header).to_bytes(4) + header + texts
    entry = BlobEntry(
        sha256=hashlib.sha256(data).hexdigest(),
        xxh3=xxhash.xxh3_64_hexdigest(data),
        bytes=len(data),
        tokens=sum(part.tokens for part in parts),
    )
    return entry, data


def decode(entry: BlobEntry, data: bytes | None) -> list[LoadedPart]:
    """The parts of a blob, checked against the manifest's checksum.

    Raises:
        IntegrityError: the blob is missing, short or altered.
    """
    if data is None:
        raise IntegrityError(
            f"blob {entry.sha256[:12]} is missing from the bus: `ifmem doctor --repair` "
            "writes it again from the store",
            blob=entry.sha256,
        )
    if len(data) != entry.bytes or xxhash.xxh3_64_hexdigest(data) != entry.xxh3:
        raise IntegrityError(
            f"blob {entry.sha256[:12]} does not match its checksum: `ifmem doctor --repair` "
            "writes it again from the store",
            blob=entry.sha256,
        )
    body = 8 + int.from_bytes(data[4:8])
    whole = memoryview(data)
    texts = _texts_decoder.decode(whole[body:])
    loaded = []
    start = 0
    for part in _parts_decoder.decode(whole[8:body]):
        end = start + len(part.passages)
        loaded.append(LoadedPart(part, texts[start:end]))
        start = end
    return loaded


def has_digest(entry: BlobEntry, data: bytes) -> bool:
    """True when the bytes have the sha256 that names them: the slow check of ``verify``."""
    return hashlib.sha256(data).hexdigest() == entry.sha256


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as the bus keeps it."""
    return msgspec.json.encode(manifest)


def decode_manifest(data: bytes) -> Manifest:
    """The manifest that ``encode_manifest`` wrote.

    Raises:
        IntegrityError: the bytes are no manifest.
    """
    try:
        return _manifest_decoder.decode(data)
    except msgspec.DecodeError as error:
        raise IntegrityError(
            "a shard's manifest on the bus is damaged: `ifmem doctor --repair` writes it again"
        ) from error


def _cut(parts: Sequence[BlobPart], text: str) -> Iterator[str]:
    start = 0
    for part in parts:
        for passage in part.passages:
            end = start + passage.characters
            yield text[start:end]
            start = end
