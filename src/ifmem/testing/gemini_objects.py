"""Gemini's cache objects on loopback: made, read, prolonged, deleted, and paid by the hour."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count as numbers
from threading import Lock
from typing import Any

from ifmem import clock as system_clock
from ifmem.testing.loopback import Reply, Request

_PATH = re.compile(r"/v1beta/(cachedContents/[\w-]+)")
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)s")
_DEFAULT = timedelta(hours=1)
"""docs caching: "If not set, the TTL defaults to 1 hour"."""
_HOUR = timedelta(hours=1)


class GeminiRefusal(Exception):
    """An error as the service sends it: google.rpc.Status inside ``error``."""

    def __init__(self, code: int, status: str, message: str, *details: Mapping[str, Any]) -> None:
        super().__init__(message)
        self._code = code
        self._error = {
            "code": code,
            "message": message,
            "status": status,
            "details": list(details),
        }

    def reply(self) -> Reply:
        return Reply({"error": self._error}, self._code)


@dataclass(slots=True)
class _Object:
    name: str
    model: str
    title: str
    tokens: int
    made: datetime
    updated: datetime
    ends: datetime

    def told(self) -> dict[str, object]:
        """SDK types.CachedContent: what it holds is never told."""
        return {
            "name": self.name,
            "model": f"models/{self.model}",
            "displayName": self.title,
            "createTime": system_clock.stamp(self.made),
            "updateTime": system_clock.stamp(self.updated),
            "expireTime": system_clock.stamp(self.ends),
            "usageMetadata": {"totalTokenCount": self.tokens},
        }


class CacheObjects:
    """The objects of a project; safe to use from several threads.

    Args:
        missing: the status of what is not there. seen: 403, so that nobody learns what exists.
    """

    def __init__(self, *, clock: Callable[[], datetime], missing: int) -> None:
        self._clock = clock
        self._missing = missing
        self._all: dict[str, _Object] = {}
        """With those that have ended: they are paid for."""
        self._numbers = numbers(1)
        self._lock = Lock()

    @property
    def live(self) -> list[str]:
        """Names of objects that can be used now."""
        with self._lock:
            return [each.name for each in self._all.values() if self._clock() < each.ends]

    @property
    def token_hours(self) -> float:
        """What storage is billed for until now: tokens by the time they were held."""
        with self._lock:
            moment = self._clock()
            return sum(
                each.tokens * ((min(moment, each.ends) - each.made) / _HOUR)
                for each in self._all.values()
            )

    def create(self, model: str, body: Mapping[str, Any], *, tokens: int) -> Reply:
        """A new object of this size."""
        with self._lock:
            moment = self._clock()
            made = _Object(
                name=f"cachedContents/object-{next(self._numbers):06}",
                model=model,
                title=str(body.get("displayName", "")),
                tokens=tokens,
                made=moment,
                updated=moment,
                ends=moment + _lifetime(body),
            )
            self._all[made.name] = made
            return Reply(made.told())

    def serve(self, request: Request) -> Reply:
        """Everything that is done with objects that exist."""
        if request.path == "/v1beta/cachedContents" and request.method == "GET":
            with self._lock:
                live = [each.told() for each in self._all.values() if self._clock() < each.ends]
            return Reply({"cachedContents": live})
        path = _PATH.fullmatch(request.path)
        if path is None:
            raise GeminiRefusal(404, "NOT_FOUND", "Requested entity was not found.")
        with self._lock:
            found = self._found(path[1])
            if request.method == "DELETE":
                found.ends = self._clock()
                return Reply({})
            if request.method == "PATCH":
                # docs caching: only the end of an object can be changed.
                found.updated = self._clock()
                found.ends = found.updated + _lifetime(request.body or {})
            return Reply(found.told())

    def used(self, model: str, body: Mapping[str, Any]) -> int:
        """Tokens of the object that a request for content names."""
        # seen: what the object may hold cannot stand beside it.
        if any(field in body for field in ("systemInstruction", "tools", "toolConfig")):
            raise GeminiRefusal(
                400,
                "INVALID_ARGUMENT",
                "CachedContent can not be used with GenerateContent request setting "
                "system_instruction, tools or tool_config.",
            )
        with self._lock:
            found = self._found(str(body["cachedContent"]))
            if found.model != model:
                raise GeminiRefusal(
                    400,
                    "INVALID_ARGUMENT",
                    f"Model used by GenerateContent request (models/{model}) and CachedContent "
                    f"(models/{found.model}) has to be the same.",
                )
            return found.tokens

    def _found(self, name: str) -> _Object:
        found = self._all.get(name)
        if found is None or self._clock() >= found.ends:
            status = "PERMISSION_DENIED" if self._missing == 403 else "NOT_FOUND"
            message = "CachedContent not found (or permission denied)"
            raise GeminiRefusal(self._missing, status, message)
        return found


def _lifetime(body: Mapping[str, Any]) -> timedelta:
    told = body.get("ttl")
    if told is None:
        return _DEFAULT
    found = _SECONDS.fullmatch(str(told))
    if found is None:
        raise GeminiRefusal(400, "INVALID_ARGUMENT", f"Invalid value at 'ttl': {told}")
    return timedelta(seconds=float(found[1]))
