"""Refusals reach the audit once a minute, with how often they came."""

from __future__ import annotations

from ifmem.engine.refusals import MOST_KINDS, WINDOW_SECONDS, Refusal, RefusalCounts

UNKNOWN = Refusal(actor="-", action="token", reason="unknown token")


def test_the_first_is_written_at_once_and_those_like_it_are_counted() -> None:
    counts = RefusalCounts()
    assert [counts.is_first(UNKNOWN, float(second)) for second in range(4)] == [True] + [False] * 3
    assert counts.ended(WINDOW_SECONDS - 1) == []
    (row,) = counts.ended(WINDOW_SECONDS)
    assert row.reason == "unknown token (3 more times within a minute)"


def test_one_that_came_once_leaves_no_second_row_and_the_next_minute_begins_anew() -> None:
    counts = RefusalCounts()
    assert counts.is_first(UNKNOWN, 0.0)
    assert counts.ended(WINDOW_SECONDS) == []
    assert len(counts) == 0
    assert counts.is_first(UNKNOWN, WINDOW_SECONDS)


def test_another_actor_action_or_reason_is_another_refusal() -> None:
    counts = RefusalCounts()
    others = [
        UNKNOWN,
        Refusal(actor="ada", action="token", reason="unknown token"),
        Refusal(actor="-", action="http", reason="unknown token"),
        Refusal(actor="-", action="token", reason="expired token"),
    ]
    assert all(counts.is_first(one, 0.0) for one in others)


def test_what_was_counted_is_not_lost_when_the_daemon_ends_within_the_minute() -> None:
    counts = RefusalCounts()
    counts.is_first(UNKNOWN, 0.0)
    counts.is_first(UNKNOWN, 0.0)
    assert [one.reason for one in counts.all()] == ["unknown token (once more within a minute)"]
    assert counts.all() == []


def test_however_many_kinds_there_are_the_memory_is_bounded_and_none_is_passed_over() -> None:
    counts = RefusalCounts()
    for number in range(MOST_KINDS * 2):
        counts.is_first(Refusal(actor=str(number), action="x", reason="y"), 0.0)
    assert len(counts) == MOST_KINDS + 1
    (further,) = counts.all()
    assert further.actor == "-"
    assert f"{MOST_KINDS - 1:,} more times" in further.reason
