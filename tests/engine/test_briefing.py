"""Which findings an agent is told before it begins."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.finding import Citation, Finding, Trust
from ifmem.engine.briefing import choose, cites_nothing_outside, fitting

ROOT = "/home/ada/lamp"


def finding(
    number: int,
    *,
    trust: Trust = Trust.AGENT,
    supersedes: int | None = None,
    cites: Sequence[str] = (),
    topic: str | None = None,
) -> Finding:
    return Finding(
        finding_id=uuid(number),
        worker_id="ada",
        timestamp="2026-11-01T10:00:00Z",
        claim=f"Fact {number}.",
        trust=trust,
        supersedes=None if supersedes is None else uuid(supersedes),
        citations=tuple(Citation(source=source) for source in cites),
        topic=topic,
    )


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def told(newest: Sequence[Finding], *, root: str | None = None, topic: str | None = None) -> str:
    """The numbers of those that are chosen."""
    chosen = choose(newest, root=root, topic=topic)
    return " ".join(str(int(one.finding_id[-12:])) for one in chosen)


def test_people_and_agents_are_told_newest_first_and_nothing_of_less_trust() -> None:
    newest = [
        finding(4, trust=Trust.USER),
        finding(3, trust=Trust.CAPTURED),
        finding(2, trust=Trust.QUARANTINED),
        finding(1),
    ]
    assert told(newest) == "4 1"


def test_what_a_newer_finding_supersedes_is_left_out() -> None:
    assert told([finding(3, supersedes=2), finding(2, supersedes=1), finding(1)]) == "3"


@pytest.mark.parametrize(
    ("older", "newer", "shown"),
    [
        (Trust.USER, Trust.AGENT, "2 1"),
        (Trust.AGENT, Trust.CAPTURED, "1"),
        (Trust.AGENT, Trust.QUARANTINED, "1"),
        (Trust.AGENT, Trust.USER, "2"),
        (Trust.USER, Trust.USER, "2"),
    ],
)
def test_a_finding_is_silenced_only_by_one_that_is_trusted_as_far(
    older: Trust, newer: Trust, shown: str
) -> None:
    assert told([finding(2, trust=newer, supersedes=1), finding(1, trust=older)]) == shown


def test_a_finding_that_supersedes_itself_or_one_out_of_sight_is_told() -> None:
    assert told([finding(2, supersedes=2), finding(1, supersedes=9)]) == "2 1"


@pytest.mark.parametrize(
    ("source", "is_inside"),
    [
        (f"{ROOT}/src/wick.py", True),
        (ROOT, True),
        (f"{ROOT}-two/wick.py", False),
        ("/home/ada", False),
        ("https://example.org/wick", True),
        ("chat:7", True),
        (f"finding:{uuid(1)}", True),
    ],
)
def test_files_outside_the_project_are_another_projects(source: str, is_inside: bool) -> None:
    assert cites_nothing_outside(finding(1, cites=[source]), ROOT) is is_inside


def test_one_citation_elsewhere_leaves_a_finding_out_of_the_project_and_not_of_the_space() -> None:
    newest = [finding(2, cites=[f"{ROOT}/a.py", "/etc/b.py"]), finding(1)]
    assert told(newest, root=ROOT) == "1"
    assert told(newest, root=ROOT + "/") == "1"
    assert told(newest) == "2 1"


def test_a_topic_leaves_only_what_is_about_it() -> None:
    newest = [finding(3, topic="wick"), finding(2, topic="oil"), finding(1)]
    assert told(newest, topic="wick") == "3"


def test_one_of_another_topic_still_supersedes() -> None:
    newest = [finding(2, topic="oil", supersedes=1), finding(1, topic="wick")]
    assert told(newest, topic="wick") == ""


@given(st.lists(st.text(max_size=20), max_size=20), st.integers(0, 200))
def test_what_fits_is_a_beginning_within_the_budget_and_the_next_would_pass_it(
    lines: list[str], budget: int
) -> None:
    taken = fitting(lines, budget=budget, tokens=len)
    assert taken == lines[: len(taken)]
    assert sum(map(len, taken)) <= budget
    if len(taken) < len(lines):
        assert sum(map(len, lines[: len(taken) + 1])) > budget
