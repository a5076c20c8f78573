"""JSON Schemas of arguments and results, in the part of the language that every client reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

Schema = dict[str, Any]
_REFERENCE = "#/$defs/"


def schema_of_arguments(kind: type[msgspec.Struct]) -> Schema:
    """The schema of what a tool takes: an optional argument is left out, not null."""
    return cast("Schema", _plain(_whole(kind), nullable=False))


def schema_of_results(*kinds: type[msgspec.Struct]) -> Schema:
    """The schema of what a tool returns, the fullest first; null stands where there is nothing."""
    schema, *others = (_plain(_whole(kind), nullable=True) for kind in kinds)
    for other in others:
        schema["required"] = [one for one in schema["required"] if one in other["required"]]
    return cast("Schema", schema)


def _whole(kind: type[msgspec.Struct]) -> Schema:
    """One schema without references: no struct of a tool contains itself."""
    (root,), parts = msgspec.json.schema_components([kind], ref_template=_REFERENCE + "{name}")
    whole = _inlined(root, parts)
    assert isinstance(whole, dict)
    # The tool's own description says it.
    whole.pop("description", None)
    return whole


def _inlined(node: Any, parts: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inlined(one, parts) for one in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        further = {name: value for name, value in node.items() if name != "$ref"}
        return {**_inlined(parts[node["$ref"].removeprefix(_REFERENCE)], parts), **further}
    # A struct's name says nothing to a client; its fields do.
    is_struct = node.get("type") == "object" and isinstance(node.get("title"), str)
    return {
        name: _inlined(value, parts)
        for name, value in node.items()
        if not (is_struct and name == "title")
    }


def _plain(node: Any, *, nullable: bool) -> Any:
    """The same with one type for each node, and without nulls where they are not asked for."""
    if isinstance(node, list):
        return [_plain(one, nullable=nullable) for one in node]
    if not isinstance(node, dict):
        return node
    plain = {name: _plain(value, nullable=nullable) for name, value in node.items()}
    plain = _described(plain) if nullable else _without_null(plain)
    if "enum" in plain and "type" not in plain:
        plain["type"] = "string"
    return plain


def _described(node: Schema) -> Schema:
    """A description belongs to the field, not to one of the types it may have."""
    for branch in node.get("anyOf", ()):
        if "description" in branch:
            node.setdefault("description", branch.pop("description"))
    return node


def _without_null(node: Schema) -> Schema:
    if node.get("default", ...) is None:
        del node["default"]
    branches = node.get("anyOf")
    if isinstance(branches, list):
        kept = [one for one in branches if one != {"type": "null"}]
        if len(kept) == 1:
            rest = {name: value for name, value in node.items() if name != "anyOf"}
            return {**kept[0], **rest}
        node["anyOf"] = kept
    return node
