"""Findings that somebody wrote directly as a key, without our functions, and what stays of them."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ifmem.bus.replies import translated
from ifmem.domain.finding import MAX_FINDING_BYTES
from ifmem.errors import Invalid, Unavailable
from ifmem.wire import keys
from ifmem.wire.keys import Keys


async def read_direct_write(client: Redis, of: Keys, finding_id: str) -> bytes | None:
    """The value at a finding's key; None when there is none.

    Raises:
        Invalid: it is larger than a finding may be, or not of the type that findings have.
        Unavailable: the server did not answer.
    """
    name = of.of(keys.FINDING, uuid=finding_id)
    async with translated():
        try:
            # One byte more than allowed tells enough, whatever lies there.
            body = await client.getrange(name, 0, MAX_FINDING_BYTES)
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            raise Invalid(f"{name} is no string") from error
    if len(body) > MAX_FINDING_BYTES:
        raise Invalid(f"{name} is larger than the {MAX_FINDING_BYTES:,} bytes of a finding")
    return (body.encode() if isinstance(body, str) else body) or None


async def forget_history(client: Redis) -> None:
    """Have the server write its file anew from what it holds now, without what was replaced.

    A rewrite that is under way already began too early: the server then begins another after it.

    Raises:
        Unavailable: the server did not answer, or begins none now.
    """
    async with translated():
        try:
            await client.bgrewriteaof()
        except ResponseError as error:
            raise Unavailable(f"the server does not write its file anew: {error}") from error
