"""What a shell command is for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.engine.shell_commands import Purpose, understand


@pytest.mark.parametrize(
    "line",
    [
        "pytest",
        "python -m pytest -q tests/engine",
        ".venv/bin/pytest tests",
        "cd web && npm test",
        "npm run test:unit -- --watch=false",
        "yarn test",
        "pnpm exec vitest run",
        "npx jest",
        "go test ./...",
        "cargo test --workspace",
        "cargo nextest run",
        "make test",
        "make -C build check",
        "just test",
        "uv run tox -e py311",
        "poetry run pytest | tail -20",
        "timeout 60 pytest -x 2>&1 | tee out.txt",
        "CI=1 LANG=C ./gradlew test",
        "git status && pytest",
        "bundle exec rspec",
        "dotnet test",
        "python3.11 -m unittest discover",
        "coverage run -m pytest",
    ],
)
def test_running_tests_is_known_however_it_is_written(line: str) -> None:
    assert understand(line).purpose is Purpose.TESTS


@pytest.mark.parametrize(
    ("line", "purpose"),
    [
        ("git log --oneline -5", Purpose.GIT),
        ("git -C pkg --no-pager diff HEAD~1", Purpose.GIT),
        ("git blame -L 3,9 src/a.py", Purpose.GIT),
        ("git show HEAD:src/a.py | head", Purpose.GIT),
        ("git commit -m 'log of the day'", Purpose.OTHER),
        ("git push", Purpose.OTHER),
        ("git grep retry", Purpose.SEARCH),
        ("rg -n retry src", Purpose.SEARCH),
        ("grep -rn 'a b' . | head -5", Purpose.SEARCH),
        ("cat notes.txt | grep retry", Purpose.READ),
        ("cat src/a.py", Purpose.READ),
        ("sed -n '1,80p' src/a.py", Purpose.READ),
        ("sed -i s/a/b/ src/a.py", Purpose.OTHER),
        ("echo pytest", Purpose.OTHER),
        ("ls tests", Purpose.OTHER),
        ("make install", Purpose.OTHER),
        ("npm install jest", Purpose.OTHER),
        ("go build ./test", Purpose.OTHER),
        ("", Purpose.OTHER),
        ("echo 'unfinished", Purpose.OTHER),
    ],
)
def test_git_searches_and_reading_are_told_apart_from_the_rest(line: str, purpose: Purpose) -> None:
    assert understand(line).purpose is purpose


@pytest.mark.parametrize(
    "line",
    [
        "ifmem recall 'retry budget'",
        "/opt/bin/ifmem ask x | grep y",
        "pytest && ifmem remember 'all is green'",
        "python -m ifmem status",
        "uvx ifmem recall x",
        'git log | grep "$(ifmem recall x)"',
        "grep x `ifmem sources`",
    ],
)
def test_what_ifmem_prints_is_never_taken_for_something_else(line: str) -> None:
    assert understand(line).purpose is Purpose.OWN


def test_a_folder_called_ifmem_is_no_call_of_it() -> None:
    assert understand("pytest tests/ifmem").purpose is Purpose.TESTS


def test_paths_that_a_command_names_are_told() -> None:
    told = understand("cd sub && git show HEAD:lib/key.py -- other.py > out.txt 2> err.txt")
    assert told.directory == "sub"
    assert set(told.operands) == {"sub", "show", "lib/key.py", "other.py"}
    assert understand("sed -n '1,80p' src/a.py").reads == ("src/a.py",)
    assert understand("head -20 a.md b.md").reads == ("a.md", "b.md")


@given(st.text(max_size=200))
def test_no_text_is_too_odd_to_be_understood(line: str) -> None:
    assert understand(line).purpose in Purpose
