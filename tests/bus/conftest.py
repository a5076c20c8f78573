"""A real server for the tests of the bus: one for each module, emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from ifmem.bus.embedded import attach, stop


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory: Path = tmp_path_factory.mktemp("bus")
    yield attach(directory, idle=timedelta(seconds=20)).url
    stop(directory)


@pytest.fixture
def plain(server_url: str) -> Iterator[redis.Redis]:
    """A client that knows nothing of ifmem, on an empty server."""
    with redis.Redis.from_url(server_url, decode_responses=True) as client:
        client.flushall()
        client.function_flush()
        client.script_flush()
        yield client
