"""Quotas of a home on a real file: scenarios 19 and 20, and the laws behind them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import zoneinfo
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ifmem.archive_settings import ArchiveSettings, LibrarianEntry, QuotaEntry
from ifmem.assembly import serve
from ifmem.benchmarks.quota import drawn, measure, metered
from ifmem.benchmarks.quota_process import QuotaOrder
from ifmem.domain.quota import UNMETERED_CALLS, Allowance, Denied, Refusal, Reservation
from ifmem.errors import ConfigError, Failed, NotPermitted
from ifmem.model_settings import ProviderEntry
from ifmem.runtime.allowances import allowances_of, zone_of
from ifmem.runtime.quotas import Quotas
from ifmem.settings import Settings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MINUTE = timedelta(seconds=60)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        return self.at


def settings_of(
    *librarians: LibrarianEntry, quotas: tuple[QuotaEntry, ...] = (), **more: Any
) -> Settings:
    most = max((one.number for one in librarians), default=1)
    more.setdefault("archive", ArchiveSettings(librarians=most))
    return Settings(librarians=librarians, quotas=quotas, **more)


def gemini(number: int, **more: Any) -> LibrarianEntry:
    return LibrarianEntry(number, model="gemini:any", **more)


def pool(daily: int, per_minute: int = 1_000, **more: Any) -> QuotaEntry:
    return QuotaEntry("free", "gemini", daily=daily, per_minute=per_minute, **more)


@contextlib.asynccontextmanager
async def opened(path: Path, settings: Settings, now: Clock) -> AsyncIterator[Quotas]:
    quotas = Quotas(path / "quotas.db", settings, now=now)
    try:
        yield quotas
    finally:
        await quotas.aclose()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def calls(quotas: Quotas, space: str = "s") -> list[int]:
    return [one.calls for one in await quotas.remaining(space)]


async def take(quotas: Quotas, count: int, allowance: Allowance | None = None) -> list[Reservation]:
    """So many reservations, all of which are granted."""
    mine = allowance or quotas.allowances("s")[0]
    taken = [await quotas.reserve(mine) for _ in range(count)]
    granted = [one for one in taken if isinstance(one, Reservation)]
    assert len(granted) == count
    return granted


async def refusal(quotas: Quotas, allowance: Allowance | None = None) -> Denied:
    outcome = await quotas.reserve(allowance or quotas.allowances("s")[0])
    assert isinstance(outcome, Denied)
    return outcome


# Scenario 19


def test_one_of_five_who_ask_at_once_gets_the_last_call_and_the_others_learn_when(
    tmp_path: Path,
) -> None:
    now = Clock()
    entries = (gemini(1, daily=1), gemini(2))

    async def work() -> None:
        async with opened(tmp_path, settings_of(*entries, quotas=(pool(10),)), now) as quotas:
            first, second = quotas.allowances("s")
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(quotas.reserve(first)) for _ in range(5)]
            denied = [one.result() for one in asked if isinstance(one.result(), Denied)]
            midnight = NOON.replace(hour=0) + DAY
            assert denied == [Denied(Refusal.EXHAUSTED, midnight)] * 4
            used, other = await quotas.remaining("s")
            assert (used.calls, used.resets_at, used.denied) == (0, midnight, denied[0])
            assert (other.calls, other.denied) == (9, None)
            assert isinstance(await quotas.reserve(second), Reservation)

    run(work())


def test_four_processes_that_race_begin_the_next_day_once_and_grant_its_calls_exactly(
    tmp_path: Path,
) -> None:
    now = Clock()
    settings = metered(6, per_minute=1_000, librarians=2)
    path = tmp_path / "quotas.db"

    async def work() -> None:
        async with opened(tmp_path, settings, now) as quotas:
            for allowance in quotas.allowances("space-0"):
                await take(quotas, 3, allowance)
            assert await calls(quotas, "space-0") == [0, 0]
            now.at += 3 * DAY
            seen = await drawn(
                [
                    QuotaOrder(str(path), settings, "space-0", callers=4, rounds=3, at=now.at)
                    for _ in range(4)
                ]
            )
            assert sum(one.granted for one in seen) == 6
            assert sum(one.exhausted for one in seen) == 4 * 4 * 3 - 6
            assert min(one.least_left for one in seen) == 0
            assert await calls(quotas, "space-0") == [0, 0]
            (reset,) = await quotas.newest_resets()
            assert (reset.day, reset.used) == ("2026-03-04T00:00:00.000Z", 6)

    run(work())
    assert rows(path, "SELECT day FROM reset") == [("2026-03-04T00:00:00.000Z",)]


def test_callers_of_four_processes_get_as_many_calls_as_there_are_and_none_is_lost(
    tmp_path: Path,
) -> None:
    seen = measure(rounds=20, directory=tmp_path)
    assert seen["asked"] == 4 * 16 * 20
    assert seen["granted"] + seen["refused"] == seen["asked"]
    assert min(seen["refunded"], seen["unheard"]) > 0
    assert (seen["charged"], seen["lost"], seen["least_left"]) == (seen["limit"], 0, 0)
    assert seen["exact"]


# Scenario 20


def test_a_call_that_failed_before_service_is_given_back_once(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened(tmp_path, metered(2, per_minute=9, librarians=1), Clock()) as quotas:
            first, second = await take(quotas, 2)
            await quotas.refund(first)
            await quotas.refund(first)
            assert await calls(quotas) == [1]
            await quotas.settle(second)
            await quotas.refund(second)
            assert await calls(quotas) == [1]

    run(work())


def test_a_refused_call_is_given_back_and_its_whole_pool_waits_as_long_as_it_was_told(
    tmp_path: Path,
) -> None:
    now = Clock()
    settings = settings_of(gemini(1), gemini(2), LibrarianEntry(3), quotas=(pool(10),))

    async def work() -> None:
        async with opened(tmp_path, settings, now) as quotas:
            (call,) = await take(quotas, 1)
            await quotas.refuse(call, retry_after_s=30)
            waiting = Denied(Refusal.BACKING_OFF, NOON + timedelta(seconds=30))
            seen = await quotas.remaining("s")
            assert [one.denied for one in seen] == [waiting, waiting, None]
            assert [one.calls for one in seen] == [5, 5, UNMETERED_CALLS]
            for other in ("s", "t"):
                assert await refusal(quotas, quotas.allowances(other)[1]) == waiting
            now.at = waiting.until
            await take(quotas, 1)

    run(work())


def test_without_a_word_of_the_provider_each_refusal_waits_longer_until_a_call_is_served(
    tmp_path: Path,
) -> None:
    now = Clock()

    async def waits(quotas: Quotas) -> float:
        (call,) = await take(quotas, 1)
        await quotas.refuse(call, retry_after_s=None)
        denied = await refusal(quotas)
        seconds = (denied.until - now.at).total_seconds()
        now.at = denied.until
        return seconds

    async def work() -> None:
        async with opened(tmp_path, metered(9, per_minute=99, librarians=1), now) as quotas:
            assert [await waits(quotas) for _ in range(4)] == [5, 10, 20, 40]
            (served,) = await take(quotas, 1)
            await quotas.settle(served)
            assert await waits(quotas) == 5

    run(work())


def test_a_call_that_was_under_way_before_a_refusal_does_not_end_the_back_off(
    tmp_path: Path,
) -> None:
    now = Clock()

    async def work() -> None:
        async with opened(tmp_path, metered(9, per_minute=99, librarians=1), now) as quotas:
            served, refused, also_refused = await take(quotas, 3)
            now.at += timedelta(seconds=1)
            await quotas.refuse(refused, retry_after_s=None)
            await quotas.settle(served)
            await quotas.refuse(also_refused, retry_after_s=None)
            await quotas.refuse(also_refused, retry_after_s=500)
            denied = await refusal(quotas)
            assert denied == Denied(Refusal.BACKING_OFF, now.at + timedelta(seconds=5))

    run(work())


def test_fifteen_calls_a_minute_are_fifteen_in_any_sixty_seconds_also_over_midnight(
    tmp_path: Path,
) -> None:
    now = Clock()
    granted: list[datetime] = []

    async def work() -> None:
        async with opened(tmp_path, metered(1_000, per_minute=15, librarians=3), now) as quotas:
            some = quotas.allowances("s")
            for second in range(360):
                now.at = NOON.replace(hour=23, minute=57, second=30) + timedelta(seconds=second)
                for allowance in some[second % 3 :]:
                    outcome = await quotas.reserve(allowance)
                    if isinstance(outcome, Denied):
                        assert outcome.refusal is Refusal.MINUTE
                        assert now.at < outcome.until <= now.at + MINUTE
                    else:
                        granted.append(now.at)
                        await quotas.refund(outcome)

    run(work())
    for begins in granted:
        assert sum(begins <= at < begins + MINUTE for at in granted) <= 15
    assert len(granted) == 6 * 15, "and no fewer than that are granted"


# The laws


class _QuotaLaws(RuleBasedStateMachine):
    """Two processes, two spaces and two librarians on one pool, against a plain model."""

    DAILY, SHARES, PER_MINUTE = 7, (3, 4), 5

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = Clock()
        self.stack = contextlib.ExitStack()
        path = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        entries = (gemini(1, daily=self.SHARES[0]), gemini(2))
        settings = settings_of(*entries, quotas=(pool(self.DAILY, self.PER_MINUTE),))
        self.processes = [Quotas(path / "quotas.db", settings, now=self.now) for _ in range(2)]
        self.day = NOON.replace(hour=0)
        self.used: Counter[tuple[str, int]] = Counter()
        self.granted: list[datetime] = []
        """Moments by this machine's count of seconds, which never goes back."""
        self.elapsed = NOON
        self.open: dict[str, tuple[Reservation, datetime]] = {}
        self.charged: defaultdict[datetime, int] = defaultdict(int)
        self.waits_until = NOON

    def teardown(self) -> None:
        for quotas in self.processes:
            self.runner.run(quotas.aclose())
        self.runner.close()
        self.stack.close()

    @rule(
        seconds=st.sampled_from([0.5, 7, 29, 59.5, 60, 600, 20_000, 86_400, 3 * 86_400]),
    )
    def time_passes(self, seconds: float) -> None:
        self.now.at += timedelta(seconds=seconds)
        self.elapsed += timedelta(seconds=seconds)

    @rule(seconds=st.sampled_from([1, 61, 3_600, 90_000]))
    def the_clock_goes_back(self, seconds: int) -> None:
        self.now.at -= timedelta(seconds=seconds)

    @rule(process=st.integers(0, 1), space=st.sampled_from("ab"), librarian=st.integers(1, 2))
    def a_call_is_reserved(self, process: int, space: str, librarian: int) -> None:
        quotas = self.processes[process]
        mine = quotas.allowances(space)[librarian - 1]
        self._begin_day()
        left = self._left(space, librarian)
        outcome = self.runner.run(quotas.reserve(mine))
        if isinstance(outcome, Denied):
            assert outcome.until > self.now.at
            if outcome.refusal is Refusal.EXHAUSTED:
                assert left == 0
                assert outcome.until == self.day + DAY
            elif outcome.refusal is Refusal.MINUTE:
                assert outcome.until <= self.now.at + MINUTE
                assert len(self.granted) >= self.PER_MINUTE
            return
        assert left > 0
        self.used[space, librarian] += 1
        self.charged[self.day] += 1
        self.open[outcome.reservation_id] = (outcome, self.day)
        self.granted.append(self.elapsed)

    @precondition(lambda self: self.open)
    @rule(
        data=st.data(),
        process=st.integers(0, 1),
        ending=st.sampled_from(("served", "failed", "429", "killed")),
    )
    def a_call_ends(self, data: st.DataObject, process: int, ending: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.open)))
        call, day = self.open.pop(name)
        quotas = self.processes[process]
        if ending == "killed":
            return
        step = {
            "served": quotas.settle,
            "failed": quotas.refund,
            "429": lambda one: quotas.refuse(one, retry_after_s=3),
        }[ending]
        self.runner.run(step(call))
        if ending != "served" and day == self.day:
            self.used[call.allowance.space, call.allowance.librarian] -= 1
            self.charged[day] -= 1
        # Told again, nothing changes.
        self.runner.run(quotas.refund(call))

    @invariant()
    def what_is_left_is_as_the_model_says(self) -> None:
        self._begin_day()
        for space in "ab":
            seen = self.runner.run(self.processes[0].remaining(space))
            assert [one.calls for one in seen] == [self._left(space, n) for n in (1, 2)]
            assert min(one.calls for one in seen) >= 0

    @invariant()
    def no_day_and_no_minute_has_more_calls_than_are_allowed(self) -> None:
        assert max(self.charged.values(), default=0) <= self.DAILY
        for begins in self.granted:
            assert sum(begins <= at < begins + MINUTE for at in self.granted) <= self.PER_MINUTE

    def _begin_day(self) -> None:
        today = self.now.at.replace(hour=0, minute=0, second=0, microsecond=0)
        if today > self.day:
            self.day = today
            self.used.clear()

    def _left(self, space: str, librarian: int) -> int:
        own = self.SHARES[librarian - 1] - self.used[space, librarian]
        return max(0, min(own, self.DAILY - self.used.total()))


