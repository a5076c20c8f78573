"""``bench needles``, small: planting, asking, and questions that nothing answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ifmem.benchmarks import needles
from ifmem.benchmarks.planted import FACTS, Needle, plant
from ifmem.benchmarks.unanswerable import unanswerable, with_swapped_names
from ifmem.engine.analysis import terms


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"module_{number:02}.py" for number in range(40)]
    for path in paths:
        path.write_text("import os\n\nprint(os.name)\n", encoding="utf-8")
    return paths


def test_each_fact_is_planted_once_and_asked_twice(files: list[Path]) -> None:
    made = plant(files, seed=3)
    assert [one.category for one in made] == ["named", "paraphrase"] * len(FACTS)
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    for one in made:
        assert one.line is not None
        assert text.count(f"# {one.line}\n") + text.endswith(f"# {one.line}") == 1


def test_the_same_seed_plants_the_same_and_another_does_not(files: list[Path]) -> None:
    blank = files[0].read_text(encoding="utf-8")
    first = plant(files, seed=3)
    for path in files:
        path.write_text(blank, encoding="utf-8")
    assert plant(files, seed=3) == first
    assert plant(files, seed=4) != first


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact[0][:30])
def test_a_paraphrase_shares_no_term_with_its_fact(fact: tuple[str, str, str]) -> None:
    line, _, paraphrase = fact
    assert not set(terms(line.format(name="Zetto", number=55))) & set(terms(paraphrase))


def test_unanswerable_questions_ask_about_something_that_no_text_has() -> None:
    asked = [
        Needle("Where does Velnizett keep that instrument?", "named", "l"),
        Needle("Which vegetable hides the physician's tool?", "paraphrase", "l"),
    ]
    first, second = unanswerable(asked, {"velnizett"}, seed=1)
    assert re.fullmatch(r"Where does (?!Velnizett)[A-Z]\w+ keep that instrument\?", first)
    changed = [w for w in re.findall(r"\w+", second) if w not in asked[1].question]
    assert len(changed) == 1


def test_swapped_names_ask_one_thing_of_another() -> None:
    asked = [Needle("What did Abel do?", "named"), Needle("Where was Cain found?", "named")]
    assert with_swapped_names(asked) == ["What did Cain do?", "Where was Abel found?"]


def test_planted_facts_are_found_quoted_and_not_made_up(tmp_path: Path) -> None:
    report = needles.run(tokens=200_000, out=tmp_path)
    count = len(FACTS)
    assert report.needles == {"named": count, "paraphrase": count}
    assert report.answerable["named"] == 1.0
    assert report.answered["named"] >= 0.8
    assert report.unanswerable == 2 * count
    assert report.abstained >= 0.9
    shares = [one.recalled for one in report.asked if one.kind == "paraphrase"]
    assert report.answerable["paraphrase"] == pytest.approx(
        sum(map(bool, shares)) / count, abs=1e-4
    )
    assert Path(report.written).is_file()
    text = "\n".join(needles.lines(report))
    assert all(goal.goal in text for goal in report.goals)
