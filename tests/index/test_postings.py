"""The inverted index: what was added is found at once, what was removed never."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.index.postings import Postings

texts = st.lists(st.sampled_from(["ant", "bee", "cat"]), max_size=6)


def index_of(*passages: str) -> Postings:
    postings = Postings()
    for text in passages:
        postings.add(Counter(text.split()))
    return postings


def found(postings: Postings, *terms: str) -> list[int]:
    """Numbers of the passages with a score, best first."""
    scores = postings.scores([(term, 1.0) for term in terms])
    order: list[int] = np.argsort(-scores, kind="stable").tolist()
    return [number for number in order if scores[number] > 0]


def test_a_fresh_passage_is_found_at_once() -> None:
    postings = index_of("ant bee")
    assert found(postings, "cat") == []
    assert postings.add({"cat": 1}) == 1
    assert found(postings, "cat") == [1]


def test_an_empty_index_finds_nothing() -> None:
    assert found(Postings(), "ant") == []
    assert len(Postings().scores([("ant", 1.0)])) == 0


def test_more_often_and_in_a_shorter_passage_is_better() -> None:
    assert found(index_of("ant bee", "ant ant"), "ant") == [1, 0]
    assert found(index_of("ant bee cat dog", "ant bee"), "ant") == [1, 0]


def test_more_of_the_terms_is_better_and_weight_decides_between_them() -> None:
    postings = index_of("ant dog", "bee dog", "ant bee")
    assert found(postings, "ant", "bee")[0] == 2
    assert (
        postings.scores([("ant", 1.0), ("bee", 5.0)])[1]
        > postings.scores([("ant", 1.0), ("bee", 5.0)])[0]
    )


def test_a_removed_passage_is_never_found_and_its_number_not_used_again() -> None:
    postings = index_of("ant", "ant", "bee")
    postings.remove(0)
    assert found(postings, "ant") == [1]
    assert (postings.live_count, postings.live().tolist()) == (2, [False, True, True])
    assert postings.add({"ant": 1}) == 3
    assert found(postings, "ant") == [1, 3]


def test_removing_twice_counts_once() -> None:
    postings = index_of("ant", "bee")
    postings.remove(0)
    postings.remove(0)
    assert postings.live_count == 1


def test_lengths_of_removed_passages_weigh_nothing() -> None:
    kept, grown = index_of("ant bee"), index_of("ant bee", "cat " * 1_000)
    grown.remove(1)
    assert grown.scores([("ant", 1.0)])[0] == kept.scores([("ant", 1.0)])[0]


def test_the_frequency_of_a_term_counts_passages_and_not_occurrences() -> None:
    postings = index_of("ant ant ant", "ant bee")
    assert [postings.frequency(term) for term in ("ant", "bee", "cat")] == [2, 1, 0]


def test_a_word_said_ever_so_often_spoils_neither_its_count_nor_its_neighbours() -> None:
    postings = index_of("bee " * 100_000, "bee", "ant")
    assert sorted(found(postings, "bee")) == [0, 1]
    assert found(postings, "ant") == [2]


def test_it_grows_past_any_first_size() -> None:
    postings = index_of(*(f"ant n{n}" for n in range(5_000)))
    assert len(found(postings, "ant")) == 5_000
    assert found(postings, "n4999") == [4_999]


@given(st.lists(texts, max_size=12), st.sets(st.integers(0, 11)), st.sampled_from(["ant", "cat"]))
def test_a_passage_has_a_score_when_it_is_live_and_holds_the_term(
    passages: list[list[str]], removed: set[int], term: str
) -> None:
    postings = index_of(*(" ".join(words) for words in passages))
    for number in removed & set(range(len(passages))):
        postings.remove(number)
    scores = postings.scores([(term, 1.0)])
    assert [bool(score > 0) for score in scores] == [
        term in words and number not in removed for number, words in enumerate(passages)
    ]


def test_what_is_added_while_a_search_runs_is_left_out_of_it() -> None:
    postings = index_of("ant bee")

    def terms() -> Iterator[tuple[str, float]]:
        yield "ant", 1.0
        postings.add({"ant": 1, "bee": 1})
        yield "bee", 1.0

    assert len(postings.scores(terms())) == 1
    assert found(postings, "bee") == [0, 1]


def test_a_reader_beside_the_writer_sees_whole_passages_only() -> None:
    postings, total = Postings(), 4_000
    begun, seen = threading.Event(), [0]

    def write() -> None:
        for number in range(total):
            postings.add({"ant": 1, f"n{number}": 1, "bee": 1})
            begun.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert begun.wait(30)
    while seen[-1] < total:
        both = postings.scores([("ant", 1.0), ("bee", 1.0)])
        alone = postings.scores([("ant", 1.0)])
        assert np.all(both > 0), "a passage was seen before it was whole"
        assert np.count_nonzero(alone) == len(alone) >= len(both) >= seen[-1]
        seen.append(len(both))
    writer.join()
    assert seen == sorted(seen)


@pytest.mark.parametrize("passages", [(), ("ant bee", "bee", "cat cat")])
def test_an_index_read_from_its_arrays_answers_the_same_and_grows_on(
    passages: tuple[str, ...],
) -> None:
    postings = index_of(*passages)
    if passages:
        postings.remove(1)
    again = Postings.from_arrays({name: a.copy() for name, a in postings.arrays().items()})
    for index in (postings, again):
        index.add({"bee": 2, "dog": 1})
    weighted = [("ant", 1.0), ("bee", 1.0), ("cat", 1.0), ("dog", 1.0)]
    assert again.scores(weighted).tolist() == pytest.approx(postings.scores(weighted).tolist())
    assert (again.size, again.live_count) == (postings.size, postings.live_count)
