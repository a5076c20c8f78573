"""Every Redis name this package uses; nothing else builds a key from a string.

The first block is the seed's schema, spelled literally. Names of our own begin with ``ifmem:1:``,
and none of them matches ``finding:*``, which readers of the seed's schema glob for.
"""

from __future__ import annotations

from dataclasses import dataclass

from ifmem.domain.space import DEFAULT_SPACE, require_space
from ifmem.errors import Invalid

MOST_LIBRARIANS = 64
"""As many as the settings allow: how far those that are no more are looked for."""


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
LIBRARIAN = (LIBRARIAN_STATUS, LIBRARIAN_QUOTA, LIBRARIAN_CAPACITY)
CHANNEL_FINDINGS = KeyKind("channel:findings", "channel", "a finding was stored", "–")
CHANNEL_QUERIES = KeyKind("channel:queries", "channel", "a query was asked", "–")
CHANNEL_RESPONSES = KeyKind("channel:responses", "channel", "an answer to a query", "–")
CHANNEL_DURABLE = KeyKind("channel:durable", "channel", "the store has committed up to here", "–")
CHANNEL_MESSAGES = KeyKind("channel:messages", "channel", "an agent has a message", "–")

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
COUNTERS = KeyKind(
    "ifmem:1:counters",
    "hash",
    "findings stored, tasks by state, and the last numbers given out",
    "always",
)

BRIDGE = KeyKind(
    "ifmem:1:bridge", "hash", "the bridge that owns the store, with its lease", "while it lives"
)
LOG = KeyKind(
    "ifmem:1:log", "stream", "what was accepted and the store has not committed", "until committed"
)
LOG_STATE = KeyKind(
    "ifmem:1:log-state", "hash", "epoch, last entry committed, limit, why writes stop", "always"
)
VERDICT = KeyKind(
    "ifmem:1:verdict:{entry}", "string", "what the store refused of an entry", "for an hour"
)
DEAD_LETTERS = KeyKind(
    "ifmem:1:dead-letters", "stream", "what could not be read, with the reason", "the newest 1,000"
)
TASK = KeyKind("ifmem:1:task:{id}", "hash", "one task", "until long ended")
READY = KeyKind("ifmem:1:ready:{run}", "zset", "tasks to claim, in order", "while there are some")
DELAYED = KeyKind("ifmem:1:delayed", "zset", "tasks waiting for a time, ms", "while there are some")
LEASES = KeyKind("ifmem:1:leases", "zset", "leased tasks by end, ms", "while there are some")
WAKE = KeyKind(
    "ifmem:1:wake:{run}", "list", "a token for each waiting claim to wake", "while there is work"
)
DEPENDENTS = KeyKind(
    "ifmem:1:dependents:{id}",
    "set",
    "tasks that wait for this one, or for this item of the inbox",
    "while there are some",
)
ENDED = KeyKind(
    "ifmem:1:ended", "zset", "tasks here by their end, ms; open ones at infinity", "with tasks"
)
MESSAGE = KeyKind(
    "ifmem:1:message:{id}", "hash", "one message to agents", "an hour longer than undone"
)
INBOX = KeyKind(
    "ifmem:1:inbox:{agent}", "zset", "messages to deliver, in order", "while it has one"
)
UNACKED = KeyKind(
    "ifmem:1:unacked:{agent}", "zset", "messages delivered, by redelivery, ms", "while it has one"
)
TOPIC = KeyKind("ifmem:1:topic:{topic}", "set", "agents that follow a topic", "while it has one")
CALLS = KeyKind("ifmem:1:calls", "list", "calls forwarded to the bridge", "until taken")
REPLY = KeyKind("ifmem:1:reply:{id}", "list", "events and result of a forwarded call", "a minute")
REMEDIATION = KeyKind(
    "swarm:remediation:{date}:{scan}", "string", "what `doctor` found, as JSON", "after a scan"
)

ACCESS = (
    *("finding:*", "context:*", "worker:*", "librarian:*", "swarm:remediation:*", "ifmem:1:*"),
)
"""Patterns of all keys above, for the rights of a restricted user."""
ACCESS_CHANNELS = "channel:*"

ALL = tuple(value for value in list(globals().values()) if isinstance(value, KeyKind))


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of one space: in the default space literally as in the table.

    Raises:
        Invalid: no space may have that name, or the default space is asked for on a Cluster.
    """

    space: str = DEFAULT_SPACE
    hash_tagged: bool = False
    """On a Cluster: a tag in the prefix puts all keys of the space into one slot."""

    def __post_init__(self) -> None:
        require_space(self.space)
        if self.hash_tagged and self.space == DEFAULT_SPACE:
            raise Invalid(
                "the keys of the default space have no common slot on a Redis Cluster: choose "
                "another space with --space NAME",
                space=self.space,
            )

    @property
    def prefix(self) -> str:
        """What each key and channel of the space begins with; empty for the default space."""
        if self.hash_tagged:
            return f"{{{self.space}}}:"
        return "" if self.space == DEFAULT_SPACE else f"{self.space}:"

    @property
    def slot(self) -> str:
        """A key that every function is called with: it names the space's place on a cluster."""
        return self.of(LOG)

    def of(self, kind: KeyKind, **parts: object) -> str:
        """The name of one key: ``keys.of(SHARD_TOKENS, n=1)``."""
        return self.prefix + kind.pattern.format(**parts)
