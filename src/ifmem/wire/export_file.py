"""An export as a file: a tar of gzip-compressed members, every byte of which is checked.

The manifest comes first though it is known last: its place is kept free and written at the end.
A reader accepts exactly the bytes that a writer of this version writes around the members' data,
so no name, link, size or padding in the file is ever acted upon.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import BinaryIO, Final

import msgspec

from ifmem.errors import IntegrityError, Invalid
from ifmem.wire.exports import FORMAT, MANIFEST, MEMBERS, SUMS, Manifest, Member

_BLOCK: Final = 512
_MANIFEST_BYTES: Final = 16 * 1024
_END: Final = bytes(2 * _BLOCK)
_PIECE: Final = 256 * 1024
_LEVEL: Final = 3
"""Measured over 100,000 findings and 1M tokens: `docs/decisions/0026-logical-exports.md`."""
_GZIP: Final = 31
"""zlib's word for a gzip frame with the largest window."""
LONGEST_LINE: Final = 256 * 1024 * 1024
"""A text with all its passages is one line; no file that is loaded comes near."""

Heard = Callable[[int], None]
"""Hears of bytes read or rows written."""


class Writer:
    """Writes an export front to back, with little in memory."""

    def __init__(self, file: BinaryIO) -> None:
        """Leaves room for the manifest and the sums at the start of ``file``."""
        self._file = file
        self._members: list[Member] = []
        self._sums: list[str] = []
        file.write(bytes(_start_of_members()))

    def add(self, name: str, lines: Iterable[bytes]) -> Member:
        """Write a member; lines come without line ends."""
        place = self._file.tell()
        self._file.write(bytes(_BLOCK))
        packed = _Packed(self._file)
        rows = 0
        for line in lines:
            packed.write(line)
            packed.write(b"\n")
            rows += 1
        packed.end()
        self._file.write(bytes(-packed.packed_bytes % _BLOCK))
        self._at(place, _header(_stored_as(name), packed.packed_bytes))
        member = Member(
            name, rows, packed.bytes, packed.sha256.hexdigest(), packed_bytes=packed.packed_bytes
        )
        self._members.append(member)
        self._sums.append(packed.packed_sha256.hexdigest())
        return member

    @property
    def members(self) -> tuple[Member, ...]:
        """Those written."""
        return tuple(self._members)

    def end(self, manifest: Manifest) -> None:
        """Write the manifest and close the archive; the file itself stays open."""
        self._file.write(_END)
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        padded = text.ljust(_MANIFEST_BYTES - 1) + b"\n"
        assert len(padded) == _MANIFEST_BYTES, "the manifest outgrew its place"
        sums = _sums(hashlib.sha256(padded).hexdigest(), self._sums)
        start = _header(MANIFEST, len(padded)) + padded + _header(SUMS, len(sums)) + _filled(sums)
        self._at(0, start)

    def _at(self, place: int, data: bytes) -> None:
        end = self._file.tell()
        self._file.seek(place)
        self._file.write(data)
        self._file.seek(end)


class Reader:
    """Reads an export; nothing of it can be used before ``check`` has read all of it."""

    def __init__(self, file: BinaryIO) -> None:
        """Reads the manifest.

        Raises:
            Invalid: it is no export, or one of a newer ifmem.
            IntegrityError: it is damaged.
        """
        self._file = file
        self.manifest, self._manifest_sha256 = _read_manifest(file)
        given = [member.name for member in self.manifest.members]
        if given != list(MEMBERS):
            raise IntegrityError("the export does not have the members that its version has")
        self._places = _places(self.manifest.members)
        if file.seek(0, os.SEEK_END) != self._places[-1]:
            raise IntegrityError(
                "the export is cut off, or something was added to it: take another copy"
            )

    def check_frame(self) -> None:
        """Compare everything around the members' lines, and their packed bytes, with the sums.

        Raises:
            IntegrityError: it is damaged.
        """
        digests = []
        for place, member in zip(self._places, self.manifest.members, strict=False):
            self._file.seek(place)
            if self._file.read(_BLOCK) != _header(_stored_as(member.name), member.packed_bytes):
                raise _damaged(member.name)
            digest, left = hashlib.sha256(), member.packed_bytes
            while left and (piece := self._file.read(min(left, _PIECE))):
                digest.update(piece)
                left -= len(piece)
            digests.append(digest.hexdigest())
            padding = -member.packed_bytes % _BLOCK
            if left or self._file.read(padding) != bytes(padding):
                raise _damaged(member.name)
        if self._file.read() != _END:
            raise _damaged("end")
        sums = _sums(self._manifest_sha256, digests)
        self._file.seek(_BLOCK + _MANIFEST_BYTES)
        expected = _header(SUMS, len(sums)) + _filled(sums)
        if self._file.read(len(expected)) != expected:
            raise IntegrityError("the export does not match its checksums: take another copy")

    def lines(self, name: str, heard: Heard = lambda size: None) -> Iterator[bytes]:
        """The lines of a member, checked against its digest when the last was taken.

        Raises:
            IntegrityError: it is damaged, or larger than its manifest says.
        """
        index = list(MEMBERS).index(name)
        member = self.manifest.members[index]
        place, left = self._places[index] + _BLOCK, member.packed_bytes
        unpack, digest = zlib.decompressobj(_GZIP), hashlib.sha256()
        size = rows = 0
        rest = bytearray()
        while left or unpack.unconsumed_tail:
            piece = unpack.unconsumed_tail
            if not piece:
                self._file.seek(place)
                piece = self._file.read(min(left, _PIECE))
                if not piece:
                    raise _damaged(name)
                place, left = place + len(piece), left - len(piece)
                heard(len(piece))
            try:
                got = unpack.decompress(piece, 4 * _PIECE)
            except zlib.error as error:
                raise _damaged(name) from error
            size += len(got)
            if size > member.bytes or len(rest) > LONGEST_LINE or unpack.unused_data:
                raise _damaged(name)
            digest.update(got)
            first, *others = got.split(b"\n")
            rest += first
            for line in others:
                rows += 1
                yield bytes(rest)
                rest = bytearray(line)
        said = (member.rows, member.bytes, member.sha256)
        if not unpack.eof or rest or (rows, size, digest.hexdigest()) != said:
            raise _damaged(name)


