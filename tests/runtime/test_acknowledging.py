"""Writers wait for the store, in log order, and are told when it is not known."""

from __future__ import annotations

import asyncio

import pytest

from ifmem.errors import OutcomeUnknown
from ifmem.runtime.acknowledging import Acknowledgements
from ifmem.wire.log_entries import Verdict

PATIENCE_S = 30.0


async def waiting(known: Acknowledgements, *entries: str) -> list[asyncio.Task[Verdict | None]]:
    tasks = [asyncio.ensure_future(known.wait(one, seconds=PATIENCE_S)) for one in entries]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


def test_an_entry_is_acknowledged_with_all_before_it_and_none_after() -> None:
    async def main() -> None:
        known = Acknowledgements()
        early, late, next_one = await waiting(known, "5-0", "7-1", "7-2")
        known.advance("7-1", {"7-1": Verdict("refused", "it was forgotten")})
        assert await early is None
        assert await late == Verdict("refused", "it was forgotten")
        assert not next_one.done()
        known.advance("10-0", {})
        assert await next_one is None

    asyncio.run(main())


def test_positions_compare_as_numbers() -> None:
    async def main() -> None:
        known = Acknowledgements()
        (waits,) = await waiting(known, "10-0")
        known.advance("9-99", {})
        assert not waits.done()
        known.advance("10-0", {})
        assert await waits is None

    asyncio.run(main())


def test_what_is_committed_already_is_answered_at_once() -> None:
    async def main() -> None:
        known = Acknowledgements()
        refused = Verdict("refused", "it was forgotten")
        known.advance("9-0", {"8-0": refused})
        assert await known.wait("9-0", seconds=PATIENCE_S) is None
        assert await known.wait("8-0", seconds=PATIENCE_S) == refused

    asyncio.run(main())


def test_a_store_that_cannot_write_is_told_to_all_who_wait() -> None:
    async def main() -> None:
        known = Acknowledgements()
        (waits,) = await waiting(known, "9-0")
        known.fail("no space is left")
        with pytest.raises(OutcomeUnknown, match="no space is left") as told:
            await waits
        assert told.value.facts["entry"] == "9-0"

    asyncio.run(main())


def test_a_lost_log_is_told_and_its_entries_are_not_taken_for_later_ones() -> None:
    async def main() -> None:
        known = Acknowledgements()
        known.advance("9-0", {})
        (waits,) = await waiting(known, "12-0")
        known.begin_again()
        with pytest.raises(OutcomeUnknown, match="lost"):
            await waits
        (again,) = await waiting(known, "5-0")
        assert not again.done(), "the new log has not come so far"
        assert known.losses == 1
        again.cancel()

    asyncio.run(main())


def test_a_wait_that_is_too_long_ends_as_unknown() -> None:
    async def main() -> None:
        with pytest.raises(OutcomeUnknown, match="has not committed"):
            await Acknowledgements().wait("1-0", seconds=0.01)

    asyncio.run(main())


def test_who_gave_up_is_no_trouble_for_the_others() -> None:
    async def main() -> None:
        known = Acknowledgements()
        gone, stays = await waiting(known, "1-0", "2-0")
        gone.cancel()
        known.advance("2-0", {})
        assert await stays is None

    asyncio.run(main())
