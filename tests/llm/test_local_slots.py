"""Which prefix gets which slot, and which saved files are used, kept and thrown away."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ifmem.llm import local_saved_slots
from ifmem.llm.local_saved_slots import EngineIdentity, SavedSlots
from ifmem.llm.local_slots import Slots
from ifmem.llm.local_weights import WeightsIdentity

HARBOUR, MARKET, MILL = "harbour", "market", "mill"
WEIGHTS = WeightsIdentity("small.gguf", 98_362_432, 1_763_900_000_000_000_000, "ab" * 32)
ENGINE = EngineIdentity("xllamacpp 1", WEIGHTS, 1024)
TOKENS = tuple(range(300))


def tokens_of(key: str) -> list[int]:
    return [ord(character) for character in key] * 20


async def use(slots: Slots, key: str) -> tuple[int, bool]:
    """Take and give back; the slot's number and whether it held the prefix."""
    slot, held = await slots.take(key, tokens_of(key))
    slots.release(slot)
    return slot.number, held


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(body)


def test_a_prefix_comes_back_to_its_slot_and_the_one_unused_longest_makes_room() -> None:
    async def body() -> None:
        slots = Slots(2)
        harbour, held = await use(slots, HARBOUR)
        assert not held
        market, held = await use(slots, MARKET)
        assert not held and market != harbour
        assert await use(slots, HARBOUR) == (harbour, True)
        assert await use(slots, MILL) == (market, False)
        assert await use(slots, HARBOUR) == (harbour, True)
        assert await use(slots, MARKET) == (market, False)

    run(body())


def test_calls_on_one_prefix_follow_each_other_and_others_run_beside() -> None:
    async def body() -> None:
        slots = Slots(2)
        first, _ = await slots.take(HARBOUR, tokens_of(HARBOUR))
        async with asyncio.TaskGroup() as group:
            second = group.create_task(slots.take(HARBOUR, tokens_of(HARBOUR)))
            beside, _ = await asyncio.wait_for(slots.take(MARKET, tokens_of(MARKET)), 5)
            assert beside is not first
            slots.release(beside)
            for _ in range(20):
                await asyncio.sleep(0)
            assert not second.done()
            slots.release(first)
        assert second.result() == (first, True)

    run(body())


def test_when_all_slots_are_busy_a_new_prefix_waits_for_one() -> None:
    async def body() -> None:
        slots = Slots(1)
        only, _ = await slots.take(HARBOUR, tokens_of(HARBOUR))
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(slots.take(MARKET, tokens_of(MARKET)))
            for _ in range(20):
                await asyncio.sleep(0)
            assert not waiting.done()
            slots.release(only)
        assert waiting.result() == (only, False)

    run(body())


def test_whoever_gives_up_waiting_leaves_the_slot_to_others() -> None:
    async def body() -> None:
        slots = Slots(1)
        only, _ = await slots.take(HARBOUR, tokens_of(HARBOUR))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slots.take(MARKET, tokens_of(MARKET)), 0.01)
        slots.release(only)
        assert await use(slots, HARBOUR) == (0, True)

    run(body())


def test_a_shard_that_grew_takes_the_slot_that_holds_its_beginning() -> None:
    async def body() -> None:
        slots = Slots(3)
        for key in (HARBOUR, MARKET, MILL):
            await use(slots, key)
        slot, held = await slots.take("market, grown", [*tokens_of(MARKET), 1, 2, 3])
        assert (slot.number, held) == (1, False)

    run(body())


def test_common_rules_alone_are_no_reason_to_take_anothers_slot() -> None:
    rules = list(range(50))

    async def body() -> None:
        slots = Slots(2)
        for key in (HARBOUR, MARKET):
            slot, _ = await slots.take(key, [*rules, *tokens_of(key)])
            slots.release(slot)
        await use(slots, HARBOUR)
        slot, _ = await slots.take(MILL, [*rules, *tokens_of(MILL)])
        assert slot.number == 1

    run(body())


def test_what_is_forgotten_is_not_held_and_its_slot_is_the_next_to_go() -> None:
    async def body() -> None:
        slots = Slots(2)
        await use(slots, HARBOUR)
        await use(slots, MARKET)
        slot = await slots.take_holder(MARKET)
        assert slot is not None
        slots.forget(slot)
        slots.release(slot)
        assert await slots.take_holder(MARKET) is None
        assert await use(slots, MARKET) == (1, False)

    run(body())


# Files.


def saved_in(directory: Path, *, engine: EngineIdentity = ENGINE, limit: int = 10**9) -> SavedSlots:
    return SavedSlots(directory, engine, limit=limit)


def save(slots: SavedSlots, prefix: str, *, size: int = 4_000, held: int = 310) -> str:
    """Save a slot of so many bytes, as an engine would write it; its name."""
    name = slots.name(prefix)

    def write(part: str) -> int:
        (slots.directory / part).write_bytes(os.urandom(size))
        return held

    slots.save(name, TOKENS, write)
    return name


def test_what_was_saved_is_usable_by_another_process_with_the_same_engine(tmp_path: Path) -> None:
    name = save(saved_in(tmp_path), HARBOUR)
    other = saved_in(tmp_path)
    note = other.usable(other.name(HARBOUR), TOKENS)
    assert note is not None
    assert (note.held, note.bytes) == (310, 4_000)
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert not other.wanted(name)


