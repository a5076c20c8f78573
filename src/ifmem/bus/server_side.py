"""The server-side functions: loaded as a library, or run as scripts where that is forbidden."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from ifmem.wire import keys
from ifmem.wire.keys import Keys

_FILES = (
    *("common", "shards", "owner", "log", "findings"),
    *("task_steps", "tasks", "task_upkeep", "messages"),
)


@cache
def body() -> str:
    """All functions as one text: the names of the keys, then the files in order."""
    folder = resources.files("ifmem.bus") / "functions"
    files = [(folder / f"{name}.lua").read_text(encoding="utf-8") for name in _FILES]
    return "\n".join([_names(), *files])


@cache
def public() -> tuple[str, ...]:
    """The names of the functions that can be called."""
    return tuple(re.findall(r"^local function (\w+)\(keys, args\)", body(), re.MULTILINE))


@cache
def library() -> str:
    """The library's name: two versions of ifmem can share one server."""
    return "ifmem_" + hashlib.sha256(body().encode()).hexdigest()[:8]


@cache
def library_source() -> str:
    """What `FUNCTION LOAD` takes."""
    registered = "\n".join(
        f"redis.register_function('{library()}_{name}', {name})" for name in public()
    )
    return f"#!lua name={library()}\n{body()}\n{registered}\n"


@cache
def _script_source(name: str) -> str:
    return f"{body()}\nreturn {name}(KEYS, ARGV)\n"


def _names() -> str:
    """Lua tables of what stands before and after the variable part of each name."""
    heads, tails = [], []
    for name, kind in vars(keys).items():
        if isinstance(kind, keys.KeyKind):
            head, variable, rest = kind.pattern.partition("{")
            heads.append(f"  {name} = '{head}',")
            tail = rest.partition("}")[2]
            if variable and tail:
                tails.append(f"  {name} = '{tail}',")
    return "\n".join(["local K = {", *heads, "}", "local T = {", *tails, "}"])


class ServerSide:
    """Calls the functions of one space on one server, loading them when they are absent."""

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._as_scripts = False

    async def call(self, name: str, *args: str | bytes | int) -> list[Any]:
        """Run one function atomically: the word of its outcome, then values as bytes or int."""
        full = (self._keys.prefix, *args)
        if not self._as_scripts:
            try:
                return _worded(await self._call_function(name, full))
            except ResponseError as error:
                if not _is_forbidden(error):
                    raise
                self._as_scripts = True
        return _worded(await self._call_script(name, full))

    async def call_many(
        self, name: str, many: Sequence[Sequence[str | bytes | int]]
    ) -> list[list[Any]]:
        """Run one function once for each of the argument lists, in one round trip."""
        if not many:
            return []
        first = await self.call(name, *many[0])
        if self._as_scripts:
            return [first, *[await self.call(name, *args) for args in many[1:]]]
        async with self._client.pipeline(transaction=False) as pipe:
            for args in many[1:]:
                pipe.fcall(f"{library()}_{name}", 1, self._keys.slot, self._keys.prefix, *args)
            return [first, *map(_worded, await pipe.execute())]

    async def _call_function(self, name: str, args: Sequence[str | bytes | int]) -> Any:
        function = f"{library()}_{name}"
        try:
            return await self._client.fcall(function, 1, self._keys.slot, *args)
        except ResponseError as error:
            if not _is_missing(error):
                raise
        await self._client.function_load(library_source(), replace=True)
        return await self._client.fcall(function, 1, self._keys.slot, *args)

    async def _call_script(self, name: str, args: Sequence[str | bytes | int]) -> Any:
        source = _script_source(name)
        digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        try:
            return await self._client.evalsha(digest, 1, self._keys.slot, *args)
        except NoScriptError:
            return await self._client.eval(source, 1, self._keys.slot, *args)


def _worded(reply: Any) -> list[Any]:
    first, *rest = reply
    return [first.decode() if isinstance(first, bytes) else first, *rest]


def _is_missing(error: ResponseError) -> bool:
    return re.search(r"function not found", str(error), re.IGNORECASE) is not None


def _is_forbidden(error: Exception) -> bool:
    return isinstance(error, NoPermissionError) or "unknown command" in str(error).lower()
