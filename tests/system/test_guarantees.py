"""Guarantees 2, 5, 6, 7 and 9, between processes and down to the bytes on disk."""

from __future__ import annotations

import json
import random
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ifmem import Invalid, Memory, tokens

_LETTERS = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"


def invented_secrets() -> dict[str, str]:
    """Made-up values in the shapes of credentials, put together here so that none stands whole."""
    chance = random.Random(9)

    def some(count: int, of: str = _LETTERS) -> str:
        return "".join(chance.choice(of) for _ in range(count - 2)) + "Z9"

    def low(count: int) -> str:
        return "".join(chance.choice(_HEX) for _ in range(count))

    upper = string.ascii_uppercase + string.digits
    return {
        "anthropic": "sk-" + "ant-" + some(40),
        "openai": "sk-" + "proj-" + some(40),
        "google": "AI" + "za" + some(35),
        "github": "gh" + "p_" + some(36),
        "github fine": "github" + "_pat_" + some(60),
        "github oauth": "gh" + "o_" + some(36),
        "gitlab": "glp" + "at-" + some(20),
        "slack": "xo" + "xb-" + some(40),
        "aws": "AK" + "IA" + some(16, upper),
        "aws session": "AS" + "IA" + some(16, upper),
        "stripe": "sk_" + "live_" + some(24),
        "huggingface": "h" + "f_" + some(34),
        "npm": "np" + "m_" + some(36),
        "pypi": "py" + "pi-" + some(60),
        "sendgrid": "S" + "G." + some(22) + "." + some(43),
        "jwt": "ey" + "J" + some(20) + ".ey" + "J" + some(30) + "." + some(40),
        "password": "Tr0ub" + some(12) + "!",
        "url password": "pw" + some(14),
        "digitalocean": "dop" + "_v1_" + low(64),
        "databricks": "da" + "pi" + low(32),
    }


SECRETS = invented_secrets()


def sentence_with(kind: str, value: str) -> str:
    """A line in which a credential of this kind would really stand."""
    if kind == "password":
        return f"password = '{value}'"
    if kind == "url password":
        return f"DATABASE = 'postgres://ledger:{value}@db.invalid/ledger'"
    return f"the {kind} credential is {value} for the ledger"


