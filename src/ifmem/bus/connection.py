"""Reaching a Redis or Valkey: the embedded server of a home, or one that a URL names."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AuthenticationError, RedisError

from ifmem.bus import embedded
from ifmem.errors import ConfigError, NotPermitted, Unavailable
from ifmem.settings import RedisSettings, without_password

OLDEST_MAJOR = 7
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers."""

    client: Redis
    url: str
    embedded: bool
    version: str
    """``valkey 9.1.2`` or ``redis 7.4.1``."""
    fresh: bool
    """It holds none of what was on it before, as far as is known."""

    def shown_url(self, *, show_secrets: bool) -> str:
        """The URL as people may see it: complete for the embedded server or on request."""
        return self.url if self.embedded or show_secrets else without_password(self.url)


async def connect(settings: RedisSettings, directory: Path) -> Server:
    """Connect to the server that the settings name, starting the embedded one when they name none.

    Raises:
        ConfigError: the URL cannot be used.
        NotPermitted: the server refuses the user or the password.
        Unavailable: it does not answer, is not a Redis, or is too old.
    """
    if settings.url:
        return await _checked(_client(settings.url), settings.url, embedded=False, fresh=False)
    idle = timedelta(seconds=settings.idle_seconds)
    endpoint = await asyncio.to_thread(embedded.attach, directory, idle=idle)
    return await _checked(_client(endpoint.url), endpoint.url, embedded=True, fresh=endpoint.fresh)


def _client(url: str) -> Redis:
    try:
        client: Redis = Redis.from_url(
            url,
            protocol=3,
            socket_connect_timeout=_CONNECT_SECONDS,
            socket_timeout=_ANSWER_SECONDS,
            health_check_interval=30,
            # A request that failed on a stale connection is sent again once: every step is
            # idempotent. Longer outages are healed by `runtime.keeping`.
            retry=Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.5), 2),
        )
    except ValueError as error:
        raise ConfigError(
            f"{without_password(url)!r} is no Redis URL: use redis://, rediss:// or unix://"
        ) from error
    return client


async def _checked(client: Redis, url: str, *, embedded: bool, fresh: bool) -> Server:
    shown = without_password(url)
    try:
        about = await client.info("server")
    except AuthenticationError as error:
        raise NotPermitted(f"{shown} refused the user or password: {error}") from error
    except (RedisError, OSError, UnicodeError) as error:
        await client.aclose()
        if re.search(r"NOPERM|NOAUTH|WRONGPASS|invalid username-password", str(error)):
            raise NotPermitted(
                f"{shown} refused: {error}; `ifmem doctor` prints the ACL line a user needs"
            ) from error
        raise Unavailable(
            f"no Redis or Valkey answers at {shown} ({error or type(error).__name__}): start one, "
            "correct the URL, or leave it out to use the embedded server"
        ) from error
    valkey = about.get("valkey_version")
    version = str(valkey or about.get("redis_version", "0"))
    if not valkey and int(version.split(".")[0]) < OLDEST_MAJOR:
        await client.aclose()
        raise Unavailable(
            f"{shown} is Redis {version}; ifmem needs Redis >= {OLDEST_MAJOR} or Valkey"
        )
    named = f"{'valkey' if valkey else 'redis'} {version}"
    return Server(client, url, embedded, named, fresh)
