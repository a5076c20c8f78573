"""One first: while a prefix is cold one call goes alone, until others can read what it wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from ifmem.domain.model import Completion, ModelCall

Send: TypeAlias = Callable[[ModelCall], Awaitable[Completion]]


@dataclass(slots=True)
class _First:
    """The call that others wait for; ``begun`` once they can read what it wrote."""

    over: asyncio.Event = field(default_factory=asyncio.Event)
    begun: bool = False

    def begin(self) -> None:
        self.begun = True
        self.over.set()


class OneFirst:
    """Who goes first to each cold prefix.

    Guarantees:
        one: of calls to a prefix that is not readable, one is under way that has not begun to
            answer.
        progress: when it fails or its caller goes away, the next becomes first.
    """

    def __init__(self) -> None:
        self._firsts: dict[Hashable, _First] = {}

    async def send(
        self,
        key: Hashable,
        call: ModelCall,
        send: Send,
        *,
        readable: Callable[[], bool],
        at_first_token: bool,
    ) -> Completion:
        """Send a call when its prefix is readable, or as the first.

        Args:
            readable: whether it is now, as far as calls that ended have reported.
            at_first_token: one answer that has begun makes it readable.
        """
        while not readable():
            first = self._firsts.get(key)
            if first is None:
                return await self._as_first(key, call, send, at_first_token)
            await first.over.wait()
            if first.begun:
                break
        return await send(call)

    async def _as_first(
        self, key: Hashable, call: ModelCall, send: Send, at_first_token: bool
    ) -> Completion:
        first = self._firsts[key] = _First()
        if at_first_token:
            call = replace(call, begun=_both(first.begin, call.begun))
        try:
            return await send(call)
        finally:
            # Whether it went well is reported by now; when it did not, the next becomes first.
            del self._firsts[key]
            first.over.set()


def _both(first: Callable[[], None], second: Callable[[], None] | None) -> Callable[[], None]:
    def begun() -> None:
        first()
        if second is not None:
            second()

    return begun
