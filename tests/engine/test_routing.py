"""Which shards a question goes to: few when few hold the answer, all when that is honest."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.engine.routing import ENOUGH_SHARE, TOP_PASSAGES, Route, route, too_few_live

QUESTION = "Where is the retry budget enforced?"
Hits = Sequence[tuple[int, float]]


def routed(
    hits: Hits,
    *,
    question: str = QUESTION,
    active: Sequence[int] = (1, 2, 3, 4),
    inactive: Sequence[int] = (),
    hint: int | None = None,
) -> Route:
    return route(question, hits, active=active, inactive=inactive, hint=hint)


def test_one_shard_that_holds_most_of_the_score_is_asked_alone() -> None:
    found = routed([(2, 5.0), (2, 4.0), (2, 3.0), (1, 2.5)])
    assert (found.asked, found.missing) == ((2,), ())
    assert found.reason == "shard 2 with 83% of the score"


def test_shards_are_added_until_enough_of_the_score_is_covered() -> None:
    found = routed([(2, 5.0), (1, 4.0), (3, 1.0), (4, 1.0)])
    assert found.asked == (2, 1)
    assert 9 / 11 >= ENOUGH_SHARE > 5 / 11


def test_many_weak_passages_do_not_outweigh_the_best_few() -> None:
    crowd = [(3, 1.0)] * 1_000
    assert routed([(1, 1.9)] * TOP_PASSAGES + [(3, 1.0)]).asked == (1,)
    assert routed([*[(1, 1.9)] * TOP_PASSAGES, *crowd]).asked == (1, 3)


def test_passages_far_below_the_best_do_not_count_however_many() -> None:
    crowd = [(3, 1.0)] * 1_000
    assert routed([(1, 50.0), *crowd]).asked == (1,)


def test_flat_scores_ask_everyone() -> None:
    found = routed([(n, 1.0) for n in (1, 2, 3)])
    assert found.asked == (1, 2, 3, 4)
    assert "flat" in found.reason


@pytest.mark.parametrize(
    "question",
    ["How many tests are there?", "List the shards", "Summarise ALL of it", "compare a and b"],
)
def test_a_question_about_the_whole_asks_everyone(question: str) -> None:
    assert routed([(2, 9.0)], question=question).asked == (1, 2, 3, 4)


def test_a_word_that_only_contains_such_a_word_does_not() -> None:
    assert routed([(2, 9.0)], question="Who is called when the listener falls?").asked == (2,)


def test_without_a_match_everyone_is_asked() -> None:
    found = routed([])
    assert found.asked == (1, 2, 3, 4)
    assert "no passage matches" in found.reason


def test_a_hint_wins_over_the_scores() -> None:
    assert routed([(2, 9.0)], hint=4) == Route((4,), (), "shard 4 as asked")


def test_a_hint_at_a_shard_that_is_down_is_told_and_the_scores_decide() -> None:
    found = routed([(2, 9.0)], active=(1, 2, 3), inactive=(4,), hint=4)
    assert (found.asked, found.missing) == ((2,), (4,))
    assert found.reason.startswith("shard 4 is not active; ")


def test_a_hint_at_a_shard_that_does_not_exist_is_not_called_missing() -> None:
    found = routed([(2, 9.0)], hint=9)
    assert (found.asked, found.missing) == ((2,), ())
    assert "shard 9 is not active" in found.reason


def test_a_wanted_shard_that_is_down_is_missing_and_the_others_are_asked() -> None:
    found = routed([(2, 5.0), (1, 4.0)], active=(1, 3, 4), inactive=(2,))
    assert (found.asked, found.missing) == ((1,), (2,))
    assert "shard 2 not active" in found.reason


def test_when_every_wanted_shard_is_down_every_active_one_is_asked() -> None:
    found = routed([(2, 9.0)], active=(4, 1), inactive=(2,))
    assert (found.asked, found.missing) == ((1, 4), (2,))


def test_with_nobody_active_nobody_is_asked_and_all_wanted_are_missing() -> None:
    found = routed([], active=(), inactive=(1, 2, 3, 4))
    assert (found.asked, found.missing) == ((), (1, 2, 3, 4))


numbers = st.integers(1, 8)


@given(
    hits=st.lists(st.tuples(numbers, st.floats(0.01, 100)), max_size=30),
    down=st.sets(numbers, max_size=8),
    hint=st.none() | numbers,
)
def test_only_active_shards_are_asked_and_only_inactive_ones_are_missing(
    hits: Hits, down: set[int], hint: int | None
) -> None:
    up = sorted(set(range(1, 9)) - down)
    ranked = sorted(hits, key=lambda hit: -hit[1])
    found = routed(ranked, active=up, inactive=sorted(down), hint=hint)
    assert set(found.asked) <= set(up) and len(set(found.asked)) == len(found.asked)
    assert set(found.missing) <= down
    assert bool(found.asked) is bool(up)
    assert found == routed(ranked, active=up[::-1], inactive=sorted(down), hint=hint)


@pytest.mark.parametrize(
    ("asked", "missing", "live", "too_few"),
    [
        ((1,), (2, 3, 4), 1, True),
        ((1, 2), (3, 4), 2, False),
        ((1, 2, 3, 4), (), 4, False),
        ((1,), (), 1, False),
    ],
)
def test_only_a_question_for_all_shards_needs_a_share_of_them_live(
    asked: tuple[int, ...], missing: tuple[int, ...], live: int, too_few: bool
) -> None:
    chosen = Route(asked, missing, "")
    assert too_few_live(chosen, live=live, shards=4, least=0.5) is too_few
