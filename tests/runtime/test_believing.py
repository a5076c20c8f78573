"""What new findings do to what is believed, in the store alone."""

from __future__ import annotations

import itertools
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ifmem.archive_settings import TrustSettings
from ifmem.domain.finding import Finding, Trust
from ifmem.engine.conflicts import apart
from ifmem.errors import Refused
from ifmem.runtime.believing import Consequences, believe
from ifmem.runtime.inbox import decide
from ifmem.runtime.settling import close_decided_by_forgetting
from ifmem.store import audit, conflicts, findings, inbox, supersession
from ifmem.store.database import Database
from ifmem.wire import finding_json
from ifmem.wire.inbox_calls import InboxResolveCall

WHEN = "2026-01-02T03:04:05.000Z"
TRUST = TrustSettings()


def name(n: int) -> str:
    return f"00000000-0000-4000-8000-{n:012}"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "store.sqlite")
    yield opened
    opened.close()


def stored(
    connection: sqlite3.Connection, n: int, wanted: TrustSettings = TRUST, **fields: Any
) -> Consequences:
    """A finding as the drainer stores it."""
    given = {"worker_id": "ada", "timestamp": WHEN, "claim": f"claim {n}", **fields}
    finding = Finding(finding_id=name(n), **given)
    sequence, _ = findings.append(
        connection,
        finding_id=finding.finding_id,
        author=finding.worker_id,
        task_id=finding.task_id,
        topic=finding.topic,
        said_at=finding.timestamp,
        tokens=1,
        body=finding_json.to_json(finding),
    )
    row = findings.by_sequence(connection, [sequence])[sequence]
    return believe(connection, finding, row, wanted)


def say(database: Database, n: int, wanted: TrustSettings = TRUST, **fields: Any) -> Consequences:
    return database.write(lambda c: stored(c, n, wanted, **fields)).result()


def items(database: Database, *, everything: bool = False) -> list[inbox.Item]:
    page = {"everything": everything, "kind": None, "after": 0, "limit": 10_000}
    return database.read(lambda c: inbox.page(c, **page))  # type: ignore[arg-type]


def kinds(database: Database) -> list[str]:
    return [one.kind for one in items(database)]


def sides(database: Database, conflict_id: str) -> set[str]:
    found = database.read(lambda c: conflicts.sides(c, conflict_id))
    return {one.finding.finding_id for one in found}


def resolve(database: Database, item: str, **decision: Any) -> list[int]:
    call = InboxResolveCall(item=item, actor="ann", **decision)
    return database.write(lambda c: decide(c, call=call, at=WHEN)).result()


def decisions(database: Database) -> list[tuple[str, str]]:
    rows = database.read(lambda c: audit.newest(c, 10_000))
    return [(one.action, one.subject) for one in reversed(rows) if one.type == audit.DECISION]


def test_plain_claims_bother_nobody(database: Database) -> None:
    for n in range(20):
        assert say(database, n) == Consequences()
    assert items(database, everything=True) == [] == decisions(database)


def test_only_values_of_one_topic_and_unit_that_are_apart_disagree(database: Database) -> None:
    say(database, 1, topic="bridge", value=5.8)
    for n, fields in enumerate(
        (
            {"topic": "bridge", "value": 5.7},
            {"topic": "tunnel", "value": 4.2},
            {"topic": "bridge", "value": 4.2, "unit": "km"},
            {"topic": "bridge"},
            {"topic": "bridge", "value": 4.2, "speech_act": "escalate"},
            {"topic": "bridge", "value": 4.2, "speech_act": "request"},
        ),
        2,
    ):
        say(database, n, **fields)
        assert "conflict" not in kinds(database), fields
    # As sure as the other, and with the topic spelled otherwise.
    assert say(database, 20, topic=" BRIDGE", value=4.2).is_unsettled
    (item,) = [one for one in items(database) if one.kind == "conflict"]
    assert sides(database, item.subject) == {name(1), name(2), name(20)}
    assert ("escalate", item.subject) in decisions(database)


