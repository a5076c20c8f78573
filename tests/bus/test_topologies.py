"""One client through restarts and fail-overs: one server, Sentinels, a Cluster, all real."""

from __future__ import annotations

import asyncio
import select
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import RedisError

from ifmem.benchmarks.fault_proxy import Faults, fault_proxy
from ifmem.bus import connection
from ifmem.bus.access import acl_line
from ifmem.bus.connection import Server, blocking, connect, load_everywhere, run_id, subscriber
from ifmem.bus.following import FollowingConnection
from ifmem.bus.inspection import foreign_keys
from ifmem.bus.server_binary import choose_binary, packaged_binary
from ifmem.clock import monotonic
from ifmem.errors import ConfigError, IfMemError, Invalid, NotPermitted, Unavailable
from ifmem.settings import RedisSettings
from ifmem.wire import keys
from ifmem.wire.keys import Keys

PATIENCE_S = 30.0
FAKE = "-".join(("not", "a", "secret"))
SPACE = "acme"
LIBRARY = """#!lua name=probe
redis.register_function('probe_put', function(names, args)
  redis.call('SET', args[1] .. 'context:active', args[2])
  redis.call('PUBLISH', args[1] .. 'channel:findings', args[2])
  return args[2]
end)
"""
Answer = TypeVar("Answer")


