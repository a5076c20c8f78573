"""What an export holds: its manifest, and the rows of each of its members.

A member is JSON lines. Rows name each other by what stays the same everywhere: texts by digest and
reader, findings by their ids. The members of ``FACTS`` are what a space knows, each in an order
that a restored space has too, so the digest over them is the same after every round trip.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec

from ifmem.domain.document import Kind
from ifmem.domain.task import TaskState

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
SUMS: Final = "SHA256SUMS"

Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Flag = Annotated[int, msgspec.Meta(ge=0, le=1)]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Uuid = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")]
Moment = Annotated[str, msgspec.Meta(pattern=r"\A\d{4}-\d\d-\d\dT[\d:.]{5,20}(Z|[+-]\d\d:\d\d)\Z")]


class Row(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """A line of a member."""


class PassageRow(Row, frozen=True, kw_only=True):
    first_line: Count
    last_line: Count
    tokens: Count
    header: str = ""
    speaker: str | None = None
    said_at: str | None = None
    locator: str | None = None
    text: str


class SourceRow(Row, frozen=True, kw_only=True):
    """A path, URL or chat that leads to a text."""

    root: str
    path: str
    """Below ``root``, or the whole source when it does not lie there."""
    below: bool = False
    size: Int
    mtime_ns: Int
    inode: Int
    loaded_at: Moment
    trust: Literal["user", "captured"] = "user"
    sessions: tuple[str, ...] = ()


class TextRow(Row, frozen=True, kw_only=True):
    """A text with everything that leads to it, and its passages in their order."""

    sha256: Sha256
    """Of the bytes as read."""
    format: str
    kind: Kind
    conversation: str | None = None
    title: str
    size: Count
    tokens: Count
    masked: Count = 0
    archived: bool = False
    sources: Annotated[tuple[SourceRow, ...], msgspec.Meta(min_length=1)]
    passages: tuple[PassageRow, ...]


class FindingRow(Row, frozen=True, kw_only=True):
    sequence: Annotated[int, msgspec.Meta(ge=1, le=2**62)]
    body: str
    """The finding as JSON, as it was stored."""
    archived: Flag = 0
    superseded_by: Uuid | None = None
    """The newer finding's id."""
    superseded_at: str | None = None


class QuarantinedRow(Row, frozen=True, kw_only=True):
    sequence: Annotated[int, msgspec.Meta(ge=1, le=2**62)]
    body: str
    released_as: Uuid | None = None
    released_at: str | None = None


class TaskRow(Row, frozen=True, kw_only=True):
    """A task; one that was leased is pending again."""

    number: Count
    task_id: Uuid
    run: str
    state: TaskState
    priority: Int
    place: Int
    attempts: Count
    max_attempts: Count
    worker: str | None = None
    fence: str | None = None
    lease_until_ms: Int | None = None
    not_before_ms: Int | None = None
    asked_by: str | None = None
    depends_on: str = ""
    finding_id: Uuid | None = None
    reasons: str = ""
    posted_at_ms: Int
    ended_at_ms: Int | None = None
    revision: Count
    event: str
    body: str


class RecipientRow(Row, frozen=True, kw_only=True):
    agent: str
    ended: str | None = None


class MessageRow(Row, frozen=True, kw_only=True):
    message_id: str
    sequence: Count
    sent_ms: Int
    expires_ms: Int
    body: str
    recipients: tuple[RecipientRow, ...] = ()


class TopicRow(Row, frozen=True, kw_only=True):
    topic: str
    agent: str
    follows: Flag


class ConsumerRow(Row, frozen=True, kw_only=True):
    name: str
    cursor: Count
    at: Moment


class SessionRow(Row, frozen=True, kw_only=True):
    session_id: str
    agent: str
    started_at: Moment
    last_at: Moment
    ended_at: Moment | None = None
    ended_by: str | None = None


class SideRow(Row, frozen=True, kw_only=True):
    finding_id: Uuid
    kept: Flag | None = None


class ConflictRow(Row, frozen=True, kw_only=True):
    conflict_id: str
    kind: Literal["value", "text"]
    topic: str
    unit: str
    opened_at: Moment
    rationale: str
    outcome: str | None = None
    resolved_at: str | None = None
    resolved_by: str | None = None
    reason: str | None = None
    sides: tuple[SideRow, ...] = ()


class InboxRow(Row, frozen=True, kw_only=True):
    number: Annotated[int, msgspec.Meta(ge=1, le=2**62)]
    item_id: str
    kind: str
    subject: str
    rationale: str
    task_id: str | None = None
    opened_at: Moment
    outcome: str | None = None
    closed_at: str | None = None
    closed_by: str | None = None
    reason: str | None = None
    told: Flag = 1
    tasks: tuple[str, ...] = ()


