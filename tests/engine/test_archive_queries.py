"""A question to the archive, whatever happens to it: one holder, one answer, no endless life."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ifmem.engine import archive_queries as rules
from ifmem.engine.archive_queries import ENDED, QueryState, Standing

START = datetime(2026, 11, 20, tzinfo=UTC)
LEASE = timedelta(seconds=60)
ATTEMPTS = 3


def fresh() -> Standing:
    return Standing(state=QueryState.WAITING, expires_at=START + timedelta(seconds=300))


def taken(standing: Standing, now: datetime = START, holder: str = "one") -> Standing:
    return rules.claimed(standing, holder, now, LEASE, attempts=ATTEMPTS)


def test_a_question_that_is_taken_is_nobody_elses_until_its_lease_ends() -> None:
    first = taken(fresh())
    assert (first.state, first.fence, first.holder) == (QueryState.LEASED, 1, "one")
    assert taken(first, START + LEASE - timedelta(seconds=1), "two") == first
    second = taken(first, START + LEASE, "two")
    assert (second.fence, second.holder, second.attempts) == (2, "two", 1)


def test_a_late_answer_is_refused_and_the_answer_of_the_holder_is_taken() -> None:
    first = taken(fresh())
    second = taken(first, START + LEASE, "two")
    assert rules.answered(second, 1, START + LEASE) is None
    done = rules.answered(second, 2, START + LEASE)
    assert done is not None
    assert done.state is QueryState.ANSWERED
    assert rules.answered(done, 2, START + LEASE) is None


def test_a_question_lost_by_as_many_as_allowed_has_failed_with_the_reasons() -> None:
    now, standing = START, fresh()
    for holder in ("one", "two", "three"):
        standing = taken(standing, now, holder)
        now += LEASE
    ended = taken(standing, now, "four")
    assert ended.state is QueryState.FAILED
    assert ended.reason is not None
    assert all(name in ended.reason for name in ("one", "two", "three"))


def test_an_old_question_expires_unless_somebody_works_on_it() -> None:
    standing = taken(fresh(), START + timedelta(seconds=299))
    assert standing.lease_until == standing.expires_at
    over = rules.swept(standing, standing.expires_at, attempts=ATTEMPTS)
    assert over.state is QueryState.EXPIRED
    assert rules.answered(standing, 1, standing.expires_at) is None


def test_a_kept_question_waits_for_the_reset_and_outlives_its_first_expiry() -> None:
    reset = START + timedelta(hours=5)
    kept = rules.kept(
        taken(fresh()), 1, until=reset, expires_at=reset + timedelta(days=7), reason="exhausted"
    )
    assert kept is not None
    assert taken(kept, reset - timedelta(seconds=1)) == kept
    again = taken(kept, reset)
    assert (again.state, again.attempts, again.fence) == (QueryState.LEASED, 0, 2)


def test_a_question_given_back_waits_and_the_last_attempt_ends_it() -> None:
    back = rules.given_back(taken(fresh()), 1, reason="crashed", attempts=2)
    assert back is not None
    assert (back.state, back.attempts) == (QueryState.WAITING, 1)
    last = rules.given_back(taken(back), 2, reason="crashed again", attempts=2)
    assert last is not None
    assert last.state is QueryState.FAILED
    assert last.reason == "crashed; crashed again"


@pytest.mark.parametrize("state", sorted(ENDED))
def test_nothing_changes_what_has_ended(state: QueryState) -> None:
    ended = Standing(state=state, expires_at=START, fence=1)
    late = START + timedelta(days=9)
    assert taken(ended, late) == ended
    assert rules.swept(ended, late, attempts=ATTEMPTS) == ended
    assert rules.answered(ended, 1, START - LEASE) is None
    assert rules.given_back(ended, 1, reason="x", attempts=1) is None
    assert rules.due_at(ended) is None


@given(st.integers(0, 1_000), st.integers(1, 200))
def test_a_renewed_lease_never_outlasts_the_question(after: int, lease: int) -> None:
    standing = taken(fresh())
    now = START + timedelta(seconds=after)
    renewed = rules.renewed(standing, 1, now, timedelta(seconds=lease))
    assert renewed.lease_until is not None
    assert renewed.lease_until <= standing.expires_at


class Life(RuleBasedStateMachine):
    """Any steps in any order, with a clock that moves: the promises hold after each."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.standing = fresh()
        self.fences: list[int] = []
        self.answers = 0

    def _step(self, after: Standing) -> None:
        before = self.standing
        if before.has_ended:
            assert after == before
        assert after.fence >= before.fence
        self.standing = after

    @rule(seconds=st.integers(0, 400))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(holder=st.sampled_from(["one", "two"]))
    def claim(self, holder: str) -> None:
        before = self.standing
        after = rules.claimed(before, holder, self.now, LEASE, attempts=ATTEMPTS)
        if after.fence > before.fence:
            assert before.is_claimable(self.now)
            assert after.fence not in self.fences
            self.fences.append(after.fence)
        self._step(after)

    @precondition(lambda self: self.fences)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        fence = data.draw(st.sampled_from(self.fences))
        after = rules.answered(self.standing, fence, self.now)
        if after is None:
            return
        assert fence == self.fences[-1]
        assert self.now < self.standing.expires_at
        self.answers += 1
        self._step(after)

    @precondition(lambda self: self.fences)
    @rule(data=st.data(), seconds=st.integers(1, 1_000))
    def keep(self, data: st.DataObject, seconds: int) -> None:
        until = self.now + timedelta(seconds=seconds)
        after = rules.kept(
            self.standing,
            data.draw(st.sampled_from(self.fences)),
            until=until,
            expires_at=until + timedelta(seconds=1_000),
            reason="exhausted",
        )
        if after is not None:
            self._step(after)

    @precondition(lambda self: self.fences)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        fence = data.draw(st.sampled_from(self.fences))
        after = rules.given_back(self.standing, fence, reason="lost", attempts=ATTEMPTS)
        if after is not None:
            self._step(after)

    @rule()
    def sweep(self) -> None:
        self._step(rules.swept(self.standing, self.now, attempts=ATTEMPTS))

    @invariant()
    def it_is_answered_once_at_most(self) -> None:
        assert self.answers <= 1

    @invariant()
    def it_is_never_lost_more_often_than_allowed(self) -> None:
        assert self.standing.attempts <= ATTEMPTS
        if self.standing.attempts == ATTEMPTS:
            assert self.standing.state is QueryState.FAILED

    @invariant()
    def what_is_open_becomes_due(self) -> None:
        due = rules.due_at(self.standing)
        assert (due is None) == self.standing.has_ended
        if due is not None and self.now >= due:
            swept = rules.swept(self.standing, self.now, attempts=ATTEMPTS)
            assert swept.has_ended or swept.is_claimable(self.now)

    @invariant()
    def the_holder_is_told_while_it_is_leased(self) -> None:
        is_leased = self.standing.state is QueryState.LEASED
        assert (self.standing.lease_until is not None) == is_leased
        assert not is_leased or self.standing.holder is not None


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=30)
