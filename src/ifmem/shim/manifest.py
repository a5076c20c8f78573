"""What the server says of itself, shipped with the package: told while no daemon is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("manifest.json")
_META = "io.modelcontextprotocol/"


class Manifest:
    """The answers of ``manifest.json``, which ``tools/manifest.py`` writes.

    ``bodies`` are results, and ``handshake`` and ``modern`` say by version and method which one.
    """

    def __init__(self, told: dict[str, Any]) -> None:
        self.version: str = told["version"]
        """Of ifmem."""
        self.reading: frozenset[str] = frozenset(told["reading"])
        """The tools that write nothing."""
        self._bodies: list[dict[str, Any]] = told["bodies"]
        self._handshake: dict[str, dict[str, int]] = told["handshake"]
        self._modern: dict[str, dict[str, int]] = told["modern"]
        self._offered: str = told["offered"]

    @classmethod
    def read(cls) -> Manifest:
        """The shipped one."""
        return cls(json.loads(FILE.read_bytes()))

    def negotiated(self, params: object) -> str | None:
        """The version that an ``initialize`` comes to; None for one that only the server judges."""
        if not isinstance(params, dict) or not isinstance(params.get("capabilities"), dict):
            return None
        asked = params.get("protocolVersion")
        if not isinstance(asked, str) or not _is_client(params.get("clientInfo")):
            return None
        return asked if asked in self._handshake else self._offered

    def answer(self, method: str, params: object, negotiated: str | None) -> object | None:
        """The server's answer to a request; None where only the server itself can answer.

        Args:
            negotiated: the version of the handshake, once there was one.
        """
        given = params if isinstance(params, dict) else {}
        meta = given.get("_meta")
        asked = meta.get(f"{_META}protocolVersion") if isinstance(meta, dict) else None
        # A cursor, or anything else that is not the same for everybody, is the server's.
        if method != "initialize" and (given.keys() - {"_meta"} or not _is_plain(params, meta)):
            return None
        if not isinstance(meta, dict) or asked is None:
            if negotiated is None:
                return None
            return {} if method == "ping" else self._body(self._handshake, negotiated, method)
        client = meta.get(f"{_META}clientInfo")
        capable = isinstance(meta.get(f"{_META}clientCapabilities"), dict)
        if negotiated is not None or not capable or not (client is None or _is_client(client)):
            return None
        return self._body(self._modern, asked, method)

    def _body(self, era: dict[str, dict[str, int]], version: object, method: str) -> object | None:
        if not isinstance(version, str):
            return None
        index = era.get(version, {}).get(method)
        return None if index is None else self._bodies[index]


def _is_plain(params: object, meta: object) -> bool:
    return (params is None or isinstance(params, dict)) and (meta is None or isinstance(meta, dict))


def _is_client(told: object) -> bool:
    if not isinstance(told, dict):
        return False
    return isinstance(told.get("name"), str) and isinstance(told.get("version"), str)
