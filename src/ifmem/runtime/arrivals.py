"""Who waits for a message: readers of an inbox, woken when the bus says that something came."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import msgspec


class _Hint(msgspec.Struct, frozen=True):
    to: str | None = None
    recipients: tuple[str, ...] | None = None


class Arrivals:
    """Wakes the readers of an inbox.

    Guarantees:
        nothing missed: a hint that comes after ``waiting`` was entered is seen, also when nobody
            awaits the event at that moment.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    @contextlib.contextmanager
    def waiting(self, agent: str) -> Iterator[asyncio.Event]:
        """An event that is set by every hint for this agent; look first, then await it."""
        woken = asyncio.Event()
        self._waiting.setdefault(agent, set()).add(woken)
        try:
            yield woken
        finally:
            self._waiting[agent].discard(woken)
            if not self._waiting[agent]:
                del self._waiting[agent]

    def on_message_hint(self, payload: bytes | None) -> None:
        """Take what the channel of messages carried.

        None, and whatever names nobody, wakes everybody: so after the subscription was away.
        """
        try:
            hint = msgspec.json.decode(payload, type=_Hint) if payload is not None else _Hint()
        except msgspec.MsgspecError:
            hint = _Hint()
        named = (hint.to,) if hint.to is not None else hint.recipients
        for agent in self._waiting if named is None else named:
            for woken in self._waiting.get(agent, ()):
                woken.set()
