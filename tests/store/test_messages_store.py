"""Messages in the store: applied in log order, the same after a replay, gone when over."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ifmem.domain.message import OpenMessage, TopicFollowers
from ifmem.store import messages
from ifmem.store.database import Database
from ifmem.wire.log_entries import Entry

NOON = 1_000_000
LATER = 2_000_000


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def entry(number: int, event: str, **fields: Any) -> Entry:
    raw = {name: str(value).encode() for name, value in {"event": event, **fields}.items()}
    return Entry(f"{number}-0", "message", NOON, raw)


def sent(number: int, *to: str, expires: int = LATER, message: int | None = None) -> Entry:
    return entry(
        number,
        "sent",
        id=uuid(message or number),
        sequence=number,
        sent=NOON,
        expires=expires,
        recipients=" ".join(to),
        body=f'{{"n":{number}}}',
    )


def acknowledged(number: int, agent: str, *ids: int) -> Entry:
    return entry(number, "acknowledged", agent=agent, ids=" ".join(map(uuid, ids)))


def apply(database: Database, *entries: Entry) -> dict[str, Any]:
    return database.write(lambda c: messages.apply(c, entries)).result()


def still_open(database: Database, now: int = NOON) -> list[tuple[int, tuple[str, ...]]]:
    rows = database.read(lambda c: messages.open_messages(c, now))
    return [(row.sequence, row.recipients) for row in rows]


def test_a_message_waits_for_each_recipient_until_that_one_is_done(database: Database) -> None:
    apply(database, sent(2, "ada", "grace"), sent(1, "ada"))
    assert still_open(database) == [(1, ("ada",)), (2, ("ada", "grace"))]
    apply(database, acknowledged(3, "ada", 1, 2))
    assert still_open(database) == [(2, ("grace",))]


def test_what_the_bus_needs_to_have_it_back_is_all_there(database: Database) -> None:
    apply(database, sent(7, "grace", "ada"))
    assert database.read(lambda c: messages.open_messages(c, NOON)) == [
        OpenMessage(
            message_id=uuid(7),
            sequence=7,
            sent_ms=NOON,
            expires_ms=LATER,
            body=b'{"n":7}',
            recipients=("ada", "grace"),
        )
    ]
    assert database.read(messages.last_sequence) == 7
    assert database.read(lambda c: messages.sequence_of(c, uuid(7))) == 7
    assert database.read(lambda c: messages.sequence_of(c, uuid(8))) is None
    assert sorted(database.read(messages.agents)) == ["ada", "grace"]


def test_open_messages_come_in_pages_that_lose_none_between_them(database: Database) -> None:
    # A bus that was lost can give a sequence twice.
    twice = [sent(n, "ada", "bob", message=n * 10 + copy) for n in (3, 1, 2) for copy in (0, 1)]
    apply(database, *twice)
    found: list[str] = []
    after = (0, "")
    while rows := database.read(lambda c: messages.open_messages(c, NOON, after=after, limit=3)):  # noqa: B023
        found += [row.message_id for row in rows]
        after = (rows[-1].sequence, rows[-1].message_id)
        assert all(row.recipients == ("ada", "bob") for row in rows)
    assert found == [uuid(n) for n in (10, 11, 20, 21, 30, 31)]


def test_an_id_under_another_sequence_is_known_and_changes_nothing(database: Database) -> None:
    apply(database, sent(1, "ada"), acknowledged(2, "ada", 1))
    verdicts = apply(database, sent(3, "ada", "grace", message=1), sent(1, "ada"))
    assert [(id, verdict.outcome) for id, verdict in verdicts.items()] == [("3-0", "known")]
    assert verdicts["3-0"].facts == {"message_id": uuid(1), "sequence": "1"}
    assert still_open(database) == []


@pytest.mark.parametrize(
    "broken",
    [
        entry(1, "forwarded"),
        Entry("1-0", "message", NOON, {}),
        entry(1, "sent", id=uuid(1), sequence="first", sent=1, expires=1, recipients="a", body=""),
        entry(1, "sent", id=uuid(1), sequence=1, sent=1, expires=1, recipients="a {b}", body=""),
        Entry("1-0", "message", NOON, {**sent(1, "ada").fields, "body": b"\xff"}),
        entry(1, "acknowledged", agent="ada"),
        entry(1, "followed", agent="ada", topic="no topic"),
    ],
)
def test_an_entry_that_cannot_be_read_leaves_nothing_and_stops_nobody(
    database: Database, broken: Entry
) -> None:
    verdicts = apply(database, broken, sent(2, "grace"))
    assert [(id, verdict.outcome) for id, verdict in verdicts.items()] == [("1-0", "unreadable")]
    assert verdicts["1-0"].message
    assert still_open(database) == [(2, ("grace",))]
    assert database.read(messages.topics) == []


def test_followers_are_those_who_joined_and_did_not_leave(database: Database) -> None:
    apply(
        database,
        entry(1, "followed", agent="grace", topic="launch"),
        entry(2, "followed", agent="ada", topic="launch"),
        entry(3, "unfollowed", agent="grace", topic="launch"),
        entry(4, "followed", agent="ada", topic="archive"),
    )
    assert database.read(messages.topics) == [
        TopicFollowers("archive", ("ada",)),
        TopicFollowers("launch", ("ada",), ("grace",)),
    ]


def test_a_message_is_open_until_its_time_and_removed_once_everybody_is_done(
    database: Database,
) -> None:
    apply(database, sent(1, "ada", "grace"), sent(2, "ada", expires=LATER + 1), sent(3))
    assert still_open(database, LATER - 1) == [(1, ("ada", "grace")), (2, ("ada",))]
    assert still_open(database, LATER) == [(2, ("ada",))]
    over = database.read(lambda c: messages.overdue(c, LATER, 10))
    assert over == {"ada": [uuid(1)], "grace": [uuid(1)]}
    assert database.read(lambda c: messages.overdue(c, LATER, 1)) == {"ada": [uuid(1)]}

    def expire(now: int) -> int:
        return database.write(lambda c: messages.expire(c, now)).result()

    assert expire(LATER - 1) == 0
    assert expire(LATER) == 1, "the one nobody was to get"
    apply(
        database,
        entry(4, "expired", agent="ada", ids=uuid(1)),
        entry(5, "expired", agent="grace", ids=uuid(1)),
    )
    assert expire(LATER) == 1
    assert database.read(lambda c: messages.overdue(c, LATER, 10)) == {}
    assert database.read(messages.agents) == ["ada"]


def test_what_an_agent_is_done_with_is_told_from_what_it_is_not(database: Database) -> None:
    apply(database, *(sent(n, "ada", "grace") for n in range(1, 1_201)))
    apply(database, acknowledged(2_000, "ada", 1, 1_200), acknowledged(2_001, "grace", 2))
    ids = [uuid(n) for n in range(1, 1_300)]
    done = database.read(lambda c: messages.done_among(c, "ada", ids))
    assert sorted(done) == [uuid(1), uuid(1_200)]


AGENTS = st.sampled_from(["ada", "grace"])
NUMBERS = st.integers(1, 5)
STEPS = st.one_of(
    st.tuples(st.just("sent"), NUMBERS, st.sets(AGENTS)),
    st.tuples(st.just("acknowledged"), NUMBERS, AGENTS),
    st.tuples(st.sampled_from(["followed", "unfollowed"]), st.just("launch"), AGENTS),
)


def log_of(steps: Sequence[Any]) -> list[Entry]:
    """A log as the bus writes it: what was never sent is not acknowledged."""
    entries = []
    known = set()
    for place, (event, what, who) in enumerate(steps, start=1):
        if event == "sent":
            known.add(what)
            entries.append(sent(place, *sorted(who), message=what))
        elif event == "acknowledged":
            if what in known:
                entries.append(acknowledged(place, who, what))
        else:
            entries.append(entry(place, event, agent=who, topic=what))
    return entries


def contents(connection: sqlite3.Connection) -> list[list[Any]]:
    return [
        connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
        for table in ("message", "recipient", "topic_follower")
    ]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=12), cut=st.integers(0, 12))
def test_a_log_that_is_applied_again_from_anywhere_leaves_the_same(
    database: Database, steps: Sequence[Any], cut: int
) -> None:
    entries = log_of(steps)

    def replay(connection: sqlite3.Connection) -> None:
        for table in ("message", "recipient", "topic_follower"):
            connection.execute(f"DELETE FROM {table}")
        told = messages.apply(connection, entries)
        once = contents(connection)
        again = messages.apply(connection, entries[cut:])
        assert contents(connection) == once
        assert again == {id: told[id] for id in told if id in {one.id for one in entries[cut:]}}

    database.write(replay).result()
