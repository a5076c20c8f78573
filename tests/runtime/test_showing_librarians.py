"""What a space shows of its librarians: on the bus, on the status board, in the audit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ifmem.archive_settings import ArchiveSettings, LibrarianEntry, QuotaEntry
from ifmem.bus.state import LibrarianState
from ifmem.domain.quota import Reservation
from ifmem.runtime.quotas import FILE, Quotas
from ifmem.runtime.showing_librarians import hide_librarians, librarian_shapes, show_librarians
from ifmem.runtime.space import Space
from ifmem.store import audit

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
METERED = {
    "archive": ArchiveSettings(librarians=3),
    "librarians": (
        LibrarianEntry(1, model="gemini:a", quota="free", daily=1),
        LibrarianEntry(2, model="gemini:a", daily=4),
        LibrarianEntry(3, capacity=600),
    ),
    "quotas": (QuotaEntry("free", "gemini", daily=5),),
}


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


class Clock:
    at = NOON

    def __call__(self) -> datetime:
        return self.at


async def metered(space: Space, now: Clock) -> Quotas:
    """The space with quotas by another clock."""
    # Of a file in which the present has not begun yet.
    space.quotas = Quotas(space.settings.home_path / f"then-{FILE}", space.settings, now=now)
    await show_librarians(space)
    return space.quotas


async def until(come_true: Callable[[], bool]) -> None:
    """Wait for the bridge's own step."""
    async with asyncio.timeout(60):
        while not come_true():  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


async def shown(space: Space) -> list[tuple[str, int]]:
    return [(one.status, one.quota) for one in await space.bus.librarians(3)]


async def take(space: Space, number: int) -> Reservation:
    taken = await space.quotas.reserve(space.quotas.allowances(space.name)[number - 1])
    assert isinstance(taken, Reservation)
    return taken


def test_the_keys_follow_the_quota_and_a_new_day_without_a_question(
    desk: Callable[..., Any],
) -> None:
    now = Clock()

    async def work() -> None:
        async with desk(**METERED) as here:
            space = here.space
            quotas = await metered(space, now)
            assert await shown(space) == [("active", 1), ("active", 4), ("active", 1_500)]
            await quotas.settle(await take(space, 1))
            await show_librarians(space)
            assert await shown(space) == [("exhausted", 0), ("active", 4), ("active", 1_500)]
            await quotas.refuse(await take(space, 2), retry_after_s=90)
            await show_librarians(space)
            assert await shown(space) == [("exhausted", 0), ("offline", 4), ("active", 1_500)]
            now.at += timedelta(seconds=90)
            await show_librarians(space)
            assert await shown(space) == [("exhausted", 0), ("active", 4), ("active", 1_500)]
            now.at += timedelta(days=2)
            await show_librarians(space)
            assert await shown(space) == [("active", 1), ("active", 4), ("active", 1_500)]
            rows = await space.read(lambda connection: audit.newest(connection, 50))
            (row,) = [one for one in rows if one.action == "quota_reset"]
            assert (row.type, row.subject) == ("decision", "env:GEMINI_API_KEY")
            assert "2026-03-03T00:00:00.000Z; 1 were used" in row.reason
            await quotas.aclose()

    run(work())


def test_the_bridge_looks_by_itself(desk: Callable[..., Any]) -> None:
    async def work() -> None:
        async with desk(**METERED) as here:
            space = here.space
            await space.quotas.settle(await take(space, 1))
            await until(lambda: space.librarian_board.shown[1].status == "exhausted")
            assert (await shown(space))[0] == ("exhausted", 0)

    run(work())


def test_nothing_is_written_while_nothing_changes(desk: Callable[..., Any]) -> None:
    async def work() -> None:
        async with desk(**METERED) as here:
            space = here.space
            await show_librarians(space)
            foreign = [LibrarianState(1, "of somebody else", 3, 3)]
            await space.bus.put_librarians(foreign)
            await show_librarians(space)
            assert (await space.bus.librarians(1)) == foreign
            await show_librarians(space, everything=True)
            assert (await space.bus.librarians(1))[0].status == "active"

    run(work())


def test_a_row_of_the_board_says_who_is_passed_over_until_when_and_why(
    desk: Callable[..., Any],
) -> None:
    now = Clock()

    async def work() -> None:
        async with desk(**METERED) as here:
            space = here.space
            quotas = await metered(space, now)
            await quotas.settle(await take(space, 1))
            space.librarian_board.offline[2] = "SOME_KEY is not set"
            await show_librarians(space, tokens=1_000)
            first, second, third = await librarian_shapes(space, on_bus=False)
            midnight = "2026-03-02T00:00:00.000Z"
            assert (first.model, first.pool, first.daily) == ("gemini:a", "free", 1)
            assert (first.status, first.quota, first.resets_at) == ("exhausted", 0, midnight)
            assert first.until == midnight
            assert first.why == "its calls of today are used: again at 2026-03-02T00:00:00Z"
            assert (second.status, second.why, second.until) == (
                "offline",
                "SOME_KEY is not set",
                None,
            )
            assert (third.pool, third.resets_at, third.why, third.status) == (
                None,
                None,
                None,
                "active",
            )
            assert [one.capacity for one in await space.bus.librarians(3)] == [1_000, 1_000, 600]
            await quotas.aclose()

    run(work())


def test_damaged_quotas_take_the_metered_librarians_away_and_nothing_else(
    desk: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / FILE).write_bytes(b"no database at all " * 300)

    async def work() -> None:
        async with desk(**METERED) as here:
            rows = (await here.call("status")).librarians
            assert [(one.status, one.quota) for one in rows] == [
                ("offline", 0),
                ("offline", 0),
                ("active", 1_500),
            ]
            assert "quotas.db is damaged" in (rows[0].why or "")
            assert rows[2].why is None

    run(work())


def test_a_space_that_is_closed_shows_its_librarians_offline(desk: Callable[..., Any]) -> None:
    async def work() -> None:
        async with desk(**METERED) as here:
            bus = here.space.bus
            await here.service.space("other")
            assert (await bus.librarians(3))[2].status == "active"
            other = here.service.open_spaces()[1]
            await hide_librarians(other)
            assert [one.status for one in await other.bus.librarians(3)] == ["offline"] * 3
            assert (await bus.librarians(3))[2].status == "active"

    run(work())
