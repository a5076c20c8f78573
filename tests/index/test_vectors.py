"""The nearest passages: by their nearest vector, of those that may be found, each once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ifmem.index import vectors
from ifmem.index.vectors import VectorTable

DIMENSIONS = 8

seeds = st.integers(0, 10_000)


def some(count: int, seed: int) -> NDArray[np.float32]:
    made = np.random.default_rng(seed).normal(size=(count, DIMENSIONS)).astype(np.float32)
    unit: NDArray[np.float32] = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit


@given(seeds, st.integers(1, 40), st.integers(1, 60))
def test_each_allowed_passage_is_found_once_by_its_nearest_vector(
    seed: int, passages: int, reach: int
) -> None:
    chance = np.random.default_rng(seed)
    owners = chance.integers(0, passages, 3 * passages)
    allowed = chance.random(passages - passages // 4) < 0.7
    rows, question = some(len(owners), seed), some(1, seed + 1)[0]
    table = VectorTable(DIMENSIONS, prefix=4)
    table.add_rows(owners, vectors.as_rows(rows))

    numbers, scores = table.best(question, reach=reach, allowed=allowed)

    exact = (vectors.as_rows(rows) @ question) / np.float32(127)
    nearest = {
        int(owner): max(exact[owners == owner])
        for owner in owners
        if owner < len(allowed) and allowed[owner]
    }
    expected = sorted((score for score in nearest.values() if score > 0), reverse=True)[:reach]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert len(set(numbers.tolist())) == len(numbers)
    for number, score in zip(numbers.tolist(), scores.tolist(), strict=True):
        assert abs(nearest[number] - score) < 1e-5


def test_the_first_pass_of_several_questions_is_that_of_each() -> None:
    table = VectorTable(DIMENSIONS, prefix=4)
    table.add_rows(np.arange(3_000), vectors.as_rows(some(3_000, 1)))
    questions, allowed = some(5, 2), np.ones(3_000, np.bool_)
    for question, near in zip(questions, table.near(questions), strict=True):
        together = table.best(question, reach=50, allowed=allowed, near=near)
        alone = table.best(question, reach=50, allowed=allowed)
        assert together[0].tolist() == alone[0].tolist()
        assert together[1].tolist() == alone[1].tolist()
