"""Whose keys these are: the store that owns a space on this bus, and its bridge's lease."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from redis.asyncio import Redis

from ifmem.bus.replies import text, translated
from ifmem.bus.server_side import ServerSide
from ifmem.errors import NotPermitted
from ifmem.wire import keys
from ifmem.wire.keys import Keys


@dataclass(frozen=True, slots=True)
class Lease:
    """A bridge's right to write what the store has committed."""

    bridge: str
    """Id of the process's hold; another one for every start."""
    fence: int
    """Grows with every claim of the space: a bridge that was overtaken has a lower one."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns a space on the bus."""

    store_id: str
    bridge_name: str | None
    """The live bridge, as people know it: host and process."""


class Ownership:
    """The owner key and the bridge's lease of one space."""

    def __init__(self, client: Redis, keys: Keys, server: ServerSide) -> None:
        self.keys = keys
        self._client = client
        self._server = server

    async def claim(
        self, store_id: str, *, bridge: str, name: str, duration: timedelta, adopt: bool
    ) -> Lease:
        """Make the space's keys the store's own, and this bridge their writer.

        Raises:
            NotPermitted: another bridge owns them, or they are another store's or nobody's and
                ``adopt`` is not given.
        """
        async with translated():
            word, *rest = await self._server.call(
                "claim_space", store_id, bridge, name, _ms(duration), "1" if adopt else "0"
            )
        if word == "ok":
            return Lease(bridge, int(rest[0]))
        if word == "alive":
            owner = text(rest[0]) or "?"
            raise NotPermitted(
                f"space {self.keys.space!r} on this Redis is owned by {owner}, which is alive: use "
                "another --space, or join it with `--role client`",
                owner=owner,
            )
        whose = "keys that no store owns"
        if word == "other":
            whose = f"keys of the store {text(rest[0])}"
        raise NotPermitted(
            f"space {self.keys.space!r} on this Redis holds {whose}: use another --space, or "
            "`ifmem up --adopt` to take them over and rebuild them from this store",
            owner=text(rest[0]) if rest else "?",
        )

    async def renew(self, lease: Lease, duration: timedelta) -> str:
        """Extend the lease; the id of the store that owns the keys, empty when they are gone.

        Raises:
            NotPermitted: another bridge has claimed the space.
        """
        async with translated():
            word, other = await self._server.call(
                "renew_space", lease.bridge, lease.fence, _ms(duration)
            )
        if word == "lost" and text(other):
            raise overtaken(self.keys, text(other) or "?")
        return "" if word == "lost" else text(other) or ""

    async def leave(self, lease: Lease) -> None:
        """Give the lease up: the bridge ends."""
        async with translated():
            await self._server.call("leave_space", lease.bridge, lease.fence)

    async def owner(self) -> Owner | None:
        """Who owns the space; None when nobody has opened it on this bus."""
        async with translated():
            store_id = text(await self._client.get(self.keys.of(keys.OWNER)))
            name = text(await self._client.hget(self.keys.of(keys.BRIDGE), "name"))
        return None if store_id is None else Owner(store_id, name)


def overtaken(space: Keys, name: str) -> NotPermitted:
    """The error of a bridge that finds another in its place."""
    return NotPermitted(
        f"space {space.space!r} on this Redis is now owned by {name}: this daemon no longer writes "
        "to it; stop one of the two",
        owner=name,
    )


def _ms(duration: timedelta) -> int:
    return int(duration / timedelta(milliseconds=1))
