"""On a Cluster every name of a space carries its hash tag."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from ifmem.bus.access import acl_line
from ifmem.errors import Invalid
from ifmem.wire import keys
from ifmem.wire.keys import ALL, Keys

PART = "00000000-0000-4000-8000-000000000001"


class Parts(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return PART


def test_every_name_of_a_space_lies_in_one_slot() -> None:
    space = Keys("acme", hash_tagged=True)
    assert space.of(keys.CONTEXT_ACTIVE) == "{acme}:context:active"
    names = [space.prefix + kind.pattern.format_map(Parts()) for kind in ALL]
    assert {key_slot(name.encode()) for name in names} == {key_slot(b"acme")}
    assert len(set(names)) == len(ALL)


def test_two_spaces_share_no_name() -> None:
    prefixes = [Keys(name, hash_tagged=True).prefix for name in ("a", "ab", "a-b")]
    assert [p for p in prefixes for q in prefixes if p != q and q.startswith(p)] == []


def test_the_default_space_has_no_place_on_a_cluster_and_the_way_out_is_told() -> None:
    with pytest.raises(Invalid, match="--space NAME") as refusal:
        Keys(hash_tagged=True)
    assert refusal.value.exit_code == 2


def test_the_access_list_of_a_space_on_a_cluster_names_its_keys_and_lets_it_find_its_node() -> None:
    line = acl_line(Keys("acme", hash_tagged=True)).split()
    assert {"~{acme}:finding:*", "&{acme}:channel:*", "+cluster|slots"} <= set(line)
    assert not [word for word in line if word.startswith("~") and "{acme}:" not in word]
    assert "+cluster|slots" not in acl_line(Keys("acme"))