class CallRow(Row, frozen=True, kw_only=True):
    """A model call; the end of one that was under way is unknown."""

    call_id: str
    at: Moment
    state: Literal["settled", "failed", "unknown"]
    purpose: str
    model: str
    question_id: str | None = None
    shard: Int | None = None
    generation: Int | None = None
    prompt_name: str
    prompt_version: Int
    prefix_sha256: str
    prefix_tokens: Count
    question_tokens: Count
    prompt_o200k: Count
    bound: Count
    price: str
    uncached: Count
    cache_write_5m: Count
    cache_write_1h: Count
    cache_write_other: Count
    cache_read: Count
    output: Count
    reasoning: Count
    cost: Count
    storage_token_hours: Count
    reported_model: str
    first_token_ms: float | None = None
    total_ms: float | None = None
    request_id: str | None = None
    error: str | None = None
    settled_at: str | None = None


class PurseRow(Row, frozen=True, kw_only=True):
    kind: str
    name: str
    known: Int
    held: Int


class QuestionRow(Row, frozen=True, kw_only=True):
    question_id: str
    at: Moment
    question_tokens: Count
    asked_tokens: Count
    corpus_tokens: Count
    retrieved_tokens: Count
    model: str
    cached_answer: Flag


class ForgottenRow(Row, frozen=True, kw_only=True):
    """A forgotten finding: its id is random and tells nothing."""

    id: str
    forgotten_at: Moment


class QueryRow(Row, frozen=True, kw_only=True):
    """A question to the archive that waits for a quota, or whose answer waits for who asked."""

    query_id: str
    asked_at: Moment
    sender: str
    question: str
    hint: Int | None = None
    params: str
    state: Literal["kept", "answered"]
    attempts: Count = 0
    librarian: Int | None = None
    not_before: str | None = None
    expires_at: Moment
    reason: str | None = None
    answered_at: str | None = None
    response: str | None = None


class TombstoneRow(Row, frozen=True, kw_only=True):
    """What was forgotten, known to who has the key of the space it was exported from."""

    mark: Sha256
    kind: str
    forgotten_at: Moment
    forgotten_by: str
    because: Sha256 | None = None


class AuditRow(Row, frozen=True, kw_only=True):
    """A row of the source's audit, with its seal: evidence, not restored."""

    row: Count
    entry: str
    at: str
    type: str
    severity: str
    action: str
    actor: str
    subject: str
    reason: str
    task_id: str | None = None
    seal: str | None = None


FACTS: Mapping[str, type[Row]] = {
    "documents": TextRow,
    "findings": FindingRow,
    "quarantined": QuarantinedRow,
    "tasks": TaskRow,
    "messages": MessageRow,
    "topics": TopicRow,
    "consumers": ConsumerRow,
    "sessions": SessionRow,
    "conflicts": ConflictRow,
    "inbox": InboxRow,
    "calls": CallRow,
    "purses": PurseRow,
    "questions": QuestionRow,
    "forgotten": ForgottenRow,
}
"""What a space knows: the content digest is over these."""
BESIDES: Mapping[str, type[Row]] = {
    "queries": QueryRow,
    "tombstones": TombstoneRow,
    "audit": AuditRow,
}
"""What is in motion, or means something to the source alone."""
MEMBERS: Mapping[str, type[Row]] = {**FACTS, **BESIDES}
"""Every member, in the order of the file."""
LEFT_OUT = (
    *("tokens and grants", "audit.key and tombstones' keys", "quotas and their counts", "settings"),
    *("indexes, embeddings and all else that is derived",),
)
"""What no export holds, as its manifest says."""


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    rows: Count
    bytes: Count
    """Of its lines."""
    sha256: Sha256
    """Of its lines."""
    packed_bytes: Count
    """As it lies in the file."""


class AuditHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    row: Count
    seal: str | None = None


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The first member of an export."""

    format: int
    ifmem: str
    """The version that wrote it."""
    space: str
    store_id: str
    at: Moment
    content_sha256: Sha256
    documents: Count
    findings: Count
    tokens: Count
    """o200k tokens of the documents and of the findings' claims."""
    last_sequence: Count
    """The highest ever used by a finding."""
    epoch: Count
    """Fences up to this epoch were given out."""
    audit_head: AuditHead
    tombstone_key: Sha256
    """What tells whether two spaces have the same key; the key cannot be had from it."""
    left_out: tuple[str, ...] = LEFT_OUT
    members: tuple[Member, ...]
