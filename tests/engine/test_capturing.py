"""Under which name a captured text is kept, what is left out of it, and for how long it stays."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.document import Kind
from ifmem.domain.shard import Speciality
from ifmem.domain.space import require_space
from ifmem.engine import capturing
from ifmem.engine.capturing import captured_text, due_before, local_space, merged, shortened
from ifmem.engine.hook_events import AskedGit, Decided, RanTests, Searched
from ifmem.engine.placement import speciality_of

ROOT = "/home/ada/shop"
NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,40}", fullmatch=True)


@given(NAMES)
def test_every_space_has_a_local_space_of_its_own(name: str) -> None:
    assert require_space(local_space(name)) != name


@given(NAMES, NAMES)
def test_no_two_spaces_share_a_local_space(one: str, other: str) -> None:
    assert (local_space(one) == local_space(other)) == (one == other)


def test_long_names_that_begin_alike_have_local_spaces_of_their_own() -> None:
    assert local_space("a" * 40) != local_space("a" * 41)
    assert local_space("shop") == "shop-local"


def test_the_same_search_again_has_the_same_name_and_another_project_has_another() -> None:
    first = captured_text(Searched("retry", "a.py:1:retry"), ROOT)
    again = captured_text(Searched("retry", "b.py:1:retry"), ROOT)
    elsewhere = captured_text(Searched("retry", "a.py:1:retry"), "/home/ada/other")
    assert first is not None
    assert again is not None
    assert elsewhere is not None
    assert first.source == again.source
    assert first.text != again.text
    assert elsewhere.source != first.source


def test_a_session_s_plan_is_replaced_and_its_turns_are_all_kept() -> None:
    plans = [captured_text(Decided(text, "s", plan=True), ROOT) for text in ("one", "two")]
    turns = [captured_text(Decided(text, "s"), ROOT) for text in ("one", "two")]
    assert len({one.source for one in plans if one}) == 1
    assert len({one.source for one in turns if one}) == 2


@pytest.mark.parametrize(
    ("deed", "speciality", "says"),
    [
        (Searched("retry src", "a.py:1:x"), Speciality.ANALYSIS_SEARCH, "Searched for: retry src"),
        (RanTests("pytest -q", "1 failed"), Speciality.TESTING_VALIDATION, "$ pytest -q"),
        (AskedGit("git log", "commit ab"), Speciality.FILES_GIT, "$ git log"),
        (Decided("We keep it.", "s"), Speciality.COORDINATION_DECISION, "We keep it."),
    ],
)
def test_what_was_done_goes_to_the_shard_of_its_speciality(
    deed: capturing.Text, speciality: Speciality, says: str
) -> None:
    kept = captured_text(deed, ROOT)
    assert kept is not None
    assert kept.text.startswith(says)
    # Whatever kind a reader makes of it.
    for kind in Kind:
        assert speciality_of(kind, kept.source, capturing.PLACEMENT) is speciality


def test_a_file_goes_to_files_and_git_whatever_it_is_called() -> None:
    for path in ("shop/README.md", "shop/tests/test_a.py", "shop/captured:test:ab", "shop/a.csv"):
        for kind in Kind:
            assert speciality_of(kind, path, capturing.PLACEMENT) is Speciality.FILES_GIT


def test_what_said_nothing_is_not_kept() -> None:
    assert captured_text(RanTests("pytest", " \n"), ROOT) is None


@given(st.text(max_size=300), st.integers(2, 200))
def test_of_a_long_output_the_beginning_and_the_end_are_kept(text: str, most: int) -> None:
    kept = shortened(text, most)
    if len(text) <= most:
        assert kept == text
    else:
        assert kept.startswith(text[: most // 2])
        assert kept.endswith(text[-(most - most // 2) :])
        assert f"{len(text) - most:,} characters are left out" in kept


def test_hits_in_files_that_are_kept_out_are_dropped() -> None:
    hits = "a.py:1:fine\nkeys/b.py:2:secret\nkeys/b.py-3-context\nkeys/b.py\nplain words"
    kept = capturing.without_hits(hits, lambda path: path.startswith("keys/"))
    assert kept == "a.py:1:fine\nplain words"


def test_hits_below_the_name_of_a_file_go_with_it() -> None:
    hits = "Found 3\n---\nFile: keys/b.py\nL2: secret\n---\nFile: a.py\nL1: fine\n---"
    kept = capturing.without_hits(hits, lambda path: path.startswith("keys/"))
    assert kept == "Found 3\n---\n---\nFile: a.py\nL1: fine\n---"


def test_differences_of_files_that_are_kept_out_are_dropped() -> None:
    output = (
        "commit 0123456789\n\n    message\n\ndiff --git a/k.env b/k.env\n+secret\n"
        "diff --git a/a.py b/a.py\n+fine\ncommit 0123456780\n\n    older"
    )
    kept = capturing.without_diffs(output, lambda path: path == "k.env")
    assert "secret" not in kept
    assert "+fine" in kept
    assert "older" in kept


def test_days_are_counted_back_from_now() -> None:
    now = datetime(2026, 3, 31, 12, tzinfo=UTC)
    assert due_before(now, 30) == datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_both_are_ranked_by_score_and_the_space_s_own_comes_first_of_equals() -> None:
    ours, captured = [("a", 0.9), ("b", 0.5)], [("c", 0.9), ("d", 0.7)]
    ranked = merged(ours, captured, score=lambda one: one[1])
    assert [name for name, _ in ranked] == ["a", "c", "d", "b"]