class _Packed:
    """Compresses what is written to it, and keeps count of both sides."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pack = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        self._held = bytearray()
        self.sha256, self.packed_sha256 = hashlib.sha256(), hashlib.sha256()
        self.bytes = self.packed_bytes = 0

    def write(self, data: bytes) -> None:
        self._held += data
        if len(self._held) >= _PIECE:
            self._flush()

    def end(self) -> None:
        self._flush()
        self._put(self._pack.flush())

    def _flush(self) -> None:
        self.bytes += len(self._held)
        self.sha256.update(self._held)
        self._put(self._pack.compress(self._held))
        self._held.clear()

    def _put(self, packed: bytes) -> None:
        self.packed_bytes += len(packed)
        self.packed_sha256.update(packed)
        self._file.write(packed)


def _read_manifest(file: BinaryIO) -> tuple[Manifest, str]:
    file.seek(0)
    header = file.read(_BLOCK)
    if header[: len(MANIFEST) + 1] != MANIFEST.encode() + b"\0":
        raise Invalid("this is no export of ifmem: name a file that `ifmem export` wrote")
    padded = file.read(_MANIFEST_BYTES)
    with suppress(msgspec.MsgspecError):
        version = msgspec.json.decode(padded, type=_Version).format
        if version > FORMAT:
            raise Invalid(
                f"the export has format {version}; this ifmem knows up to {FORMAT}: update ifmem",
                format=version,
                known=FORMAT,
            )
    if header != _header(MANIFEST, _MANIFEST_BYTES) or len(padded) != _MANIFEST_BYTES:
        raise _damaged(MANIFEST)
    try:
        manifest = msgspec.json.decode(padded, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(f"the manifest of the export cannot be read: {error}") from error
    return manifest, hashlib.sha256(padded).hexdigest()


class _Version(msgspec.Struct):
    format: int


def _places(members: Sequence[Member]) -> list[int]:
    """Where the header of each member begins, and where the file ends."""
    places = [_start_of_members()]
    for member in members:
        places.append(places[-1] + _BLOCK + member.packed_bytes + -member.packed_bytes % _BLOCK)
    return [*places[:-1], places[-1] + len(_END)]


def _start_of_members() -> int:
    sums = _sums("0" * 64, ["0" * 64] * len(MEMBERS))
    return _BLOCK + _MANIFEST_BYTES + _BLOCK + len(_filled(sums))


def _sums(manifest: str, members: Sequence[str]) -> bytes:
    """As ``sha256sum --check`` reads them."""
    names = (MANIFEST, *map(_stored_as, MEMBERS))
    pairs = zip((manifest, *members), names, strict=True)
    return "".join(f"{digest}  {name}\n" for digest, name in pairs).encode()


def _stored_as(name: str) -> str:
    return f"{name}.ndjson.gz"


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.GNU_FORMAT)


def _filled(data: bytes) -> bytes:
    return data + bytes(-len(data) % _BLOCK)


def _damaged(what: str) -> IntegrityError:
    return IntegrityError(
        f"the export is damaged in {what}: take another copy; nothing was imported", member=what
    )
