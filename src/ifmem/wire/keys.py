"""Every Redis name this package uses; nothing else builds a key from a string.

The first block is the seed's schema, spelled literally. Names of our own begin with ``ifmem:1:``,
and none of them matches ``finding:*``, which readers of the seed's schema glob for.
"""

from __future__ import annotations

from dataclasses import dataclass

from ifmem.domain.space import DEFAULT_SPACE, require_space

LIBRARIANS = range(1, 6)


@dataclass(frozen=True, slots=True)
class KeyKind:
    """One family of keys: the row that ``docs/protocol.md`` prints."""

    pattern: str
    type: str
    holds: str
    exists: str


FINDING = KeyKind(
    "finding:{uuid}", "string", "one finding as a JSON object", "for the newest findings"
)
CONTEXT_ACTIVE = KeyKind("context:active", "string", "tokens of all active shards", "always")
SHARD_CAPACITY = KeyKind("context:shard:{n}:capacity", "string", "tokens it may hold", "always")
SHARD_TOKENS = KeyKind("context:shard:{n}:tokens", "string", "tokens it holds", "always")
SHARD_ACTIVE = KeyKind(
    "context:shard:{n}:active", "string", "`1` when a live worker holds it, else `0`", "always"
)
WORKER_STATUS = KeyKind(
    "worker:status:{id}", "string", "time of the last heartbeat", "while it lives; expires"
)
WORKER_TASKS = KeyKind(
    "worker:tasks:{id}", "list", "ids of the tasks it holds", "while it holds one"
)
WORKER_CONTEXT = KeyKind(
    "worker:context:{id}", "string", "its cached results as JSON", "once it has cached one"
)
LIBRARIAN_STATUS = KeyKind(
    "librarian:shard{n}:status", "string", "`active`, `exhausted` or `offline`", "always"
)
LIBRARIAN_QUOTA = KeyKind("librarian:shard{n}:quota", "string", "calls left today", "always")
LIBRARIAN_CAPACITY = KeyKind("librarian:shard{n}:capacity", "string", "tokens loaded", "always")
CHANNEL_FINDINGS = KeyKind("channel:findings", "channel", "a finding was stored", "–")
CHANNEL_QUERIES = KeyKind("channel:queries", "channel", "an archive query was asked", "–")
CHANNEL_RESPONSES = KeyKind("channel:responses", "channel", "an archive answer is ready", "–")

OWNER = KeyKind(
    "ifmem:1:owner", "string", "id of the store that these keys were built from", "always"
)
SHARDS = KeyKind("ifmem:1:shards", "set", "numbers of the shards", "always")
SHARD_CARD = KeyKind(
    "ifmem:1:shard:{n}", "hash", "speciality, documents, generation, worker", "always"
)
MANIFEST = KeyKind(
    "ifmem:1:manifest:{n}", "string", "the shard's blobs in order, as JSON", "always"
)
BLOB = KeyKind(
    "ifmem:1:blob:{sha256}",
    "string",
    "documents of a shard, named by the digest of these bytes",
    "while a manifest names it, and a minute longer for readers of the one before",
)
WORKERS = KeyKind("ifmem:1:workers", "zset", "worker ids by last heartbeat, ms", "always")
FINDINGS = KeyKind("ifmem:1:findings", "zset", "finding ids by sequence", "from the first finding")
COUNTERS = KeyKind("ifmem:1:counters", "hash", "findings: how many are stored", "always")
REMEDIATION = KeyKind(
    "swarm:remediation:{date}:{scan}", "string", "what `doctor` found, as JSON", "after a scan"
)

ACCESS = (
    *("finding:*", "context:*", "worker:*", "librarian:*", "swarm:remediation:*", "ifmem:1:*"),
    # The function that publishes a finding is given the channel's name among its keys.
    "channel:findings",
)
"""Patterns of all keys above, for the rights of a restricted user."""
ACCESS_CHANNELS = "channel:*"

ALL = tuple(value for value in list(globals().values()) if isinstance(value, KeyKind))


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of one space: in the default space literally as in the table."""

    space: str = DEFAULT_SPACE

    def __post_init__(self) -> None:
        require_space(self.space)

    @property
    def prefix(self) -> str:
        """What each key and channel of the space begins with; empty for the default space."""
        return "" if self.space == DEFAULT_SPACE else f"{self.space}:"

    def of(self, kind: KeyKind, **parts: object) -> str:
        """The name of one key: ``keys.of(SHARD_TOKENS, n=1)``."""
        return self.prefix + kind.pattern.format(**parts)
