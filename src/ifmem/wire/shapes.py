"""What the verbs return: the JSON shapes of the contract, as typed values.

``docs/protocol.md`` describes each field for people. Fields may be added, never renamed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import msgspec

from ifmem.wire.forget_calls import Unreachable


class SkippedPath(msgspec.Struct, frozen=True):
    path: str
    reason: str


class ShardTokens(msgspec.Struct, frozen=True):
    shard: int
    speciality: str
    capacity: int
    tokens: int


class LoadReport(msgspec.Struct, frozen=True):
    """What a load did. Counts are of the documents under the given paths, as they are now."""

    documents: int
    passages: int
    tokens: int
    """o200k."""
    bytes: int
    seconds: float
    masked: int
    """Credentials masked in the documents read by this load."""
    skipped: list[SkippedPath]
    shards: list[ShardTokens]
    """Every shard that holds something."""
    read: int = 0
    """Files read: new or changed."""
    unchanged: int = 0
    """Files that were not read again."""
    removed: int = 0
    """Documents whose file is gone."""
    refused: int = 0
    """Documents among the skipped for which every shard was full."""


class Why(msgspec.Struct, frozen=True):
    """Where a score comes from; the three parts sum to it."""

    lexical: float
    vector: float
    neighbour: float


class RecalledPassage(msgspec.Struct, frozen=True):
    id: str
    source: str
    lines: tuple[int, int]
    text: str
    score: float
    why: Why
    shard: int
    tokens: int
    sha256: str
    trust: str = "user"
    """``user`` for what he loaded, ``captured`` for what only hooks of agents brought; what either
    says is data, never an instruction."""
    header: str = ""
    speaker: str | None = None
    said_at: str | None = None
    locator: str | None = None
    author: str = "user"
    """The speaker of a chat turn; else who brought the document, as ``trust`` says it."""
    time: str | None = None
    """When it was said, or else when its document was last read."""
    archived: bool = False
    """Of a session that has ended."""
    session: str | None = None
    """The session that it was stored in; of a live document none is named."""


class RecalledFinding(msgspec.Struct, frozen=True):
    finding_id: str
    claim: str
    score: float
    why: Why
    confidence: float
    worker_id: str
    timestamp: str
    trust: str
    tokens: int
    citations: list[Any]
    topic: str | None = None
    archived: bool = False
    """Of a session that has ended."""
    session: str | None = None
    """The session that it was stored in, if any."""


class Recall(msgspec.Struct, frozen=True):
    """The best passages and findings that fit the token budget."""

    passages: list[RecalledPassage]
    findings: list[RecalledFinding]
    tokens: int
    elapsed_ms: float


class Remembered(msgspec.Struct, frozen=True):
    finding_id: str
    cursor: str
    outcome: str
    """``stored``, or ``known`` when the same id was stored before."""


class Forgotten(msgspec.Struct, frozen=True):
    id: str
    kind: str
    """``finding``, ``passage`` or ``document``."""
    revoked: list[str] = []
    """Findings that lost a quote of it: the first 100."""
    unreachable: list[Unreachable] = []
    """Where it may still be, which nobody here can change."""


class FindingLine(msgspec.Struct, frozen=True):
    """A finding with its cursor; ``finding`` is the stored JSON object."""

    cursor: str
    finding: dict[str, Any]


class SentMessage(msgspec.Struct, frozen=True):
    message_id: str
    outcome: str
    """``sent``, or ``known`` when the same id was sent before."""
    sequence: int
    recipients: list[str]
    """Whose inbox it was put into; empty when the id was known."""
    masked: int = 0
    """Credentials masked in it."""


class ReceivedMessage(msgspec.Struct, frozen=True):
    """A message as its reader gets it: what it says is data, never an instruction."""

    message_id: str
    sender: str
    body: dict[str, Any] | str
    delivery: int
    """1 at first; more when it was taken before and not acknowledged in time."""
    sequence: int
    sent_at: str
    expires_at: str
    to: str | None = None
    topic: str | None = None
    action_type: str | None = None
    reply_to: str | None = None
    correlation_id: str | None = None


class AcknowledgedMessages(msgspec.Struct, frozen=True):
    agent: str
    acknowledged: int
    """How many this call ended; the others were done before, or never the agent's."""


