"""The only module that reads the time or draws chance."""

from __future__ import annotations

import random
import secrets
import time
import uuid
from datetime import UTC, datetime, timedelta


def now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 - this is the one place


def stamp(moment: datetime) -> str:
    """ISO-8601 in UTC with milliseconds and ``Z``, as written to Redis and the store."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stamp_of_ms(ms: int) -> str:
    """The same for milliseconds since 1970, as a server counts them."""
    return stamp(datetime.fromtimestamp(ms / 1000, UTC))


def monotonic() -> float:
    """Seconds of a clock that never goes back, for deadlines."""
    return time.monotonic()  # noqa: TID251 - this is the one place


def stopwatch_ns() -> int:
    """Nanoseconds for measuring how long something took."""
    return time.perf_counter_ns()


def milliseconds_since(started_ns: int) -> float:
    """Milliseconds since a ``stopwatch_ns``, to the microsecond."""
    return round((time.perf_counter_ns() - started_ns) / 1e6, 3)


def in_seconds(duration: timedelta) -> float:
    """A duration as the plain number that the standard library asks for."""
    return duration.total_seconds()


def new_id() -> str:
    """A random uuid, for a finding whose author gave none."""
    return str(uuid.uuid4())  # noqa: TID251 - this is the one place


def new_secret() -> str:
    """256 bits of chance that nobody can guess, as 43 letters, digits, ``-`` and ``_``."""
    return secrets.token_urlsafe(32)


def chance() -> float:
    """A number from 0 to 1, to spread what would otherwise happen at once."""
    return random.random()