TestQuotaLaws = _QuotaLaws.TestCase
TestQuotaLaws.settings = hypothesis_settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_a_clock_that_was_ahead_does_not_keep_the_minute_full(tmp_path: Path) -> None:
    now = Clock()

    async def work() -> None:
        async with opened(tmp_path, metered(99, per_minute=1, librarians=1), now) as quotas:
            now.at = NOON + 5 * DAY
            (call,) = await take(quotas, 1)
            await quotas.refuse(call, retry_after_s=20)
            now.at = NOON
            assert (await refusal(quotas)).until == NOON + MINUTE
            now.at = NOON + MINUTE
            await take(quotas, 1)

    run(work())


def test_what_was_reserved_yesterday_gives_nothing_back_today(tmp_path: Path) -> None:
    now = Clock()

    async def work() -> None:
        async with opened(tmp_path, metered(2, per_minute=9, librarians=1), now) as quotas:
            (old,) = await take(quotas, 1)
            now.at += DAY
            await take(quotas, 1)
            await quotas.refund(old)
            assert await calls(quotas) == [1]

    run(work())


def test_a_caller_that_goes_away_while_it_waits_is_not_charged(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened(tmp_path, metered(3, per_minute=9, librarians=1), Clock()) as quotas:
            asked = asyncio.ensure_future(quotas.reserve(quotas.allowances("s")[0]))
            await asyncio.sleep(0)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            assert await calls(quotas) == [3]

    run(work())


# The file


def test_reservations_outlive_their_process_and_nobody_else_can_read_them(tmp_path: Path) -> None:
    async def work() -> None:
        for left in (2, 1, 0):
            settings = metered(3, per_minute=9, librarians=1)
            async with opened(tmp_path, settings, Clock()) as quotas:
                await take(quotas, 1)
                assert await calls(quotas) == [left]
                assert modes(tmp_path) == {0o600}

    run(work())


_KILLED = """
import asyncio, datetime, os, pathlib, signal, sys
from ifmem.benchmarks.quota import metered
from ifmem.runtime.quotas import Quotas

async def main():
    noon = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
    path, settings = pathlib.Path(sys.argv[1]), metered(3, per_minute=9, librarians=1)
    quotas = Quotas(path, settings, now=lambda: noon)
    await quotas.reserve(quotas.allowances("s")[0])
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_a_call_whose_process_was_killed_is_charged(tmp_path: Path) -> None:
    path = tmp_path / "quotas.db"
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL

    async def work() -> None:
        async with opened(tmp_path, metered(3, per_minute=9, librarians=1), Clock()) as quotas:
            assert await calls(quotas) == [2]

    run(work())


def test_unmetered_librarians_keep_no_file_and_are_never_refused(tmp_path: Path) -> None:
    settings = settings_of(
        LibrarianEntry(1),
        LibrarianEntry(2, model="local", daily=40),
        LibrarianEntry(3, model="ollama:any"),
    )

    async def work() -> None:
        async with opened(tmp_path, settings, Clock()) as quotas:
            for allowance in quotas.allowances("s"):
                for call in await take(quotas, 3, allowance):
                    await quotas.settle(call)
                    await quotas.refund(call)
                    await quotas.refuse(call, retry_after_s=9)
            assert await calls(quotas) == [UNMETERED_CALLS, 40, UNMETERED_CALLS]
            assert {one.denied for one in await quotas.remaining("s")} == {None}
            assert await quotas.newest_resets() == []

    run(work())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"no database at all " * 300, b"SQLite format 3\0" * 400])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "quotas.db").write_bytes(content)

    async def work() -> None:
        async with opened(tmp_path, metered(3, per_minute=9, librarians=1), Clock()) as quotas:
            for _ in range(2):
                with pytest.raises(Failed, match=r"quotas\.db is damaged: restore it"):
                    await quotas.reserve(quotas.allowances("s")[0])

    run(work())


def test_a_file_of_a_newer_ifmem_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "quotas.db"
    rows(path, "PRAGMA user_version = 99")
    before = path.read_bytes()

    async def work() -> None:
        async with opened(tmp_path, metered(3, per_minute=9, librarians=1), Clock()) as quotas:
            with pytest.raises(Failed, match="update ifmem"):
                await quotas.remaining("s")

    run(work())
    assert path.read_bytes() == before


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    async def work() -> None:
        where = tmp_path / "not there"
        async with opened(where, metered(3, per_minute=9, librarians=1), Clock()) as quotas:
            with pytest.raises(NotPermitted, match=r"quotas\.db cannot be"):
                await quotas.reserve(quotas.allowances("s")[0])

    run(work())


def test_a_process_that_holds_the_file_for_too_long_is_said_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ifmem.store.quotas.BUSY_TIMEOUT_MS", 50)

    async def work() -> None:
        async with opened(tmp_path, metered(3, per_minute=9, librarians=1), Clock()) as quotas:
            assert await calls(quotas) == [3]
            with contextlib.closing(
                sqlite3.connect(tmp_path / "quotas.db", isolation_level=None)
            ) as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(Failed, match="another process has held"):
                    await quotas.reserve(quotas.allowances("s")[0])
            assert await calls(quotas) == [3]

    run(work())


def test_nothing_is_reserved_in_a_file_that_is_closed(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened(tmp_path, metered(3, per_minute=9, librarians=1), Clock()) as quotas:
            mine = quotas.allowances("s")[0]
        with pytest.raises(Failed, match="is closed"):
            await quotas.reserve(mine)

    run(work())


# Settings


def test_librarians_draw_from_the_pool_of_their_providers_key_in_equal_parts() -> None:
    settings = settings_of(
        *(gemini(1, daily=100), gemini(2), LibrarianEntry(3, model="deepseek:chat"), gemini(4)),
        quotas=(pool(301, resets="08:30", zone="Europe/Berlin"),),
        archive=ArchiveSettings(librarians=5),
    )
    allowances = allowances_of(settings, "s")
    assert [one.daily for one in allowances] == [100, 101, 1_500, 100, UNMETERED_CALLS]
    names = [one.quota.name if one.quota else None for one in allowances]
    assert names == ["free", "free", "deepseek", "free", None]
    quota = allowances[0].quota
    assert quota is not None
    assert (quota.resets_minute, quota.zone, quota.per_minute) == (510, "Europe/Berlin", 1_000)


def test_providers_that_read_the_same_key_share_its_calls() -> None:
    second = ProviderEntry("second", protocol="gemini", key_env="GEMINI_API_KEY")
    other = ProviderEntry("other", protocol="gemini", key_env="MY_OTHER_KEY")
    settings = settings_of(
        gemini(1),
        LibrarianEntry(2, model="second:any"),
        LibrarianEntry(3, model="other:any"),
        quotas=(pool(10),),
        providers=(second, other),
    )
    allowances = allowances_of(settings, "s")
    assert [one.daily for one in allowances] == [5, 5, 1_500]
    assert len({one.quota.pool for one in allowances if one.quota}) == 2


@pytest.mark.parametrize(
    ("librarians", "quotas", "said"),
    [
        ((gemini(1, daily=6), gemini(2, daily=5)), (pool(10),), "lower `daily`"),
        ((gemini(1, daily=10), gemini(2)), (pool(10),), "lower `daily`"),
        ((gemini(1), gemini(1)), (), "two entries with number 1"),
        ((gemini(1, quota="paid"),), (pool(10),), "'paid', which is not in"),
        ((LibrarianEntry(1, quota="free"),), (pool(10),), "leave out its `quota`"),
        ((LibrarianEntry(1, model="openai:x", quota="free"),), (pool(10),), "another key"),
        ((LibrarianEntry(1, model="nobody:x"),), (), "there is no provider 'nobody'"),
        ((LibrarianEntry(1, model="nonsense"),), (), "librarian 1: 'nonsense' names no model"),
        ((gemini(1),), (pool(10), pool(5)), "two entries named 'free'"),
        ((gemini(1),), (pool(10), QuotaEntry("more", "gemini")), "of the same key"),
        ((gemini(1),), (QuotaEntry("free", "nobody"),), "there is no provider 'nobody'"),
        ((gemini(1),), (pool(10, zone="Mars/Phobos"),), "install the list of zones"),
        ((gemini(1),), (pool(10, zone="America"),), "install the list of zones"),
        ((gemini(1),), (pool(10, zone="../../etc/passwd"),), "install the list of zones"),
    ],
)
def test_settings_that_contradict_themselves_are_refused_at_the_start(
    tmp_path: Path,
    librarians: tuple[LibrarianEntry, ...],
    quotas: tuple[QuotaEntry, ...],
    said: str,
) -> None:
    with pytest.raises(ConfigError, match=said):
        Quotas(tmp_path / "quotas.db", settings_of(*librarians, quotas=quotas))
    assert list(tmp_path.iterdir()) == []


def test_a_daemon_with_such_settings_starts_nothing(tmp_path: Path) -> None:
    settings = settings_of(gemini(1, daily=6), quotas=(pool(5),), home=str(tmp_path / "home"))
    with pytest.raises(ConfigError, match="lower `daily`"):
        run(serve(settings, asyncio.Event(), lambda _: pytest.fail("it started")))
    assert list(tmp_path.iterdir()) == []


def test_a_librarian_above_their_number_is_refused() -> None:
    settings = settings_of(gemini(6), archive=ArchiveSettings(librarians=5))
    with pytest.raises(ConfigError, match=r"raise archive\.librarians"):
        allowances_of(settings, "s")


def test_utc_needs_no_list_of_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    zoneinfo.ZoneInfo.clear_cache()
    zoneinfo.reset_tzpath(to=[])
    monkeypatch.setitem(sys.modules, "tzdata", None)
    try:
        assert zone_of("UTC") is UTC
        with pytest.raises(ConfigError, match="or use `UTC`"):
            zone_of("Europe/Berlin")
    finally:
        zoneinfo.reset_tzpath()


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(name.stat().st_mode) for name in folder.iterdir()}


def rows(path: Path, statement: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement).fetchall()
