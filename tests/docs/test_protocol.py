"""The protocol page says what the code does: keys, functions, calls, shapes, findings, layout."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ifmem.bus import server_side
from ifmem.domain.finding import SCHEMA_VERSION
from ifmem.errors import Failed, to_wire
from ifmem.runtime import granting, listing, verbs
from ifmem.runtime.diagnosing import diagnose
from ifmem.runtime.loading import load
from ifmem.wire import (
    accounts,
    answers,
    blob,
    calls,
    export_calls,
    finding_json,
    keys,
    librarian_calls,
    message_calls,
    session_calls,
    shapes,
)

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
WORDS = {str: "string", int: "integer", float: "number", bool: "boolean", Any: "any"}
VERBS = {
    **{
        name: verbs.VERBS[kind]
        for name, kind in verbs.PARAMS.items()
        if kind in verbs.VERBS and kind is not calls.AcknowledgeCall
    },
    **verbs.LISTS,
    "load": load,
    "status": listing.status,
    "doctor": diagnose,
}
"""What answers each method that returns a shape of the protocol."""


def section(title: str) -> str:
    """What stands below a heading, up to the next one of its level or above."""
    found = re.search(rf"^(#+) {re.escape(title)}\n", PAGE, re.M)
    assert found is not None, f"no section {title!r}"
    rest = PAGE[found.end() :]
    ending = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.M)
    return rest if ending is None else rest[: ending.start()]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of the first table's rows."""
    inside = False
    for line in text.splitlines():
        if line.startswith("| ---"):
            inside = True
        elif inside and not line.startswith("|"):
            return
        elif inside:
            yield [cell.strip().replace("\\|", "|") for cell in line.strip("| ").split(" | ")]


def bare(cell: str) -> str:
    return cell.strip("`")


