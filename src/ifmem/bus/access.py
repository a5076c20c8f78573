"""What a restricted Redis user must be allowed for one space."""

from __future__ import annotations

from ifmem.wire.keys import Keys

_KEYS = (
    *("finding:*", "context:*", "worker:*", "librarian:*", "swarm:remediation:*", "ifmem:1:*"),
    # The function that publishes a finding is given the channel's name among its keys.
    "channel:findings",
)
_COMMANDS = """
ping info hello client|setinfo multi exec get mget set mset del exists expire persist type scan
smembers sadd hset hget hgetall zadd zrem zrange zrevrange zcard zpopmin zremrangebyscore time
publish fcall function|load evalsha eval
"""


def acl_line(space: Keys) -> str:
    """The command that makes such a user; the person puts in the password."""
    patterns = " ".join(f"~{space.prefix}{key}" for key in _KEYS)
    channels = f"resetchannels &{space.prefix}channel:*"
    commands = " ".join(f"+{command}" for command in _COMMANDS.split())
    return f"ACL SETUSER ifmem reset on >PASSWORD {patterns} {channels} -@all {commands}"