def bytes_below(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def where_readable(root: Path) -> list[tuple[str, str]]:
    """Secrets that stand in some file below, plain, with the file."""
    return [
        (kind, str(path.relative_to(root)))
        for path, data in bytes_below(root).items()
        for kind, value in SECRETS.items()
        if value.encode() in data
    ]


# 2: read your writes


def test_what_one_process_stored_the_next_recalls_at_once(ifmem: Any) -> None:
    ifmem("up")
    for number in range(8):
        word = f"widget{number}quartz"
        stored = ifmem("remember", f"The {word} is in drawer {number}.", "--json").json
        found = ifmem("recall", f"where is the {word}", "--json").json["findings"]
        assert found[0]["finding_id"] == stored["finding_id"]
        ifmem.write(f"notes/{number}.md", f"# Note\n\nThe lamp{number}topaz hangs low.\n")
        ifmem("load", "notes")
        passages = ifmem("recall", f"lamp{number}topaz", "--json").json["passages"]
        assert passages[0]["source"].endswith(f"/{number}.md")


def test_a_process_that_was_there_before_the_write_sees_it_too(ifmem: Any) -> None:
    ifmem("up")
    reader = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "from ifmem import Memory\n"
            "from ifmem.settings import Settings\n"
            "with Memory.open_sync(settings=Settings(home=sys.argv[1])) as memory:\n"
            "    print(len(memory.recall('garnet').findings), flush=True)\n"
            "    sys.stdin.readline()\n"
            "    print(memory.recall('garnet').findings[0].claim, flush=True)\n",
            str(ifmem.home),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "0\n"
    ifmem("remember", "The garnet is set in silver.")
    out, _ = reader.communicate("go\n", timeout=60)
    assert out == "The garnet is set in silver.\n"


# 5: nothing invented


def test_every_quote_stands_in_its_source_and_a_changed_source_is_stale(
    ifmem: Any, writer: Any
) -> None:
    text = writer(5).prose(80) + "\nThe toll of the iron bridge\nis nine farthings.\n"
    path = ifmem.write("docs/toll.md", text)
    ifmem("load", "docs")

    def answer() -> Any:
        return ifmem("ask", "What is the toll of the iron bridge?", "--json").json

    first = answer()
    assert first["found"]
    for one in first["citations"]:
        low, high = one["lines"]
        within = "\n".join(text.split("\n")[low - 1 : high])
        assert " ".join(one["quote"].split()) in " ".join(within.split())
        assert (one["verified"], one["stale"]) == (True, False)
    ifmem.write("docs/toll.md", text.replace("nine", "fourteen"))
    assert {one["stale"] for one in answer()["citations"]} == {True}
    ifmem("load", "docs")
    fresh = answer()
    assert {one["stale"] for one in fresh["citations"]} == {False}
    assert "nine" not in json.dumps(fresh)
    path.unlink()
    assert {one["stale"] for one in answer()["citations"]} == {True}


def test_a_quote_that_does_not_stand_in_its_source_is_refused(ifmem: Any) -> None:
    path = ifmem.write("docs/bell.md", "# Bell\n\nThe bell was cast in 1702.\n")
    ifmem("load", "docs")
    with Memory.open_sync(settings=ifmem.settings) as memory:
        for quote, lines in (("cast in 1703", [3, 3]), ("cast in 1702", [1, 1])):
            with pytest.raises(Invalid, match="word for word"):
                memory.remember(
                    "The bell is old.",
                    citations=[{"source": str(path), "lines": lines, "quote": quote}],
                )
        assert memory.status().findings == 0
        memory.remember(
            "The bell is old.",
            citations=[{"source": str(path), "lines": [3, 3], "quote": "cast  in 1702"}],
        )
    run = ifmem("remember", "The bell is old.", "--cite", "docs/bell.md:40", code=2)
    assert "lines" in run.told()
    assert ifmem.status()["findings"] == 1


# 6: nothing dropped by likeness


def test_what_is_nearly_the_same_is_kept_twice(ifmem: Any) -> None:
    for name, hour in (("one", "seven"), ("two", "eight")):
        ifmem.write(f"docs/{name}.md", f"# Mill\n\nThe mill opens at {hour} on Mondays.\n")
    report = ifmem("load", "docs", "--json").json
    assert report["documents"] == 2
    texts = [p["text"] for p in ifmem("recall", "mill opens", "--json").json["passages"]]
    assert {"seven" in text for text in texts} == {True, False}
    ids = {
        ifmem("remember", claim, "--json").json["finding_id"]
        for claim in ("The mill is loud.", "The mill is loud.", "The mill is loud!")
    }
    assert len(ids) == 3
    assert ifmem.status()["findings"] == 3
    again = ifmem("remember", "Something else.", "--id", sorted(ids)[0], "--json").json
    assert again["outcome"] == "known"
    assert ifmem.status()["findings"] == 3


# 7: bounded


@pytest.fixture(scope="module")
def matching(install_shared: Any, writer: Any) -> Any:
    """Far more that matches than any answer may hold; for all who only ask."""
    ifmem = install_shared()
    ifmem.write("docs/long.md", writer(6).prose(900))
    ifmem("load", "docs")
    for number in range(5):
        ifmem("remember", f"The quiet harbor was swept {number} times.")
    return ifmem


@pytest.mark.parametrize("budget", [1, 25, 300, 2_000])
def test_a_reply_keeps_its_token_cap(matching: Any, budget: int) -> None:
    found = matching("recall", "quiet harbor lantern", "--max-tokens", budget, "--json").json
    texts = [p["text"] for p in found["passages"]] + [f["claim"] for f in found["findings"]]
    assert sum(map(tokens.count, texts)) <= found["tokens"] <= budget
    if budget >= 300:
        assert texts
    few = matching("recall", "quiet harbor lantern", "--limit", "3", "--json").json
    assert len(few["passages"]) + len(few["findings"]) == 3


def test_an_answer_is_short_however_much_matches(matching: Any) -> None:
    answer = matching("ask", "What does the quiet harbor lantern carry?", "--json").json
    assert len(answer["citations"]) <= 3
    assert tokens.count(answer["answer"] or "") <= 300


# 9: secrets do not enter


def test_the_invented_secrets_cover_enough_kinds() -> None:
    assert len(SECRETS) >= 15
    assert len(set(SECRETS.values())) == len(SECRETS)


def test_no_secret_is_readable_anywhere_under_the_home(ifmem: Any) -> None:
    lines = ["# Ledger notes", "", "The secret ingredient is love.", ""]
    for kind, value in SECRETS.items():
        lines += [sentence_with(kind, value), f"The {kind} section ends here."]
    text = "\n".join(lines) + "\n"
    ifmem.write("docs/notes.md", text)
    ifmem.write("src/settings.py", "\n".join(f"# {line}" for line in lines) + "\n")
    ifmem.write(
        "chat/log.jsonl",
        "".join(json.dumps({"role": "user", "content": line}) + "\n" for line in lines if line),
    )
    ifmem.write("data/values.json", json.dumps({"password": SECRETS["password"], "n": 1}))
    report = ifmem("load", "docs", "src", "chat", "data", "--json").json
    assert report["masked"] >= 3 * len(SECRETS)
    for kind, value in SECRETS.items():
        # Alone, a password has no shape to know it by.
        alone = "ledger" if "password" in kind else value
        ifmem("remember", sentence_with(kind, value), "--topic", alone, "--tag", alone)
    # Questions, errors and logs as well.
    secret = SECRETS["anthropic"]
    ifmem("ask", f"What is {secret}?")
    ifmem("recall", secret)
    ifmem("load", secret, code=3)
    ifmem("forget", secret, code=3)
    ifmem("remember", f"see {secret}", "--confidence", "7", code=2)
    with ifmem.bus() as bus:
        bus.bgrewriteaof()
    assert where_readable(ifmem.home) == []
    ifmem.down()
    assert where_readable(ifmem.home) == []
    # The files themselves hold them, so the search would have found them.
    assert {kind for kind, _ in where_readable(ifmem.directory)} == set(SECRETS)

    stored = ifmem("recall", "secret ingredient", "--json").json["passages"]
    assert any("The secret ingredient is love." in one["text"] for one in stored)


def test_line_counts_are_kept_and_masked_lines_are_never_evidence(ifmem: Any) -> None:
    begin, end = "-----BEGIN " + "PRIVATE KEY-----", "-----END " + "PRIVATE KEY-----"
    body = "\n".join("Q" * 63 + "9" for _ in range(12))
    # The wrapping is of the shape; the letters are no key.
    lines = ["# Keys", "", begin, *body.split("\n"), end, "", "The vault opens at noon.", ""]
    lines.insert(1, f"The vault token is {SECRETS['github']} until Friday.")
    ifmem.write("docs/keys.md", "\n".join(lines))
    report = ifmem("load", "docs", "--json").json
    assert report["masked"] == 2
    answer = ifmem("ask", "When does the vault open?", "--json").json
    (citation,) = [one for one in answer["citations"] if "noon" in one["quote"]]
    (low, high) = citation["lines"]
    assert lines[low - 1 : high] == ["The vault opens at noon."]
    about = ifmem("ask", "What is the vault token until Friday?", "--json").json
    assert all("[masked:" not in one["quote"] for one in about["citations"])
    texts = [p["text"] for p in ifmem("recall", "vault token", "--json").json["passages"]]
    assert any("[masked:" in text for text in texts)
    assert all("QQQQ" not in text for text in texts)


def test_key_stores_and_environment_files_are_skipped_with_a_reason(ifmem: Any) -> None:
    kept = "nothing to see in here"
    for name in (".env", ".env.production", "server.pem", "id_rsa", "store.p12", ".npmrc"):
        ifmem.write(f"tree/{name}", kept)
    ifmem.write("tree/.ssh/config", kept)
    ifmem.write("tree/.env.example", "PORT=1\n")
    ifmem.write("tree/private/plan.md", kept)
    ifmem.write("tree/.ifmemignore", "private/\n")
    ifmem.write("tree/page.md", "# Page\n\nHello.\n")
    report = ifmem("load", "tree", "--json").json
    root = ifmem.directory / "tree"
    skipped = {str(Path(one["path"]).relative_to(root)): one["reason"] for one in report["skipped"]}
    secret = {".env", ".env.production", "server.pem", "id_rsa", "store.p12", ".npmrc", ".ssh"}
    assert skipped.keys() == secret | {"private"}
    assert all("credentials" in skipped[name] for name in secret)
    assert ".ifmemignore" in skipped["private"]
    stored = {Path(one["source"]).name for one in ifmem.sources()}
    assert stored == {"page.md", ".env.example", ".ifmemignore"}
    ifmem.down()
    assert not any(kept.encode() in data for data in bytes_below(ifmem.home).values())
