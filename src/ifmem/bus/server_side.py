"""The server-side functions: loaded as a library, or run as scripts where that is forbidden."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

_BODY = (resources.files("ifmem.bus") / "functions.lua").read_text(encoding="utf-8")
_PUBLIC = ("put_shard", "set_active", "put_finding", "drop_finding", "beat", "leave", "claim")
# A library's name carries the digest of its body: two versions of ifmem can share one server.
LIBRARY = "ifmem_" + hashlib.sha256(_BODY.encode()).hexdigest()[:8]


def _library_source() -> str:
    registered = "\n".join(
        f"redis.register_function('{LIBRARY}_{name}', {name})" for name in _PUBLIC
    )
    return f"#!lua name={LIBRARY}\n{_BODY}\n{registered}\n"


def _script_source(name: str) -> str:
    return f"{_BODY}\nreturn {name}(KEYS, ARGV)\n"


class ServerSide:
    """Calls the functions of ``functions.lua`` on one server, loading them when they are absent."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._as_scripts = False

    async def call(self, name: str, keys: Sequence[str], *args: str | bytes | int) -> Any:
        """Run one function atomically; its reply as redis-py decodes it."""
        if not self._as_scripts:
            try:
                return await self._call_function(name, keys, args)
            except ResponseError as error:
                if not _is_forbidden(error):
                    raise
                self._as_scripts = True
        return await self._call_script(name, keys, args)

    async def _call_function(
        self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int]
    ) -> Any:
        function = f"{LIBRARY}_{name}"
        try:
            return await self._client.fcall(function, len(keys), *keys, *args)
        except ResponseError as error:
            if not _is_missing(error):
                raise
        await self._client.function_load(_library_source(), replace=True)
        return await self._client.fcall(function, len(keys), *keys, *args)

    async def _call_script(
        self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int]
    ) -> Any:
        source = _script_source(name)
        digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        try:
            return await self._client.evalsha(digest, len(keys), *keys, *args)
        except NoScriptError:
            return await self._client.eval(source, len(keys), *keys, *args)


def _is_missing(error: ResponseError) -> bool:
    return re.search(r"function not found", str(error), re.IGNORECASE) is not None


def _is_forbidden(error: Exception) -> bool:
    return isinstance(error, NoPermissionError) or "unknown command" in str(error).lower()
