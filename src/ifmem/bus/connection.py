"""Reaching a Redis or Valkey: the embedded one, or one, several or a Cluster that a URL names."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisError,
)

from ifmem.bus import embedded
from ifmem.bus.address import Address, Topology, read_url
from ifmem.bus.client import ANSWER_SECONDS, open_client
from ifmem.bus.following import ClusterGuide
from ifmem.bus.replies import translated
from ifmem.clock import in_seconds
from ifmem.errors import ConfigError, IfMemError, NotPermitted, Unavailable
from ifmem.settings import RedisSettings
from ifmem.wire.keys import Keys

OLDEST_MAJOR = 7
_LISTENING_SECONDS = 15
"""A subscription that is silent for this long is asked whether it lives, when it is read again."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers, or several that act as one."""

    client: Redis
    """On a Cluster it talks to any node, and only that of ``for_space`` to the space's."""
    url: str
    embedded: bool
    version: str
    """``valkey 9.1.2`` or ``redis 7.4.1``."""
    fresh: bool
    """It holds none of what was on it before, as far as is known."""
    address: Address
    slot_of: str | None = None
    """On a Cluster, a key of the slot whose primary ``client`` follows."""
    opened: list[Redis] = field(default_factory=list)
    """Every client made for it, to be closed with it."""

    @property
    def topology(self) -> Topology:
        """How it is reached; a plain URL of a Cluster's node gives ``cluster``."""
        return self.address.topology

    def shown_url(self, *, show_secrets: bool) -> str:
        """The URL as people may see it: complete for the embedded server or on request."""
        return self.url if self.embedded or show_secrets else self.address.shown

    def keys(self, space: str) -> Keys:
        """The names of a space as they are spelled here.

        Raises:
            Invalid: the default space on a Cluster, or a name that no space may have.
        """
        return Keys(space, hash_tagged=self.topology == "cluster")

    def for_space(self, space: Keys) -> Server:
        """The same server, with a client for the keys of one space."""
        if self.topology != "cluster":
            return self
        client = open_client(self.address, self.embedded, space.slot)
        self.opened.append(client)
        return replace(self, client=client, slot_of=space.slot)

    async def aclose(self) -> None:
        """Close every client that was made for it."""
        while self.opened:
            await self.opened.pop().aclose()


async def connect(settings: RedisSettings, directory: Path) -> Server:
    """Connect to the server that the settings name, starting the embedded one when they name none.

    Raises:
        ConfigError: the URL cannot be used.
        NotPermitted: the server refuses the user or the password.
        Unavailable: it does not answer, is not a Redis, or is too old.
    """
    if settings.url:
        return await _checked(read_url(settings.url), embedded=False, fresh=False)
    idle = timedelta(seconds=settings.idle_seconds)
    endpoint = await asyncio.to_thread(embedded.attach, directory, idle=idle)
    return await _checked(read_url(endpoint.url), embedded=True, fresh=endpoint.fresh)


def subscriber(server: Server) -> Redis:
    """A client for subscriptions by plain SUBSCRIBE, whatever the topology.

    Its ``pubsub()`` subscribes again by itself when the connection was lost: after a
    ``ConnectionError`` it is read on, and what was published meanwhile is gone.
    """
    return _opened(server, {"health_check_interval": _LISTENING_SECONDS})


def blocking(server: Server, *, longest: timedelta | None = None) -> Redis:
    """A client for commands that wait on the server (BLPOP, XREAD BLOCK).

    What such a command takes off a list is gone when its answer is lost on the way.

    Args:
        longest: the longest wait of a command. The answer is given 30 s more, after which the
            server counts as gone; None waits as long as the connection stands.
    """
    seconds = None if longest is None else in_seconds(longest) + ANSWER_SECONDS
    return _opened(server, {"socket_timeout": seconds})


