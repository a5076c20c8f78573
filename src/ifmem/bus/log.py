"""The log on the bus: read by the bridge, trimmed to where the store has committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from redis.asyncio import Redis

from ifmem.bus.ownership import Lease, overtaken
from ifmem.bus.replies import integer, text, translated
from ifmem.bus.server_side import ServerSide
from ifmem.engine.masking import mask
from ifmem.wire import keys
from ifmem.wire.keys import Keys
from ifmem.wire.log_entries import Verdict

MAX_SHOWN = 2_000
"""Characters of each field that is kept of what could not be read."""

RawEntry = tuple[bytes, Mapping[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class LogState:
    """How far the bus says the store has committed."""

    epoch: int
    drained: str
    refusing: str
    """Why nothing new is taken; empty when all is well."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What the store made of a batch of entries."""

    position: str
    """The last entry of the batch."""
    findings: Sequence[tuple[str, int]]
    """Id and the store's sequence of each finding; 0 for one that it refused, and the negative
    sequence of one that it hides."""
    verdicts: Mapping[str, Verdict]
    """By entry, where it is not simply yes."""
    stored: int
    """Findings in the store now."""
    epoch: int = 0
    """Tells whoever waits whether it is still the log that took their entry."""


class Log:
    """The entries of one space that the store has not committed, and the position.

    Guarantees:
        order: entries are read in the order in which their functions ran.
        loss: none while the server keeps its memory; an entry leaves only after its commit.
    """

    def __init__(self, client: Redis, keys: Keys, server: ServerSide, blocking: Redis) -> None:
        self.keys = keys
        self._client = client
        self._server = server
        self._blocking = blocking

    async def state(self) -> LogState | None:
        """The position; None when the bus has none."""
        async with translated():
            raw = await self._client.hgetall(self.keys.of(keys.LOG_STATE))
        if b"epoch" not in raw:
            return None
        return LogState(
            epoch=integer(text(raw[b"epoch"])),
            drained=text(raw.get(b"drained")) or "0-0",
            refusing=text(raw.get(b"refusing")) or "",
        )

    async def read(self, after: str, *, count: int, block_ms: int | None = None) -> list[RawEntry]:
        """The entries after a position, in order; waits ``block_ms`` for the first, if given."""
        client = self._client if block_ms is None else self._blocking
        name = self.keys.of(keys.LOG)
        async with translated():
            reply: Any = await client.xread({name: after}, count=count, block=block_ms)
        if not reply:
            return []
        rows = reply[name.encode()] if isinstance(reply, dict) else reply[0][1]
        flat = rows[0] if rows and isinstance(rows[0], list) else rows
        return [(entry_id, fields) for entry_id, fields in flat]

    async def holds(self, entry: str) -> bool:
        """True while this entry is in the log."""
        async with translated():
            return bool(await self._client.xrange(self.keys.of(keys.LOG), entry, entry))

    async def backlog(self) -> int:
        """Entries that the store has not committed."""
        async with translated():
            return int(await self._client.xlen(self.keys.of(keys.LOG)))

    async def barrier(self) -> str:
        """The entry with whose commit all that happened until now is durable."""
        async with translated():
            _, entry = await self._server.call("barrier")
        return text(entry) or "0-0"

    async def verdict(self, entry: str) -> Verdict | None:
        """What the store decided of an entry that it has committed; None for a plain yes."""
        async with translated():
            raw = await self._client.get(self.keys.of(keys.VERDICT, entry=entry))
        return None if raw is None else msgspec.json.decode(raw, type=Verdict)

    async def set_position(
        self, lease: Lease, *, epoch: int, drained: str, limit: int, last: int, skipped: int
    ) -> None:
        """Write the store's position.

        Args:
            lease: our right to it.
            epoch: of new fences.
            drained: the last entry committed.
            limit: entries that the log may hold.
            last: the highest sequence in the store.
            skipped: sequences after it that may have been given out, and are not used again.

        Raises:
            NotPermitted: another bridge owns the space.
        """
        await self._as_bridge(lease, "set_position", epoch, drained, limit, last + skipped)

    async def refuse(self, lease: Lease, reason: str) -> None:
        """Take nothing new, and tell whoever waits; an empty reason ends that.

        Raises:
            NotPermitted: another bridge owns the space.
        """
        await self._as_bridge(lease, "refuse_writes", reason)

    async def drained(self, lease: Lease, done: Committed, *, window: int) -> None:
        """Tell the bus that the store has committed a batch.

        Raises:
            NotPermitted: another bridge owns the space.
        """
        message = {"drained": done.position, "epoch": done.epoch, "verdicts": done.verdicts}
        verdicts = [
            part
            for entry, verdict in done.verdicts.items()
            for part in (entry, msgspec.json.encode(verdict))
        ]
        await self._as_bridge(
            lease,
            "drained",
            done.position,
            window,
            done.stored,
            msgspec.json.encode(message),
            len(done.findings),
            *(part for row in done.findings for part in row),
            *verdicts,
        )

    async def dead_letter(self, **fields: str | bytes) -> None:
        """Keep what could not be read, with its ``reason``, for a person to look at.

        Credentials are masked, and each field is cut after 2,000 characters.
        """
        async with translated():
            await self._server.call(
                "dead_letter",
                *(part for name, value in fields.items() for part in (name, _shown(value))),
            )

    async def dead_letters(self, count: int) -> list[RawEntry]:
        """The newest of what could not be read."""
        async with translated():
            rows: Any = await self._client.xrevrange(self.keys.of(keys.DEAD_LETTERS), count=count)
        return list(rows)

    async def _as_bridge(self, lease: Lease, name: str, *args: str | bytes | int) -> None:
        async with translated():
            word, *_ = await self._server.call(name, lease.bridge, lease.fence, *args)
        if word == "lost":
            raise overtaken(self.keys, "another bridge")


def _shown(value: str | bytes) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    # Masked before it is cut: half a credential is no longer known as one.
    return mask(text).text[:MAX_SHOWN]