def test_further_findings_become_sides_of_the_open_conflict(database: Database) -> None:
    say(database, 1, topic="bridge", value=5.8)
    say(database, 2, topic="bridge", value=4.2)
    say(database, 3, topic="bridge", value=9.0)
    # Between the two it agrees with both, but not with the third.
    say(database, 4, topic="bridge", value=4.9)
    (item,) = items(database)
    assert sides(database, item.subject) == {name(n) for n in (1, 2, 3, 4)}


def test_one_that_agrees_with_both_takes_no_side(database: Database) -> None:
    say(database, 1, topic="bridge", value=5.8)
    say(database, 2, topic="bridge", value=4.2)
    assert say(database, 3, topic="bridge", value=4.9) == Consequences()
    (item,) = items(database)
    assert sides(database, item.subject) == {name(1), name(2)}


def test_a_resolved_conflict_is_history_and_the_next_is_another(database: Database) -> None:
    say(database, 1, topic="bridge", value=5.8)
    say(database, 2, topic="bridge", value=4.2)
    (first,) = items(database)
    assert resolve(database, first.item_id, keep=(name(1),)) == [2]
    assert items(database) == []
    assert say(database, 3, topic="bridge", value=5.9) == Consequences()
    say(database, 4, topic="bridge", value=4.2, claim="once more")
    (second,) = items(database)
    assert second.item_id != first.item_id
    assert sides(database, second.subject) == {name(1), name(3), name(4)}


def test_resolving_twice_says_who_resolved_it(database: Database) -> None:
    say(database, 1, topic="bridge", value=5.8)
    say(database, 2, topic="bridge", value=4.2)
    (item,) = items(database)
    with pytest.raises(Refused, match="no side"):
        resolve(database, item.item_id, keep=(name(9),))
    assert [one.outcome for one in items(database)] == [None]
    resolve(database, item.item_id, both=True, reason="two bridges")
    with pytest.raises(Refused, match=r"resolved by ann .* \(both\): two bridges"):
        resolve(database, item.item_id, keep=(name(1),))
    assert decisions(database)[-1] == ("resolve", item.item_id)
    assert database.read(supersession.superseded) == set()


def test_what_is_superseded_takes_no_part_any_more(database: Database) -> None:
    say(database, 1, topic="bridge", value=5.8)
    done = say(database, 2, topic="bridge", value=4.2, supersedes=name(1))
    assert done.superseded == 1
    assert items(database) == []
    assert ("supersede", name(1)) in decisions(database)
    # A chain: the third supersedes the second, and nobody believes the first again.
    assert say(database, 3, topic="bridge", value=9.0, supersedes=name(2)).superseded == 2
    assert items(database) == []
    assert database.read(supersession.superseded) == {1, 2}
    # A second successor changes nothing, and neither does one of something unknown.
    assert say(database, 4, supersedes=name(1)).superseded is None
    assert say(database, 5, supersedes=name(99)).superseded is None
    found = database.read(lambda c: supersession.superseded_among(c, [1, 2, 3]))
    assert found == {1: name(2), 2: name(3)}


def test_what_is_trusted_less_supersedes_nothing(database: Database) -> None:
    say(database, 1, topic="bridge", value=5.8, trust=Trust.USER)
    assert say(database, 2, topic="bridge", value=4.2, supersedes=name(1)).superseded is None
    assert kinds(database) == ["conflict"]
    say(database, 3, supersedes=name(1), trust=Trust.USER)
    assert database.read(supersession.superseded) == {1}


def test_a_side_that_is_superseded_cannot_be_kept(database: Database) -> None:
    say(database, 1, topic="bridge", value=5.8)
    say(database, 2, topic="bridge", value=4.2)
    say(database, 3, topic="bridge", value=5.7, supersedes=name(2))
    (item,) = items(database)
    with pytest.raises(Refused, match=f"superseded by {name(3)}"):
        resolve(database, item.item_id, keep=(name(2),))
    assert resolve(database, item.item_id, keep=(name(1),)) == []


def test_a_circle_is_found_however_long(database: Database) -> None:
    for n in range(1, 6):
        say(database, n, supersedes=name(n - 1))
    leads = database.read(lambda c: [supersession.leads_to(c, name(5), name(n)) for n in (0, 9)])
    assert leads == [True, False]


