"""Following the log: each finding once, in order, whatever was lost, doubled or out of order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ifmem.engine.following import (
    Deliver,
    Event,
    Filter,
    Following,
    Live,
    PageRead,
    Read,
    Row,
    Stirred,
    Ticked,
)

FINDING: dict[str, Any] = {
    "claim": "The retry budget is three.",
    "worker_id": "ada",
    "topic": "retries",
    "task_id": "t-1",
    "session_id": "run-7",
    "timestamp": "2026-01-02T03:04:05.000Z",
    "tags": ["client", "limits"],
    "citations": ["https://example.org/retries", {"source": "/desk/src/retry.py", "lines": [1, 2]}],
}


def row(sequence: int) -> Row:
    return Row(sequence, str(sequence).encode())


def live(sequence: int, previous: int, *, rides: bool = True) -> Live:
    return Live(sequence, previous, row(sequence).body if rides else None)


def page(*sequences: int, more: bool = False) -> PageRead:
    return PageRead(tuple(map(row, sequences)), more)


def test_the_finding_after_the_one_held_is_delivered_without_a_read() -> None:
    assert Following(7).step(live(8, 7)) == (Following(8), (Deliver((row(8),)),))


def test_a_message_that_came_before_changes_nothing() -> None:
    assert Following(7).step(live(7, 6)) == (Following(7), ())
    assert Following(7).step(live(3, 2)) == (Following(7), ())


@pytest.mark.parametrize("event", [live(9, 8), live(8, 7, rides=False), live(9, 5), Ticked(8)])
def test_what_does_not_follow_on_the_one_held_is_read_from_there(event: Event) -> None:
    state, effects = Following(7).step(event)
    assert state.reading
    assert effects == (Read(7),)


def test_nothing_is_read_when_nothing_is_newer() -> None:
    assert Following(7).step(Ticked(7)) == (Following(7), ())


def test_a_new_connection_reads_first() -> None:
    assert Following(7).step(Stirred())[1] == (Read(7),)


def test_pages_are_read_until_one_says_that_it_is_the_last() -> None:
    state, _ = Following(0).step(Stirred())
    state, effects = state.step(page(1, 2, more=True))
    assert effects == (Deliver((row(1), row(2))), Read(2))
    state, effects = state.step(page(3))
    assert effects == (Deliver((row(3),)),)
    assert state == Following(3)


def test_what_came_live_during_a_read_is_delivered_after_it_without_another() -> None:
    state, _ = Following(0).step(Stirred())
    for message in (live(3, 2), live(4, 3)):
        state, effects = state.step(message)
        assert effects == ()
    assert state.step(page(1, 2, 3)) == (
        Following(4),
        (Deliver((row(1), row(2), row(3))), Deliver((row(4),))),
    )


def test_a_hole_between_page_and_live_is_read() -> None:
    state, _ = Following(0).step(Stirred())
    state, _ = state.step(live(5, 4))
    state, effects = state.step(page(1, 2))
    assert effects == (Deliver((row(1), row(2))), Read(2))
    assert state.step(page(3, 4, 5))[1] == (Deliver((row(3), row(4), row(5))),)


def test_an_empty_page_ends_the_reading_even_if_it_promises_more() -> None:
    state, _ = Following(7).step(Stirred())
    assert state.step(PageRead((), more=True)) == (Following(7), ())


def test_more_messages_during_a_read_than_are_held_cost_one_more_read() -> None:
    state, _ = Following(0).step(Stirred())
    for sequence in range(1, 66):
        state, effects = state.step(live(sequence, sequence - 1))
        assert effects == ()
        assert len(state.held) <= 64
    state, effects = state.step(page(1))
    assert effects == (Deliver((row(1),)), Read(1))


class AnyInterleaving(RuleBasedStateMachine):
    """A log, a channel that loses, doubles and reorders, and one follower of both."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[int] = []
        self.channel: list[Live] = []
        self.state = Following(0)
        self.due: list[int] = []
        self.delivered: list[int] = []

    def tell(self, event: Event) -> None:
        self.state, effects = self.state.step(event)
        for effect in effects:
            match effect:
                case Deliver(rows):
                    self.delivered.extend(one.sequence for one in rows)
                case Read(after):
                    self.due.append(after)

    @rule(gap=st.integers(1, 3), rides=st.booleans())
    def publish(self, gap: int, rides: bool) -> None:
        before = self.log[-1] if self.log else 0
        self.log.append(before + gap)
        self.channel.append(live(before + gap, before, rides=rides))

    @precondition(lambda self: self.channel)
    @rule(data=st.data(), keep=st.booleans())
    def receive(self, data: st.DataObject, keep: bool) -> None:
        place = data.draw(st.integers(0, len(self.channel) - 1))
        self.tell(self.channel[place] if keep else self.channel.pop(place))

    @precondition(lambda self: self.channel)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        self.channel.pop(data.draw(st.integers(0, len(self.channel) - 1)))

    @rule()
    def stir(self) -> None:
        self.tell(Stirred())

    @rule(late=st.integers(0, 3))
    def tick(self, late: int) -> None:
        seen = self.log[: len(self.log) - late]
        self.tell(Ticked(seen[-1] if seen else 0))

    @precondition(lambda self: self.due)
    @rule(limit=st.integers(1, 4), vague=st.booleans())
    def read(self, limit: int, vague: bool) -> None:
        """A page may promise more than there is."""
        after = self.due.pop()
        there = [one for one in self.log if one > after]
        whole = there[:limit]
        self.tell(page(*whole, more=len(whole) < len(there) or vague))

    @invariant()
    def what_was_delivered_is_the_beginning_of_the_log(self) -> None:
        assert self.delivered == self.log[: len(self.delivered)]

    @invariant()
    def one_read_at_most_is_under_way(self) -> None:
        assert len(self.due) == int(self.state.reading)

    def teardown(self) -> None:
        if self.log:
            self.tell(Ticked(self.log[-1]))
        for _ in range(2 * len(self.log) + 4):
            if self.due:
                self.read(limit=2, vague=False)
        assert self.delivered == self.log


