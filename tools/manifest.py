"""Write what the MCP server says of itself, for the shim to tell while no daemon is there.

python tools/manifest.py            write src/ifmem/shim/manifest.json
python tools/manifest.py --check    exit 1 when it is out of date
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from mcp_types.version import (
    HANDSHAKE_PROTOCOL_VERSIONS,
    LATEST_HANDSHAKE_VERSION,
    MODERN_PROTOCOL_VERSIONS,
)

from ifmem.errors import Unavailable
from ifmem.mcp_server.port import Caller, caller_of_connection
from ifmem.mcp_server.server import build_server
from ifmem.mcp_server.streams import Speak, speaker

FILE = Path(__file__).resolve().parent.parent / "src" / "ifmem" / "shim" / "manifest.json"
LISTS = ("tools/list", "resources/list", "resources/templates/list", "prompts/list")
_META = "io.modelcontextprotocol/"
_CLIENT = {"name": "manifest", "version": "0"}
_LIMIT = 1 << 24


class _NoMemory:
    """The lists are the same for every memory, or they are none of the manifest's."""

    async def call(self, method: str, *_: object, **__: object) -> NoReturn:
        raise Unavailable(f"{method} needs a memory")


def rendered() -> str:
    """The manifest as it should be."""
    return asyncio.run(_rendered())


async def _rendered() -> str:
    version = metadata.version("ifmem")
    speak = speaker(build_server(_NoMemory(), version=version), limit=_LIMIT)
    told: dict[str, Any] = {"version": version, "offered": LATEST_HANDSHAKE_VERSION, "reading": []}
    bodies: list[Any] = []
    for era, versions in (
        ("handshake", HANDSHAKE_PROTOCOL_VERSIONS),
        ("modern", MODERN_PROTOCOL_VERSIONS),
    ):
        told[era] = {}
        for one in versions:
            answers = await _answers(speak, _requests(one, modern=era == "modern"))
            told[era][one] = {name: _index(bodies, body) for name, body in answers.items()}
    tools = answers.get("tools/list", {}).get("tools", [])
    told["reading"] = sorted(t["name"] for t in tools if _only_reads(t))
    return json.dumps(told | {"bodies": bodies}, indent=1, ensure_ascii=False) + "\n"


def _requests(version: str, *, modern: bool) -> list[tuple[str, dict[str, Any]]]:
    capabilities: dict[str, Any] = {}
    if not modern:
        hello = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": _CLIENT}
        return [("initialize", hello), *((name, {}) for name in LISTS)]
    meta = {
        f"{_META}protocolVersion": version,
        f"{_META}clientCapabilities": capabilities,
        f"{_META}clientInfo": _CLIENT,
    }
    return [(name, {"_meta": meta}) for name in ("server/discover", *LISTS)]


async def _answers(speak: Speak, requests: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """The results by method; a request that is refused has none."""
    near, far = socket.socketpair()
    caller_of_connection.set(Caller(agent="manifest", space="default"))
    reader, writer = await asyncio.open_connection(sock=near, limit=_LIMIT)
    answers: dict[str, Any] = {}
    async with asyncio.TaskGroup() as group:
        group.create_task(speak(*await asyncio.open_connection(sock=far, limit=_LIMIT)))
        for number, (method, params) in enumerate(requests):
            message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            writer.write(json.dumps(message).encode() + b"\n")
            answer = json.loads(await reader.readline())
            if "result" in answer:
                answers[method] = answer["result"]
        writer.close()
    return answers


def _index(bodies: list[Any], body: Any) -> int:
    if body not in bodies:
        bodies.append(body)
    return bodies.index(body)


def _only_reads(tool: dict[str, Any]) -> bool:
    return bool(tool.get("annotations", {}).get("readOnlyHint"))


def main() -> int:
    """Write it, or check it."""
    text = rendered()
    if "--check" in sys.argv:
        return 0 if FILE.is_file() and FILE.read_text(encoding="utf-8") == text else 1
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