def test_policy_escalates_asks_and_holds(database: Database) -> None:
    strict = TrustSettings(sources=2)
    say(database, 1, strict, claim="hardly", confidence=0.1, citations=("https://a", "https://b"))
    assert say(database, 2, strict, claim="alone", citations=("https://a",)).is_unsettled
    say(database, 3, strict, claim="Alone ", worker_id="eve", citations=("https://a", "https://b"))
    say(database, 4, claim="help", speech_act="escalate")
    found = {one.kind: one.subject for one in items(database)}
    assert found == {
        "low_confidence": name(1),
        "single_source": name(2),
        "duplicate": name(2),
        "escalate": name(4),
    }
    assert decisions(database) == [
        ("escalate", name(1)),
        ("request", name(2)),
        ("hold", name(3)),
        ("escalate", name(4)),
    ]
    # Nothing was dropped: every one of them is in the log.
    assert database.read(findings.count) == 4


def test_a_thousand_repetitions_are_one_item_and_a_thousand_repeated_claims_are_few(
    database: Database,
) -> None:
    def repeat(connection: sqlite3.Connection) -> None:
        for n in range(300):
            stored(connection, n, claim="the same")
        for n in range(1_000, 1_600):
            stored(connection, n, claim=f"claim {n // 2}")

    database.write(repeat).result()
    assert len(items(database)) == 100
    assert sum(action == "hold" for action, _ in decisions(database)) == 299 + 300
    resolve(database, items(database)[0].item_id, dismiss=True, reason="known")
    say(database, 5_000, claim="the same")
    assert len(items(database)) == 99


def test_what_is_forgotten_leaves_no_item_and_no_side(database: Database) -> None:
    say(database, 1, topic="bridge", value=5.8)
    say(database, 2, topic="bridge", value=4.2, confidence=0.1)
    assert kinds(database) == ["low_confidence", "conflict"]

    def forget(connection: sqlite3.Connection) -> None:
        findings.delete(connection, name(2), WHEN)
        close_decided_by_forgetting(connection, at=WHEN)

    database.write(forget).result()
    assert items(database) == []
    (conflict,) = items(database, everything=True)
    assert (conflict.kind, conflict.outcome) == ("conflict", "dismissed")
    assert say(database, 3, topic="bridge", value=5.9) == Consequences()


def test_a_conflict_of_which_all_is_forgotten_tells_nothing(database: Database) -> None:
    say(database, 1, topic="bridge", value=5.8)
    say(database, 2, topic="bridge", value=4.2)
    (item,) = items(database)
    resolve(database, item.item_id, both=True, reason="the bridge has two spans")
    for n in (1, 2):
        left = database.read(lambda c: conflicts.get(c, item.subject))
        assert left is not None and left.topic == "bridge"
        database.write(lambda c, n=n: findings.delete(c, name(n), WHEN)).result()
    left = database.read(lambda c: conflicts.get(c, item.subject))
    assert left is not None and (left.topic, left.reason, left.outcome) == ("", None, "both")
    (item,) = items(database, everything=True)
    assert item.reason is None


def test_the_thousandth_finding_of_a_topic_costs_no_more_than_the_hundredth(
    database: Database,
) -> None:
    costs: dict[int, int] = {}

    def work(connection: sqlite3.Connection) -> None:
        for n in range(1_001):
            # One conflict from the start: the greatest are two fifths above the least.
            value = 100.0 + n / 1_000 + (40 if n % 2 else 0)
            costs[n] = steps(connection, lambda n=n, v=value: say_one(connection, n, v))

    def say_one(connection: sqlite3.Connection, n: int, value: float) -> None:
        stored(connection, n, topic="bridge", value=value)

    database.write(work).result()
    assert max(costs[n] for n in (999, 1_000)) < 2 * max(costs[n] for n in (99, 100))
    (item,) = items(database)
    assert len(sides(database, item.subject)) == 1_001


def steps(connection: sqlite3.Connection, work: Callable[[], None]) -> int:
    """How many instructions of SQLite's machine some work takes."""
    count = itertools.count()
    connection.set_progress_handler(lambda: next(count) and None, 1)
    try:
        work()
    finally:
        connection.set_progress_handler(None, 1)
    return next(count)


