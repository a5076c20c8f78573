"""A server of our own choosing on a Unix socket or loopback, killed and started again at will."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from ifmem import clock
from ifmem.bus.connection import connect
from ifmem.bus.server_binary import choose_binary, made_executable, packaged_binary
from ifmem.errors import Failed, Unavailable
from ifmem.settings import RedisSettings

_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.002

NO_PERSISTENCE = {"appendonly": "no"}
EVERYSEC = {"appendonly": "yes", "appendfsync": "everysec"}
ALWAYS = {"appendonly": "yes", "appendfsync": "always"}


class BareServer:
    """The program that the embedded bus runs, without anything of ours around it."""

    def __init__(self, directory: Path, options: Mapping[str, str], *, port: int = 0) -> None:
        """A server that keeps its data in ``directory``.

        Args:
            port: of loopback; 0 for a Unix socket in the directory.
        """
        self._directory = directory
        self._socket = directory / "bare.sock"
        self._port = port
        self._options = options
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """What a client is given."""
        if self._port:
            return f"redis://127.0.0.1:{self._port}/0"
        return f"unix://{self._socket}"

    async def start(self) -> None:
        """Start it; returns when it has read its data and answers.

        Raises:
            Failed: it does not.
        """
        binary = made_executable(choose_binary(packaged_binary()), private=self._directory)
        settings = {
            "port": str(self._port),
            "bind": "127.0.0.1",
            "unixsocket": str(self._socket),
            "dir": str(self._directory),
            "save": "",
            **self._options,
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        self._process = await asyncio.create_subprocess_exec(
            binary,
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        deadline = clock.monotonic() + _PATIENCE_SECONDS
        while True:
            with suppress(Unavailable):
                await (await connect(RedisSettings(url=self.url), self._directory)).aclose()
                return
            if self._process.returncode is not None or clock.monotonic() > deadline:
                raise Failed(f"the server in {self._directory} does not start")
            await asyncio.sleep(_LOOK_SECONDS)

    async def kill(self) -> None:
        """End it at once (SIGKILL)."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def bare_server(
    directory: Path, options: Mapping[str, str], *, port: int = 0
) -> AsyncIterator[BareServer]:
    """A running server; it is killed on the way out."""
    await asyncio.to_thread(directory.mkdir, mode=0o700, parents=True, exist_ok=True)
    server = BareServer(directory, options, port=port)
    try:
        await server.start()
        yield server
    finally:
        await server.kill()


def free_port() -> int:
    """A port of loopback that nobody listened at a moment ago."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
