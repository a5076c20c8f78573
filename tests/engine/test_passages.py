"""Where a text is cut into passages, and what each says it lies in."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.document import Kind, Span
from ifmem.engine.kinds import kind_of
from ifmem.engine.outline import headers, lines_of, outline_of
from ifmem.engine.passages import MAX_CHARACTERS, TARGET_CHARACTERS, split

names = st.sampled_from(
    ["a.py", "a.ts", "a.c", "a.rs", "a.md", "a.rst", "a.txt", "a.yaml", "a.toml", "a.json", "a.sh"]
)
kinds = st.sampled_from(list(Kind))
pieces = st.sampled_from(
    [
        *("\n", "\r\n", "\n\n", " ", "    ", "\t", "\r", "\x0b", "\u2028", "é", "\U0001f600"),
        *("class Foo:", "def bar(self):", "@decorator", "# a comment", "}", "return 1", "key:"),
        *(
            "```",
            "# Heading",
            "===",
            "---",
            "[section]",
            '"k": {',
            "int f(int a) {",
            "A sentence. ",
        ),
        *("word " * 60, "x" * 700, "\n" * 400, "    deep = 1\n" * 30, "- item\n" * 40),
    ]
)
texts = st.lists(st.one_of(pieces, st.text(max_size=20)), max_size=60).map("".join)


def _line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


@given(texts, kinds, names)
def test_passages_cover_the_text_without_gap_or_overlap(text: str, kind: Kind, name: str) -> None:
    spans = split(text, kind, name)

    assert "".join(text[span.start : span.end] for span in spans) == text
    assert all(before.end == after.start for before, after in pairwise(spans))
    assert all(0 < span.end - span.start <= MAX_CHARACTERS for span in spans)


@given(texts, kinds, names)
def test_lines_are_exact(text: str, kind: Kind, name: str) -> None:
    for span in split(text, kind, name):
        kept = text[span.start : span.end].rstrip()
        last = span.start + len(kept) - 1 if kept else span.start
        assert span.first_line == _line_of(text, span.start)
        assert span.last_line == _line_of(text, last)


@given(texts, kinds, names)
def test_a_passage_without_words_needs_a_desert_of_white_space(
    text: str, kind: Kind, name: str
) -> None:
    deserts = [len(run) for run in re.findall(r"\s+", text)]
    for span in split(text, kind, name):
        if not text[span.start : span.end].strip():
            assert span.end - span.start == len(text) or max(deserts) >= 250


def test_the_empty_text_has_no_passages() -> None:
    assert split("", Kind.PROSE, "a.txt") == ()


def test_a_text_of_one_line_longer_than_any_passage_is_cut_and_stays_on_its_line() -> None:
    spans = split("x" * 10_000, Kind.DATA, "a.json")
    assert {(span.first_line, span.last_line) for span in spans} == {(1, 1)}
    assert max(span.end - span.start for span in spans) == MAX_CHARACTERS


def test_a_line_that_fits_a_passage_is_not_cut_because_a_short_one_stands_before_it() -> None:
    text = "short\n" + "y" * 1498 + "\nshort\n" + "z" * 400
    starts = {span.start for span in split(text, Kind.CODE, "a.py")}
    assert 6 in starts
    assert not starts & set(range(7, 1504))


def test_white_space_at_the_end_takes_words_with_it() -> None:
    text = "word " * 299 + "\n" * 100
    assert all(text[span.start : span.end].strip() for span in split(text, Kind.PROSE, "a.txt"))


PYTHON = '''"""A module."""

LIMIT = 3


class RetryBudget:
    """How many attempts are left."""

    def enforce(self, left: int) -> bool:
{filler}
        return left > 0

    # Why there is a reset at all.
    @property
    def reset(
        self,
    ) -> int:
{filler}
        return 1


@decorated(
    1,
)
async def after() -> None:
{filler}


TRAILING = 1
'''.replace("{filler}", "\n".join(f"        step_{number} = {number}" for number in range(45)))


def _headers(text: str, name: str, kind: Kind = Kind.CODE) -> dict[str, str]:
    """Each passage's first words and its header."""
    return {
        text[span.start : span.end].strip().splitlines()[0].strip(): span.header
        for span in split(text, kind, name)
    }


def test_python_is_cut_before_definitions_with_their_decorators_and_comments() -> None:
    found = _headers(PYTHON, "budget.py")
    assert found["# Why there is a reset at all."] == "class RetryBudget > def reset"
    assert found["@decorated("] == "def after"


