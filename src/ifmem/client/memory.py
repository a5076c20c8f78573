"""The library: a memory as an object, opened for async code or for code that is not."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

from ifmem.client import launch
from ifmem.client.blocking import BlockingMemory, open_blocking
from ifmem.client.verbs import Verbs
from ifmem.settings import Settings, as_flags, read_settings


class Memory(Verbs):
    """A space of the shared memory, as every process of this home sees it.

    Example:
        async with Memory.open(space="acme") as memory:
            await memory.load("src/")
            answer = await memory.ask("Where is the retry budget enforced?")
            print(answer.text, answer.citations)

    Paths and ``source=`` filters are relative to the directory in which it was opened. Below a
    ``.ifmem.toml`` a search is about that project unless it says ``scope="space"``.

    Every verb raises ``Unavailable`` when the daemon ends; one that writes raises
    ``OutcomeUnknown`` then, and may be repeated.
    """

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        space: str | None = None,
        *,
        home: str | os.PathLike[str] | None = None,
        redis: str | None = None,
        run: str | None = None,
        settings: Settings | None = None,
    ) -> AsyncIterator[Memory]:
        """A memory, connected to the home's daemon, which is started when none runs.

        Args:
            space: an isolated memory by name; by default what the settings say.
            home: where the memory lies; by default ``IFMEM_HOME`` or the user's data directory.
            redis: the URL of a Redis or Valkey, for a daemon that is started now.
            run: whose tasks are handed out, and whose findings are seen; by default the space's.
            settings: all settings, instead of reading them; the arguments before are ignored.

        Raises:
            ConfigError: a setting is wrong.
            NotPermitted: the home is not ours.
            Unavailable: the daemon does not start.
        """
        directory = Path.cwd()
        settings = settings or settings_for(directory, space=space, home=home, redis=redis, run=run)
        connection = await launch.connect(settings)
        try:
            yield cls(connection, settings, directory)
        finally:
            await connection.close()

    @staticmethod
    def open_sync(
        space: str | None = None,
        *,
        home: str | os.PathLike[str] | None = None,
        redis: str | None = None,
        run: str | None = None,
        settings: Settings | None = None,
    ) -> AbstractContextManager[BlockingMemory]:
        """The same memory for code that is not async.

        Example:
            with Memory.open_sync() as memory:
                memory.load("notes/")
                print(memory.ask("When is the launch?").text)
        """
        return open_blocking(Memory.open(space, home=home, redis=redis, run=run, settings=settings))


def settings_for(
    directory: Path,
    *,
    space: str | None = None,
    home: str | os.PathLike[str] | None = None,
    redis: str | None = None,
    role: str | None = None,
    run: str | None = None,
) -> Settings:
    """The settings as seen from a directory, with these taken before all others.

    Raises:
        ConfigError: one of them is wrong.
    """
    flags = as_flags(
        [
            ("space", space),
            ("home", None if home is None else os.fspath(home)),
            ("redis.url", redis),
            ("role", role),
            ("run", run),
        ]
    )
    return read_settings(flags=flags, environment=os.environ, directory=directory)[0]
