"""Errors: the tree as drawn, and the way across the daemon's socket."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from ifmem import errors
from ifmem.errors import Failed, IfMemError, IntegrityError, OutcomeUnknown, from_wire, to_wire

DRAWN = re.compile(r"^    ( *)([A-Z]\w+) +(?:exit|(\d))", re.MULTILINE)


def below(kind: type[IfMemError]) -> Iterator[type[IfMemError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from below(child)


def drawn_tree() -> dict[str, tuple[str | None, int]]:
    """Parent and exit code of each class, as the module's docstring draws them."""
    assert errors.__doc__ is not None
    tree: dict[str, tuple[str | None, int]] = {}
    path: list[str] = []
    for indent, name, code in DRAWN.findall(errors.__doc__):
        depth = len(indent) // 2
        path[depth:] = [name]
        tree[name] = (path[depth - 1] if depth else None, int(code or 1))
    return tree


def test_the_tree_drawn_at_the_top_is_the_tree_of_classes() -> None:
    classes: dict[str, tuple[str | None, int]] = {"IfMemError": (None, IfMemError.exit_code)}
    for kind in below(IfMemError):
        assert kind.__base__ is not None
        classes[kind.__name__] = (kind.__base__.__name__, kind.exit_code)
    assert drawn_tree() == classes


@pytest.mark.parametrize("kind", list(below(IfMemError)), ids=lambda kind: kind.__name__)
def test_every_error_crosses_the_wire_as_itself(kind: type[IfMemError]) -> None:
    sent = kind("shard 3 is full: raise its capacity", shard=3, sources=["/a", "/b"])
    received = from_wire(json.loads(json.dumps(to_wire(sent))))
    assert type(received) is kind
    assert str(received) == received.message == "shard 3 is full: raise its capacity"
    assert received.facts == {"shard": 3, "sources": ["/a", "/b"]}


def test_the_wire_form_names_the_error_and_its_exit_code() -> None:
    assert to_wire(OutcomeUnknown("repeat with the same id", id="x")) == {
        "error": "OutcomeUnknown",
        "message": "repeat with the same id",
        "exit_code": 4,
        "facts": {"id": "x"},
    }


def test_an_error_of_a_later_version_arrives_as_a_failure_with_its_message() -> None:
    received = from_wire({"error": "TooClever", "message": "rest a little", "facts": None})
    assert type(received) is Failed
    assert (received.message, received.facts) == ("rest a little", {})


def test_a_caller_may_catch_what_it_can_do_about_it() -> None:
    with pytest.raises(Failed):
        raise IntegrityError("a blob is missing")
