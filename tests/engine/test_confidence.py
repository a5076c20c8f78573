"""How sure an answer is: by what was proved, not by what a model says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ifmem.engine.confidence import answer_confidence, shard_confidence

counts = st.integers(0, 20)
shares = st.floats(0, 1)


@given(shares, counts, counts)
def test_a_share_of_what_was_given_and_of_what_was_asked(
    held: float, verified: int, unverified: int
) -> None:
    sure = shard_confidence(held=held, verified=verified, unverified=unverified)
    assert 0 <= sure <= 1
    assert (sure > 0) == (verified > 0)
    assert sure >= shard_confidence(held=held, verified=verified, unverified=unverified + 1)
    assert shard_confidence(held=1, verified=verified, unverified=unverified) >= sure


@given(st.lists(shares, max_size=6), st.integers(1, 6), st.integers(0, 6))
def test_disputes_and_silence_lower_it_and_agreement_raises_it(
    shards: list[float], asked: int, missing: int
) -> None:
    missing = min(missing, asked)
    sure = answer_confidence(shards, asked=asked, missing=missing, disputed=False)
    assert 0 <= sure <= 1
    assert answer_confidence(shards, asked=asked, missing=missing, disputed=True) <= sure
    assert answer_confidence(shards, asked=asked, missing=0, disputed=False) >= sure
    more = answer_confidence([*shards, 0.5], asked=asked, missing=missing, disputed=False)
    assert more >= sure


def test_two_that_agree_are_surer_than_one_and_a_dispute_halves_it() -> None:
    assert answer_confidence([0.8], asked=1, missing=0, disputed=False) == 0.8
    assert answer_confidence([0.8, 0.5], asked=2, missing=0, disputed=False) == 0.85
    assert answer_confidence([0.8, 0.5], asked=2, missing=0, disputed=True) == 0.4
    assert answer_confidence([0.8], asked=2, missing=1, disputed=False) == 0.68
    assert answer_confidence([], asked=2, missing=0, disputed=False) == 0
