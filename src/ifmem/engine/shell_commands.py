"""What a shell command is for, as far as capture cares: tests, git, a search, or reading files.

A line is cut into its commands; wrappers (``timeout 60``, ``uv run``, ``FOO=1``) are passed over.
What cannot be told apart counts as nothing: capture leaves out rather than guesses.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Purpose(StrEnum):
    """What a command line is for; of several the first of this order."""

    OWN = "own"
    TESTS = "tests"
    GIT = "git"
    SEARCH = "search"
    READ = "read"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ShellCommand:
    """A command line, understood."""

    purpose: Purpose
    directory: str | None = None
    """Where it ``cd``-s to before anything else is done."""
    operands: tuple[str, ...] = ()
    """What its commands name: paths, perhaps; a ``git`` revision's path without the revision."""
    reads: tuple[str, ...] = ()
    """What its reading commands name."""


def understand(line: str) -> ShellCommand:
    """What a command line is for and what it names."""
    if _SUBSTITUTED_OWN.search(line):
        return ShellCommand(Purpose.OWN)
    commands = [one for one in map(_stripped, _commands(line)) if one.words]
    purposes = {_purpose(one) for one in commands}
    purpose = next((one for one in Purpose if one in purposes), Purpose.OTHER)
    moves = [one.words[1] for one in commands if one.words[0] == "cd" and len(one.words) > 1]
    return ShellCommand(
        purpose=purpose,
        directory=moves[0] if moves else None,
        operands=tuple(name for one in commands for name in _operands(one.words)),
        reads=tuple(
            name
            for one in commands
            if _purpose(one) is Purpose.READ
            for name in _operands(one.words)
        ),
    )


@dataclass(frozen=True, slots=True)
class _Command:
    words: tuple[str, ...]
    begins: bool
    """It is the first of its pipeline: what it prints is not made of another's output."""


_SUBSTITUTED_OWN = re.compile(r"(?:\$\(|`)\s*(?:\S*/)?ifmem\b")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_SEPARATORS = frozenset(["&&", "||", ";", "&", "(", ")", ";;", "|&", "|"])
_REDIRECTIONS = re.compile(r"[<>]")
_LINES = re.compile(r"^\d+(?:,(?:\d+|\$))?p?$")

_TEST_PROGRAMS = frozenset(
    [
        "pytest",
        "py.test",
        "tox",
        "nox",
        "nosetests",
        "nose2",
        "unittest",
        "trial",
        "ctest",
        "rspec",
        "phpunit",
        "pest",
        "jest",
        "vitest",
        "mocha",
        "ava",
        "tap",
        "bats",
        "behave",
        "cucumber",
        "karma",
        "gotestsum",
        "nextest",
        "busted",
        "ward",
        "zunit",
    ]
)
_TEST_VERBS = {
    **dict.fromkeys(("npm", "pnpm", "yarn", "bun"), ("test", "t", "tst", "test:*", "e2e")),
    **dict.fromkeys(
        ("make", "gmake", "just", "task", "ninja"), ("test", "tests", "check", "test*")
    ),
    **dict.fromkeys(("mvn", "mvnw", "gradle", "gradlew"), ("test", "verify", "check", "test*")),
    **dict.fromkeys(("rake", "rails", "mix", "sbt", "bazel", "swift"), ("test", "spec")),
    **dict.fromkeys(("go", "deno", "dotnet", "flutter", "dart", "zig", "meson"), ("test",)),
    **dict.fromkeys(("playwright", "cypress"), ("test", "run")),
    "cargo": ("test", "nextest", "t"),
    "hatch": ("test",),
}
_GIT_VERBS = frozenset({"log", "show", "diff", "blame", "status"})
_SEARCH_PROGRAMS = frozenset(["grep", "egrep", "fgrep", "rg", "ag", "ack", "find", "fd", "fdfind"])
_READ_PROGRAMS = frozenset(["cat", "head", "tail", "sed", "nl", "less", "more", "bat", "batcat"])

