"""redis-py's connections, made safe to cancel while they send, and quick to pack.

They send under ``asyncio.wait_for``, which up to Python 3.11 swallows a cancellation that arrives
in the moment in which the sending ends: a loop over the bus would then outlive its cancellation.
It also makes a task for each command. Delete this when 3.12 is the oldest Python.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from hiredis import pack_command
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.exceptions import TimeoutError as RedisTimeoutError


class _Interruptible(AbstractConnection):
    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send under a time limit that leaves cancellations alone."""
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        if check_health:
            await self.check_health()  # type: ignore[no-untyped-call]
        limit = self.socket_timeout
        # Without a limit of its own redis-py sends without ``wait_for``.
        self.socket_timeout = None
        try:
            async with asyncio.timeout(limit):
                await super().send_packed_command(command, check_health=False)
        except TimeoutError as error:
            raise RedisTimeoutError(f"{self._host_error()} takes no command") from error
        finally:
            self.socket_timeout = limit

    def pack_command(self, *args: Any) -> list[bytes]:
        """The bytes of a command, by hiredis: redis-py's asyncio connections pack in Python."""
        return [_packed(args)]

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        """The same for several."""
        return [_packed(tuple(command)) for command in commands]


def _packed(args: Sequence[Any]) -> bytes:
    name, *rest = args
    # As redis-py does: a name of two words is two arguments.
    return bytes(pack_command((*name.split(), *rest)))


class TcpConnection(_Interruptible, Connection):
    """A connection by TCP."""


class TlsConnection(_Interruptible, SSLConnection):
    """An encrypted connection by TCP."""


class UnixConnection(_Interruptible, UnixDomainSocketConnection):
    """A connection by a Unix socket."""
