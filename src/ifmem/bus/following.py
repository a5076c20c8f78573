"""Connections that follow the primary: each one asks where it is when it connects.

A Sentinel or the nodes of a Cluster are asked each time, so that a fail-over needs no new client:
the connection breaks or is refused, and the next attempt goes to the new primary. All keys of a
space lie in one slot, so on a Cluster too a space is served by one primary and by one plain
client, with pipelines, transactions and blocking commands.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    ConnectionError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)

from ifmem.bus.address import Address, Node
from ifmem.bus.interruptible import TcpConnection, TlsConnection

_ANSWER_SECONDS = 2.0
"""How long a Sentinel or a node may take to say where the primary is, and to take a connection."""
_ELSEWHERE = (ReadOnlyError, AskError, TryAgainError, ClusterDownError)
"""Answers of a node that is not, or not now, the one to talk to; MOVED is an ``AskError`` too."""
_REFUSALS = (AuthenticationError, NoPermissionError)


class Guide(Protocol):
    """Says which server to connect to."""

    async def find(self) -> Node:
        """The server to connect to now.

        Raises:
            redis ``ConnectionError``: nobody who could say answers, or there is no primary now.
        """
        ...


class SentinelGuide:
    """Where the Sentinels say the primary is."""

    def __init__(self, address: Address) -> None:
        self._name = address.primary
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]
            address.nodes,
            sentinel_kwargs={
                **_asking_options(address.tls),
                **address.sentinel_options,
            },
        )
        self._turn = asyncio.Lock()

    async def find(self) -> Node:
        """The primary; the Sentinel that answered is asked first the next time."""
        async with self._turn:
            try:
                host, port = await self._sentinel.discover_master(self._name)
            except MasterNotFoundError as error:
                # It quotes every Sentinel's refusal.
                if "AuthenticationError" in str(error):
                    raise AuthenticationError("the Sentinels want another password") from error
                raise ConnectionError(
                    f"no Sentinel that answers knows a primary {self._name!r} now"
                ) from error
            finally:
                # Asked seldom: no connection is kept that could be stale the next time.
                await self._sentinel.aclose()
        return host, port


class ClusterGuide:
    """Where a Cluster serves a slot, or any of its nodes in turn."""

    def __init__(self, address: Address, slot_of: str | None) -> None:
        """``slot_of``: a key of the slot; None for any node."""
        self._slot = None if slot_of is None else key_slot(slot_of.encode())
        self._seeds = address.nodes
        self._nodes = list(address.nodes)
        self._options = {**address.options, **_asking_options(address.tls)}
        self._turn = asyncio.Lock()

    async def find(self) -> Node:
        """The slot's primary, or a node, as the next node that answers says."""
        async with self._turn:
            reasons = []
            for node in list(self._nodes):
                # In turn: the next is asked when what this one says leads nowhere.
                self._nodes.remove(node)
                self._nodes.append(node)
                try:
                    ranges = await self._learn(node)
                except _REFUSALS:
                    raise
                except (RedisError, OSError) as error:
                    reasons.append(f"{node[0]}:{node[1]}: {error}")
                    continue
                if self._slot is None:
                    return node
                for first, last, primary in ranges:
                    if first <= self._slot <= last:
                        return primary
                reasons.append(f"{node[0]}:{node[1]} knows no primary of slot {self._slot}")
        raise ConnectionError("; ".join(reasons))

    async def primaries(self) -> set[Node]:
        """Every primary, as the next node that answers says."""
        node = await self.find()
        async with self._turn:
            return {primary for _, _, primary in await self._learn(node)}

    def client_of(self, node: Node) -> Redis:
        """A client of one node that gives up soon."""
        host, port = node
        return Redis(host=host, port=port, **self._options)

    async def _learn(self, node: Node) -> list[tuple[int, int, Node]]:
        """The first slot, the last and the primary of each range."""
        async with self.client_of(node) as client:
            told: list[Any] = await client.execute_command(  # type: ignore[no-untyped-call]
                "CLUSTER SLOTS"
            )
        nodes = {_announced(one, node) for _, _, *members in told for one in members}
        known = [one for one in self._nodes if one in nodes or one in self._seeds]
        self._nodes = known + sorted(nodes - set(known))
        return [(first, last, _announced(primary, node)) for first, last, primary, *_ in told]


def _announced(node: Any, asked: Node) -> Node:
    host = node[0].decode() if isinstance(node[0], bytes) else node[0]
    # A node that is told of under no name is the one that was asked.
    return host or asked[0], int(node[1])


def _asking_options(tls: bool) -> dict[str, Any]:
    return {
        "protocol": 3,
        "socket_timeout": _ANSWER_SECONDS,
        "socket_connect_timeout": _ANSWER_SECONDS,
        # The next one is asked instead.
        "retry": Retry(NoBackoff(), 0),
        "ssl": tls,
    }


class FollowingConnection(TcpConnection):
    """A connection to wherever its guide points when it connects."""

    def __init__(self, *, guide: Guide, **options: Any) -> None:
        self._guide = guide
        super().__init__(**options)

    async def connect_check_health(
        self, check_health: bool = True, retry_socket_connect: bool = True
    ) -> None:
        """Connect once: who asked tries again, and so the attempts do not multiply."""
        await super().connect_check_health(check_health, retry_socket_connect=False)

    async def _connect(self) -> None:
        self.host, self.port = await self._guide.find()
        try:
            await super()._connect()  # type: ignore[no-untyped-call]
        except TimeoutError as error:
            # A host that is down: worth another look, unlike an answer that takes too long.
            raise ConnectionError(f"{self._host_error()} takes no connection") from error

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """The answer; one that says "not here" ends the connection, so that the next finds it."""
        try:
            return await super().read_response(*args, **options)
        except _ELSEWHERE as error:
            where = self._host_error()
            await self.disconnect(nowait=True)
            raise ConnectionError(f"{where} does not serve this now: {error}") from error


class FollowingTlsConnection(FollowingConnection, TlsConnection):
    """The same, encrypted."""