@pytest.mark.parametrize(
    "engine",
    [
        msgspec.structs.replace(ENGINE, build="xllamacpp 2"),
        msgspec.structs.replace(ENGINE, context=2048),
        msgspec.structs.replace(ENGINE, weights=replace(WEIGHTS, bytes=1)),
        msgspec.structs.replace(ENGINE, weights=replace(WEIGHTS, modified_ns=1)),
        msgspec.structs.replace(ENGINE, weights=replace(WEIGHTS, head_sha256="cd" * 32)),
    ],
    ids=["build", "context", "size of the weights", "time of the weights", "head of the weights"],
)
def test_what_another_engine_saved_is_not_used(tmp_path: Path, engine: EngineIdentity) -> None:
    name = save(saved_in(tmp_path), HARBOUR)
    other = saved_in(tmp_path, engine=engine)
    assert other.usable(other.name(HARBOUR), TOKENS) is None
    # Nor under a name that was given to it.
    for file in (tmp_path / name, (tmp_path / name).with_suffix(".json")):
        file.rename(file.with_name(other.name(HARBOUR)).with_suffix(file.suffix))
    assert other.usable(other.name(HARBOUR), TOKENS) is None
    assert not (tmp_path / other.name(HARBOUR)).exists()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut short": lambda path: os.truncate(path, 2_000),
    "empty": lambda path: os.truncate(path, 0),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "one bit": flip,
    "gone": Path.unlink,
    "note gone": lambda path: path.with_suffix(".json").unlink(),
    "note cut short": lambda path: os.truncate(path.with_suffix(".json"), 40),
    "note of another form": lambda path: path.with_suffix(".json").write_text('{"held": 3}'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_ignored_removed_and_saved_again(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    slots = saved_in(tmp_path)
    name = save(slots, HARBOUR)
    damage(tmp_path / name)
    assert slots.usable(name, TOKENS) is None
    assert list(tmp_path.iterdir()) == []
    assert slots.wanted(name)
    save(slots, HARBOUR)
    assert slots.usable(name, TOKENS) is not None


def test_a_file_of_other_tokens_is_not_used(tmp_path: Path) -> None:
    slots = saved_in(tmp_path)
    for other in ((*TOKENS[:-1], 7), TOKENS[:-1], (*TOKENS, 7)):
        name = save(slots, HARBOUR)
        assert slots.usable(name, other) is None


def test_a_file_that_holds_less_than_the_prefix_is_not_kept(tmp_path: Path) -> None:
    slots = saved_in(tmp_path)
    save(slots, HARBOUR, held=len(TOKENS) - 1)
    assert list(tmp_path.iterdir()) == []


def test_over_the_limit_the_file_unused_longest_goes(tmp_path: Path) -> None:
    slots = saved_in(tmp_path, limit=9_000)
    harbour, market = save(slots, HARBOUR), save(slots, MARKET)
    for age, name in ((200, harbour), (100, market)):
        os.utime(tmp_path / name, (1_000_000 - age, 1_000_000 - age))
    slots.touch(harbour)
    mill = save(slots, MILL)
    kept = {path.name for path in tmp_path.glob("*.slot")}
    assert kept == {harbour, mill}
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_what_is_larger_than_the_limit_is_not_kept_and_not_tried_again(tmp_path: Path) -> None:
    slots = saved_in(tmp_path, limit=3_000)
    name = save(slots, HARBOUR, size=4_000)
    assert list(tmp_path.iterdir()) == []
    assert not slots.wanted(name)
    assert slots.wanted(slots.name(MARKET))


def test_a_limit_of_nothing_saves_nothing(tmp_path: Path) -> None:
    slots = saved_in(tmp_path, limit=0)
    assert not slots.wanted(slots.name(HARBOUR))


def test_a_write_that_fails_leaves_nothing_and_what_was_there_stays(tmp_path: Path) -> None:
    slots = saved_in(tmp_path)
    name = save(slots, HARBOUR)

    def full(part: str) -> int:
        (tmp_path / part).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        slots.save(name, TOKENS, full)
    assert len(list(tmp_path.iterdir())) == 2
    assert slots.usable(name, TOKENS) is not None


def test_halves_that_dead_processes_left_are_swept_and_those_of_the_living_stay(
    tmp_path: Path,
) -> None:
    dead = tmp_path / f"{'a' * 40}.{2**22 + 1}.00112233.part"
    alive = tmp_path / f"{'b' * 40}.{os.getpid()}.00112233.part"
    for part in (dead, alive):
        part.write_bytes(b"half of it")
    saved_in(tmp_path)
    assert list(tmp_path.iterdir()) == [alive]


@pytest.mark.parametrize("name", ["../outside.slot", "/etc/hosts", "a/b.slot", "notes.json", ""])
def test_no_other_file_can_be_removed_by_a_handle(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "slots"
    (directory / "a").mkdir(parents=True)
    for path in (tmp_path / "outside.slot", directory / "a" / "b.slot", directory / "notes.json"):
        path.write_text("kept")
    local_saved_slots.remove(directory, name)
    assert len(list(tmp_path.rglob("*.*"))) == 3