@dataclass
class Process:
    """A server program that a test may kill and start again at the same place."""

    directory: Path
    words: tuple[str, ...]
    port: int = 0
    running: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> Process:
        """Running and answering."""
        for _ in range(5):
            port = self.port or free_port()
            self.running = self._run(port)
            if self._answers(port):
                self.port = port
                return self
            self.kill()
        raise AssertionError("no server starts")

    def _run(self, port: int) -> subprocess.Popen[bytes]:
        self.directory.mkdir(exist_ok=True)
        program = choose_binary(packaged_binary())
        common = ("--port", str(port), "--bind", "127.0.0.1", "--dir", str(self.directory))
        return subprocess.Popen(
            [program, *self.words, *common], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def _answers(self, port: int) -> bool:
        end = monotonic() + PATIENCE_S
        while self.running is not None and self.running.poll() is None and monotonic() < end:
            with suppress(RedisError), redis.Redis(port=port) as plain:
                return bool(plain.ping())
            select.select([], [], [], 0.01)
        return False

    def kill(self) -> None:
        """Gone without a word, as after ``kill -9``."""
        if self.running is not None:
            self.running.kill()
            self.running.wait(PATIENCE_S)

    def say(self, *words: object) -> Any:
        """A command from a client that knows nothing of ifmem."""
        with redis.Redis(port=self.port, decode_responses=True) as plain:
            return plain.execute_command(*words)


PLAIN = ("--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Process]]:
    """Starts servers, and ends them after the module."""
    with ExitStack() as ending:

        def started(*words: str) -> Process:
            process = Process(tmp_path_factory.mktemp("server"), words)
            ending.callback(process.kill)
            return process.start()

        yield started


@pytest.fixture(scope="module")
def watched(servers: Callable[..., Process], tmp_path_factory: Any) -> tuple[str, list[Process]]:
    """A URL of three Sentinels, and the primary and the replica that they watch."""
    primary = servers(*PLAIN)
    replica = servers(*PLAIN, "--replicaof", f"127.0.0.1 {primary.port}")
    eventually(lambda: primary.say("INFO", "replication")["slave0"]["state"] == "online")
    sentinels = []
    for n in range(3):
        rules = tmp_path_factory.mktemp("sentinel") / f"{n}.conf"
        rules.write_text(
            f"sentinel monitor team 127.0.0.1 {primary.port} 2\n"
            "sentinel down-after-milliseconds team 500\n"
            "sentinel failover-timeout team 3000\n",
            encoding="utf-8",
        )
        sentinels.append(servers(str(rules), "--sentinel"))
    for one in sentinels:
        eventually(lambda one=one: knows_the_others(one))
    hosts = ",".join(f"127.0.0.1:{one.port}" for one in sentinels)
    return f"redis+sentinel://{hosts}/team", [primary, replica]


def knows_the_others(sentinel: Process) -> bool:
    with redis.Redis(port=sentinel.port) as plain:
        about = plain.sentinel_master("team")
    return (about["num-slaves"], about["num-other-sentinels"]) == (1, 2)


@pytest.fixture(scope="module")
def cluster(servers: Callable[..., Process]) -> list[Process]:
    """Three primaries, and a replica of the one that has the space's slot, which is the first."""
    nodes = [
        servers(
            *PLAIN,
            *("--cluster-enabled", "yes", "--cluster-node-timeout", "500"),
            *("--cluster-port", str(free_port()), "--cluster-require-full-coverage", "no"),
            *("--cluster-replica-validity-factor", "0"),
        )
        for _ in range(4)
    ]
    slot = key_slot(b"acme")
    bounds = [(slot, 16383), (0, slot // 2), (slot // 2 + 1, slot - 1)]
    for epoch, (node, (first, last)) in enumerate(zip(nodes, bounds, strict=False), 1):
        node.say("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        node.say("CLUSTER", "ADDSLOTSRANGE", first, last)
    for node in nodes[1:]:
        node.say("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, bus_port(nodes[0]))
    owner = nodes[0].say("CLUSTER", "MYID")
    eventually(lambda: all(owner in str(node.say("CLUSTER", "NODES")) for node in nodes))
    nodes[3].say("CLUSTER", "REPLICATE", owner)
    eventually(lambda: all(is_whole(node) for node in nodes))
    eventually(lambda: nodes[3].say("INFO", "replication")["master_link_status"] == "up")
    return nodes


def bus_port(node: Process) -> int:
    return int(node.words[node.words.index("--cluster-port") + 1])


def is_whole(node: Process) -> bool:
    ranges = node.say("CLUSTER", "SLOTS")
    replicas = sum(len(one) - 3 for one in ranges)
    is_up = "cluster_state:ok" in str(node.say("CLUSTER", "INFO"))
    return is_up and len(ranges) == 3 and replicas == 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(is_so: Callable[[], object]) -> None:
    """Wait until it is; a server that does not answer yet says no."""
    end = monotonic() + PATIENCE_S
    while monotonic() < end:
        with suppress(RedisError, LookupError):
            if is_so():
                return
        select.select([], [], [], 0.01)
    raise AssertionError(f"it did not become so in {PATIENCE_S} s")


async def first_answer(ask: Callable[[], Awaitable[Answer]]) -> tuple[Answer, int]:
    """The first answer, and how often there was none."""
    refusals = 0
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await ask(), refusals
            except (RedisError, Unavailable):
                refusals += 1


@asynccontextmanager
async def connected(url: str, space: str = "default") -> AsyncIterator[tuple[Server, Keys]]:
    server = await connect(RedisSettings(url=url), Path())
    try:
        names = server.keys(space)
        yield server.for_space(names), names
    finally:
        await server.aclose()


@asynccontextmanager
async def heard(server: Server, names: Keys) -> AsyncIterator[PubSub]:
    async with subscriber(server).pubsub(ignore_subscribe_messages=True) as following:
        await following.subscribe(names.of(keys.CHANNEL_FINDINGS))
        # Answered, so what is published from here on arrives.
        await following.get_message(timeout=PATIENCE_S)
        yield following


async def next_heard(following: PubSub) -> bytes:
    message, _ = await first_answer(lambda: following.get_message(timeout=PATIENCE_S))
    if message is None:
        return await next_heard(following)
    return bytes(message["data"])


async def put(server: Server, names: Keys, value: str) -> bytes:
    """One step of the bus: a function of ours that writes and publishes."""
    answer: Any = await server.client.fcall("probe_put", 1, names.slot, names.prefix, value)
    return bytes(answer)


async def everything_works(server: Server, names: Keys) -> None:
    """Functions, pipelines, transactions, subscriptions, waiting: the same in every topology."""
    active = names.of(keys.CONTEXT_ACTIVE)
    await load_everywhere(server, LIBRARY)
    async with heard(server, names) as following:
        assert await put(server, names, "7") == b"7"
        assert await next_heard(following) == b"7"
    for transaction in (False, True):
        async with server.client.pipeline(transaction=transaction) as pipe:
            pipe.mget(active, names.of(keys.OWNER))
            pipe.fcall("probe_put", 1, names.slot, names.prefix, "8")
            assert (await pipe.execute())[1] == b"8"
    waiting = blocking(server, longest=timedelta(seconds=PATIENCE_S))
    async with asyncio.TaskGroup() as group:
        taken = group.create_task(waiting.blpop([names.of(keys.CALLS)], PATIENCE_S))
        await server.client.rpush(names.of(keys.CALLS), "call")
    assert taken.result()[1] == b"call"


async def goes_on_when(
    server: Server, names: Keys, interrupt: Callable[[], None]
) -> tuple[str, str]:
    """Work on with one client while the primary goes away; its identity before and after."""
    await load_everywhere(server, LIBRARY)
    async with heard(server, names) as following:
        before = await run_id(server.client)
        acknowledged = 0

        async def work() -> None:
            nonlocal acknowledged
            while True:
                with suppress(RedisError):
                    acknowledged = int(await put(server, names, str(acknowledged + 1)))

        async with asyncio.TaskGroup() as group:
            worker = group.create_task(work())
            while acknowledged < 20:
                await next_heard(following)
            await asyncio.to_thread(interrupt)
            goal = acknowledged + 20
            while int(await next_heard(following)) < goal:
                pass
            worker.cancel()
        last, _ = await first_answer(lambda: server.client.get(names.of(keys.CONTEXT_ACTIVE)))
        assert int(last or 0) >= goal
        return before, (await first_answer(lambda: run_id(server.client)))[0]


def test_everything_works_on_one_server(servers: Callable[..., Process]) -> None:
    async def run() -> None:
        async with connected(f"redis://127.0.0.1:{servers(*PLAIN).port}") as (server, names):
            assert (server.topology, names.prefix) == ("single", "")
            await everything_works(server, names)

    asyncio.run(run())


def test_everything_works_behind_sentinels(watched: tuple[str, list[Process]]) -> None:
    async def run() -> None:
        async with connected(watched[0]) as (server, names):
            assert (server.topology, names.prefix) == ("sentinel", "")
            await everything_works(server, names)

    asyncio.run(run())


def test_everything_works_on_a_cluster_and_a_plain_url_of_a_node_is_enough(
    cluster: list[Process],
) -> None:
    async def run(url: str) -> None:
        async with connected(url, SPACE) as (server, names):
            assert (server.topology, names.prefix) == ("cluster", "{acme}:")
            await everything_works(server, names)
            await server.client.delete(names.of(keys.CONTEXT_ACTIVE))
            await server.client.hset(names.of(keys.CONTEXT_ACTIVE), "foreign", "1")
            assert [key.name for key in await foreign_keys(server.client, names)] == [
                "{acme}:context:active"
            ]
            await server.client.delete(names.of(keys.CONTEXT_ACTIVE))

    asyncio.run(run(f"redis://127.0.0.1:{cluster[1].port}"))
    asyncio.run(run(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{cluster[2].port}"))


def test_functions_are_loaded_on_every_primary_of_a_cluster(cluster: list[Process]) -> None:
    async def run() -> None:
        async with connected(f"redis://127.0.0.1:{cluster[0].port}", SPACE) as (server, _):
            await load_everywhere(server, LIBRARY.replace("probe", "spread"))

    asyncio.run(run())
    for node in (pair(cluster)[0], *cluster[1:3]):
        assert "spread" in str(node.say("FUNCTION", "LIST"))


def test_the_default_space_is_refused_on_a_cluster(cluster: list[Process]) -> None:
    async def run() -> None:
        async with connected(f"redis://127.0.0.1:{cluster[0].port}"):
            pass

    with pytest.raises(Invalid, match="--space NAME"):
        asyncio.run(run())


def test_a_client_follows_a_slot_that_moves(cluster: list[Process]) -> None:
    space = next(f"s{n}" for n in range(99) if key_slot(f"s{n}".encode()) < key_slot(b"acme") // 2)
    target = cluster[2].say("CLUSTER", "MYID")

    async def run() -> tuple[str, str]:
        async with connected(f"redis://127.0.0.1:{cluster[0].port}", space) as (server, names):
            assert await server.client.get(names.slot) is None
            before = await run_id(server.client)
            for node in (cluster[2], cluster[1], cluster[0]):
                node.say("CLUSTER", "SETSLOT", key_slot(space.encode()), "NODE", target)
            assert await server.client.rpush(names.of(keys.CALLS), "call") == 1
            return before, await run_id(server.client)

    before, after = asyncio.run(run())
    assert [before, after] == [node.say("INFO", "server")["run_id"] for node in cluster[1:3]]


def test_a_server_that_was_away_is_served_by_the_same_client(
    servers: Callable[..., Process],
) -> None:
    kept = servers("--save", "", "--appendonly", "yes", "--appendfsync", "always")

    async def run() -> None:
        async with connected(f"redis://127.0.0.1:{kept.port}") as (server, names):
            kept.kill()
            with pytest.raises(RedisError):
                await server.client.get(names.of(keys.OWNER))
            with pytest.raises(Unavailable):
                await run_id(server.client)
            kept.start()

            def restart() -> None:
                kept.kill()
                kept.start()

            before, after = await goes_on_when(server, names, restart)
            assert before != after

    asyncio.run(run())


def test_a_replica_taken_for_the_primary_is_left_at_its_first_refusal(
    watched: tuple[str, list[Process]],
) -> None:
    primary, replica = watched[1]

    class Misled:
        """Points to the replica first, as one does who has not heard of a fail-over."""

        def __init__(self) -> None:
            self.ports = [replica.port, primary.port]

        async def find(self) -> tuple[str, int]:
            return "127.0.0.1", self.ports.pop(0)

    async def run() -> None:
        pool = ConnectionPool(
            FollowingConnection, guide=Misled(), protocol=3, retry=Retry(NoBackoff(), 1)
        )
        async with Redis.from_pool(pool) as client:
            assert await client.get("nothing") is None
            assert await client.set("misled", "no")

    asyncio.run(run())
    assert primary.say("GET", "misled") == "no"


def test_a_fail_over_of_sentinels_is_followed_under_load(
    watched: tuple[str, list[Process]],
) -> None:
    url, (primary, replica) = watched

    async def run() -> tuple[str, str]:
        async with connected(url) as (server, names):
            return await goes_on_when(server, names, primary.kill)

    before, after = asyncio.run(run())
    assert before != after == replica.say("INFO", "server")["run_id"]


def pair(cluster: list[Process]) -> tuple[Process, Process]:
    """The space's primary and its replica as they are now."""
    one, other = cluster[0], cluster[3]
    is_primary = one.say("INFO", "replication")["role"] == "master"
    return (one, other) if is_primary else (other, one)


def test_a_waiting_command_goes_on_waiting_at_the_new_primary(cluster: list[Process]) -> None:
    primary, replica = pair(cluster)

    async def run() -> None:
        async with connected(f"redis://127.0.0.1:{cluster[1].port}", SPACE) as (server, names):
            calls = names.of(keys.CALLS)
            waiting = blocking(server, longest=timedelta(seconds=PATIENCE_S))
            async with asyncio.TaskGroup() as group:
                taken = group.create_task(waiting.blpop([calls], PATIENCE_S))
                await asyncio.to_thread(
                    eventually, lambda: primary.say("INFO", "clients")["blocked_clients"] == 1
                )
                replica.say("CLUSTER", "FAILOVER")
                await asyncio.to_thread(
                    eventually, lambda: replica.say("INFO", "clients")["blocked_clients"] == 1
                )
                await first_answer(lambda: server.client.rpush(calls, "call"))
            assert taken.result()[1] == b"call"

    asyncio.run(run())


def test_a_fail_over_of_a_cluster_is_followed_under_load(cluster: list[Process]) -> None:
    eventually(lambda: pair(cluster)[1].say("INFO", "replication")["master_link_status"] == "up")
    primary, replica = pair(cluster)

    async def run() -> tuple[str, str]:
        async with connected(f"redis://127.0.0.1:{cluster[1].port}", SPACE) as (server, names):
            return await goes_on_when(server, names, primary.kill)

    before, after = asyncio.run(run())
    assert before != after == replica.say("INFO", "server")["run_id"]


@pytest.mark.parametrize(
    ("url", "error", "hint"),
    [
        ("redis://127.0.0.1:{dead}", Unavailable, "start one"),
        ("redis+cluster://127.0.0.1:{dead}", Unavailable, "start one"),
        ("redis+sentinel://127.0.0.1:{dead}/team", Unavailable, "start one"),
        ("redis+cluster://127.0.0.1:{plain}", ConfigError, "write redis://"),
        ("redis+sentinel://127.0.0.1:{plain}/team", Unavailable, "team"),
        ("redis://me:{fake}@127.0.0.1:{plain}", NotPermitted, "ACL line"),
        ("redis://127.0.0.1:{plain}?no_such_option=1", ConfigError, "no_such_option"),
    ],
)
def test_a_server_that_cannot_be_used_says_why_and_what_to_do(
    servers: Callable[..., Process], url: str, error: type[IfMemError], hint: str
) -> None:
    plain = servers(*PLAIN)
    named = url.format(dead=free_port(), plain=plain.port, fake=FAKE)
    with pytest.raises(error, match=hint) as refusal:
        asyncio.run(connect(RedisSettings(url=named), Path()))
    assert FAKE not in refusal.value.message


def test_a_sentinel_named_as_a_server_and_an_unknown_primary_are_explained(
    watched: tuple[str, list[Process]],
) -> None:
    host = watched[0].partition("//")[2].partition(",")[0]
    with pytest.raises(ConfigError, match="is a Sentinel"):
        asyncio.run(connect(RedisSettings(url=f"redis://{host}"), Path()))
    with pytest.raises(Unavailable, match="knows a primary 'other'"):
        asyncio.run(connect(RedisSettings(url=f"redis+sentinel://{host}/other"), Path()))


def test_the_user_of_the_access_list_may_work_on_a_cluster_and_no_other(
    cluster: list[Process],
) -> None:
    names = Keys(SPACE, hash_tagged=True)
    for node in cluster:
        with suppress(RedisError):
            node.say(*acl_line(names).replace("PASSWORD", FAKE).split())

    async def run(password: str) -> None:
        url = f"redis://ifmem:{password}@127.0.0.1:{cluster[1].port}"
        async with connected(url, SPACE) as (server, names):
            await load_everywhere(server, LIBRARY)
            assert await put(server, names, "1") == b"1"
            assert await foreign_keys(server.client, names) == []
            assert await run_id(server.client)

    asyncio.run(run(FAKE))
    with pytest.raises(NotPermitted):
        asyncio.run(run("another"))


def test_a_connection_that_goes_silent_does_not_hold_a_waiting_command_for_ever(
    servers: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.3)
    port = servers(*PLAIN).port

    async def run() -> None:
        async with (
            fault_proxy(("127.0.0.1", port)) as proxy,
            connected(f"redis://127.0.0.1:{proxy.place[1]}") as (server, names),  # type: ignore[index]
        ):
            waiting = blocking(server, longest=timedelta(seconds=0.6))
            # Longer than any other answer may take.
            assert await waiting.blpop([names.of(keys.CALLS)], 0.6) is None
            proxy.spoil(Faults(swallow="answers"))
            with pytest.raises(RedisError):
                await waiting.blpop([names.of(keys.CALLS)], 0.1)
            proxy.heal()
            assert await waiting.blpop([names.of(keys.CALLS)], 0.1) is None

    asyncio.run(run())


@pytest.mark.parametrize("cut_after", [None, 1_500])
def test_a_connection_that_breaks_is_not_noticed_by_the_caller(
    servers: Callable[..., Process], cut_after: int | None
) -> None:
    plain = servers(*PLAIN)

    async def run() -> None:
        async with (
            fault_proxy(("127.0.0.1", plain.port)) as proxy,
            connected(f"redis://127.0.0.1:{proxy.place[1]}") as (server, names),  # type: ignore[index]
        ):
            await load_everywhere(server, LIBRARY)
            proxy.spoil(Faults(cut_after=cut_after))
            before = plain.say("INFO", "stats")["total_connections_received"]
            for n in range(100):
                if cut_after is None and n % 10 == 0:
                    proxy.reset()
                assert await put(server, names, str(n)) == str(n).encode()
            assert plain.say("INFO", "stats")["total_connections_received"] > before + 5

    asyncio.run(run())


def test_a_loop_over_the_bus_ends_when_it_is_cancelled(servers: Callable[..., Process]) -> None:
    url = f"redis://127.0.0.1:{servers(*PLAIN).port}"

    async def run() -> None:
        async with connected(url) as (server, names):

            async def work() -> None:
                while True:
                    await server.client.get(names.slot)

            for turns in range(300):
                async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
                    worker = group.create_task(work())
                    for _ in range(turns % 40):
                        await asyncio.sleep(0)
                    worker.cancel()

    asyncio.run(run())


def test_closing_a_server_closes_every_client_made_for_it(cluster: list[Process]) -> None:
    async def run() -> list[Redis]:
        async with connected(f"redis://127.0.0.1:{cluster[1].port}", SPACE) as (server, names):
            made = [server.client, subscriber(server), blocking(server)]
            for client in made:
                await client.get(names.slot)
            pools = [client.connection_pool for client in made]
        assert not [c for pool in pools for c in pool._available_connections if c.is_connected]
        return made

    assert len(asyncio.run(run())) == 3
