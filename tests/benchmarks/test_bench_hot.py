"""``bench hot``, small: cold evaluates all, hot and restored only the question, as reported."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

import msgspec
import pytest

from ifmem.benchmarks import hot
from ifmem.benchmarks.hot import HotReport
from ifmem.benchmarks.hot_prompts import QUESTIONS, PromptSource, asked
from ifmem.domain.prompt import Prompt
from ifmem.errors import ConfigError
from ifmem.llm.local_weights import weights
from ifmem.model_settings import LocalSettings

SIZE, N = 270, 3


def why_not() -> str:
    if importlib.util.find_spec("xllamacpp") is None:
        return "the extra `local` is not installed"
    try:
        weights(LocalSettings())
    except ConfigError as error:
        return error.message
    return ""


needs_model = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> HotReport:
    out = tmp_path_factory.mktemp("out")
    # No minutes: as few cold prompts as there may be.
    settings = LocalSettings(context=512)
    return hot.run(sizes=(SIZE,), n=N, restores=2, minutes=0, settings=settings, out=out)


@needs_model
def test_cold_evaluates_the_context_and_hot_and_restored_only_the_question(
    report: HotReport,
) -> None:
    (point,) = report.sizes
    assert SIZE <= point.context_tokens < SIZE + 60
    assert point.cold_reused == 0
    assert point.cold_evaluated > point.context_tokens
    for evaluated, reused in (
        (point.hot_evaluated, point.hot_reused),
        (point.restored_evaluated, point.restored_reused),
    ):
        assert 0 < evaluated < 40
        assert reused >= point.context_tokens


@needs_model
def test_the_samples_behind_each_figure_are_written(report: HotReport) -> None:
    written = msgspec.json.decode(Path(report.written).read_bytes())
    samples = written["samples_ms"]
    (point,) = report.sizes
    assert len(samples[f"{SIZE}_cold"]) == point.cold.n == 3
    assert len(samples[f"{SIZE}_hot"]) == point.hot.n == N
    assert len(samples[f"{SIZE}_restored"]) == point.restored.n == 2
    assert min(samples[f"{SIZE}_cold"]) > max(0.0, *samples[f"{SIZE}_hot"])
    assert point.hot_interval.low <= point.ratio <= point.hot_interval.high
    assert {"model", "sizes", "goals", "conditions"} <= written.keys()
    assert {"context_tokens", "cold_ms", "hot_ms", "ratio", "restored_ms"} <= (
        written["sizes"][0].keys()
    )


@needs_model
def test_a_person_sees_each_way_with_its_n_and_tokens_and_how_the_engine_was_set_up(
    report: HotReport,
) -> None:
    text = "\n".join(hot.lines(report))
    (point,) = report.sizes
    for way in ("cold", "hot", "restored"):
        assert f"{point.context_tokens:,} tokens, {way}" in text
    assert f"{point.hot_evaluated}" in text
    assert report.engine in text
    assert report.goals == []  # they are for 7,000 tokens and more


def test_prompts_are_as_long_as_wanted_and_none_repeats_another() -> None:
    async def count(text: str) -> int:
        return len(text.split())

    async def made() -> list[Prompt]:
        source = PromptSource(count)
        return [await source.of_size(400) for _ in range(3)]

    prompts = asyncio.run(made())
    for prompt in prompts:
        assert 400 <= len((prompt.rules + prompt.documents).split()) < 450
    bodies = [prompt.documents.split("\n", 1)[1][:200] for prompt in prompts]
    assert len(set(bodies)) == 3


def test_questions_differ_and_leave_the_prefix_as_it_is() -> None:
    async def count(text: str) -> int:
        return len(text)

    prompt = asyncio.run(PromptSource(count).of_size(2_000))
    assert len(set(QUESTIONS)) == len(QUESTIONS) >= 20
    assert {asked(prompt, question).prefix_sha256 for question in QUESTIONS} == {
        prompt.prefix_sha256
    }
