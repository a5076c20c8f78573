"""The command line before it needs a daemon."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

from ifmem.settings import server_of, without_password


def test_help_names_every_command(alone: Any) -> None:
    said = alone("--help").stdout
    for command in ("ask", "load", "recall", "remember", "findings", "forget", "doctor", "demo"):
        assert f"\n  {command} " in said
    assert not alone.home.exists()


def test_help_imports_nothing_that_it_does_not_need() -> None:
    code = (
        "import sys; from ifmem.entrypoints.cli.main import run; run(['--help']);"
        "print([m for m in ('msgspec', 'rich', 'redis', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_the_version_is_told(alone: Any) -> None:
    assert alone("--version").stdout.startswith("ifmem 0.")


@pytest.mark.parametrize(
    "words", [("aks",), ("ask",), ("ask", "x", "--shard", "one"), ("recall", "x", "--nope"), ()]
)
def test_misuse_is_exit_code_two(alone: Any, words: tuple[str, ...]) -> None:
    done = alone(*words, code=2)
    assert "Traceback" not in done.stderr
    assert not alone.home.exists()


@pytest.mark.parametrize("text", ["", " \n", "x" * 1_000_000])
def test_a_question_that_is_none_is_refused_in_one_sentence(alone: Any, text: str) -> None:
    for command in ("ask", "recall"):
        done = alone(command, "-", code=2, stdin=text)
        assert len(done.stderr.splitlines()) == 1
        assert "question" in done.stderr
    assert not alone.home.exists()


def test_a_home_that_is_a_file_is_not_permitted(alone: Any) -> None:
    alone.home.write_text("kept")
    told = alone.json("status", code=5)
    assert told["error"] == "NotPermitted"
    assert alone.home.read_text() == "kept"
    alone.home.unlink()


def test_a_bad_space_is_a_usage_error(alone: Any) -> None:
    assert "space" in alone("status", "--space", "No Good", code=2).stderr


def test_settings_are_shown_with_their_origin_and_without_passwords(alone: Any) -> None:
    (alone.directory / ".ifmem.toml").write_text("[shards]\ncapacity = 9000\n")
    secret = "not-a-" + "real-password"
    url = f"redis://me:{secret}@host:1/0"
    rows = alone.json("config", "show", "--origin", "--space", "acme", "--redis", url)["items"]
    by_name = {row["name"]: row for row in rows}
    assert by_name["shards.capacity"]["value"] == 9000
    assert by_name["shards.capacity"]["origin"].startswith("project ")
    assert (by_name["space"]["value"], by_name["space"]["origin"]) == ("acme", "flag")
    assert by_name["home"]["origin"] == "environment"
    assert by_name["redis.url"]["value"] == "redis://me@host:1/0"
    assert secret not in alone("config", "show", "--redis", url).stdout
    assert secret in alone("config", "show", "--redis", url, "--show-secrets").stdout


def test_options_may_stand_before_the_command(alone: Any) -> None:
    shown = json.loads(alone("--json", "--space", "acme", "config", "show").stdout)
    assert {"name": "space", "value": "acme"} in shown["items"]


def test_an_interrupted_command_ends_with_130(alone: Any) -> None:
    asking = alone.start("ask", "-")
    # More than a pipe holds: once it is written, the command is reading.
    asking.stdin.write(b"x" * 1_000_000)
    asking.stdin.flush()
    asking.send_signal(signal.SIGINT)
    _, complaint = asking.communicate(timeout=30)
    assert (asking.returncode, complaint) == (130, b"interrupted\n")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:1/0", "redis://host:1/0"),
        ("redis://:pw@host", "redis://host"),
        ("redis://me:p@w@host", "redis://me@host"),
        ("", ""),
    ],
)
def test_a_password_in_a_url_is_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_two_urls_name_one_server_whoever_asks() -> None:
    assert server_of("redis://me:pw@host:1/") == server_of("redis://host:1")
    assert server_of("redis://host:1") != server_of("redis://host:2")