TestAnyInterleaving = AnyInterleaving.TestCase
TestAnyInterleaving.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("publish"), st.integers(1, 2)),
            st.tuples(st.just("live"), st.integers(0, 30)),
            st.tuples(st.just("ask"), st.just(0)),
            st.tuples(st.just("answer"), st.just(0)),
        ),
        max_size=60,
    )
)
def test_a_page_that_is_older_than_the_live_messages_around_it_loses_nothing(
    actions: list[tuple[str, int]],
) -> None:
    log: list[int] = []
    messages: list[Live] = []
    state = Following(0)
    delivered: list[int] = []
    asked: list[PageRead] = []

    def tell(event: Event) -> None:
        nonlocal state
        state, effects = state.step(event)
        for effect in effects:
            if isinstance(effect, Deliver):
                delivered.extend(one.sequence for one in effect.rows)
            else:
                # The page is of the moment at which it was asked for.
                asked.append(page(*(one for one in log if one > effect.after)))

    for what, number in actions:
        if what == "publish":
            before = log[-1] if log else 0
            log.append(before + number)
            messages.append(live(log[-1], before))
        elif what == "live" and messages:
            tell(messages[number % len(messages)])
        elif what == "ask":
            tell(Stirred())
        elif what == "answer" and asked:
            tell(asked.pop())
    tell(Ticked(log[-1] if log else 0))
    while asked:
        tell(asked.pop())
    assert delivered == log


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(),
        Filter(topic="retries"),
        Filter(task="t-1"),
        Filter(worker="ada"),
        Filter(tag="limits"),
        Filter(run="run-7"),
        Filter(since="2026-01-02T03:04:05.000Z"),
        Filter(sources=("/desk/src",)),
        Filter(sources=("/elsewhere", "*/retry.py")),
        Filter(topic="retries", worker="ada", tag="client"),
    ],
)
def test_a_finding_that_is_as_wanted_passes(wanted: Filter) -> None:
    assert wanted.passes(FINDING)


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(topic="ports"),
        Filter(task="t-2"),
        Filter(worker="bob"),
        Filter(tag="server"),
        Filter(run="run-8"),
        Filter(since="2026-01-02T03:04:06.000Z"),
        Filter(sources=("/desk/other", "/desk/src/retry")),
        Filter(topic="retries", worker="bob"),
    ],
)
def test_a_finding_that_differs_in_one_point_does_not_pass(wanted: Filter) -> None:
    assert not wanted.passes(FINDING)


@pytest.mark.parametrize("odd", [{}, {"tags": "limits"}, {"tags": None}, {"tags": 3}])
def test_fields_of_another_shape_do_not_pass_and_do_not_stop_the_filter(
    odd: dict[str, Any],
) -> None:
    assert not Filter(tag="limits").passes(odd)
    assert not Filter(sources=("/work",)).passes({"citations": odd})