class Beliefs(RuleBasedStateMachine):
    """The store beside a model that compares everything with everything."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.database = Database(Path(self._directory.name) / "store.sqlite")
        self.numbers = itertools.count(1)
        self.current: dict[int, tuple[str, float]] = {}
        """What is believed: topic and value."""
        self.gone: set[int] = set()
        """Superseded, and still in the log."""
        self.open: dict[str, set[int]] = {}
        """The open conflict of a topic, as the sides it has."""

    def teardown(self) -> None:
        self.database.close()
        self._directory.cleanup()

    @rule(topic=st.sampled_from("ab"), value=st.sampled_from([0, 1, 4.2, 5, 5.8, 6, -5]))
    def say(self, topic: str, value: float) -> None:
        n = next(self.numbers)
        say(self.database, n, topic=topic.upper(), value=float(value))
        self._note(n, topic, value)

    @precondition(lambda self: self.current or self.gone)
    @rule(data=st.data(), value=st.sampled_from([1, 4.2, 5.8]))
    def supersede(self, data: st.DataObject, value: float) -> None:
        older = data.draw(st.sampled_from(sorted([*self.current, *self.gone])))
        n = next(self.numbers)
        done = say(self.database, n, topic="a", value=value, supersedes=name(older))
        assert (done.superseded is None) == (older in self.gone)
        if self.current.pop(older, None) is not None:
            self.gone.add(older)
        self._note(n, "a", value)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def resolve(self, data: st.DataObject) -> None:
        topic = data.draw(st.sampled_from(sorted(self.open)))
        keepable = sorted(self.open[topic] & self.current.keys())
        item = self._conflict(topic)
        assert item is not None
        if keepable and data.draw(st.booleans()):
            kept = data.draw(st.sampled_from(keepable))
            resolve(self.database, item, keep=(name(kept),))
            for lost in self.open[topic] - {kept}:
                if self.current.pop(lost, None) is not None:
                    self.gone.add(lost)
        else:
            resolve(self.database, item, both=True)
        del self.open[topic]

    @precondition(lambda self: self.current or self.gone)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        n = data.draw(st.sampled_from(sorted([*self.current, *self.gone])))

        def work(connection: sqlite3.Connection) -> None:
            findings.delete(connection, name(n), WHEN)
            close_decided_by_forgetting(connection, at=WHEN)

        self.database.write(work).result()
        self.current.pop(n, None)
        self.gone.discard(n)
        for topic, its_sides in list(self.open.items()):
            its_sides.discard(n)
            if len(its_sides) < 2:
                del self.open[topic]

    @invariant()
    def the_store_believes_what_the_model_does(self) -> None:
        rows = self.database.read(
            lambda c: c.execute("SELECT finding_id FROM stated JOIN finding USING (sequence)")
        ).fetchall()
        assert {row[0] for row in rows} == {name(n) for n in self.current}

    @invariant()
    def one_conflict_is_open_where_the_model_has_one(self) -> None:
        page = {"everything": False, "topic": None, "after": ("", ""), "limit": 100}
        opened = self.database.read(lambda c: conflicts.page(c, **page))  # type: ignore[arg-type]
        assert sorted(one.topic for one in opened) == sorted(self.open)
        for one in opened:
            assert sides(self.database, one.conflict_id) == {name(n) for n in self.open[one.topic]}
        waiting = [one.subject for one in items(self.database) if one.kind == "conflict"]
        assert sorted(waiting) == sorted(one.conflict_id for one in opened)

    def _note(self, n: int, topic: str, value: float) -> None:
        before = {m: v for m, (t, v) in self.current.items() if t == topic}
        others = {m for m, v in before.items() if apart(v, value, TRUST.tolerance)}
        self.current[n] = (topic, value)
        if not others:
            return
        conflict = self._conflict(topic)
        assert conflict is not None
        now = {int(one[-12:]) for one in sides(self.database, conflict)}
        # The first disagreement names all; later ones at least the new side and one it is against.
        if topic in self.open:
            assert self.open[topic] | {n} <= now <= self.open[topic] | {n} | others
            assert now & others
        else:
            assert now == others | {n}
        self.open[topic] = now

    def _conflict(self, topic: str) -> str | None:
        return self.database.read(lambda c: conflicts.open_of(c, topic, ""))


TestBeliefs = Beliefs.TestCase
TestBeliefs.settings = settings(
    max_examples=15,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
