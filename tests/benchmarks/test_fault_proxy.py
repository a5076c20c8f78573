"""The proxy spoils connections as it was told, and heals."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ifmem.benchmarks.fault_proxy import FaultProxy, Faults, Place, fault_proxy, fault_proxy_thread
from ifmem.clock import monotonic

PATIENCE_S = 10.0
SILENCE_S = 0.2
LARGE = bytes(range(256)) * 4_000


@asynccontextmanager
async def echo(listen: Path | None) -> AsyncIterator[Place]:
    """A server that sends back what it is sent."""

    left = asyncio.Semaphore(0)
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
            writer.close()
            await writer.wait_closed()
        left.release()

    if listen is None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        place: Place = server.sockets[0].getsockname()[:2]
    else:
        server = await asyncio.start_unix_server(serve, listen)
        place = listen
    async with server:
        yield place
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(served):
                await left.acquire()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def echoes(self, data: bytes) -> bool:
        self.writer.write(data)
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readexactly(len(data)) == data

    async def hears_nothing_of(self, data: bytes) -> bool:
        """True when neither an answer nor an end comes."""
        self.writer.write(data)
        try:
            async with asyncio.timeout(SILENCE_S):
                await self.reader.read(1)
        except TimeoutError:
            return True
        return False

    async def rest(self) -> bytes:
        """What still comes until the end, however that is."""
        heard = b""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                while data := await self.reader.read(65_536):
                    heard += data
        return heard


@asynccontextmanager
async def client(place: Place) -> AsyncIterator[Client]:
    if isinstance(place, Path):
        reader, writer = await asyncio.open_unix_connection(place)
    else:
        reader, writer = await asyncio.open_connection(*place)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.fixture(params=["tcp", "unix"])
def places(request: pytest.FixtureRequest) -> Iterator[tuple[Path | None, Path | None]]:
    """Where the server and the proxy listen; a short path, as sockets need."""
    if request.param == "tcp":
        yield None, None
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "s", Path(folder) / "p"


Places = tuple[Path | None, Path | None]


@asynccontextmanager
async def proxied(places: Places) -> AsyncIterator[tuple[FaultProxy, Client]]:
    async with (
        echo(places[0]) as upstream,
        fault_proxy(upstream, places[1]) as proxy,
        client(proxy.place) as one,
    ):
        assert await one.echoes(b"at first it works")
        yield proxy, one


async def works_again(proxy: FaultProxy) -> bool:
    async with client(proxy.place) as another:
        return await another.echoes(b"again")


def test_without_faults_every_byte_arrives_in_order(places: Places) -> None:
    async def run() -> None:
        async with proxied(places) as (_, one):
            assert await one.echoes(LARGE)

    asyncio.run(run())


def test_latency_delays_each_way_and_keeps_the_order(places: Places) -> None:
    async def run() -> None:
        async with proxied(places) as (proxy, one):
            proxy.spoil(Faults(latency_s=0.05))
            began = monotonic()
            assert await one.echoes(LARGE)
            # Both ways once, not once for each of the pieces.
            assert 0.1 <= monotonic() - began < 2
            proxy.heal()
            assert await one.echoes(b"on time")

    asyncio.run(run())


def test_a_reset_ends_every_connection_and_new_ones_are_served(places: Places) -> None:
    async def run() -> None:
        async with proxied(places) as (proxy, one), client(proxy.place) as other:
            assert await other.echoes(b"two")
            proxy.reset()
            assert (await one.rest(), await other.rest()) == (b"", b"")
            assert await works_again(proxy)

    asyncio.run(run())


@pytest.mark.parametrize(
    "faults",
    [Faults(swallow="requests"), Faults(swallow="answers"), Faults(black_hole=True)],
    ids=["requests", "answers", "black hole"],
)
def test_what_is_lost_leaves_silence_until_healing_resets_the_connection(
    places: Places, faults: Faults
) -> None:
    async def run() -> None:
        async with proxied(places) as (proxy, one):
            proxy.spoil(faults)
            async with client(proxy.place) as late:
                assert await one.hears_nothing_of(b"lost")
                assert await late.hears_nothing_of(b"lost")
                proxy.heal()
                assert (await one.rest(), await late.rest()) == (b"", b"")
            assert await works_again(proxy)

    asyncio.run(run())


def test_a_connection_that_lost_nothing_survives_the_fault(places: Places) -> None:
    async def run() -> None:
        async with proxied(places) as (proxy, one):
            proxy.spoil(Faults(black_hole=True))
            proxy.heal()
            assert await one.echoes(b"still there")

    asyncio.run(run())


def test_a_connection_is_cut_after_so_many_bytes_and_those_arrive(places: Places) -> None:
    async def run() -> None:
        async with proxied(places) as (proxy, one):
            proxy.spoil(Faults(cut_after=15))
            one.writer.write(b"0123456789")
            assert await one.rest() == b"01234"
            proxy.heal()
            assert await works_again(proxy)

    asyncio.run(run())


def test_a_server_that_is_gone_ends_the_connection() -> None:
    async def run() -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            nobody = probe.getsockname()
        async with fault_proxy(nobody) as proxy, client(proxy.place) as one:
            assert await one.rest() == b""

    asyncio.run(run())


def test_in_a_thread_of_its_own_it_obeys_another_thread(places: Places) -> None:
    async def run() -> None:
        async with echo(places[0]) as upstream:
            with fault_proxy_thread(upstream, places[1]) as proxy:
                async with client(proxy.place) as one:
                    assert await one.echoes(b"works")
                    proxy.spoil(Faults(swallow="answers"))
                    assert await one.hears_nothing_of(b"lost")
                    proxy.heal()
                    assert await one.rest() == b""

    asyncio.run(run())


def test_in_a_thread_what_cannot_be_listened_on_is_told() -> None:
    with (
        pytest.raises(FileNotFoundError),
        fault_proxy_thread(("127.0.0.1", 1), Path("/no such place/p")),
    ):
        pass
