"""How a client of the bus connects, and what it does when that fails.

A request whose connection breaks, is refused, or leads to a server that is no primary now is sent
again after an exponential back-off with jitter; what is sent is idempotent, so that is safe. To
one server it is sent 4 times, within about two seconds at most; to the primary of Sentinels or of
a Cluster 7 times, within 7 s at most, which a quick fail-over fits in. An answer that did not come
in 30 s is not waited for again. After that the call fails. The client stays good: it connects anew
at the next call, however long the server was away and wherever the primary is by then.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import ConnectionError

from ifmem.bus.address import Address
from ifmem.bus.following import (
    ClusterGuide,
    FollowingConnection,
    FollowingTlsConnection,
    SentinelGuide,
)
from ifmem.bus.interruptible import TcpConnection, TlsConnection, UnixConnection

_CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
"""How long an answer is waited for."""


def open_client(address: Address, embedded: bool, slot_of: str | None, **options: Any) -> Redis:
    """A client by the policy above; it connects when it is first used.

    Args:
        slot_of: on a Cluster, a key of the slot whose primary it follows; None for any node.
        options: those of redis-py's connections, before what the URL and the policy say.
    """
    return Redis.from_pool(
        ConnectionPool(
            **{
                "protocol": 3,
                "socket_connect_timeout": _CONNECT_SECONDS,
                "socket_timeout": ANSWER_SECONDS,
                "health_check_interval": 30,
                "driver_info": _driver_info(),
                **_place(address, embedded, slot_of),
                **address.options,
                **options,
            }
        )
    )


@cache
def _driver_info() -> DriverInfo:
    # redis-py would read its own version from the disk again for every connection.
    return DriverInfo()


def _place(address: Address, embedded: bool, slot_of: str | None) -> dict[str, Any]:
    """The kind of connection, where it leads, and how often it is tried again."""
    if address.topology == "single":
        retry = _retry(base=0.02, cap=0.5, again=2) if embedded else _retry(0.05, 0.5, 3)
        if not address.nodes:
            return {"connection_class": UnixConnection, "retry": retry}
        ((host, port),) = address.nodes
        kind = TlsConnection if address.tls else TcpConnection
        return {"connection_class": kind, "host": host, "port": port, "retry": retry}
    return {
        "connection_class": FollowingTlsConnection if address.tls else FollowingConnection,
        "guide": SentinelGuide(address)
        if address.topology == "sentinel"
        else ClusterGuide(address, slot_of),
        "socket_connect_timeout": 2.0,
        "retry": _retry(base=0.05, cap=1.0, again=6),
    }


def _retry(base: float, cap: float, again: int) -> Retry:
    # Not after a time-out: the answer was waited for long enough, and the next call may be lucky.
    return Retry(ExponentialWithJitterBackoff(base=base, cap=cap), again, (ConnectionError,))
