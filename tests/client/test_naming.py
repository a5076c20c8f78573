"""What a caller may write for sources, citations and moments."""

from __future__ import annotations

from pathlib import Path

import pytest

from ifmem.client.naming import citation, filters, is_moment, moment, question, source_name
from ifmem.errors import Invalid


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "project" / "src"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("name", ["https://example.org/a?b", "chat:42", "finding:x", "s3://b/k"])
def test_names_with_a_scheme_stay_as_they_are(here: Path, name: str) -> None:
    assert source_name(name, here) == name


def test_a_relative_path_is_the_directorys(here: Path) -> None:
    assert source_name("a.py", here) == f"{here}/a.py"
    assert source_name("../docs/./b.md", here) == f"{here.parent}/docs/b.md"
    assert source_name(".", here) == str(here)


def test_a_path_is_spelled_as_loading_spells_it(here: Path) -> None:
    """Links on the way are followed, and a linked file keeps its own name."""
    (here / "real").mkdir()
    (here / "real" / "a.py").touch()
    (here / "link").symlink_to(here / "real")
    (here / "real" / "b.py").symlink_to(here / "real" / "a.py")
    assert source_name("link", here) == f"{here}/real"
    assert source_name("link/b.py", here) == f"{here}/real/b.py"
    assert source_name("link/*.py", here) == f"{here}/real/*.py"


def test_patterns_keep_their_stars(here: Path) -> None:
    assert source_name("*.py", here) == f"{here}/*.py"
    assert source_name("te*/x*.py", here) == f"{here}/te*/x*.py"
    assert source_name("/*", here) == "/*"


def test_a_citation_has_a_source_and_lines(here: Path) -> None:
    source = f"{here}/a.py"
    assert citation("a.py:3", here) == {"source": source, "lines": [3, 3]}
    assert citation("a.py:3-7", here) == {"source": source, "lines": [3, 7]}
    assert citation("a.py", here) == {"source": source, "lines": None}
    assert citation("chat:42:3", here) == {"source": "chat:42", "lines": [3, 3]}


def test_urls_and_findings_are_cited_as_they_are(here: Path) -> None:
    assert citation("http://localhost:8080", here) == "http://localhost:8080"
    assert citation("finding:0f-1", here) == "finding:0f-1"


def test_a_file_whose_name_ends_like_lines_can_be_cited(here: Path) -> None:
    (here / "notes:12").touch()
    assert citation("notes:12", here) == {"source": f"{here}/notes:12", "lines": None}
    assert citation("notes:12:4", here) == {"source": f"{here}/notes:12", "lines": [4, 4]}


@pytest.mark.parametrize("text", ["a.py:0", "a.py:7-3", "a.py:0-3"])
def test_lines_count_from_one_and_run_forwards(here: Path, text: str) -> None:
    with pytest.raises(Invalid, match="SOURCE:FIRST-LAST"):
        citation(text, here)


def test_moments_become_utc() -> None:
    assert moment("2026-01-31T18:00:00+02:00") == "2026-01-31T16:00:00.000Z"
    assert moment("2026-01-31T18:00") == "2026-01-31T18:00:00.000Z"
    assert moment("2026-01-31") == "2026-01-31T00:00:00.000Z"


def test_until_a_date_means_its_whole_day() -> None:
    assert moment("2026-01-31", end_of_day=True) == "2026-01-31T23:59:59.999Z"
    assert moment("2026-01-31T10:00", end_of_day=True) == "2026-01-31T10:00:00.000Z"


def test_what_is_no_date_is_refused() -> None:
    with pytest.raises(Invalid, match="2026-01-31"):
        moment("yesterday")


def test_dates_are_told_from_cursors() -> None:
    assert is_moment("2026-01-31T18:00Z")
    assert not is_moment("0")
    assert not is_moment("1234567890")


def test_below_a_project_file_a_search_is_about_that_project(here: Path) -> None:
    (here.parent / ".ifmem.toml").touch()
    assert filters(here, {}).root == str(here.parent)
    assert filters(here, {"scope": "space"}).root is None


def test_without_a_project_there_is_no_root(here: Path) -> None:
    assert filters(here, {}).root is None
    with pytest.raises(Invalid, match="--scope space"):
        filters(here, {"scope": "project"})


def test_one_source_and_several_are_both_taken(here: Path) -> None:
    assert filters(here, {"source": "a"}).source == (f"{here}/a",)
    assert filters(here, {"source": ["a", "chat:1"]}).source == (f"{here}/a", "chat:1")


def test_a_question_has_one_to_sixteen_thousand_characters() -> None:
    assert question("  why?\n") == "why?"
    assert question("x" * 16_000)
    with pytest.raises(Invalid, match="empty"):
        question(" \n\t")
    with pytest.raises(Invalid, match="1,000,000"):
        question("x" * 1_000_000)
