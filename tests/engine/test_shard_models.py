"""The model of a shard: the first entry that matches, else the default; fall-backs in order."""

from __future__ import annotations

import pytest

from ifmem.domain.shard import Speciality
from ifmem.engine.shard_models import ShardModel, model_of
from ifmem.model_settings import ModelSettings, ShardModelEntry

HAIKU, LUNA, FLASH = "anthropic:claude-haiku-5-5", "openai:gpt-6-luna", "gemini:gemini-3.8-flash"
CODE, _, TESTS, *_ = Speciality


def configured(*entries: ShardModelEntry, fall_back: tuple[str, ...] = ()) -> ModelSettings:
    return ModelSettings(default="local", shards=entries, fall_back=fall_back)


def test_without_any_entry_every_shard_has_the_default_and_its_fall_backs() -> None:
    models = configured(fall_back=(LUNA, "extractive"))
    assert model_of(models, 3, TESTS) == ShardModel("local", (LUNA, "extractive"))


def test_nothing_configured_means_sentences_of_the_sources() -> None:
    assert model_of(ModelSettings(), 1, CODE) == ("extractive", ())


@pytest.mark.parametrize(
    ("shard", "speciality", "model"),
    [(2, CODE, HAIKU), (1, TESTS, LUNA), (2, TESTS, HAIKU), (1, CODE, "local")],
)
def test_the_first_entry_that_matches_wins(shard: int, speciality: Speciality, model: str) -> None:
    models = configured(
        ShardModelEntry(model=HAIKU, shard=2), ShardModelEntry(model=LUNA, speciality=TESTS)
    )
    assert model_of(models, shard, speciality).model == model


def test_an_entry_with_shard_and_speciality_needs_both() -> None:
    models = configured(ShardModelEntry(model=HAIKU, shard=2, speciality=TESTS))
    assert model_of(models, 2, TESTS).model == HAIKU
    assert model_of(models, 2, CODE).model == "local"
    assert model_of(models, 1, TESTS).model == "local"


def test_an_entry_with_neither_is_for_every_shard() -> None:
    models = configured(ShardModelEntry(model=FLASH), ShardModelEntry(model=HAIKU, shard=2))
    assert model_of(models, 2, CODE).model == FLASH


def test_the_fall_backs_of_an_entry_replace_the_general_ones_even_by_none() -> None:
    models = configured(
        ShardModelEntry(model=HAIKU, shard=1),
        ShardModelEntry(model=HAIKU, shard=2, fall_back=(FLASH,)),
        ShardModelEntry(model=HAIKU, shard=3, fall_back=()),
        fall_back=(LUNA,),
    )
    assert [model_of(models, n, CODE).fall_back for n in (1, 2, 3)] == [(LUNA,), (FLASH,), ()]


def test_no_model_is_asked_twice_for_one_shard() -> None:
    models = configured(
        ShardModelEntry(model=LUNA, shard=1), fall_back=(HAIKU, LUNA, HAIKU, "extractive")
    )
    assert model_of(models, 1, CODE).fall_back == (HAIKU, "extractive")


def test_a_speciality_may_be_given_as_the_bus_spells_it() -> None:
    models = configured(ShardModelEntry(model=LUNA, speciality=TESTS))
    assert model_of(models, 1, str(TESTS)).model == LUNA
