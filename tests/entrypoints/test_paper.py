"""How text looks to a person, on a terminal and elsewhere."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from ifmem.entrypoints.cli import answers, render
from ifmem.entrypoints.cli.paper import Bold, Dim, Paper, count, one_line, short_path, size
from ifmem.wire.answers import (
    Answer,
    CitationShape,
    ConsultedShard,
    Disagreement,
    Estimate,
    Side,
    Usage,
)
from ifmem.wire.shapes import LoadReport, ShardTokens, SkippedPath


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _answer(text: str | None, *citations: CitationShape) -> Answer:
    return Answer(
        answer=text,
        found=text is not None,
        citations=list(citations),
        shards_asked=[1, 2],
        shards_missing=[3],
        model="extractive",
        usage=Usage(),
        cost_usd="0",
        elapsed_ms=4.25,
        query_id="q",
        routing="shards 1 and 2 hold 90 % of the score",
    )


def _citation(**changes: object) -> CitationShape:
    fields: dict[str, object] = {
        "source": "/srv/src/retry.py",
        "lines": (3, 5),
        "quote": "RETRY_BUDGET = 3",
        "sha256": "0",
        "verified": True,
    }
    return CitationShape(**{**fields, **changes})  # type: ignore[arg-type]


def _drawn(draw: object, value: object) -> list[str]:
    stream = io.StringIO()
    draw(Paper(stream, Path("/srv")), value)  # type: ignore[operator]
    return stream.getvalue().splitlines()


def test_styles_are_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    plain, styled = io.StringIO(), _Terminal()
    for stream in (plain, styled):
        Paper(stream, Path("/")).line(Bold("a"), "b", Dim(""))
    assert plain.getvalue() == "ab\n"
    assert styled.getvalue() == "\x1b[1ma\x1b[0mb\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_who_wants_no_colour_gets_none(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    styled = _Terminal()
    Paper(styled, Path("/")).line(Bold("a"))
    assert styled.getvalue() == "a\n"


def test_what_a_terminal_would_obey_is_written_out() -> None:
    """A loaded text must not move the cursor, set a title, or run backwards."""
    stream = io.StringIO()
    Paper(stream, Path("/")).line("a\x1b]0;title\x07b\u202ec\r\tü\x9b")
    assert stream.getvalue() == "a\\x1b]0;title\\x07b\\u202ec\\r\tü\\x9b\n"


def test_a_path_is_told_as_seen_from_here_unless_that_is_longer() -> None:
    assert short_path("/srv/src/a.py", Path("/srv")) == "src/a.py"
    assert short_path("/srv/b.py", Path("/srv/src")) == "../b.py"
    assert short_path("/etc/x", Path("/a/b/c/d/e/f")) == "/etc/x"
    assert short_path("https://example.org/a", Path("/srv")) == "https://example.org/a"
    assert short_path("chat:1", Path("/srv")) == "chat:1"


def test_lines_are_told_beside_the_path() -> None:
    paper = Paper(io.StringIO(), Path("/srv"))
    assert paper.place("/srv/a.py", (3, 5)) == "a.py:3-5"
    assert paper.place("/srv/a.py", (3, 3)) == "a.py:3"
    assert paper.place("/srv/a.py", None) == "a.py"


def test_a_table_puts_numbers_to_the_right() -> None:
    stream = io.StringIO()
    Paper(stream, Path("/")).table(("name", "n"), [("a", 1_000), ("long", 7)])
    assert stream.getvalue() == "name      n\na     1,000\nlong      7\n"


def test_a_table_without_rows_is_its_header() -> None:
    stream = io.StringIO()
    Paper(stream, Path("/")).table(("name", "n"), [])
    assert stream.getvalue() == "name  n\n"


def test_counts_and_sizes_read_as_a_person_would_say_them() -> None:
    assert (count(1, "token"), count(1_204, "document")) == ("1 token", "1,204 documents")
    assert (size(999), size(1_000), size(2_500_000)) == ("999 B", "1.0 kB", "2.5 MB")
    assert one_line("a\n  b", 10) == "a b"
    assert one_line("x" * 300, 10) == "x" * 9 + "…"


def test_an_answer_is_followed_by_its_citations_and_how_it_came_about() -> None:
    lines = _drawn(answers.answer, _answer("Three.", _citation(), _citation(stale=True)))
    assert lines == [
        "Three.",
        "",
        '[1] src/retry.py:3-5  "RETRY_BUDGET = 3"',
        '[2] src/retry.py:3-5  "RETRY_BUDGET = 3"  (changed since)',
        "",
        "shards 1 and 2 hold 90 % of the score · asked shards 1, 2 · missing shard 3 · "
        "extractive: 0 tokens, $0 · 4.2 ms",
    ]


def test_what_models_said_stands_below_their_answer() -> None:
    told = Answer(
        answer="It is 3. [1]",
        found=True,
        citations=[_citation()],
        shards_asked=[1, 2],
        shards_missing=[2],
        model="house:a",
        usage=Usage(uncached=10, cache_write=1_000, cache_read=2_000, output=5, reasoning=1),
        cost_usd="0.0125",
        elapsed_ms=812.4,
        query_id="q",
        routing="shards 1, 2 with 90% of the score",
        missing="who set it",
        shards=[
            ConsultedShard(1, "house:a", True, True, True, confidence=0.9, unverified=2),
            ConsultedShard(2, "house:b", False, False, False, error="house:b is down"),
            ConsultedShard(3, "house:c", False, False, False, "lapsed 9 min ago", rounds=2),
            ConsultedShard(4, "extractive", True, True, False),
        ],
        disagreements=[Disagreement([Side(1, "It is 3.", [1]), Side(3, "It is 5.", [2])])],
        unverified=2,
        rounds=2,
    )
    assert _drawn(answers.answer, told)[4:] == [
        "The shards disagree:",
        "  shard 1  It is 3. [1]",
        "  shard 3  It is 5. [2]",
        "",
        "not found: who set it",
        "",
        "shard 1, house:a: found, 90% sure · hot · 2 dropped",
        "shard 2, house:b: house:b is down",
        "shard 3, house:c: found nothing · cold: lapsed 9 min ago · read in passages",
        "shards 1, 2 with 90% of the score · asked shards 1, 2 · missing shard 2 · 2 rounds · "
        "2 unproved and dropped · house:a: 3,016 tokens, $0.0125 (2,000 read from cache, "
        "1,000 written to cache) · 812.4 ms",
    ]


def test_an_estimate_says_what_it_may_cost_and_whether_that_is_allowed() -> None:
    told = Estimate(
        shards_asked=[1, 2],
        models=["house:a", "house:b"],
        prompt_tokens=90_000,
        hot_tokens=60_000,
        expected_usd="0.01",
        at_most_usd="0.9",
        allowed_usd="0.5",
        within=False,
        prices=["house:a: settings 2026-11-01"],
    )
    assert _drawn(answers.estimate, told) == [
        "about $0.01, at most $0.9  of $0.5 allowed",
        "It may reach a limit: what was found until then would be the answer.",
        "shard 1: house:a",
        "shard 2: house:b",
        "90,000 tokens of prompts, 60,000 of them hot",
        "price of house:a: settings 2026-11-01",
    ]


def test_no_answer_is_said_in_a_sentence() -> None:
    assert _drawn(answers.answer, _answer(None))[0] == "Nothing that is loaded supports an answer."


def test_a_quote_that_was_not_verified_is_never_passed_off_as_one() -> None:
    assert "(not verified)" in _drawn(answers.answer, _answer("x", _citation(verified=False)))[2]


def test_skipped_files_are_grouped_by_reason_with_the_first_few_named() -> None:
    skipped = [SkippedPath(f"/srv/{n}.bin", "is binary") for n in range(5)]
    report = LoadReport(
        documents=1_204,
        passages=2,
        tokens=3,
        bytes=4,
        seconds=0.5,
        masked=1,
        skipped=[SkippedPath("/srv/x", "is a device"), *skipped],
        shards=[ShardTokens(1, "files-git", 200_000, 100_000)],
    )
    lines = _drawn(render.load, report)
    assert lines[0] == "1,204 documents, 2 passages, 3 tokens, 4 B in 0.50 s"
    assert lines[1] == "1 credential masked, 6 skipped"
    assert "    1  files-git   100,000   200,000  50%" in lines
    assert lines[-2:] == [
        "  5 × is binary  0.bin, 1.bin, 2.bin … 2 more",
        "  1 × is a device  x",
    ]