def test_a_passage_in_the_middle_of_a_method_names_class_and_method() -> None:
    body = "\n".join(f"        step_{number} = {number}" for number in range(200))
    text = f"class RetryBudget:\n    def enforce(self):\n{body}\n\nTOP = 1\n" + "more = 2\n" * 200
    spans = split(text, Kind.CODE, "budget.py")
    assert spans[1].header == "class RetryBudget > def enforce"
    assert spans[-1].header == ""


def _enclosing(name: str, text: str) -> str:
    """The header of the line that holds HERE."""
    lines = lines_of(text)
    line = text[: text.index("HERE")].count("\n")
    return headers(lines, outline_of(text, lines, kind_of(name), name), [line]).get(line, "")


@pytest.mark.parametrize(
    ("name", "text", "header"),
    [
        (
            "a.rs",
            "impl Shape for Disc {\n    fn area(&self) -> f64 {\n        HERE\n",
            "impl Shape for Disc > fn area",
        ),
        ("a.ts", "class Disc {\n  async area(a: number) {\n    HERE\n", "class Disc > area()"),
        ("a.c", "static int area(struct disc *d)\n{\n        HERE\n", "area()"),
        ("a.go", "type Disc struct {}\n\nfunc (d *Disc) Area() int {\n\tHERE\n", "func Area"),
        ("A.java", "class Disc {\n    int area(int r) {\n        HERE\n", "class Disc > area()"),
        ("a.sh", "area() {\n  HERE\n", "area"),
        ("a.sql", "create table disc (\n  HERE\n", "table disc"),
        ("a.toml", "[disc.area]\nHERE = 1\n", "[disc.area]"),
        (
            "a.py",
            "class A:\n    def f(\n        self,\n    ) -> int:\n        HERE\n",
            "class A > def f",
        ),
        ("a.py", "class A:\n    def f(self): ...\nB = HERE\n", ""),
        ("a.rs", "impl A {\n    fn f() {\n    }\n}\n// HERE\n", "impl A"),
        ("a.json", '{\n  "a": {\n    "b": [\n      1\n    ],\n    "HERE": 2\n', "a"),
        ("a.yaml", "disc:\n  area:\n    HERE: 1\n", "disc > area"),
    ],
)
def test_the_enclosing_definition_is_named_in_many_languages(
    name: str, text: str, header: str
) -> None:
    assert _enclosing(name, text) == header


def test_a_call_is_not_taken_for_a_definition() -> None:
    text = "class Disc {\n  run() {\n    area(1)\n    HERE\n"
    assert _enclosing("a.js", text) == "class Disc > run()"


def test_markdown_is_cut_before_headings_and_names_their_path() -> None:
    paragraph = "Words about discs. " * 45 + "\n\n"
    text = f"# Shapes\n\n{paragraph}## Discs\n\n{paragraph}### Area\n\n{paragraph}## Cubes\n\nend\n"
    assert _headers(text, "shapes.md", Kind.PROSE) == {
        "# Shapes": "Shapes",
        "## Discs": "Shapes > Discs",
        "### Area": "Shapes > Discs > Area",
    }


def test_a_comment_in_a_fenced_block_is_no_heading() -> None:
    fence = "```sh\n# not a heading\n" + "run --it\n" * 60 + "```\n"
    text = "# Real\n\n" + "Some words.\n" * 60 + "\n" + fence + "\n" + "Other words.\n" * 90
    spans = split(text, Kind.PROSE, "a.md")
    assert {span.header for span in spans} == {"Real"}
    opened, closed = text.index("```sh"), text.rindex("```")
    assert not [span for span in spans if opened < span.start <= closed]


def test_underlined_headings_rank_by_first_use() -> None:
    words = "Plain words here.\n" * 60
    text = f"Guide\n=====\n\n{words}\nParts\n-----\n\n{words}"
    assert [span.header for span in split(text, Kind.PROSE, "a.rst")][-1] == "Guide > Parts"


def test_prose_on_one_long_line_is_cut_after_a_sentence() -> None:
    text = "The disc has an area that we measured twice. " * 100
    spans = split(text, Kind.PROSE, "a.txt")
    assert len(spans) > 2
    assert all(text[: span.end].endswith(". ") for span in spans)


def test_passages_are_near_the_target_where_every_line_is_alike() -> None:
    text = "row, 1, 2, 3\n" * 5_000
    lengths = [span.end - span.start for span in split(text, Kind.DATA, "a.csv")][:-2]
    assert min(lengths) > TARGET_CHARACTERS - 100
    assert max(lengths) < TARGET_CHARACTERS + 100


def test_carriage_returns_stay_where_they_are() -> None:
    text = "line one\r\n" * 400
    spans: tuple[Span, ...] = split(text, Kind.PROSE, "a.txt")
    assert all(text[: span.end].endswith("\r\n") for span in spans)
    assert spans[-1].last_line == 400
