"""How text looks to a person, on a terminal and elsewhere."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from ifmem.entrypoints.cli import render
from ifmem.entrypoints.cli.paper import Bold, Dim, Paper, count, one_line, short_path, size
from ifmem.wire.answers import Answer, CitationShape, Usage
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
    lines = _drawn(render.answer, _answer("Three.", _citation(), _citation(stale=True)))
    assert lines == [
        "Three.",
        "",
        '[1] src/retry.py:3-5  "RETRY_BUDGET = 3"',
        '[2] src/retry.py:3-5  "RETRY_BUDGET = 3"  (changed since)',
        "",
        "shards 1 and 2 hold 90 % of the score · asked shards 1, 2 · missing shard 3 · "
        "extractive: 0 tokens, $0 · 4.2 ms",
    ]


def test_no_answer_is_said_in_a_sentence() -> None:
    assert _drawn(render.answer, _answer(None))[0] == "Nothing that is loaded supports an answer."


def test_a_quote_that_was_not_verified_is_never_passed_off_as_one() -> None:
    assert "(not verified)" in _drawn(render.answer, _answer("x", _citation(verified=False)))[2]


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