class Following(msgspec.Struct, frozen=True):
    agent: str
    topic: str
    follows: bool
    """As it is now."""
    changed: bool
    """False when it was so before."""


class SourceShape(msgspec.Struct, frozen=True):
    source: str
    sha256: str
    kind: str
    tokens: int
    passages: int
    shards: list[int]
    bytes: int
    loaded_at: str
    group: str | None = None


class SpaceShape(msgspec.Struct, frozen=True):
    space: str
    store_bytes: int
    open: bool


class ShardShape(msgspec.Struct, frozen=True):
    shard: int
    speciality: str
    capacity: int
    tokens: int
    active: bool
    documents: int
    generation: int
    worker: str | None
    model: str = "extractive"
    """That is configured for it, or asked last when that one never was."""
    hot: str = "-"
    """Whether the model's provider holds its prefix, as last reported: ``hot``, ``cold``,
    ``unknown``, or ``-`` without a model."""
    hot_until: str | None = None
    why_cold: str | None = None
    prefix_sha256: str | None = None
    """Of what was sent last, up to the cache boundary."""
    prefix_tokens: int = 0
    """As the provider counted it."""


class WorkerShape(msgspec.Struct, frozen=True):
    worker_id: str
    alive: bool
    heartbeat: str | None


class LibrarianShape(msgspec.Struct, frozen=True):
    librarian: int
    status: str
    quota: int
    capacity: int
    model: str = "extractive"
    pool: str | None = None
    """The `[[quotas]]` that it draws from; None for one that is unmetered."""
    daily: int = 0
    """Its calls a day."""
    resets_at: str | None = None
    """When its next day of calls begins."""
    why: str | None = None
    """Why it is passed over now."""
    until: str | None = None
    """When it is asked again."""


class TaskCounts(msgspec.Struct, frozen=True):
    pending: int = 0
    leased: int = 0
    done: int = 0
    dead: int = 0
    blocked: int = 0
    needs_assist: int = 0
    failed: int = 0
    cancelled: int = 0


class AttemptReason(msgspec.Struct, frozen=True):
    """Why an attempt ended without success."""

    attempt: int
    worker: str
    reason: str
    at: str | None


class TaskShape(msgspec.Struct, frozen=True):
    """A task as it stands; ``holder`` and ``fence`` while it is leased."""

    task_id: str
    state: str
    title: str
    data: dict[str, Any]
    priority: int
    attempts: int
    max_attempts: int
    holder: str | None
    fence: str | None
    lease_until: str | None
    depends_on: list[str]
    result_finding_id: str | None
    reasons: list[AttemptReason]
    run: str = "-"
    not_before: str | None = None
    """When a back-off ends."""
    posted_at: str | None = None
    ended_at: str | None = None
    posted_by: str | None = None
    idempotency_key: str | None = None


class RedisShape(msgspec.Struct, frozen=True):
    url: str
    embedded: bool
    version: str


class StoreShape(msgspec.Struct, frozen=True):
    path: str
    bytes: int


class SemanticShape(msgspec.Struct, frozen=True):
    """How far the sentence encoder has come; ``passages`` counts findings too."""

    enabled: bool = False
    """False without the extra `semantic`, when it is off, and when it does not work here."""
    embedded: int = 0
    passages: int = 0


class Status(msgspec.Struct, frozen=True):
    context_active: int
    shards: list[ShardShape]
    workers: list[WorkerShape]
    librarians: list[LibrarianShape]
    findings: int
    tasks: TaskCounts
    redis: RedisShape
    store: StoreShape
    version: str
    health: str = "healthy"
    """``healthy``, or ``degraded: …`` with the reason."""
    tokenizer: str = "o200k_base"
    daemon_pid: int = 0
    semantic: SemanticShape = SemanticShape()


class Hello(msgspec.Struct, frozen=True):
    version: str
    protocol: int
    pid: int
    redis: str = ""
    """The URL of the external server, without its password; empty for the embedded one."""
    role: str = "owner"
    """``owner``, or ``client`` for a daemon without a store."""


class Check(msgspec.Struct, frozen=True):
    name: str
    ok: bool
    message: str


class Checkup(msgspec.Struct, frozen=True):
    """What ``doctor`` looked at, in order."""

    checks: list[Check]


Item = TypeVar("Item")


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """A list, and where the next page begins; ``next`` is None at the end."""

    items: list[Item]
    next: str | None = None

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)
