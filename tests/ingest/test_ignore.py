"""Ignore patterns mean what they mean to git, shown by asking git itself."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifmem.ingest.ignore import Rules
from ifmem.ingest.walk import walk


def ignored(lines: str, path: str) -> bool | None:
    name = path.rstrip("/").rsplit("/", 1)[-1]
    return Rules.of(lines.split("\n")).verdict(path.rstrip("/"), name, path.endswith("/"))


@pytest.mark.parametrize(
    ("lines", "path", "verdict"),
    [
        ("*.py", "a/b.py", True),
        ("/a.py", "b/a.py", None),
        ("build/", "build", None),
        ("build/", "x/build/", True),
        ("a/b", "x/a/b", None),
        ("a/**/b", "a/b", True),
        ("a/**", "a/b/c", True),
        ("**/b", "b", True),
        ("*.log\n!keep.log", "keep.log", False),
        ("# note", "# note", None),
        ("\\#note", "#note", True),
        ("\\!x", "!x", True),
        ("x ", "x", True),
        ("x\\ ", "x ", True),
        ("[a-c]x", "bx", True),
        ("[!a]x", "ax", None),
        ("[[:digit:]]", "7", True),
        ("[unclosed", "[unclosed", None),
        ("a/[b/]c", "a//c", None),
        ("a*b*c", "a/b/c", None),
        ("x[!a]y/z", "x/y/z", None),
        ("", "x", None),
        ("!", "x", None),
    ],
)
def test_a_pattern_decides_as_the_manual_says(lines: str, path: str, verdict: bool | None) -> None:
    assert ignored(lines, path) is verdict


def test_a_hostile_pattern_is_refused_in_linear_time() -> None:
    assert ignored("a*" * 60 + "b", "a" * 250) is None


names = st.sampled_from(["a", "b", "ab", "a.py", "b.txt", ".x", "c d", "foo", "build"])
atoms = st.sampled_from(
    ["*", "a", "b", "*.py", "a*", "?", "[ab]", "foo", "build", "**", ".x", "*b", "[!a]*", "c d"]
)
patterns = st.builds(
    lambda negated, rooted, parts, folder: "".join((negated, rooted, "/".join(parts), folder)),
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(atoms, min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
)
files = st.lists(st.lists(names, min_size=1, max_size=3), min_size=1, max_size=15)


@settings(max_examples=40, deadline=None)
@given(
    files=files,
    top=st.lists(patterns, min_size=1, max_size=4),
    folder=names,
    inner=st.lists(patterns, max_size=3),
)
def test_a_walk_finds_what_git_would_add(
    files: list[list[str]], top: list[str], folder: str, inner: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as created:
        root = Path(created).resolve()
        git("init", "-q", at=root)
        for parts in files:
            path = root.joinpath(*parts)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            except OSError:
                continue  # A file of that name is where this path needs a folder.
        (root / ".gitignore").write_text("\n".join(top) + "\n")
        if (root / folder).is_dir():
            (root / folder / ".gitignore").write_text("\n".join(inner) + "\n")
        wanted = git("ls-files", "-z", "--others", "--exclude-standard", at=root).split("\0")
        found = [os.path.relpath(one.path, root) for one in walk([root], on_skip=lambda _: None)]
        assert sorted(found) == sorted(filter(None, wanted))


def git(*arguments: str, at: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    done = subprocess.run(
        ["git", *arguments],
        cwd=at,
        env=environment | {"GIT_CONFIG_GLOBAL": "/dev/null"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
