"""What a restricted Redis user must be allowed for one space."""

from __future__ import annotations

from ifmem.wire import keys
from ifmem.wire.keys import Keys

_COMMANDS = """
ping info hello client|setinfo time multi exec scan type fcall function|load evalsha eval
get getrange mget set mset del exists expire pexpire persist
hget hmget hgetall hset hsetnx hdel hexists hlen hincrby
sadd srem smembers sismember scard
zadd zrem zrange zrevrange zrangebyscore zremrangebyscore zpopmin zcard zcount zscore
llen lrange lrem rpush blpop
xadd xread xrange xrevrange xlen xtrim xdel
publish subscribe
"""
_ON_A_CLUSTER = "cluster|slots"


def acl_line(space: Keys) -> str:
    """The command that makes such a user; the person puts in the password."""
    patterns = " ".join(f"~{space.prefix}{key}" for key in keys.ACCESS)
    channels = f"resetchannels &{space.prefix}{keys.ACCESS_CHANNELS}"
    needed = _COMMANDS + (_ON_A_CLUSTER if space.hash_tagged else "")
    commands = " ".join(f"+{command}" for command in needed.split())
    return f"ACL SETUSER ifmem reset on >PASSWORD {patterns} {channels} -@all {commands}"