async def run_id(client: Redis) -> str:
    """The identity of the primary's process: another after a restart or a fail-over.

    On a Cluster it is that of the space's primary, given the client of ``for_space``.

    Raises:
        Unavailable: there is no primary now, or the URL leads to a replica.
        NotPermitted: the user may not ask.
    """
    for _ in range(2):
        async with translated():
            about = await client.info("server", "replication")
            if about["role"] == "master":
                return str(about["run_id"])
            # A primary no more; a new connection finds the one that is.
            await client.connection_pool.disconnect(inuse_connections=False)
    raise Unavailable("the Redis that answers is a replica: name its primary, or wait for one")


async def load_everywhere(server: Server, source: str) -> None:
    """Load a library of functions on every primary.

    One that does not answer is passed over: it loads the library at its first use, and replicas
    have it from their primary. Where functions are forbidden, scripts do the same later.
    """
    with contextlib.suppress(RedisError, OSError):
        await server.client.function_load(source, replace=True)
    if server.topology != "cluster":
        return
    guide = ClusterGuide(server.address, None)
    for node in await guide.primaries():
        try:
            async with guide.client_of(node) as client:
                await client.function_load(source, replace=True)
        except (RedisError, OSError):
            continue


def _opened(server: Server, options: Mapping[str, Any]) -> Redis:
    client = open_client(server.address, server.embedded, server.slot_of, **options)
    server.opened.append(client)
    return client


async def _checked(address: Address, *, embedded: bool, fresh: bool) -> Server:
    client = open_client(address, embedded, None)
    try:
        about = await client.info("server", "cluster")
    except (AuthenticationError, NoPermissionError) as error:
        await client.aclose()
        raise _refused(address, error) from error
    except TypeError as error:
        raise ConfigError(f"{address.shown} has an option that is not known: {error}") from error
    except (RedisError, OSError, UnicodeError) as error:
        await client.aclose()
        raise _unreachable(address, error) from error
    try:
        topology, version = _known(address, about)
    except BaseException:
        await client.aclose()
        raise
    if topology != address.topology:
        await client.aclose()
        return await _checked(replace(address, topology=topology), embedded=embedded, fresh=fresh)
    return Server(client, address.url, embedded, version, fresh, address, opened=[client])


def _refused(address: Address, error: Exception) -> NotPermitted:
    return NotPermitted(
        f"{address.shown} refused the user or password: {error}; `ifmem doctor` prints the ACL "
        "line a user needs"
    )


def _unreachable(address: Address, error: Exception) -> IfMemError:
    cause = error.__cause__
    if isinstance(cause, AuthenticationError | NoPermissionError) or re.search(
        r"NOPERM|NOAUTH|WRONGPASS|invalid username-password", str(error)
    ):
        return _refused(address, error)
    if "cluster support disabled" in str(error):
        return ConfigError(f"{address.shown} is no Cluster: write redis:// or rediss://")
    return Unavailable(
        f"no Redis or Valkey answers at {address.shown} ({error or type(error).__name__}): start "
        "one, correct the URL, or leave it out to use the embedded server"
    )


def _known(address: Address, about: Mapping[str, Any]) -> tuple[Topology, str]:
    """What a server that answers is, if it can be used."""
    valkey = about.get("valkey_version")
    version = str(valkey or about.get("redis_version", "0"))
    if not valkey and int(version.split(".")[0]) < OLDEST_MAJOR:
        raise Unavailable(
            f"{address.shown} is Redis {version}; ifmem needs Redis >= {OLDEST_MAJOR} or Valkey"
        )
    if "sentinel" in (about.get("redis_mode"), about.get("server_mode")):
        raise ConfigError(
            f"{address.shown} is a Sentinel: write redis+sentinel://HOST:PORT/NAME with the name "
            "of the primary it watches"
        )
    named = f"{'valkey' if valkey else 'redis'} {version}"
    if str(about.get("cluster_enabled", 0)) != "1":
        return address.topology, named
    if address.topology == "sentinel" or not address.nodes or address.options.get("db"):
        raise ConfigError(
            f"{address.shown} is a node of a Cluster: write redis+cluster://HOST:PORT, which has "
            "database 0 only"
        )
    return "cluster", named