_WRAPPERS = frozenset(
    ["sudo", "time", "env", "nice", "nohup", "command", "exec", "xvfb-run", "stdbuf", "timeout"]
)
_RUNNERS = {
    **dict.fromkeys(("uv", "poetry", "pipenv", "pdm", "rye", "hatch"), ("run",)),
    **dict.fromkeys(("pnpm", "yarn", "npm", "bundle"), ("exec", "dlx", "x")),
    "coverage": ("run",),
}
_DIRECT_RUNNERS = frozenset({"npx", "uvx", "bunx", "pipx"})
_PYTHON = re.compile(r"(?:python|pypy)\d*(?:\.\d+)*")
_WITH_VALUE = frozenset({"-C", "-c", "--git-dir", "--work-tree", "--prefix", "--directory"})


def _commands(line: str) -> list[_Command]:
    """The simple commands of a line, in order."""
    lexer = shlex.shlex(line.replace("\n", " ; "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        tokens = list(lexer)
    except ValueError:
        # A quote that does not end: here-documents and odd shells. Words are still words.
        tokens = line.split()
    commands: list[_Command] = []
    words: list[str] = []
    begins = True
    for token in [*tokens, ";"]:
        if token in _SEPARATORS:
            commands.append(_Command(_without_redirections(words), begins))
            words, begins = [], token not in ("|", "|&")
        else:
            words.append(token)
    return commands


def _without_redirections(words: Sequence[str]) -> tuple[str, ...]:
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif _REDIRECTIONS.match(word):
            skip = True
            if kept and kept[-1].isdigit():
                kept.pop()
        else:
            kept.append(word)
    return tuple(kept)


def _stripped(command: _Command) -> _Command:
    """The command without what only leads to another: assignments, wrappers, runners."""
    words = list(command.words)
    while words:
        name = _base(words[0])
        if _ASSIGNMENT.match(words[0]):
            words = words[1:]
        elif name in _WRAPPERS:
            words = _after_options(words[1:], durations=name == "timeout")
        elif name in _DIRECT_RUNNERS or (
            name in _RUNNERS and len(words) > 1 and words[1] in _RUNNERS[name]
        ):
            words = _after_options(words[1 if name in _DIRECT_RUNNERS else 2 :])
        elif _PYTHON.fullmatch(name) and "-m" in words[1:]:
            words = words[words.index("-m") + 1 :]
        else:
            break
    return _Command(tuple(words), command.begins)


def _after_options(words: list[str], *, durations: bool = False) -> list[str]:
    while words and (words[0].startswith("-") or (durations and words[0][:1].isdigit())):
        words = words[1:]
    return words


def _purpose(command: _Command) -> Purpose:
    name, rest = _base(command.words[0]), command.words[1:]
    if name == "ifmem" or name.startswith("ifmem."):
        return Purpose.OWN
    if not command.begins:
        return Purpose.OTHER
    if name in _TEST_PROGRAMS or _is_test_verb(name, rest):
        return Purpose.TESTS
    if name == "git":
        verb = next(iter(_plain(rest)), "")
        return Purpose.GIT if verb in _GIT_VERBS else _git_search(verb)
    if name in _SEARCH_PROGRAMS:
        return Purpose.SEARCH
    if name in _READ_PROGRAMS and not (name == "sed" and "-n" not in rest):
        return Purpose.READ
    return Purpose.OTHER


def _git_search(verb: str) -> Purpose:
    return Purpose.SEARCH if verb == "grep" else Purpose.OTHER


def _is_test_verb(name: str, rest: Sequence[str]) -> bool:
    verbs = _TEST_VERBS.get(name)
    if verbs is None:
        return False
    said = _plain(rest)
    if said[:1] in (["run"], ["run-script"], ["exec"]):
        said = said[1:]
    return any(_is(word, verb) for word in said[:3] for verb in verbs)


def _is(word: str, verb: str) -> bool:
    return word.startswith(verb[:-1]) if verb.endswith("*") else word == verb


def _plain(words: Sequence[str]) -> list[str]:
    """The words that are neither options nor their values."""
    plain: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in _WITH_VALUE:
            skip = True
        elif not word.startswith("-"):
            plain.append(word)
    return plain


def _operands(words: Sequence[str]) -> list[str]:
    """What may be paths among a command's words: everything that is no option."""
    named = [word for word in words[1:] if not word.startswith("-") and not _LINES.match(word)]
    if _base(words[0]) == "git":
        named = [word.partition(":")[2] or word for word in named]
    return named


def _base(word: str) -> str:
    return word.rsplit("/", 1)[-1]
