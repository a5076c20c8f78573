"""The command that forgets: what it takes, what it asks, and what it tells."""

from __future__ import annotations

import os
import pty
from datetime import timedelta
from typing import Any

import pytest

from ifmem import clock
from ifmem.client.forgetting import moment_before
from ifmem.entrypoints.cli.main import run
from ifmem.errors import Invalid


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "--captured"),
        (("x", "--source", "."), "--older-than"),
        (("x", "--dry-run"), "leave --dry-run out"),
        (("--all",), "--space"),
        (("--captured", "--session", "s"), "stands alone"),
        (("--lift",), "--lift takes"),
        (("--lift", "x", "--session", "s"), "--lift takes"),
        (("--lift", "x", "--source", "."), "--lift takes"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    assert run(["forget", *words]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("age", ["30d", "2w", "12h", "90m", "5s", "2001-01-01", timedelta(hours=1)])
def test_an_age_is_a_duration_or_a_date(age: str | timedelta) -> None:
    assert moment_before(age) < clock.stamp(clock.now())


@pytest.mark.parametrize("age", ["soon", "30", "d", "-3d", "", timedelta(days=-1), "999999w"])
def test_what_is_no_age_is_told(age: str | timedelta) -> None:
    with pytest.raises(Invalid):
        moment_before(age)


def test_a_whole_space_is_forgotten_by_who_writes_its_name(ifmem: Any) -> None:
    ifmem("remember", "The sea is calm", "--space", "attic")
    told = asked(ifmem, b"cellar\n", "forget", "--all", "--space", "attic")
    assert "1 finding" in told
    assert "nothing was forgotten" in told
    told = asked(ifmem, b"attic\n", "forget", "--all", "--space", "attic")
    assert "forgotten: 1 finding" in told
    assert "--yes" in ifmem("forget", "--all", "--space", "attic", code=2).stderr
    told = ifmem("forget", "--all", "--yes", "--space", "attic").stdout
    assert told.startswith("forgotten: nothing\n")


def asked(ifmem: Any, answer: bytes, *words: str) -> str:
    """What the command says to a person who answers so."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer)
        process = ifmem.start(*words, stdin=theirs)
        out, err = process.communicate(timeout=120)
    finally:
        os.close(ours)
        os.close(theirs)
    return str(out.decode() + err.decode())
