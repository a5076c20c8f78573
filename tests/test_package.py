"""The package as a whole: how its modules look, and what importing it costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ifmem

ROOT = Path(ifmem.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
LONGEST = 400

# A finding's key is also how a citation names it, so `finding:` alone spells no key.
SPELLS_A_KEY = re.compile(
    r"context:(active|shard:)|worker:(status|tasks|context)(:|$)|librarian:shard|ifmem:1:"
    r"|channel:(findings|queries|responses)|swarm:"
)
HEAVY = {"numpy", "redis", "msgspec", "typer", "asyncio", "sqlite3", "bpe_openai", "platformdirs"}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def literals(path: Path) -> Iterator[str]:
    """The strings of a module that are not docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in prose:
            if isinstance(node.value, bytes):
                yield node.value.decode("latin-1")
            elif isinstance(node.value, str):
                yield node.value


def test_there_are_modules_to_look_at() -> None:
    assert len(MODULES) > 50


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_every_module_opens_with_one_sentence(path: Path) -> None:
    opening = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert opening, "no docstring"
    first = opening.split("\n\n")[0]
    assert first.endswith((".", ":")), first
    assert not re.search(r"[.!?]\s+[A-Z]", first), f"more than one sentence: {first}"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_no_module_is_longer_than_a_reader_bears(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_keys_are_spelled_in_one_module_only(path: Path) -> None:
    spelled = [text for text in literals(path) if SPELLS_A_KEY.search(text)]
    assert bool(spelled) is (named(path) == "wire/keys.py"), spelled


def test_public_names_are_sorted_and_there() -> None:
    assert ifmem.__all__ == sorted(ifmem.__all__)
    for name in ifmem.__all__:
        assert getattr(ifmem, name).__name__ == name
    assert set(ifmem.__all__) <= set(dir(ifmem))


def test_every_error_a_caller_may_catch_is_public() -> None:
    errors = [name for name, kind in vars(ifmem.errors).items() if isinstance(kind, type)]
    assert {name for name in errors if issubclass(getattr(ifmem.errors, name), Exception)} <= set(
        ifmem.__all__
    )


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Memroy'"):
        _ = ifmem.Memroy


def test_importing_the_package_loads_nothing_heavy() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "import sys, ifmem; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    loaded = {name for name in said if name.split(".")[0] in HEAVY}
    assert not loaded
    assert [name for name in said if name.startswith("ifmem")] == ["ifmem"]
