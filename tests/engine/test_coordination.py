"""The rounds of a question: every event in every phase."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.engine.coordination import (
    Ask,
    BudgetSpent,
    Coordination,
    DeadlinePassed,
    Dispute,
    Effect,
    End,
    Event,
    Finish,
    Phase,
    RoundEnded,
    Routed,
    Search,
)

NOTHING = RoundEnded(frozenset(), 0)
FOUND = RoundEnded(frozenset({1}), 1)


def begun(first: tuple[int, ...] = (1, 2), *, most_rounds: int = 3) -> Coordination:
    state, effect = Coordination.begin(first, (1, 2, 3, 4, 5), most_rounds=most_rounds)
    assert effect == Ask(first)
    return state


def run(state: Coordination, *events: Event) -> list[Effect | None]:
    """What each event makes the runtime do."""
    effects = []
    for event in events:
        state, effect = state.step(event)
        effects.append(effect)
    return effects


def lacks(text: str, *, found: frozenset[int] = frozenset({1}), evidence: int = 1) -> RoundEnded:
    return RoundEnded(found, evidence, lacking={1: text})


def excluding(*pairs: tuple[int, int], lacking: str = "") -> RoundEnded:
    found = frozenset(n for pair in pairs for n in pair)
    return RoundEnded(found, len(found), pairs, {1: lacking} if lacking else {})


def test_an_answer_that_lacks_nothing_ends_it() -> None:
    assert run(begun(), FOUND) == [Finish(End.ANSWERED)]


def test_when_none_found_anything_the_next_by_score_is_asked_then_all() -> None:
    assert run(begun(), NOTHING, NOTHING, NOTHING) == [
        Ask((3,)),
        Ask((4, 5)),
        Finish(End.NOT_FOUND),
    ]


def test_widening_stops_with_the_first_shard_that_found_something() -> None:
    assert run(begun(), NOTHING, FOUND) == [Ask((3,)), Finish(End.ANSWERED)]


def test_widening_takes_no_round() -> None:
    state = begun(most_rounds=1)
    assert run(state, NOTHING, NOTHING, NOTHING)[:2] == [Ask((3,)), Ask((4, 5))]


def test_a_shard_alone_in_its_space_is_asked_once() -> None:
    state, _ = Coordination.begin((1,), (1,), most_rounds=3)
    assert run(state, NOTHING) == [Finish(End.NOT_FOUND)]


def test_answers_that_exclude_each_other_are_disputed_once() -> None:
    again = excluding((1, 2))
    assert run(begun(), again, again) == [Dispute(((1, 2),)), Finish(End.ANSWERED)]


def test_a_dispute_goes_before_what_is_lacking_which_is_searched_for_after_it() -> None:
    both = excluding((1, 2), lacking="the date")
    assert run(begun(), both, both) == [Dispute(((1, 2),)), Search("the date", (3, 4, 5))]


def test_what_is_lacking_is_asked_of_shards_that_were_not_asked() -> None:
    more = RoundEnded(frozenset({1, 4}), 2)
    assert run(begun(), lacks("the date"), Routed((4, 2)), more) == [
        Search("the date", (3, 4, 5)),
        Ask((4,), "the date"),
        Finish(End.ANSWERED),
    ]


def test_a_search_that_leads_nowhere_ends_it() -> None:
    assert run(begun(), lacks("the date"), Routed(())) == [
        Search("the date", (3, 4, 5)),
        Finish(End.ANSWERED),
    ]


def test_what_is_lacking_is_not_searched_for_when_every_shard_was_asked() -> None:
    state = begun((1, 2, 3, 4, 5))
    assert run(state, lacks("the date")) == [Finish(End.ANSWERED)]


def test_the_same_lack_is_searched_for_once() -> None:
    again = lacks(" The  DATE ", evidence=2)
    assert run(begun(), lacks("the date"), Routed((4,)), again) == [
        Search("the date", (3, 4, 5)),
        Ask((4,), "the date"),
        Finish(End.ANSWERED),
    ]


def test_following_without_new_evidence_ends_it() -> None:
    assert run(begun(), lacks("the date"), Routed((4,)), lacks("the place"))[-1] == Finish(
        End.NOTHING_NEW
    )


def test_following_goes_on_while_there_are_rounds() -> None:
    effects = run(
        begun(),
        lacks("the date"),
        Routed((3,)),
        lacks("the place", evidence=2),
        Routed((4,)),
        lacks("the price", evidence=3),
    )
    assert effects[-2:] == [Ask((4,), "the place"), Finish(End.ROUNDS)]


@pytest.mark.parametrize("event", [excluding((1, 2)), lacks("the date")])
def test_with_one_round_allowed_nothing_follows_the_first(event: RoundEnded) -> None:
    assert run(begun(most_rounds=1), event) == [Finish(End.ROUNDS)]


def test_when_both_sides_of_a_dispute_give_up_nothing_was_found() -> None:
    assert run(begun(), excluding((1, 2)), NOTHING)[-1] == Finish(End.NOT_FOUND)


PHASES: list[Coordination] = [
    begun(),
    replace(begun(), phase=Phase.DISPUTING, disputed=True, round=2, evidence=2),
    replace(begun(), phase=Phase.SEARCHING, followed=frozenset({"the date"}), lacking="the date"),
    replace(begun(), phase=Phase.FOLLOWING, round=2, evidence=1),
    replace(begun(), phase=Phase.DONE),
]
EVENTS: list[Event] = [
    NOTHING,
    FOUND,
    RoundEnded(frozenset({1, 3}), 9),
    excluding((1, 2)),
    lacks("the date"),
    lacks("the place", evidence=9),
    Routed(()),
    Routed((4,)),
    DeadlinePassed(),
    BudgetSpent(),
]
A, F, D, S = Ask, Finish, Dispute, Search
TABLE: dict[Phase, list[object]] = {
    #                 nothing found  more     exclude date place  r()   r(4)  time budget
    Phase.ASKING: [A, F, F, D, S, S, None, None, F, F],
    Phase.DISPUTING: [F, F, F, F, S, S, None, None, F, F],
    Phase.SEARCHING: [None, None, None, None, None, None, F, A, F, F],
    Phase.FOLLOWING: [F, F, F, D, F, S, None, None, F, F],
    Phase.DONE: [None] * len(EVENTS),
}


@pytest.mark.parametrize(
    ("state", "event", "expected"),
    [
        (state, event, expected)
        for state in PHASES
        for event, expected in zip(EVENTS, TABLE[state.phase], strict=True)
    ],
    ids=lambda one: one.phase.value if isinstance(one, Coordination) else None,
)
def test_every_event_in_every_phase(
    state: Coordination, event: Event, expected: type[Effect] | None
) -> None:
    after, effect = state.step(event)
    assert type(effect) is (expected or type(None))
    if effect is None:
        assert after == state
    assert (after.phase is Phase.DONE) == (isinstance(effect, Finish) or state.phase is Phase.DONE)


rounds = st.builds(
    RoundEnded,
    st.frozensets(st.integers(1, 6)),
    st.integers(0, 9),
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=2).map(tuple),
    st.dictionaries(st.integers(1, 6), st.sampled_from(["", "a", "b", "c"]), max_size=2),
)
events = st.one_of(rounds, st.builds(Routed, st.lists(st.integers(1, 6), max_size=3).map(tuple)))


@given(
    st.lists(st.integers(1, 6), unique=True, max_size=3),
    st.integers(1, 3),
    st.lists(events, max_size=30),
)
def test_no_shard_is_asked_twice_and_rounds_are_bounded(
    first: list[int], most_rounds: int, happened: list[Event]
) -> None:
    state, effect = Coordination.begin(first, range(1, 7), most_rounds=most_rounds)
    asked: list[int] = []
    disputes = 0
    waves = 0
    for event in [None, *happened]:
        if event is not None:
            state, effect = state.step(event)
        if isinstance(effect, Ask):
            asked += effect.shards
            waves += 1
        disputes += isinstance(effect, Dispute)
        effect = None
    assert len(asked) == len(set(asked))
    assert disputes <= 1
    assert state.round <= most_rounds
    assert waves <= most_rounds + 2  # the first round may widen twice
