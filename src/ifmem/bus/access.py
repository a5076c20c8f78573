"""What a restricted Redis user must be allowed for one space."""

from __future__ import annotations

from ifmem.wire import keys
from ifmem.wire.keys import Keys

_COMMANDS = """
ping info hello client|setinfo multi exec get mget set mset del exists expire persist type scan
smembers sadd hset hget hgetall zadd zrem zrange zrevrange zcard zpopmin zremrangebyscore time
publish fcall function|load evalsha eval
"""


def acl_line(space: Keys) -> str:
    """The command that makes such a user; the person puts in the password."""
    patterns = " ".join(f"~{space.prefix}{key}" for key in keys.ACCESS)
    channels = f"resetchannels &{space.prefix}{keys.ACCESS_CHANNELS}"
    commands = " ".join(f"+{command}" for command in _COMMANDS.split())
    return f"ACL SETUSER ifmem reset on >PASSWORD {patterns} {channels} -@all {commands}"
