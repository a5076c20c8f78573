"""Scatter and gather: duplicates end here, and the deadline always answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ifmem.engine.fanout import Answered, DeadlinePassed, FanOut, GaveUp

FRESH: FanOut[str] = FanOut.of([1, 2])
SHARDS = st.integers(0, 5)


def test_a_question_waits_for_everyone_it_was_sent_to() -> None:
    assert FRESH.waiting_for == {1, 2}
    assert not FRESH.done


def test_a_question_sent_to_nobody_is_done() -> None:
    nobody: FanOut[str] = FanOut.of([])
    assert nobody.done
    assert nobody.step(DeadlinePassed()) == nobody


def test_the_last_answer_ends_it_with_the_results_in_order_of_arrival() -> None:
    state = FRESH.step(Answered(2, "b"))
    assert not state.done
    state = state.step(Answered(1, "a"))
    assert state == FanOut(frozenset(), ((2, "b"), (1, "a")), frozenset())


def test_a_second_answer_of_a_shard_does_not_stand_for_a_silent_one() -> None:
    state = FRESH.step(Answered(1, "a")).step(Answered(1, "again"))
    assert state == FRESH.step(Answered(1, "a"))


def test_a_failure_ends_the_waiting_and_names_the_shard() -> None:
    state = FRESH.step(GaveUp(1)).step(Answered(2, "b"))
    assert state == FanOut(frozenset(), ((2, "b"),), frozenset({1}))


def test_a_failure_after_an_answer_takes_nothing_away() -> None:
    answered = FRESH.step(Answered(1, "a"))
    assert answered.step(GaveUp(1)) == answered


def test_a_deadline_keeps_what_came_and_names_who_is_missing() -> None:
    state = FRESH.step(Answered(1, "a")).step(DeadlinePassed())
    assert state == FanOut(frozenset(), ((1, "a"),), frozenset({2}))


def test_an_answer_after_the_deadline_changes_nothing() -> None:
    closed = FRESH.step(DeadlinePassed())
    assert closed.step(Answered(1, "late")) == closed
    assert closed.step(DeadlinePassed()) == closed


def test_a_shard_that_was_never_asked_is_not_heard() -> None:
    assert FRESH.step(Answered(3, "me too")) == FRESH
    assert FRESH.step(GaveUp(3)) == FRESH


class Gathering(RuleBasedStateMachine):
    """Any order of events, told against what a plain reader would write down."""

    @initialize(asked=st.frozensets(SHARDS))
    def ask(self, asked: frozenset[int]) -> None:
        self.asked = asked
        self.state: FanOut[int] = FanOut.of(asked)
        self.first: dict[int, int | None] = {}
        self.closed = False

    @rule(shard=SHARDS, result=st.integers())
    def answer(self, shard: int, result: int) -> None:
        self.state = self.state.step(Answered(shard, result))
        if shard in self.asked and not self.closed:
            self.first.setdefault(shard, result)

    @rule(shard=SHARDS)
    def fail(self, shard: int) -> None:
        self.state = self.state.step(GaveUp(shard))
        if shard in self.asked and not self.closed:
            self.first.setdefault(shard, None)

    @rule()
    def time_is_up(self) -> None:
        self.state = self.state.step(DeadlinePassed())
        self.closed = True

    @invariant()
    def the_first_word_of_each_shard_counts(self) -> None:
        heard = {shard: result for shard, result in self.first.items() if result is not None}
        assert list(self.state.results) == list(heard.items())

    @invariant()
    def every_shard_is_in_exactly_one_place(self) -> None:
        places = [*self.state.waiting_for, *self.state.missing, *dict(self.state.results)]
        assert sorted(places) == sorted(self.asked)

    @invariant()
    def it_is_done_when_all_were_heard_or_time_is_up(self) -> None:
        assert self.state.done is (self.closed or set(self.first) == self.asked)


TestGathering = Gathering.TestCase


@given(st.permutations(range(4)))
def test_the_order_of_answers_changes_nothing_but_their_order(order: list[int]) -> None:
    state: FanOut[int] = FanOut.of(range(4))
    for shard in order:
        state = state.step(Answered(shard, shard * 10))
    assert state.done and not state.missing
    assert dict(state.results) == {0: 0, 1: 10, 2: 20, 3: 30}