def json_type(annotation: Any) -> str:
    """A type as the page spells it."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(json_type(one) for one in inner)
    if annotation is type(None):
        return "null"
    if origin is typing.Literal:
        return WORDS[type(inner[0])]
    if origin in (list, tuple):
        listed = [json_type(one) for one in inner if one is not Ellipsis]
        return f"[{', '.join(listed)}{' …' if origin is list or Ellipsis in inner else ''}]"
    if origin is dict or annotation is msgspec.Raw:
        return "object"
    if isinstance(annotation, typing.TypeVar):
        return annotation.__name__
    return WORDS.get(annotation) or f"`{annotation.__name__}`"


def described(kind: type[msgspec.Struct]) -> list[tuple[str, str]]:
    """Name and type of each field, as the page must list them."""
    hints = typing.get_type_hints(kind)
    return [(name, json_type(hints[name])) for name in kind.__struct_fields__]


def structs(module: types.ModuleType) -> list[type[msgspec.Struct]]:
    return [
        one
        for one in vars(module).values()
        if isinstance(one, type)
        and issubclass(one, msgspec.Struct)
        and one.__module__ == module.__name__
        and one.__struct_fields__
    ]


def test_every_key_is_listed_as_it_is_spelled() -> None:
    listed = [(bare(a), b, c, d) for a, b, c, d in rows(section("Keys"))]
    assert listed == [(k.pattern, k.type, k.holds, k.exists) for k in keys.ALL]


def test_every_server_side_function_is_listed_with_its_arguments_and_answers() -> None:
    written = server_side.body()
    listed = {bare(row[0]): (bare(row[1]), row[2]) for row in rows(section("Functions"))}
    assert list(listed) == list(server_side.public())
    functions = bodies(written)
    for name, (arguments, answered) in listed.items():
        heading = written[: written.index(f"local function {name}(")].rpartition("\n\n")[2]
        said = re.search(r"^-- ARGV  (.+(?:\n--  {5,}.+)*)$", heading, re.M)
        assert said is not None, name
        assert arguments == " ".join(said[1].replace("\n--", "").split()), name
        assert set(re.findall(r"`([\w-]+)`", answered)) == words(functions, name), name


def bodies(written: str) -> dict[str, str]:
    """The text of every function of the library."""
    parts = re.split(r"^local function (\w+)\(", written, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def words(functions: dict[str, str], name: str) -> set[str]:
    """The words a function answers with: its own, and those of a refusal that it passes on."""
    body = functions[name]
    passed_on = set(re.findall(r"(?:= |or |return )(\w+)\(", body)) & functions.keys()
    texts = [body, *(functions[one] for one in passed_on - set(server_side.public()))]
    return {word for text in texts for word in re.findall(r"(?:return|found =) \{'([\w-]+)'", text)}


def test_every_method_is_listed_with_its_parameters_and_its_result() -> None:
    listed = {bare(row[0]): (bare(row[1]), bare(row[2])) for row in rows(section("Methods"))}
    expected = {name: kind.__name__ for name, kind in verbs.PARAMS.items()}
    expected |= {name: kind.__name__ for name, kind in granting.PARAMS.items()}
    expected |= dict.fromkeys(("hello", "stop", "spaces"), "Nothing")
    assert {name: taken for name, (taken, _) in listed.items()} == expected
    for name, verb in VERBS.items():
        returned = verb.__annotations__["return"].replace("[", " of ").rstrip("]")
        assert listed[name][1].replace("`", "") == returned, name


@pytest.mark.parametrize(
    "kind",
    [
        *structs(calls),
        *structs(message_calls),
        *structs(shapes),
        *structs(answers),
        *structs(accounts),
        *structs(session_calls),
        *structs(librarian_calls),
        *structs(export_calls),
    ],
    ids=lambda kind: kind.__name__,
)
def test_every_shape_is_listed_with_its_fields_and_their_types(kind: type[msgspec.Struct]) -> None:
    listed = [(bare(row[0]), row[1]) for row in rows(section(f"`{kind.__name__}`"))]
    assert listed == described(kind)
    assert all(row[2] for row in rows(section(f"`{kind.__name__}`"))), "a field without a meaning"


def test_every_field_of_a_finding_is_listed() -> None:
    listed = [(bare(row[0]), row[1]) for row in rows(section("Finding"))]
    names = [name for name, _ in listed]
    assert names == list(finding_json._Finding.__struct_fields__)
    aliases = dict(re.findall(r"`(\w+)` → `(\w+)`", section("Finding")))
    assert aliases == finding_json._ALIASES
    assert f"`{SCHEMA_VERSION}`" in section("Versions")


def test_the_layout_of_a_blob_is_the_one_described() -> None:
    part = blob.BlobPart("/a", "ab" * 32, "prose", 2, (blob.BlobPassage(5, 0, 1, 1, 2, "h"),))
    _, data = blob.encode([part], "hello")
    text = section("Blobs")
    assert f"`{data[:4].decode()}`" in text
    assert f"{blob.TARGET_BYTES:,} bytes" in text
    for kind in (blob.BlobPart, blob.BlobPassage, blob.Manifest, blob.BlobEntry):
        assert ", ".join(f"`{name}`" for name in kind.__struct_fields__) in text
    header = int.from_bytes(data[4:8])
    assert msgspec.msgpack.decode(data[8 : 8 + header]) == [
        ["/a", "ab" * 32, "prose", 2, [[5, 0, 1, 1, 2, "h"]]]
    ]
    assert msgspec.msgpack.decode(data[8 + header :]) == ["hello"]


def test_the_limits_of_a_call_are_the_ones_described() -> None:
    assert f"{calls.MAX_LINE_BYTES:,} bytes" in section("Daemon socket")
    assert f"protocol version {calls.PROTOCOL}" in section("Versions")


def test_an_error_reply_has_the_fields_described() -> None:
    for name in to_wire(Failed("x")):
        assert f"`{name}`" in section("Daemon socket")
