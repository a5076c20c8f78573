"""The demo: real text, right answers, verified places, an honest account, nothing left."""

from __future__ import annotations

import asyncio
import io
import re
from pathlib import Path

import pytest

from ifmem.entrypoints import demo
from ifmem.entrypoints.cli import demonstration
from ifmem.entrypoints.cli.paper import Paper
from ifmem.entrypoints.demo import Demonstration

RIGHT = (r"queue size is infinite", r"rollover never occurs", r"ten times faster")


@pytest.fixture(scope="module")
def shown() -> Demonstration:
    return asyncio.run(demo.run())


def test_at_least_100_000_tokens_of_real_text_are_loaded(shown: Demonstration) -> None:
    assert shown.tokens >= 100_000
    assert sum(shard.tokens for shard in shown.shards) == shown.tokens


def test_three_answers_are_right_and_the_fourth_is_not_found(shown: Demonstration) -> None:
    *answered, unanswerable = shown.answers
    for answer, right in zip(answered, RIGHT, strict=True):
        assert answer.answer is not None
        assert re.search(right, answer.answer)
    assert (unanswerable.found, unanswerable.answer, unanswerable.citations) == (False, None, [])


def test_every_citation_stands_in_its_file_at_its_lines(shown: Demonstration) -> None:
    citations = [citation for answer in shown.answers for citation in answer.citations]
    assert len(citations) >= 3
    for citation in citations:
        assert citation.verified
        assert citation.lines is not None
        first, last = citation.lines
        lines = Path(citation.source).read_text(encoding="utf-8").splitlines()[first - 1 : last]
        assert " ".join(citation.quote.split()) in " ".join(" ".join(lines).split())


def test_no_answer_is_taken_from_the_questions_themselves(shown: Demonstration) -> None:
    sources = {citation.source for answer in shown.answers for citation in answer.citations}
    assert demo.__file__ not in sources
    assert demo.__file__ not in shown.loaded


def test_each_saving_is_its_baseline_over_what_was_returned(shown: Demonstration) -> None:
    account = shown.account
    assert account.held == shown.tokens
    assert account.savings[0].baseline_tokens == account.held * len(shown.asked)
    for saving in account.savings:
        assert saving.returned_tokens == account.returned
        assert saving.ratio == pytest.approx(saving.baseline_tokens / account.returned, abs=0.06)


def test_nothing_is_left_behind(shown: Demonstration) -> None:
    assert shown.left_behind == []


def test_a_person_sees_questions_answers_places_account_and_shards(shown: Demonstration) -> None:
    page = io.StringIO()
    demonstration.draw(Paper(page, Path.cwd()), shown)
    text = page.getvalue()
    for wanted in (*shown.asked, "Nothing that is loaded", "token account", "speciality"):
        assert wanted in text
    for saving in shown.account.savings:
        assert f"{saving.ratio:,.0f}× the returned: {saving.baseline}" in text
    assert re.search(r"queues\.py:\d+", text)
