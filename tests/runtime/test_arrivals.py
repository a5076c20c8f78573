"""Readers of an inbox are woken by what is for them, and by whatever may be."""

from __future__ import annotations

import asyncio

import pytest

from ifmem.runtime.arrivals import Arrivals


def woken_by(payload: bytes | None) -> set[str]:
    """Which of three waiting agents a hint wakes."""
    arrivals = Arrivals()
    agents = ("ada", "bob", "cy")
    with (
        arrivals.waiting("ada") as ada,
        arrivals.waiting("bob") as bob,
        arrivals.waiting("cy") as cy,
    ):
        arrivals.on_message_hint(payload)
        return {name for name, event in zip(agents, (ada, bob, cy), strict=True) if event.is_set()}


@pytest.mark.parametrize(
    ("payload", "woken"),
    [
        (b'{"message_id":"1","to":"ada"}', {"ada"}),
        (b'{"message_id":"1","topic":"launch","recipients":["ada","cy"]}', {"ada", "cy"}),
        (b'{"message_id":"1","to":"nobody here"}', set()),
        (b'{"message_id":"1","topic":"launch"}', {"ada", "bob", "cy"}),
        (b"no json", {"ada", "bob", "cy"}),
        (b"[]", {"ada", "bob", "cy"}),
        (None, {"ada", "bob", "cy"}),
    ],
)
def test_a_hint_wakes_whom_it_names_and_everybody_when_it_names_nobody(
    payload: bytes | None, woken: set[str]
) -> None:
    assert woken_by(payload) == woken


def test_all_readers_of_an_agent_are_woken() -> None:
    arrivals = Arrivals()
    with arrivals.waiting("ada") as one, arrivals.waiting("ada") as other:
        arrivals.on_message_hint(b'{"to":"ada"}')
        assert one.is_set()
        assert other.is_set()


def test_a_hint_before_anybody_awaits_is_not_missed() -> None:
    async def main() -> None:
        arrivals = Arrivals()
        with arrivals.waiting("ada") as woken:
            arrivals.on_message_hint(b'{"to":"ada"}')
            async with asyncio.timeout(60):
                await woken.wait()

    asyncio.run(main())


def test_who_has_left_is_woken_no_more() -> None:
    arrivals = Arrivals()
    with arrivals.waiting("ada") as left:
        pass
    with arrivals.waiting("ada") as here:
        arrivals.on_message_hint(b'{"to":"ada"}')
    assert (left.is_set(), here.is_set()) == (False, True)
    arrivals.on_message_hint(None)
