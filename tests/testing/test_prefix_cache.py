"""The laws that the prompt caches of all vendors share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.testing.prefix_cache import Block, CachedCall, PrefixCache, cut, quick_count

MINUTES_5, HOUR = timedelta(minutes=5), timedelta(hours=1)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
RULES, SHARD, QUESTION = Block(b"rules", 100), Block(b"shard", 2_000), Block(b"question", 20)
ASKED = [RULES, SHARD, QUESTION]


class Watch:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.moment = NOON

    def __call__(self) -> datetime:
        return self.moment

    def move(self, by: timedelta) -> None:
        self.moment += by


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def cache(watch: Watch) -> PrefixCache:
    return PrefixCache(clock=watch, least_tokens=1_000)


def answered(cache: PrefixCache, blocks: list[Block], **changes: object) -> CachedCall:
    """A call whose answer has begun; it keeps the shard for five minutes."""
    given = {"scope": "model", "writes": {1: MINUTES_5}, **changes}
    call = cache.call(blocks=blocks, **given)  # type: ignore[arg-type]
    call.answer_begun()
    return call


def test_what_is_marked_is_written_and_then_read(cache: PrefixCache) -> None:
    cold = answered(cache, ASKED)
    assert (cold.read, dict(cold.written), cold.uncached) == (0, {MINUTES_5: 2_100}, 20)
    hot = answered(cache, [RULES, SHARD, Block(b"another question", 30)])
    assert (hot.read, dict(hot.written), hot.uncached) == (2_100, {}, 30)


def test_nothing_can_be_read_before_the_answer_of_its_writer_has_begun(cache: PrefixCache) -> None:
    first = cache.call("model", ASKED, writes={1: MINUTES_5})
    assert cache.call("model", ASKED, writes={1: MINUTES_5}).read == 0
    assert not cache.holds("model", [RULES, SHARD])
    first.answer_begun()
    assert cache.call("model", ASKED, writes={1: MINUTES_5}).read == 2_100
    assert cache.holds("model", [RULES, SHARD])


def test_one_changed_byte_misses_everything_behind_it(cache: PrefixCache) -> None:
    answered(cache, ASKED)
    assert answered(cache, [RULES, Block(b"sharD", 2_000), QUESTION]).read == 0
    assert answered(cache, [Block(b"rulez", 100), SHARD, QUESTION]).read == 0


def test_models_share_nothing(cache: PrefixCache) -> None:
    answered(cache, ASKED)
    assert answered(cache, ASKED, scope="other model").read == 0
    assert answered(cache, ASKED).read == 2_100


def test_a_prefix_below_the_least_size_is_neither_written_nor_read(cache: PrefixCache) -> None:
    short = [RULES, Block(b"page", 899), QUESTION]
    exact = [RULES, Block(b"page", 900), QUESTION]
    assert (answered(cache, short).uncached, answered(cache, short).uncached) == (1_019, 1_019)
    assert answered(cache, exact).written == {MINUTES_5: 1_000}
    assert answered(cache, exact).read == 1_000
    assert answered(cache, exact, least_tokens=1_001).read == 0


def test_an_entry_ends_with_its_lifetime_to_the_moment(cache: PrefixCache, watch: Watch) -> None:
    answered(cache, ASKED)
    watch.move(MINUTES_5 - timedelta(microseconds=1))
    assert cache.holds("model", [RULES, SHARD])
    watch.move(timedelta(microseconds=1))
    assert not cache.holds("model", [RULES, SHARD])
    assert answered(cache, ASKED).read == 0


@pytest.mark.parametrize(("extends", "third"), [(True, 2_100), (False, 0)])
def test_a_read_starts_the_lifetime_anew_where_the_vendor_says_so(
    watch: Watch, extends: bool, third: int
) -> None:
    cache = PrefixCache(clock=watch, read_extends=extends)
    answered(cache, ASKED)
    watch.move(MINUTES_5 * 0.6)
    assert answered(cache, ASKED).read == 2_100
    watch.move(MINUTES_5 * 0.6)
    assert answered(cache, ASKED).read == third


def test_a_read_without_an_answer_extends_nothing(cache: PrefixCache, watch: Watch) -> None:
    answered(cache, ASKED)
    watch.move(MINUTES_5 * 0.6)
    assert cache.call("model", ASKED, writes={1: MINUTES_5}).read == 2_100
    watch.move(MINUTES_5 * 0.6)
    assert answered(cache, ASKED).read == 0


def test_what_is_appended_is_written_and_the_rest_read(cache: PrefixCache) -> None:
    answered(cache, ASKED)
    grown = [RULES, SHARD, Block(b"more", 500), QUESTION]
    call = answered(cache, grown, writes={2: MINUTES_5})
    assert (call.read, dict(call.written), call.uncached) == (2_100, {MINUTES_5: 500}, 20)


def test_two_marks_write_two_entries_each_at_its_own_lifetime(cache: PrefixCache) -> None:
    call = answered(cache, [SHARD, SHARD, QUESTION], writes={0: HOUR, 1: MINUTES_5})
    assert dict(call.written) == {HOUR: 2_000, MINUTES_5: 2_000}
    assert cache.holds("model", [SHARD]) and cache.holds("model", [SHARD, SHARD])


def test_only_so_many_boundaries_are_looked_back(cache: PrefixCache) -> None:
    pages = [Block(b"page %d" % number, 1_000) for number in range(30)]
    answered(cache, pages[:1], writes={0: MINUTES_5})
    assert answered(cache, pages[:20], writes={19: MINUTES_5}, look_back=20).read == 1_000
    cache.evict()
    answered(cache, pages[:1], writes={0: MINUTES_5})
    assert answered(cache, pages[:21], writes={20: MINUTES_5}, look_back=20).read == 0


def test_the_longest_entry_is_read_whatever_is_marked(cache: PrefixCache) -> None:
    pages = [Block(b"page %d" % number, 1_000) for number in range(5)]
    answered(cache, pages, writes=dict.fromkeys(range(5)))
    assert answered(cache, [*pages[:3], QUESTION], writes={}).read == 3_000
    assert answered(cache, [*pages[:3], QUESTION], writes={}, reads=[]).read == 0


def test_an_evicted_scope_is_cold_and_others_stay(cache: PrefixCache, watch: Watch) -> None:
    answered(cache, ASKED, writes={1: None})
    answered(cache, ASKED, writes={1: None}, scope="other model")
    watch.move(HOUR * 10_000)
    cache.evict("model")
    assert answered(cache, ASKED).read == 0
    assert answered(cache, ASKED, scope="other model").read == 2_100


blocks = st.lists(
    st.builds(Block, st.sampled_from([b"a", b"b", b"ab", b""]), st.integers(0, 50)), min_size=1
)


@given(st.lists(st.tuples(blocks, st.sets(st.integers(0, 9)))), st.integers(0, 60))
def test_the_three_buckets_always_sum_to_the_prompt(
    calls: list[tuple[list[Block], set[int]]], least: int
) -> None:
    cache = PrefixCache(clock=lambda: NOON, least_tokens=least)
    for parts, marks in calls:
        writes = {mark: MINUTES_5 for mark in marks if mark < len(parts)}
        call = answered(cache, parts, writes=writes)
        assert call.prompt == sum(block.tokens for block in parts)
        assert min(call.read, call.uncached, *call.written.values()) >= 0


@given(st.binary(max_size=300), st.integers(1, 20))
def test_a_cut_prompt_is_whole_and_equal_prefixes_are_cut_alike(data: bytes, tokens: int) -> None:
    parts = cut(data, tokens)
    assert b"".join(part.data for part in parts) == data
    assert all(part.tokens == tokens for part in parts[:-1])
    assert sum(part.tokens for part in parts) == quick_count(data)
    assert cut(data + b"more", tokens)[: max(0, len(parts) - 1)] == parts[:-1]
