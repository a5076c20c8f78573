"""What the verbs take: one line of JSON on the daemon's socket for each call.

A call is ``{"id", "method", "space", "params"}``. The daemon answers with any number of
``{"id", "event"}`` and one ``{"id", "result"}`` or ``{"id", "error"}``, in any order among calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ifmem.archive_settings import ArchiveMode
from ifmem.model_settings import Dollars, ModelSettings
from ifmem.settings import IngestSettings, PlacementEntry

PROTOCOL = 1
MAX_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is refused: text of that size is loaded from a file."""
MAX_QUESTION_CHARACTERS = 16_000

REPEAT: Mapping[str, str] = {
    "load": "load again, what was stored is not read twice",
    "load_text": "load the text again, it is stored once",
    "load_rows": "load the rows again, they are stored once",
    "remember": "repeat it with the same id",
    "forget": "forget it again",
    "export": "export again, with --force if the file is there",
    "import": "import it again, what is there already is not stored twice",
    "forget_matching": "forget it again, what is gone stays gone",
    "lift": "lift it again",
    "forget_captured": "forget it again",
    "release": "release it again, it is said once",
    "task_post": "post it again with the same id",
    "task_claim": "claim again; what was claimed is free again when its lease ends",
    "task_renew": "renew it again",
    "task_release": "release it again",
    "task_finish": "finish it again with the same fence",
    "task_cancel": "cancel it again",
    "task_requeue": "requeue it again",
    "send": "send it again with the same id",
    "audit_accept": "look at the audit first: it may be accepted already",
    "inbox_resolve": "show it, and resolve it again if it is open",
    "acknowledge_messages": "acknowledge them again",
    "librarian_claim": "claim again; what was claimed goes to another librarian in a while",
    "librarian_answer": "say it again, it is taken once",
    "session_end": "end it again",
    "follow_topic": "join it again",
    "unfollow_topic": "leave it again",
}
"""The methods that write, with what to do when their answer was lost."""


NAMES = (
    *("worker", "agent", "sender", "to", "topic", "run", "consumer", "name", "actor", "posted_by"),
    *("idempotency_key", "roots"),
)
"""Parameters that are kept as they are given: one that looks like a credential is refused."""


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Restricts a search or a list; an empty field restricts nothing."""

    source: tuple[str, ...] = ()
    """Absolute paths (with everything below them), URLs, or patterns with ``*``."""
    group: str | None = None
    author: str | None = None
    since: str | None = None
    until: str | None = None
    root: str | None = None
    """The project's directory: documents below it, and the space's findings."""
    run: str | None = None
    """Of the findings only those of this run."""
    at: str | None = None
    """What was believed at this moment: said by then, and superseded later or never. Of ``recall``
    and ``findings`` only."""


class LoadCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    paths: tuple[str, ...] = ()
    ingest: IngestSettings = IngestSettings()
    placement: tuple[PlacementEntry, ...] = ()
    """Empty: the daemon's own table."""
    within: tuple[str, ...] | None = None
    """Directories that what is named must lie in, links followed; None: anywhere."""
    run: str = "-"
    """The session that it is loaded in; ``-`` for none."""


class LoadTextCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str
    source: str
    group: str | None = None
    elsewhere: bool = False
    """The author is on another host: its paths are compared as they are spelled."""
    within: tuple[str, ...] | None = None
    """Directories that what is named must lie in, links followed; None: anywhere."""
    run: str = "-"
    """The session that it is loaded in; ``-`` for none."""


class Row(msgspec.Struct, frozen=True):
    """One row of a labelled set, loaded as a passage of its group's document."""

    id: str
    text: str
    title: str = ""
    speaker: str | None = None
    timestamp: str | None = None
    path: str | None = None


class LoadRowsCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str
    rows: tuple[Row, ...]
    group: str | None = None
    elsewhere: bool = False
    """The author is on another host: its paths are compared as they are spelled."""
    within: tuple[str, ...] | None = None
    """Directories that what is named must lie in, links followed; None: anywhere."""
    run: str = "-"
    """The session that it is loaded in; ``-`` for none."""


class AskCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    question: str
    shard: int | None = None
    model: str | None = None
    """Of every shard; None: as configured."""
    deadline_seconds: float | None = None
    """None: as the settings say for who answers."""
    filters: Filters = Filters()
    models: ModelSettings | None = None
    """The caller's own table of models; None: the daemon's."""
    max_cost: Dollars | None = None
    """US dollars that this question may cost, below what the settings allow."""
    fresh: bool = False
    """Not from the answer cache."""
    captured: bool = False
    """Also from what was captured, when the space itself holds no answer."""
    archive: ArchiveMode | None = None
    """When the librarians are asked too; None: as the settings say."""


class EstimateCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``ask`` with the same parameters would cost."""

    question: str
    shard: int | None = None
    model: str | None = None
    filters: Filters = Filters()
    models: ModelSettings | None = None
    max_cost: Dollars | None = None


class QueryCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    question: str
    shard: int | None = None
    gather: bool = False
    """Wait for every active shard; else for the first that found something."""
    deadline_seconds: float = 10.0
    max_tokens: int = 500


class RecallCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    query: str
    max_tokens: int = 2_000
    limit: int = 50
    filters: Filters = Filters()
    captured: bool = False
    """Also what was captured for this space, in its local space."""
    archive: ArchiveMode | None = None
    """When what is archived is searched too; None: as the settings say."""


class RememberCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    finding: dict[str, Any]
    """The finding's fields; those the author left out are filled in."""
    trust: str = "user"
    durable: bool = True
    """Answer once the store has committed it; else once the bus has it."""
    elsewhere: bool = False
    """The author is on another host: no file of this one is read for its citations."""
    within: tuple[str, ...] | None = None
    """Directories that what is named must lie in, links followed; None: anywhere."""


class FindingsCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    since: str = "0"
    limit: int = 1_000
    task: str | None = None
    filters: Filters = Filters()
    quarantined: bool = False
    """Those that wait for somebody to release them, and no others."""
    topic: str | None = None
    """Only those of this topic; case and spaces do not matter."""


class FollowCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Findings as they come; without a cursor or a known consumer, those from now on."""

    since: str | None = None
    """A cursor; where a new consumer begins."""
    consumer: str | None = None
    """A name whose acknowledged cursor is kept."""
    resume: str | None = None
    """The cursor that this very caller has come to; goes before all others."""
    topic: str | None = None
    task: str | None = None
    worker: str | None = None
    tag: str | None = None
    run: str | None = None
    said_since: str | None = None
    """Nothing said before this moment."""
    source: tuple[str, ...] = ()


class AcknowledgeCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    consumer: str
    cursor: str


class ForgetCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str


class TaskPostCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str
    data: dict[str, Any] = {}
    priority: int = 5
    """0 to 10; 10 is claimed first."""
    depends_on: tuple[str, ...] = ()
    idempotency_key: str | None = None
    max_attempts: int = 3
    id: str | None = None
    run: str = "-"
    posted_by: str | None = None
    durable: bool = True


class TaskClaimCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    worker: str
    lease_seconds: float = 600.0
    run: str = "-"
    count: int = 1
    wait_seconds: float = 0.0


class TaskRenewCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    task_id: str
    worker: str
    fence: str
    lease_seconds: float = 600.0


class TaskReleaseCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    task_id: str
    worker: str
    fence: str
    assist: bool = False
    reason: str = ""
    durable: bool = True


class TaskFinishCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    task_id: str
    worker: str
    fence: str
    outcome: str = "done"
    """``done`` or ``failed``."""
    claim: str | None = None
    """What was found: a finding, published in the same step."""
    citations: tuple[Any, ...] = ()
    fields: dict[str, Any] = {}
    """Further fields of the finding."""
    reason: str = ""
    final: bool = False
    """Failed for good: no further attempt."""
    trust: str = "user"
    durable: bool = True
    elsewhere: bool = False
    """The author is on another host: no file of this one is read for its citations."""
    within: tuple[str, ...] | None = None
    """Directories that what is named must lie in, links followed; None: anywhere."""


class TaskCancelCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    task_id: str
    actor: str
    reason: str = ""
    durable: bool = True


class TaskRequeueCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    task_id: str
    actor: str
    durable: bool = True


class TaskCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    task_id: str


class TaskListCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    state: str | None = None
    run: str | None = None
    """None: of every run."""
    after: str = ""
    limit: int = 1_000


class SourcesCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    after: str = ""
    limit: int = 1_000
    filters: Filters = Filters()
    shard: int | None = None
    """Only what this shard holds, all or part of it."""


class CostsCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    since: str | None = None
    until: str | None = None
    project: int | None = None
    """Questions a day to project the costs for."""


class LedgerCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rows behind ``costs``: first the questions, then the calls, each in order of time."""

    since: str | None = None
    until: str | None = None
    after: str = ""
    limit: int = 1_000


class DoctorCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    repair: bool = False


class StatusCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    show_secrets: bool = False


class UpCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    adopt: bool = False


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call without parameters."""


class Request(msgspec.Struct, frozen=True):
    id: int
    method: str
    space: str
    params: msgspec.Raw = msgspec.Raw(b"{}")


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """Exactly one of ``result``, ``error`` and ``event`` is there."""

    id: int
    result: msgspec.Raw = msgspec.Raw()
    error: dict[str, Any] | None = None
    event: dict[str, Any] | None = None
