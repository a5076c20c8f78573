"""Every Redis name: the seed's spelled literally, ours apart from them, spaces apart."""

from __future__ import annotations

import fnmatch
import re
from itertools import combinations

import pytest

from ifmem.domain.space import RESERVED
from ifmem.errors import Invalid
from ifmem.wire import keys
from ifmem.wire.keys import ALL, KeyKind, Keys

UUID = "00000000-0000-4000-8000-000000000001"
PARTS = {
    "uuid": UUID,
    "n": 3,
    "id": "w-1",
    "sha256": "ab" * 32,
    "date": "2026-01-02",
    "scan": "s",
    "entry": "1-0",
    "run": "-",
    "agent": "a",
    "topic": "t",
}


def example(kind: KeyKind, space: str = "default") -> str:
    return Keys(space).of(kind, **PARTS)


def test_the_schema_of_the_seed_is_spelled_literally() -> None:
    of = Keys().of
    assert {
        of(keys.FINDING, uuid=UUID): "string",
        of(keys.CONTEXT_ACTIVE): "string",
        of(keys.SHARD_CAPACITY, n=2): "string",
        of(keys.SHARD_TOKENS, n=2): "string",
        of(keys.SHARD_ACTIVE, n=2): "string",
        of(keys.WORKER_STATUS, id="w"): "string",
        of(keys.WORKER_TASKS, id="w"): "list",
        of(keys.WORKER_CONTEXT, id="w"): "string",
        of(keys.LIBRARIAN_STATUS, n=5): "string",
        of(keys.LIBRARIAN_QUOTA, n=5): "string",
        of(keys.LIBRARIAN_CAPACITY, n=5): "string",
        of(keys.CHANNEL_FINDINGS): "channel",
        of(keys.CHANNEL_QUERIES): "channel",
        of(keys.CHANNEL_RESPONSES): "channel",
    } == {
        f"finding:{UUID}": keys.FINDING.type,
        "context:active": keys.CONTEXT_ACTIVE.type,
        "context:shard:2:capacity": keys.SHARD_CAPACITY.type,
        "context:shard:2:tokens": keys.SHARD_TOKENS.type,
        "context:shard:2:active": keys.SHARD_ACTIVE.type,
        "worker:status:w": keys.WORKER_STATUS.type,
        "worker:tasks:w": keys.WORKER_TASKS.type,
        "worker:context:w": keys.WORKER_CONTEXT.type,
        "librarian:shard5:status": keys.LIBRARIAN_STATUS.type,
        "librarian:shard5:quota": keys.LIBRARIAN_QUOTA.type,
        "librarian:shard5:capacity": keys.LIBRARIAN_CAPACITY.type,
        "channel:findings": keys.CHANNEL_FINDINGS.type,
        "channel:queries": keys.CHANNEL_QUERIES.type,
        "channel:responses": keys.CHANNEL_RESPONSES.type,
    }


def test_only_findings_match_the_glob_of_findings() -> None:
    matching = [kind for kind in ALL if fnmatch.fnmatchcase(example(kind), "finding:*")]
    assert matching == [keys.FINDING]


def test_names_of_our_own_carry_our_prefix_and_its_version() -> None:
    seed = re.compile(r"(finding|context|worker|librarian|channel|swarm):")
    assert [
        k for k in ALL if not seed.match(k.pattern) and not k.pattern.startswith("ifmem:1:")
    ] == []


def test_every_kind_is_listed_once_and_has_its_own_name() -> None:
    named = [value for value in vars(keys).values() if isinstance(value, KeyKind)]
    assert set(ALL) == set(named)
    assert len({kind.pattern for kind in ALL}) == len(ALL)
    for one, other in combinations(ALL, 2):
        assert example(one) != example(other)


def test_a_space_stands_before_every_key_and_channel() -> None:
    assert Keys().prefix == ""
    assert [example(kind, "acme") for kind in ALL] == [f"acme:{example(kind)}" for kind in ALL]


def test_a_space_may_not_bear_the_first_segment_of_a_key() -> None:
    assert {kind.pattern.split(":")[0] for kind in ALL} == RESERVED
    for name in RESERVED:
        with pytest.raises(Invalid, match="cannot name a space"):
            Keys(name)


@pytest.mark.parametrize(
    "name", ["", "Acme", "a:b", "a*", "{a}", "-a", "a b", "ä", "a\n", "a" * 42]
)
def test_a_name_that_could_be_misread_is_no_space(name: str) -> None:
    with pytest.raises(Invalid):
        Keys(name)


@pytest.mark.parametrize("name", ["a", "0", "team-7", "a" * 41])
def test_a_plain_name_is_a_space(name: str) -> None:
    assert Keys(name).prefix == f"{name}:"


def test_a_part_that_is_missing_is_our_bug() -> None:
    with pytest.raises(KeyError):
        Keys().of(keys.SHARD_TOKENS)
