"""The account: every call is counted once, limits hold in any order, and a crash leaves a trace."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from ifmem.domain.ledger import AskedQuestion, CallState, LedgerRow
from ifmem.domain.model import Completion, Purpose, Stop
from ifmem.domain.price import Price, Rates, Tier
from ifmem.domain.usage import TokenUsage
from ifmem.engine.budgets import Denied, Granted, Limits, Which
from ifmem.errors import NotFound, Refused
from ifmem.store import ledger
from ifmem.store.database import Database
from ifmem.store.ledger import Spent

NOON = "2026-01-02T12:00:00.000Z"
LATER = "2026-01-02T12:00:05.000Z"
TODAY = NOON[:10]
WIDE = Limits(question=10**15, day=10**15, background=10**15)
RATES = Rates(
    uncached=1_000_000,
    cache_write_5m=1_250_000,
    cache_write_1h=2_000_000,
    cache_write_other=1_100_000,
    cache_read=100_000,
    output=5_000_000,
    reasoning=5_000_001,
)
PRICE = Price(
    rates=RATES,
    tiers=(Tier(above=100_000, rates=replace(RATES, uncached=5_000_000)),),
    storage=500_000,
    source="genai-prices 0.0",
    as_of="2026-01-01",
)


def call(call_id: str = "a", **given: Any) -> LedgerRow:
    fields: dict[str, Any] = {
        "call_id": call_id,
        "at": NOON,
        "state": CallState.INTENT,
        "purpose": Purpose.ANSWER,
        "model": "vendor:model",
        "question_id": "q",
        "shard": 3,
        "generation": 7,
        "prompt_name": "shard_answer",
        "prompt_version": 2,
        "prefix_sha256": "ab" * 32,
        "prefix_tokens": 900,
        "question_tokens": 100,
        "prompt_o200k": 800,
        "bound": 1_000,
        "price": PRICE,
    }
    return LedgerRow(**{**fields, **given})


def completion(**buckets: int) -> Completion:
    return Completion(
        text="yes",
        stop=Stop.END,
        usage=TokenUsage(**buckets),
        model="model-2026-01-01",
        first_token_ms=12.5,
        total_ms=80.25,
        request_id="r-1",
    )


@pytest.fixture
def account() -> Iterator[sqlite3.Connection]:
    with closing(opened()) as connection:
        yield connection


def opened() -> sqlite3.Connection:
    """A store of its own in memory, with the migration that is meant."""
    script = Path(ledger.__file__).parent / "migrations" / "0007_ledger.sql"
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(script.read_text("utf-8"))
    return connection


def rows(connection: sqlite3.Connection, **given: Any) -> list[LedgerRow]:
    return [row for _, row in ledger.calls(connection, **given)]


def test_a_row_is_read_as_it_was_written_and_settled_with_all_its_fields(
    account: sqlite3.Connection,
) -> None:
    row = call(storage_token_hours=4, generation=None)
    ledger.intend(account, row, WIDE)
    assert rows(account) == [row]
    done = completion(
        uncached=1,
        cache_write_5m=2,
        cache_write_1h=3,
        cache_write_other=4,
        cache_read=5,
        output=6,
        reasoning=7,
    )
    assert ledger.settle(account, "a", done, cost=PRICE.cost(done.usage), at=LATER)
    (settled,) = rows(account)
    assert settled == replace(
        row,
        state=CallState.SETTLED,
        usage=done.usage,
        cost=PRICE.cost(done.usage),
        reported_model="model-2026-01-01",
        first_token_ms=12.5,
        total_ms=80.25,
        request_id="r-1",
        settled_at=LATER,
    )
    assert settled.price.cost(settled.usage) == settled.cost


def test_a_call_id_is_taken_once(account: sqlite3.Connection) -> None:
    ledger.intend(account, call(), WIDE)
    with pytest.raises(Refused, match="id of its own"):
        ledger.intend(account, call(bound=5), WIDE)
    assert ledger.spent(account, Which.DAY, TODAY) == Spent(0, 1_000)


def test_a_call_that_nobody_intended_cannot_end(account: sqlite3.Connection) -> None:
    with pytest.raises(NotFound):
        ledger.settle(account, "a", completion(), cost=1, at=LATER)
    with pytest.raises(NotFound):
        ledger.fail(account, "a", error="x", at=LATER)
    with pytest.raises(NotFound):
        ledger.lose(account, "a", error="x", at=LATER)


def test_the_second_settlement_changes_nothing(account: sqlite3.Connection) -> None:
    ledger.intend(account, call(), WIDE)
    assert ledger.settle(account, "a", completion(uncached=1), cost=400, at=LATER)
    first = rows(account)
    assert not ledger.settle(account, "a", completion(uncached=9), cost=900, at=LATER)
    assert not ledger.fail(account, "a", error="x", at=LATER)
    assert not ledger.lose(account, "a", error="x", at=LATER)
    assert rows(account) == first
    assert ledger.spent(account, Which.QUESTION, "q") == Spent(400, 0)


def test_a_lost_call_holds_its_bound_until_it_is_reported_late(
    account: sqlite3.Connection,
) -> None:
    ledger.intend(account, call(), WIDE)
    assert ledger.lose(account, "a", error="cut", at=LATER)
    assert not ledger.lose(account, "a", error="again", at=LATER)
    (lost,) = rows(account)
    assert (lost.state, lost.error, lost.cost) == (CallState.UNKNOWN, "cut", 0)
    assert ledger.spent(account, Which.DAY, TODAY) == Spent(0, 1_000)
    assert ledger.settle(account, "a", completion(output=1), cost=300, at=LATER)
    (settled,) = rows(account)
    assert (settled.state, settled.error, settled.cost) == (CallState.SETTLED, None, 300)
    assert ledger.spent(account, Which.DAY, TODAY) == Spent(300, 0)


def test_a_cache_object_that_ended_early_is_settled_by_what_passed(
    account: sqlite3.Connection,
) -> None:
    for name in ("whole", "early"):
        ledger.intend(account, call(name, purpose=Purpose.STORAGE, storage_token_hours=40), WIDE)
    ledger.settle(account, "whole", completion(), cost=40, at=LATER)
    ledger.settle(account, "early", completion(), cost=15, at=LATER, storage_token_hours=15)
    assert [row.storage_token_hours for row in rows(account)] == [40, 15]


def test_a_failed_call_gives_its_bound_back(account: sqlite3.Connection) -> None:
    ledger.intend(account, call(), WIDE)
    assert ledger.fail(account, "a", error="refused", at=LATER)
    assert ledger.spent(account, Which.QUESTION, "q") == Spent(0, 0)
    assert not ledger.settle(account, "a", completion(), cost=300, at=LATER)
    assert ledger.spent(account, Which.DAY, TODAY) == Spent(0, 0)


@pytest.mark.parametrize(
    ("limits", "which"),
    [
        (replace(WIDE, question=1_999), Which.QUESTION),
        (replace(WIDE, day=1_999), Which.DAY),
        (Limits(question=1_999, day=1_999, background=0), Which.QUESTION),
    ],
)
def test_a_call_over_a_limit_is_denied_and_leaves_nothing(
    account: sqlite3.Connection, limits: Limits, which: Which
) -> None:
    assert ledger.intend(account, call("a"), limits) == Granted()
    denied = ledger.intend(account, call("b"), limits)
    assert isinstance(denied, Denied)
    assert (denied.purse.which, denied.purse.spent, denied.needed) == (which, 1_000, 1_000)
    assert [row.call_id for row in rows(account)] == ["a"]
    assert ledger.spent(account, Which.DAY, TODAY) == Spent(0, 1_000)


def test_background_has_a_limit_of_its_own(account: sqlite3.Connection) -> None:
    limits = Limits(question=None, day=0, background=1_000)
    for number, purpose in enumerate((Purpose.KEEP_ALIVE, Purpose.WARM)):
        row = call(str(number), purpose=purpose, question_id=None, bound=500)
        assert ledger.intend(account, row, limits) == Granted()
    over = ledger.intend(
        account, call("over", purpose=Purpose.REPACK, question_id=None, bound=1), limits
    )
    assert isinstance(over, Denied)
    assert over.purse.which is Which.BACKGROUND
    warmed_for_a_question = call("asked", purpose=Purpose.WARM, bound=1)
    assert isinstance(ledger.intend(account, warmed_for_a_question, limits), Denied)
    assert ledger.spent(account, Which.DAY, TODAY) == Spent(0, 0)
    assert ledger.spent(account, Which.BACKGROUND, TODAY) == Spent(0, 1_000)


def test_a_limit_of_a_call_without_a_question_is_its_own(account: sqlite3.Connection) -> None:
    limits = replace(WIDE, question=1_000)
    for name in ("a", "b"):
        assert ledger.intend(account, call(name, question_id=None), limits) == Granted()
    assert isinstance(
        ledger.intend(account, call("c", question_id=None, bound=1_001), limits), Denied
    )


def test_a_call_is_charged_to_the_day_it_began_on(account: sqlite3.Connection) -> None:
    ledger.intend(account, call(at="2026-01-02T23:59:59.999Z"), WIDE)
    ledger.settle(account, "a", completion(), cost=700, at="2026-01-03T00:00:01.000Z")
    assert ledger.spent(account, Which.DAY, "2026-01-02") == Spent(700, 0)
    assert ledger.spent(account, Which.DAY, "2026-01-03") == Spent(0, 0)


def test_a_new_day_begins_with_nothing_spent(account: sqlite3.Connection) -> None:
    limits = Limits(question=None, day=1_000, background=0)
    assert ledger.intend(account, call("a", question_id="1"), limits) == Granted()
    assert isinstance(ledger.intend(account, call("b", question_id="2"), limits), Denied)
    tomorrow = call("b", question_id="2", at="2026-01-03T00:00:00.000Z")
    assert ledger.intend(account, tomorrow, limits) == Granted()


def test_a_call_that_cost_over_its_bound_is_counted_as_it_was(account: sqlite3.Connection) -> None:
    limits = replace(WIDE, question=1_500)
    ledger.intend(account, call("a"), limits)
    ledger.settle(account, "a", completion(), cost=1_700, at=LATER)
    assert ledger.spent(account, Which.QUESTION, "q") == Spent(1_700, 0)
    assert isinstance(ledger.intend(account, call("b", bound=1), limits), Denied)


def test_the_log_is_read_in_pages_in_the_order_of_time(account: sqlite3.Connection) -> None:
    times = {"a": 3, "b": 1, "c": 2, "d": 2, "e": 4}
    for name, second in times.items():
        ledger.intend(account, call(name, at=f"2026-01-02T12:00:0{second}.000Z"), WIDE)
    seen: list[str] = []
    after = ledger.BEGINNING
    while page := list(islice(ledger.calls(account, after=after), 2)):
        seen += [row.call_id for _, row in page]
        after = page[-1][0]
    assert seen == ["b", "c", "d", "a", "e"]
    from_two_to_three = rows(
        account, since="2026-01-02T12:00:02.000Z", until="2026-01-02T12:00:03.000Z"
    )
    assert [row.call_id for row in from_two_to_three] == ["c", "d", "a"]


def test_a_question_is_recorded_once(account: sqlite3.Connection) -> None:
    asked = AskedQuestion(
        question_id="q",
        at=NOON,
        question_tokens=12,
        asked_tokens=50_000,
        corpus_tokens=90_000,
        retrieved_tokens=1_900,
        model="vendor:model",
        cached_answer=True,
    )
    ledger.record_question(account, asked)
    ledger.record_question(account, replace(asked, asked_tokens=1))
    assert [one for _, one in ledger.questions(account)] == [asked]
    assert not list(ledger.questions(account, since=LATER))
    assert not list(ledger.questions(account, until="2026-01-02T11:59:59.999Z"))


class AnyOrder(RuleBasedStateMachine):
    """Calls of two questions and two days, and of the background, ended in any order and twice."""

    LIMITS = Limits(question=60, day=100, background=40)

    @initialize()
    def begin(self) -> None:
        self.connection = opened()
        self.model: dict[str, LedgerRow] = {}

    def teardown(self) -> None:
        if hasattr(self, "connection"):
            self.connection.close()

    @rule(
        bound=st.integers(0, 50),
        question=st.sampled_from(["p", "q", None]),
        day=st.sampled_from(["2026-01-02", "2026-01-03"]),
        purpose=st.sampled_from([Purpose.ANSWER, Purpose.WARM, Purpose.KEEP_ALIVE]),
    )
    def intend(self, bound: int, question: str | None, day: str, purpose: Purpose) -> None:
        row = call(
            str(len(self.model)),
            bound=bound,
            question_id=question,
            at=f"{day}T01:00:00.000Z",
            purpose=purpose,
        )
        before = self.counted()
        if isinstance(ledger.intend(self.connection, row, self.LIMITS), Granted):
            self.model[row.call_id] = row
        else:
            after = {key: before.get(key, 0) + bound for key in purses(row)}
            assert any(total > self.allowed(key[0]) for key, total in after.items())

    @rule(number=st.integers(0, 30), share=st.floats(0, 1))
    def settle(self, number: int, share: float) -> None:
        if row := self.one(number):
            cost = int(row.bound * share)
            ledger.settle(self.connection, row.call_id, completion(), cost=cost, at=LATER)
            if row.state in {CallState.INTENT, CallState.UNKNOWN}:
                self.model[row.call_id] = replace(row, state=CallState.SETTLED, cost=cost)

    @rule(number=st.integers(0, 30))
    def fail(self, number: int) -> None:
        if row := self.one(number):
            ledger.fail(self.connection, row.call_id, error="x", at=LATER)
            if row.state in {CallState.INTENT, CallState.UNKNOWN}:
                self.model[row.call_id] = replace(row, state=CallState.FAILED)

    @rule(number=st.integers(0, 30))
    def lose(self, number: int) -> None:
        if row := self.one(number):
            ledger.lose(self.connection, row.call_id, error="x", at=LATER)
            if row.state is CallState.INTENT:
                self.model[row.call_id] = replace(row, state=CallState.UNKNOWN)

    @rule()
    def restart(self) -> None:
        open_calls = [row for row in self.model.values() if row.state is CallState.INTENT]
        lost = ledger.lose_all_intents(self.connection, error="crash", at=LATER)
        assert lost == len(open_calls)
        for row in open_calls:
            self.model[row.call_id] = replace(row, state=CallState.UNKNOWN)

    @invariant()
    def every_call_is_where_the_model_has_it(self) -> None:
        if hasattr(self, "connection"):
            held = {row.call_id: (row.state, row.cost) for row in rows(self.connection)}
            assert held == {name: (row.state, row.cost) for name, row in self.model.items()}

    @invariant()
    def spending_is_what_the_calls_cost_and_no_limit_is_passed(self) -> None:
        if not hasattr(self, "connection"):
            return
        counted = self.counted()
        for (which, name), total in counted.items():
            assert ledger.spent(self.connection, which, name).most == total
            assert total <= self.allowed(which)
        known = [(r.cost, purses(r)) for r in self.model.values() if r.state is CallState.SETTLED]
        for which, name in counted:
            of_this = sum(cost for cost, keys in known if (which, name) in keys)
            assert ledger.spent(self.connection, which, name).known == of_this

    def one(self, number: int) -> LedgerRow | None:
        return list(self.model.values())[number % len(self.model)] if self.model else None

    def counted(self) -> dict[tuple[Which, str], int]:
        """What each purse must hold, added up from the calls."""
        totals: dict[tuple[Which, str], int] = {}
        for row in self.model.values():
            amount = {CallState.SETTLED: row.cost, CallState.FAILED: 0}.get(row.state, row.bound)
            for key in purses(row):
                totals[key] = totals.get(key, 0) + amount
        return totals

    def allowed(self, which: Which) -> int:
        limits = self.LIMITS
        assert limits.question is not None
        return {
            Which.QUESTION: limits.question,
            Which.DAY: limits.day,
            Which.BACKGROUND: limits.background,
        }[which]


def purses(row: LedgerRow) -> list[tuple[Which, str]]:
    day = Which.BACKGROUND if row.background else Which.DAY
    asked = [(Which.QUESTION, row.question_id)] if row.question_id else []
    return [(day, row.at[:10]), *asked]


def test_spending_is_exact_and_within_its_limits_in_any_order() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        AnyOrder, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )


@given(st.lists(st.integers(1, 400), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_calls_begun_at_once_never_pass_the_limit_together(
    tmp_path_factory: pytest.TempPathFactory, bounds: list[int]
) -> None:
    limits = Limits(question=None, day=1_000, background=0)
    with closing(Database(tmp_path_factory.mktemp("store") / "store.sqlite")) as database:
        outcomes = [
            database.write(partial(ledger.intend, row=call(str(n), bound=bound), limits=limits))
            for n, bound in enumerate(bounds)
        ]
        granted = [
            bound
            for bound, outcome in zip(bounds, outcomes, strict=True)
            if isinstance(outcome.result(), Granted)
        ]
        spent = database.read(lambda c: ledger.spent(c, Which.DAY, TODAY))
    assert spent == Spent(0, sum(granted))
    assert sum(granted) <= 1_000
    denied = len(bounds) - len(granted)
    assert denied == 0 or sum(granted) + max(bounds) > 1_000


KILLED = """
import sys
from functools import partial
from pathlib import Path
import test_ledger_calls as given
from ifmem.store import ledger
from ifmem.store.database import Database

database = Database(Path(sys.argv[1]))
for name in ("done", "cut"):
    database.write(partial(ledger.intend, row=given.call(name), limits=given.WIDE)).result()
done = partial(ledger.settle, call_id="done", completion=given.completion(output=1), cost=400,
               at=given.LATER)
database.write(done).result()
print("sent", flush=True)
sys.stdin.read()
"""


def test_a_process_killed_between_intent_and_settlement_leaves_an_unknown_call(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.sqlite"
    (tmp_path / "test_ledger_calls.py").write_bytes(Path(__file__).read_bytes())
    victim = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"sent\n"
        victim.send_signal(signal.SIGKILL)
    with closing(Database(path)) as database:
        lost = partial(ledger.lose_all_intents, error="the daemon ended", at=LATER)
        assert database.write(lost).result() == 1
        assert database.write(lost).result() == 0
        by_name = {row.call_id: row for row in database.read(rows)}
        assert by_name["done"].state is CallState.SETTLED
        assert by_name["cut"].state is CallState.UNKNOWN
        spent = database.read(lambda c: ledger.spent(c, Which.DAY, TODAY))
        assert (spent.known, spent.most) == (400, 1_400)
