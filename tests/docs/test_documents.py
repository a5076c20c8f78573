"""The documents as a whole: generated parts are fresh, links lead somewhere, tables are true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import command_page
import documents
import file_table
import pytest
import typer

from ifmem import errors
from ifmem.engine import evidence, synthesis
from ifmem.entrypoints import demo
from ifmem.entrypoints.cli.main import _app
from ifmem.errors import IfMemError
from ifmem.index import encoder, postings, ranking, vectors

ROOT = Path(__file__).parents[2]

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "changes").glob("*.md"),
    )
)
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FIGURE = re.compile(r"\d\s?(ms|MB/s|×|%)")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("document", documents.PARTS)
def test_a_generated_part_says_what_it_is_made_from(document: str) -> None:
    assert documents.rendered(ROOT, document) == text_of(document), (
        "run `python tools/documents.py`"
    )


def test_a_part_that_was_edited_by_hand_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "settings.md"
    page.parent.mkdir()
    for module in ("settings", "model_settings", "archive_settings"):
        copy = tmp_path / "src" / "ifmem" / f"{module}.py"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text((ROOT / "src/ifmem" / copy.name).read_text("utf-8"), encoding="utf-8")
    page.write_text(text_of("docs/settings.md").replace("200000", "300000"), encoding="utf-8")
    assert documents.rendered(tmp_path, "docs/settings.md") == text_of("docs/settings.md")


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    here = ROOT / page
    for target in LINK.findall(without_code(text_of(page))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (here.parent / path).resolve() if path else here
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_its_four_parts_on_one_page(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {path.name[:4]} ")
    assert re.findall(r"^\*\*(.+?)\.\*\*", text, re.M)[0] == "Context"
    for part in ("Context", "Decision", "Consequences", "What would change our mind"):
        assert f"**{part}.**" in text, part
    assert len(text.splitlines()) <= 65


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_a_decision_that_the_code_names_is_there() -> None:
    named = {
        match
        for path in (ROOT / "src").rglob("*.py")
        for match in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8"))
    }
    assert named
    assert {one for one in named if not (ROOT / one).exists()} == set()


def classes() -> Iterator[type[IfMemError]]:
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, IfMemError):
            yield value


def test_the_table_of_errors_has_every_class_with_its_code_and_parent() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\d) \| .+? \| (?:`(\w+)`)? ?\|$", text_of("docs/errors.md"), re.M
    )
    parents = {kind.__name__: kind.__base__.__name__ for kind in classes() if kind.__base__}
    assert {name: (int(code), parent) for name, code, parent in rows} == {
        kind.__name__: (
            kind.exit_code,
            parents[kind.__name__] if kind is not IfMemError else "",
        )
        for kind in classes()
    }


def test_the_sentences_to_look_up_are_ones_that_the_code_says() -> None:
    source = " ".join(
        re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))
        for path in (ROOT / "src").rglob("*.py")
    )
    listed = re.findall(r"^\| `([^`]+)`[^|]* \| [^|]+ \|$", text_of("docs/errors.md"), re.M)
    assert len(listed) > 10
    for sentence in listed:
        for part in (one.strip() for one in sentence.split("…")):
            pattern = re.escape(part).replace(r"180\ seconds", r".*?seconds")
            assert re.search(pattern, source), (sentence, part)


def test_every_command_has_its_section() -> None:
    top = typer.main.get_command(_app())
    listed = re.findall(r"^## `ifmem ([\w ]+)`$", text_of("docs/cli.md"), re.M)
    assert listed == [" ".join(path[1:]) for path, _ in command_page.commands(top, ("ifmem",))]
    assert {"load", "ask", "bench retrieval", "config show"} <= set(listed)


def test_every_module_is_in_the_table_of_files() -> None:
    table = text_of("AGENTS.md")
    modules = [path for path in (ROOT / "src").rglob("*.py") if path.name != "__init__.py"]
    for path in modules:
        assert f"| `{path.name}` | {file_table.purpose(path)} |" in table


def test_the_readme_states_no_figure_by_hand() -> None:
    by_hand = re.sub(r"<!-- claims -->.*<!-- /claims -->", "", text_of("README.md"), flags=re.S)
    assert [line for line in without_code(by_hand).splitlines() if FIGURE.search(line)] == []


@pytest.mark.parametrize("page", PAGES)
def test_no_page_answers_the_demo_by_repeating_its_questions(page: str) -> None:
    said = text_of(page).lower()
    for question in demo.QUESTIONS:
        assert question.lower() not in said
    assert "olympic" not in said


@pytest.mark.parametrize("page", PAGES)
def test_no_page_names_a_place_on_somebody_s_machine(page: str) -> None:
    assert re.findall(r"/(?:home|root|work|Users|tmp)/\S*", text_of(page)) == []


def test_the_picture_shows_the_demo_and_not_the_machine() -> None:
    picture = (ROOT / "docs/images/demo.svg").read_text(encoding="utf-8").replace("&#160;", " ")
    assert demo.QUESTIONS[0] in picture
    assert re.findall(r"/(?:home|root|Users|tmp)/", picture) == []


def test_the_formulas_of_retrieval_have_the_settings_of_the_code() -> None:
    page = " ".join(without_code(text_of("docs/retrieval.md")).split())
    formula = text_of("docs/retrieval.md").partition("```text\n")[2].partition("```")[0]
    for sentence in (
        f"k1 {short(postings.K1)}, b {short(postings.B)}",
        f"idf · (1 + {ranking.RARE} / ({ranking.RARE} + df))",
        f"adds {short(ranking.BEFORE)} of the score of the turn before",
        f"and {short(ranking.AFTER)} of the turn after",
        f"dimensions choose {vectors.CANDIDATES:,} candidates, all {encoder.DIMENSIONS} decide",
        f"{short(evidence.NEARBY)} in the sentences beside it or the header, "
        f"{short(evidence.ELSEWHERE)} elsewhere",
        f"Each place in the ranking costs {synthesis.RANK_DISCOUNT:.0%}".replace("%", " %"),
        f"Below {evidence.LEAST_SUPPORT:.2f}".replace("0.", "."),
    ):
        assert sentence in page, sentence
    assert (ranking.HEADER_TIMES, encoder.LINES_A_PASSAGE, evidence.NAME_WEIGHT) == (4, 4, 5)
    assert f"min(1, {ranking.TRUST_SLOPE:.0f}c)" in formula
    assert f"{short(ranking.VECTOR_WEIGHT)} · minmax" in formula
    assert f"nearest {ranking.VECTOR_REACH})" in formula


def short(value: float) -> str:
    """A share as the pages write it: ``.5``."""
    return f"{value:g}".removeprefix("0")
