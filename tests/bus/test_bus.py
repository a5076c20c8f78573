"""A space's side of the bus on a real server: sums, owners, windows, contexts, heartbeats."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from redis.asyncio import Redis

from ifmem.bus.bus import BLOB_GRACE_SECONDS, Bus
from ifmem.bus.connection import connect
from ifmem.bus.server_binary import choose_binary, packaged_binary
from ifmem.bus.state import LibrarianState
from ifmem.domain.shard import Shard, Speciality
from ifmem.errors import IntegrityError, NotFound, Unavailable
from ifmem.settings import RedisSettings
from ifmem.wire import blob
from ifmem.wire.blob import BlobPart, BlobPassage, Manifest
from ifmem.wire.keys import Keys

PATIENCE_S = 60


@asynccontextmanager
async def client_at(url: str) -> AsyncIterator[Redis]:
    """A client as the product itself connects."""
    server = await connect(RedisSettings(url=url), Path("unused"))
    try:
        yield server.client
    finally:
        await server.client.aclose()


def run(url: str, work: Callable[[Redis], Awaitable[None]]) -> None:
    """Does ``work`` with a client, and fails when it takes unreasonably long."""

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S), client_at(url) as client:
            await work(client)

    asyncio.run(main())


def shard(number: int, tokens: int, *, generation: int = 0) -> Shard:
    return Shard(
        number=number,
        speciality=[*Speciality][(number - 1) % 4],
        capacity=200_000,
        tokens=tokens,
        documents=3,
        generation=generation,
    )


def parts_of(name: str, texts: Sequence[str]) -> tuple[blob.BlobEntry, bytes]:
    part = BlobPart(
        source=f"/{name}",
        sha256=name * 64,
        kind="prose",
        tokens=len(texts),
        passages=tuple(BlobPassage(len(t), n, 1, 1, 1, "") for n, t in enumerate(texts)),
    )
    return blob.encode([part], "".join(texts))


async def put(
    bus: Bus,
    number: int,
    tokens: int,
    *blobs: tuple[blob.BlobEntry, bytes],
    generation: int = 0,
    replaced: Sequence[str] = (),
    bridge: str = "w-1",
) -> int:
    one = shard(number, tokens, generation=generation)
    return await bus.put_shard(
        one,
        bridge=bridge,
        manifest=Manifest(
            shard=number,
            generation=generation,
            tokens=tokens,
            blobs=tuple(entry for entry, _ in blobs),
        ),
        new_blobs={entry.sha256: data for entry, data in blobs},
        replaced=replaced,
    )


def recomputed(plain: redis.Redis, prefix: str = "") -> int:
    """The sum over active shards, from the keys as a plain reader finds them."""
    total = 0
    for name in plain.scan_iter(f"{prefix}context:shard:*:active"):
        if plain.get(name) == "1":
            total += int(plain.get(name.removesuffix("active") + "tokens"))
    return total


# Shards


def test_a_shard_appears_with_its_counts_and_its_card(server_url: str, plain: redis.Redis) -> None:
    async def work(client: Redis) -> None:
        bus = Bus(client)
        assert await put(bus, 2, 1_234, generation=5) == 1_234
        active, (state,) = await bus.shards()
        assert active == 1_234
        assert (state.number, state.speciality, state.capacity, state.tokens) == (
            2,
            "analysis-search",
            200_000,
            1_234,
        )
        assert (state.active, state.documents, state.generation, state.worker) == (
            True,
            3,
            5,
            "w-1",
        )

    run(server_url, work)
    assert plain.get("context:active") == plain.get("context:shard:2:tokens") == "1234"
    assert (plain.get("context:shard:2:capacity"), plain.get("context:shard:2:active")) == (
        "200000",
        "1",
    )


def test_a_bus_without_our_keys_says_that_it_lost_them_and_is_left_alone(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(client: Redis) -> None:
        with pytest.raises(Unavailable, match="lost the keys"):
            await Bus(client).shards()
        assert await Bus(client).findings.stored() == 0
        assert await Bus(client).ownership.owner() is None
        assert await Bus(client).log.state() is None

    run(server_url, work)
    assert plain.dbsize() == 0, "reading wrote something"


def test_putting_a_shard_again_changes_nothing(server_url: str, plain: redis.Redis) -> None:
    async def work(client: Redis) -> None:
        for _ in range(3):
            assert await put(Bus(client), 1, 70) == 70

    run(server_url, work)
    assert plain.smembers("ifmem:1:shards") == {"1"}


def test_shards_that_nobody_holds_do_not_count(server_url: str, plain: redis.Redis) -> None:
    async def work(client: Redis) -> None:
        bus = Bus(client)
        for number in (1, 2, 3):
            await put(bus, number, 10**number)
        for number in (2, 3):
            assert await bus.set_ready(number, "w-1", active=False)
        assert plain.get("context:active") == "10"
        assert await bus.take_shard(3, "w-2") is None
        assert plain.get("context:active") == "10", "taken is not ready"
        assert await bus.set_ready(3, "w-2", active=True)
        active, states = await bus.shards()
        assert active == 1_010
        assert [state.active for state in states] == [True, False, True]
        assert [state.worker for state in states] == ["w-1", "", "w-2"]

    run(server_url, work)


def test_a_shard_is_taken_from_the_dead_from_nobody_and_from_whom_one_may(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(client: Redis) -> None:
        bus = Bus(client)
        await put(bus, 1, 70)
        for worker in ("w-1", "w-2", "w-3"):
            await bus.beat(worker, expiry_seconds=60)
        assert await bus.take_shard(1, "w-2") == "w-1", "its holder lives"
        assert await bus.take_shard(1, "w-2", over="w-1") is None
        assert await bus.take_shard(1, "w-2") is None, "once more changes nothing"
        assert await bus.set_ready(1, "w-2", active=True)
        assert not await bus.set_ready(1, "w-1", active=True), "it is no longer ours"
        assert await put(bus, 1, 71) == 71
        assert (await bus.shards())[1][0].worker == "w-2", "a live holder keeps it"
        plain.delete("worker:status:w-2")
        assert await bus.take_shard(1, "w-3") is None
        assert plain.get("context:active") == "0"
        assert await bus.set_ready(1, "w-3", active=False)
        assert await bus.take_shard(1, "w-1") is None
        with pytest.raises(NotFound, match="no shard 9"):
            await bus.take_shard(9, "w-1")

    run(server_url, work)


def test_the_sum_is_right_under_sixteen_writers(server_url: str, plain: redis.Redis) -> None:
    async def writer(seed: int) -> None:
        chance = random.Random(seed)
        async with client_at(server_url) as client:
            bus = Bus(client)
            for _ in range(30):
                number = chance.randint(1, 6)
                if chance.random() < 0.4 and plain.sismember("ifmem:1:shards", number):
                    worker = f"w-{seed}"
                    await bus.take_shard(number, worker)
                    await bus.set_ready(number, worker, active=chance.random() < 0.5)
                else:
                    await put(bus, number, chance.randint(0, 200_000))

    async def watcher(done: asyncio.Event) -> int:
        looks = 0
        async with client_at(server_url) as client:
            while not done.is_set():
                async with client.pipeline(transaction=True) as pipe:
                    pipe.get("context:active")
                    for n in range(1, 7):
                        pipe.mget(f"context:shard:{n}:active", f"context:shard:{n}:tokens")
                    active, *rows = await pipe.execute()
                held = sum(int(tokens or 0) for flag, tokens in rows if flag == b"1")
                assert int(active or 0) == held, "a reader saw a sum that was not the sum"
                looks += 1
        return looks

    async def main() -> None:
        done = asyncio.Event()
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            watching = group.create_task(watcher(done))
            async with asyncio.TaskGroup() as writers:
                for seed in range(16):
                    writers.create_task(writer(seed))
            done.set()
        assert watching.result() > 10

    asyncio.run(main())
    assert int(plain.get("context:active")) == recomputed(plain)


@pytest.mark.parametrize("spoil", ["hset", "rpush", "set"])
def test_a_foreign_value_at_one_of_the_seeds_names_stops_nothing(
    server_url: str, plain: redis.Redis, spoil: str
) -> None:
    def plant(name: str) -> None:
        plain.delete(name)
        if spoil == "hset":
            plain.hset(name, "field", "value")
        elif spoil == "rpush":
            plain.rpush(name, "value")
        else:
            plain.set(name, "not a number")

    async def work(client: Redis) -> None:
        bus = Bus(client)
        await put(bus, 1, 100)
        await put(bus, 2, 20)
        for name in ("context:active", "context:shard:1:tokens", "context:shard:1:capacity"):
            plant(name)
        plant("worker:status:w-1")
        plant("librarian:shard1:quota")
        assert await put(bus, 2, 21) == 21
        active, states = await bus.shards()
        assert (active, [state.tokens for state in states]) == (21, [0, 21])
        plant("context:shard:1:active")
        assert await put(bus, 2, 22) == 22
        assert (await bus.workers(), len(await bus.librarians(5))) == ([], 5)
        assert await bus.beat("w-1", expiry_seconds=60)
        assert await put(bus, 1, 100) == 122, "writing the shard anew puts it right"

    run(server_url, work)


# Spaces


def test_spaces_do_not_see_each_other(server_url: str, plain: redis.Redis) -> None:
    async def work(client: Redis) -> None:
        here, there = Bus(client), Bus(client, Keys("acme"))
        assert (await put(here, 1, 7), await put(there, 1, 40), await put(there, 2, 2)) == (
            7,
            40,
            42,
        )
        await there.beat("w-2", expiry_seconds=60)
        await there.put_librarians([LibrarianState(1, "active", 7, 0)])
        assert await here.workers() == []
        assert await here.set_ready(1, "w-1", active=False)

    run(server_url, work)
    ours = {name for name in plain.scan_iter() if name.startswith("acme:")}
    assert {name for name in plain.scan_iter() if "worker" in name or "librarian" in name} <= ours
    assert (plain.get("context:active"), plain.get("acme:context:active")) == ("0", "42")


# Workers and librarians


def test_a_heartbeat_is_iso_time_by_the_servers_clock_and_expires(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(client: Redis) -> None:
        bus = Bus(client)
        before = plain.time()[0]
        stamp = await bus.beat("w-1", expiry_seconds=60)
        after = plain.time()[0]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp)
        assert before <= datetime.fromisoformat(stamp).timestamp() < after + 1
        assert plain.get("worker:status:w-1") == stamp
        assert 0 < plain.ttl("worker:status:w-1") <= 60
        (state,) = await bus.workers()
        assert (state.worker_id, state.heartbeat, state.alive) == ("w-1", stamp, True)

    run(server_url, work)


def test_a_worker_without_a_heartbeat_is_dead_and_the_long_dead_are_not_listed(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(client: Redis) -> None:
        bus = Bus(client)
        await bus.beat("silent", expiry_seconds=60)
        await bus.beat("alive", expiry_seconds=60)
        plain.delete("worker:status:silent")
        plain.zincrby("ifmem:1:workers", -1_000, "silent")
        plain.zadd("ifmem:1:workers", {"ancient": 1})
        await bus.beat("alive", expiry_seconds=60)
        assert [(state.worker_id, state.alive) for state in await bus.workers()] == [
            ("alive", True),
            ("silent", False),
        ]

    run(server_url, work)


def test_a_worker_that_leaves_is_gone(server_url: str, plain: redis.Redis) -> None:
    async def work(client: Redis) -> None:
        bus = Bus(client)
        await bus.beat("w-1", expiry_seconds=60)
        await bus.leave("w-1")
        await bus.leave("w-1")
        assert await bus.workers() == []

    run(server_url, work)
    assert plain.keys("worker:*") == []


def civil_stamp(plain: redis.Redis, seconds: int) -> str:
    """What the heartbeat would say at a moment: the same Lua with the clock put there."""
    from ifmem.bus.server_side import _script_source

    source = _script_source("beat").replace("redis.call('TIME')", f"{{'{seconds}', '0'}}")
    _, stamp = plain.eval(source, 1, "ifmem:1:log", "", "x", "60")
    assert isinstance(stamp, str)
    return stamp


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2000, 2, 29, 23, 59, 59, tzinfo=UTC),
        datetime(2024, 2, 29, 12, tzinfo=UTC),
        datetime(2024, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(2025, 1, 1, tzinfo=UTC),
        datetime(2100, 2, 28, 1, 2, 3, tzinfo=UTC),
        datetime(2100, 3, 1, tzinfo=UTC),
    ],
)
def test_the_servers_calendar_knows_leap_years(plain: redis.Redis, moment: datetime) -> None:
    said = civil_stamp(plain, int(moment.timestamp()))
    assert datetime.fromisoformat(said) == moment


def test_librarians_are_offline_until_they_are_shown_and_gone_when_there_are_fewer(
    server_url: str, plain: redis.Redis
) -> None:
    shown = [LibrarianState(n, "active", 1_500, 20 * n) for n in range(1, 6)]

    async def work(client: Redis) -> None:
        bus = Bus(client)
        assert await bus.librarians(5) == [(n, "offline", 0, 0) for n in range(1, 6)]
        plain.hset("librarian:shard2:quota", "field", "a foreign value")
        await bus.put_librarians(shown)
        assert await bus.librarians(5) == shown
        used = LibrarianState(2, "exhausted", 0, 40)
        await bus.put_librarians([used])
        assert await bus.librarians(3) == [shown[0], used, shown[2]]
        await bus.put_librarians([], count=2)
        assert set(plain.scan_iter("librarian:*")) == {
            f"librarian:shard{n}:{part}" for n in (1, 2) for part in ("status", "quota", "capacity")
        }

    run(server_url, work)


# Where functions are forbidden


@pytest.mark.parametrize(
    "forbidden",
    [["-function", "-fcall"], ["-function"], ["-fcall"], ["-@scripting", "+eval", "+evalsha"]],
)
def test_where_functions_are_forbidden_the_same_steps_run_as_scripts(
    server_url: str, plain: redis.Redis, forbidden: list[str]
) -> None:
    password = "not-a" + "-real-one"
    rules = ["reset", "on", ">" + password, "~*", "&*", "+@all", *forbidden]
    plain.execute_command("ACL", "SETUSER", "plainer", *rules)
    url = server_url.replace("unix://", f"unix://plainer:{password}@")

    async def work(client: Redis) -> None:
        bus = Bus(client, Keys("acme"))
        assert await put(bus, 1, 70) == 70
        assert await bus.beat("w-1", expiry_seconds=60)
        plain.script_flush()
        assert await put(bus, 1, 71) == 71, "a restarted server forgot the scripts"
        assert await bus.server.call_many("beat", [("w-2", 60), ("w-3", 60)])
        assert len(await bus.workers()) == 3

    try:
        run(url, work)
    finally:
        plain.execute_command("ACL", "DELUSER", "plainer")
    assert plain.function_list() == []


@pytest.fixture
def server_without_functions(tmp_path: Path) -> Iterator[str]:
    """A server whose administrator took the function commands away."""
    path = tmp_path / "s"
    settings = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)]
    renamed = ["--rename-command", "FCALL", "", "--rename-command", "FUNCTION", ""]
    with subprocess.Popen(
        [choose_binary(packaged_binary()), *settings, *renamed],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "eady to accept connections" in line:
                break
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
        yield f"unix://{quote(str(path))}"
        process.terminate()


def test_a_server_without_the_function_commands_runs_scripts(server_without_functions: str) -> None:
    async def work(client: Redis) -> None:
        assert await put(Bus(client), 1, 70) == 70

    run(server_without_functions, work)


def test_functions_are_loaded_again_after_a_server_lost_them(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(client: Redis) -> None:
        bus = Bus(client)
        await put(bus, 1, 70)
        plain.function_flush()
        assert await put(bus, 1, 71) == 71

    run(server_url, work)


def test_a_server_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no Redis or Valkey answers"):
        run(f"unix://{tmp_path}/nobody", lambda client: Bus(client).leave("w-1"))


# Contexts


def test_a_context_comes_back_with_its_texts(server_url: str, plain: redis.Redis) -> None:
    async def work(client: Redis) -> None:
        bus = Bus(client)
        await put(bus, 1, 3, parts_of("a", ["one ", "zwö"]), parts_of("b", ["three"]), generation=4)
        await put(bus, 2, 0)
        (first, second), blobs = await bus.load_contexts([1, 2], {})
        assert (first.shard, first.generation, first.tokens) == (1, 4, 3)
        assert [one.texts for one in first.parts] == [("one ", "zwö"), ("three",)]
        assert first.text("a" * 64, 1) == "zwö"
        assert first.text("a" * 64, 2) is None
        assert (second.parts, second.blobs) == ((), ())
        assert tuple(blobs) == first.blobs
        assert await bus.load_contexts([], {}) == ([], {})

    run(server_url, work)


def test_blobs_that_are_held_are_not_fetched_again(server_url: str, plain: redis.Redis) -> None:
    old, new = parts_of("a", ["one"]), parts_of("b", ["two"])

    async def work(client: Redis) -> None:
        bus = Bus(client)
        await put(bus, 1, 1, old)
        _, held = await bus.load_contexts([1], {})
        await put(bus, 1, 2, old, new)
        plain.delete(f"ifmem:1:blob:{old[0].sha256}")
        (context,), held = await bus.load_contexts([1], held)
        assert [one.texts for one in context.parts] == [("one",), ("two",)]
        await put(bus, 1, 1, new)
        (context,), held = await bus.load_contexts([1], held)
        assert list(held) == [new[0].sha256], "what no manifest names is not kept"

    run(server_url, work)


def test_a_blob_without_parts_is_no_trouble(server_url: str, plain: redis.Redis) -> None:
    async def work(client: Redis) -> None:
        await put(Bus(client), 1, 0, blob.encode([], ""))
        (context,), _ = await Bus(client).load_contexts([1], {})
        assert context.parts == ()

    run(server_url, work)


@pytest.mark.parametrize("damage", ["missing", "short", "altered", "swapped"])
def test_a_context_with_a_bad_blob_is_an_integrity_error_and_never_a_part_of_it(
    server_url: str, plain: redis.Redis, damage: str
) -> None:
    first, second = parts_of("a", ["one " * 99]), parts_of("b", ["two " * 99])
    name = f"ifmem:1:blob:{second[0].sha256}"

    async def work(client: Redis) -> None:
        bus = Bus(client)
        await put(bus, 1, 2, first, second)
        if damage == "missing":
            plain.delete(name)
        elif damage == "short":
            plain.set(name, second[1][:-1])
        elif damage == "altered":
            plain.setrange(name, len(second[1]) // 2, "\0")
        else:
            plain.set(name, first[1])
        with pytest.raises(IntegrityError, match="doctor --repair"):
            await bus.load_contexts([1], {})
        assert await bus.missing_blobs([first[0].sha256, second[0].sha256]) == (
            {second[0].sha256} if damage == "missing" else set()
        )

    run(server_url, work)


def test_a_shard_without_a_manifest_and_one_with_a_damaged_one_are_integrity_errors(
    server_url: str, plain: redis.Redis
) -> None:
    async def work(client: Redis) -> None:
        bus = Bus(client)
        await put(bus, 1, 2, parts_of("a", ["one"]))
        with pytest.raises(IntegrityError, match="shard 9 has no manifest"):
            await bus.load_contexts([1, 9], {})
        plain.setrange("ifmem:1:manifest:1", 0, "[")
        with pytest.raises(IntegrityError, match="manifest"):
            await bus.load_contexts([1], {})

    run(server_url, work)


def test_a_replaced_blob_stays_a_while_and_lives_on_when_it_is_named_again(
    server_url: str, plain: redis.Redis
) -> None:
    old, new = parts_of("a", ["one"]), parts_of("b", ["two"])
    name = f"ifmem:1:blob:{old[0].sha256}"

    async def work(client: Redis) -> None:
        bus = Bus(client)
        await put(bus, 1, 1, old)
        assert plain.ttl(name) == -1
        await put(bus, 1, 1, new, replaced=[old[0].sha256])
        assert 0 < plain.ttl(name) <= BLOB_GRACE_SECONDS
        assert await bus.missing_blobs([old[0].sha256]) == set()
        assert plain.ttl(name) == -1

    run(server_url, work)


def test_a_context_that_is_swapped_is_read_wholly_old_or_wholly_new(
    server_url: str, plain: redis.Redis
) -> None:
    large = [parts_of(letter, [letter * 1_024] * 1_024) for letter in "abc"]
    small = [parts_of("d", ["d" * 10])]
    assert sum(len(data) for _, data in large) > 3 * 1024 * 1024
    versions = {2 * n + even: even for n in range(20) for even in (0, 1)}

    async def swap(bus: Bus) -> None:
        for generation, is_small in versions.items():
            now, before = (small, large) if is_small else (large, small)
            await put(
                bus,
                1,
                1 if is_small else 3 * 1_024,
                *now,
                generation=generation,
                replaced=[entry.sha256 for entry, _ in before],
            )

    async def read(done: asyncio.Event, ready: asyncio.Semaphore) -> set[int]:
        seen: set[int] = set()
        async with client_at(server_url) as client:
            while not done.is_set():
                (context,), _ = await Bus(client).load_contexts([1], {})
                texts = ["".join(one.texts) for one in context.parts]
                if versions[context.generation]:
                    assert (texts, context.tokens) == (["d" * 10], 1)
                else:
                    assert texts == [letter * 1_024 * 1_024 for letter in "abc"]
                    assert context.tokens == 3 * 1_024
                if not seen:
                    ready.release()
                seen.add(context.generation)
        return seen

    async def main() -> list[set[int]]:
        done, ready = asyncio.Event(), asyncio.Semaphore(0)
        async with (
            asyncio.timeout(PATIENCE_S),
            client_at(server_url) as client,
            asyncio.TaskGroup() as group,
        ):
            await put(Bus(client), 1, 3 * 1_024, *large)
            readers = [group.create_task(read(done, ready)) for _ in range(8)]
            for _ in readers:
                await ready.acquire()
            await swap(Bus(client))
            done.set()
        return [reader.result() for reader in readers]

    seen = set().union(*asyncio.run(main()))
    assert {versions[generation] for generation in seen} == {0, 1}


def test_a_reader_that_comes_too_late_for_a_blob_reads_the_manifest_anew(
    server_url: str, plain: redis.Redis
) -> None:
    old, new = parts_of("a", ["one"]), parts_of("b", ["two"])

    class Slow(Bus):
        """Between the manifest and the blobs, the shard changes and its old blob expires."""

        async def _blobs(self, digests: Sequence[str]) -> list[bytes | None]:
            if plain.exists(f"ifmem:1:blob:{old[0].sha256}"):
                await put(self, 1, 1, new, generation=1)
                plain.delete(f"ifmem:1:blob:{old[0].sha256}")
            return await super()._blobs(digests)

    async def work(client: Redis) -> None:
        bus = Slow(client)
        await put(bus, 1, 1, old)
        (context,), _ = await bus.load_contexts([1], {})
        assert (context.generation, [one.texts for one in context.parts]) == (1, [("two",)])

    run(server_url, work)
