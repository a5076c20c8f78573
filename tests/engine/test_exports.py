"""The rules of exports: the digest, paths taken apart and moved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.engine.exports import content_digest, moved, relative_to, require_moves, source_of
from ifmem.errors import Invalid

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8)
PATHS = st.lists(NAMES.filter(lambda one: one not in (".", "..")), min_size=1, max_size=4).map(
    lambda names: "/" + "/".join(names)
)
SOURCES = PATHS | st.sampled_from(["https://a.test/b", "chat:1", "/", "//", "/a//b", ""])


@given(SOURCES, SOURCES)
def test_a_source_taken_apart_is_the_same_put_together(root: str, source: str) -> None:
    path = relative_to(root, source)
    if path is None:
        assert source_of(root, source, below=False) == source
    else:
        assert source_of(root, path, below=True) == source


@given(PATHS, PATHS)
def test_a_source_below_its_root_is_told_apart_from_it(root: str, below: str) -> None:
    assert relative_to(root, root + below) == below[1:]
    assert relative_to(root, root) is None
    assert relative_to(root, root + "x" + below) is None


@pytest.mark.parametrize("path", ["../evil", "a/../../b", "/etc/passwd"])
def test_a_path_that_leaves_its_root_is_refused(path: str) -> None:
    with pytest.raises(Invalid, match="does not lie below"):
        source_of("/srv", path, below=True)


@given(PATHS, PATHS, PATHS)
def test_what_lies_below_a_moved_directory_moves_with_it(old: str, new: str, below: str) -> None:
    moves = require_moves({old: new})
    assert moved(old + below, moves) == new + below
    assert moved(old, moves) == new
    assert moved(old + "x", moves) == old + "x"


def test_the_longest_directory_decides() -> None:
    moves = require_moves({"/a": "/z", "/a/b/": "/y/"})
    assert moved("/a/b/c", moves) == "/y/c"
    assert moved("/a/c", moves) == "/z/c"
    assert moved("chat:/a/b", moves) == "chat:/a/b"


def test_the_root_of_all_moves_and_is_moved_to() -> None:
    assert moved("/a/b", require_moves({"/": "/old"})) == "/old/a/b"
    assert moved("/old/a", require_moves({"/old": "/"})) == "/a"


@pytest.mark.parametrize("moves", [{"a": "/b"}, {"/a": "b"}, {"/a": "/b/../c"}, {"": "/"}])
def test_a_move_of_no_absolute_path_is_refused(moves: dict[str, str]) -> None:
    with pytest.raises(Invalid, match="OLD=NEW"):
        require_moves(moves)


def test_the_digest_tells_each_fact_apart() -> None:
    one = [("findings", 1, "a" * 64), ("tasks", 0, "b" * 64)]
    others = [
        [("findings", 2, "a" * 64), ("tasks", 0, "b" * 64)],
        [("findings", 1, "b" * 64), ("tasks", 0, "b" * 64)],
        [("finding", 1, "a" * 64), ("tasks", 0, "b" * 64)],
        one[:1],
    ]
    assert len({content_digest(each) for each in [one, *others]}) == 5
