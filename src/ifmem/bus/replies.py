"""What the server answers: its errors in our words, its bytes as values."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TypeVar

from redis.exceptions import NoPermissionError, RedisError, ResponseError

from ifmem.errors import NotPermitted, Unavailable

Item = TypeVar("Item")


@contextlib.asynccontextmanager
async def translated() -> AsyncIterator[None]:
    try:
        yield
    except NoPermissionError as error:
        raise NotPermitted(
            f"the bus refused the user: {str(error)[:200]}; `docs/protocol.md` has the ACL line"
        ) from error
    except ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise Unavailable(
                f"the bus refused a step ({str(error)[:200]}): see `ifmem doctor`"
            ) from error
        raise Unavailable(
            "a key of this space holds another type than ours: `ifmem doctor` names it, "
            "`ifmem doctor --repair` writes it anew",
            outcome="foreign-type",
        ) from error
    except (RedisError, OSError) as error:
        raise Unavailable(
            f"the bus did not answer ({str(error)[:200]}): see `ifmem doctor`"
        ) from error


def by_the_thousand(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for first in range(0, len(items), 1_000):
        yield items[first : first + 1_000]


def raise_refusals(replies: Sequence[object]) -> None:
    """Raise what is no foreign type: a value of another type is read as nothing, and goes on."""
    for reply in replies:
        if isinstance(reply, Exception) and "WRONGTYPE" not in str(reply):
            raise reply


def text(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


def integer(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0


def rows(value: object, count: int) -> list[object]:
    return list(value) if isinstance(value, list) else [None] * count


def raise_refusal(word: str, rest: Sequence[object]) -> None:
    """Raise what a function answered instead of writing: nothing was stored."""
    if word == "busy":
        raise Unavailable(
            f"the store is {text(rest[0])} entries behind and nothing was stored: repeat it a "
            "little later",
            outcome="busy",
        )
    if word == "refusing":
        raise Unavailable(
            f"the bus takes nothing new and nothing was stored: {text(rest[0])}",
            outcome="refusing",
            reason=text(rest[0]),
        )
