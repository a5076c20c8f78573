"""The sessions that a caller has open are counted as long as they can be."""

from __future__ import annotations

from ifmem.mcp_server.sessions import IDLE_SECONDS, MOST_SESSIONS, Sessions


def full() -> Sessions:
    sessions = Sessions()
    for number in range(MOST_SESSIONS):
        assert sessions.may_open("ada", 0.0)
        sessions.used("ada", str(number), 0.0)
    return sessions


def test_a_caller_with_all_its_sessions_opens_no_further_one_and_another_does() -> None:
    sessions = full()
    assert not sessions.may_open("ada", 1.0)
    assert sessions.may_open("bob", 1.0)


def test_one_that_was_ended_or_forgotten_by_the_server_makes_room() -> None:
    sessions = full()
    sessions.ended("ada", "0")
    assert sessions.may_open("ada", 1.0)
    sessions.ended("ada", "no such session")
    sessions.ended("bob", "no such session")


def test_one_that_is_used_lasts_and_one_that_is_not_is_over() -> None:
    sessions = full()
    for number in range(MOST_SESSIONS):
        sessions.used("ada", str(number), IDLE_SECONDS - 1)
    assert not sessions.may_open("ada", IDLE_SECONDS)
    assert sessions.may_open("ada", 2 * IDLE_SECONDS)
