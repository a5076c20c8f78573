"""A task: work that is claimed under a lease, finished once, and kept with every reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from ifmem.domain.finding import require_uuid
from ifmem.errors import Invalid

NO_RUN = "-"
"""The run of tasks that belong to none."""
MAX_TITLE_CHARACTERS = 1_000
MAX_DATA_BYTES = 256 * 1024
MAX_REASON_CHARACTERS = 2_000
MAX_DEPENDENCIES = 100
MAX_ATTEMPTS = 100
MAX_REASONS = 100
"""The newest are kept."""
PRIORITIES = range(11)
SHORTEST_LEASE = timedelta(milliseconds=100)
LONGEST_LEASE = timedelta(hours=24)

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WORKER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")


class TaskState(StrEnum):
    """Where a task stands."""

    PENDING = "pending"
    LEASED = "leased"
    NEEDS_ASSIST = "needs_assist"
    BLOCKED = "blocked"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"

    @property
    def is_open(self) -> bool:
        """True while something is still to be done."""
        return self not in ENDED


ENDED = frozenset({TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED, TaskState.DEAD})
_SEED_NAMES = {"in_progress": TaskState.LEASED, "completed": TaskState.DONE}


def state_named(name: str) -> TaskState:
    """The state of that name; the seed's names are understood.

    Raises:
        Invalid: no state is called so.
    """
    try:
        return _SEED_NAMES.get(name) or TaskState(name)
    except ValueError as error:
        raise Invalid(f"{name[:40]!r} is no state of a task: use {', '.join(TaskState)}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why an attempt ended without success."""

    attempt: int
    worker: str
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """What is to be done, as posted.

    Raises:
        Invalid: a field breaks its bound; the message names it.
    """

    task_id: str
    title: str
    data: Mapping[str, object] = field(default_factory=dict)
    """A JSON object that the bus never looks into."""
    run: str = NO_RUN
    priority: int = 5
    """0 to 10; 10 is claimed first."""
    max_attempts: int = 3
    depends_on: tuple[str, ...] = ()
    """Tasks of the same run that must be done before this one can be claimed."""
    idempotency_key: str | None = None
    posted_by: str | None = None

    def __post_init__(self) -> None:
        require_uuid(self.task_id)
        require_run(self.run)
        if not self.title.strip():
            raise Invalid("a task needs a title: say in one line what is to be done")
        _within("title", len(self.title), MAX_TITLE_CHARACTERS, "characters")
        if self.priority not in PRIORITIES:
            raise Invalid(f"priority is 0 to 10, 10 first; it is {self.priority}")
        if not 1 <= self.max_attempts <= MAX_ATTEMPTS:
            raise Invalid(f"max_attempts is 1 to {MAX_ATTEMPTS}; it is {self.max_attempts}")
        _within("depends_on", len(self.depends_on), MAX_DEPENDENCIES, "tasks")
        if len(set(self.depends_on)) < len(self.depends_on):
            raise Invalid("depends_on names a task twice")
        for other in self.depends_on:
            require_uuid(other)
        if self.task_id in self.depends_on:
            raise Invalid(f"task {self.task_id} cannot wait for itself: remove it from depends_on")
        if self.idempotency_key is not None and not 1 <= len(self.idempotency_key) <= 200:
            raise Invalid("an idempotency key has 1 to 200 characters")
        if self.posted_by is not None:
            require_worker(self.posted_by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task as it stands; each step makes another."""

    task_id: str
    title: str
    data: Mapping[str, object] = field(default_factory=dict)
    run: str = NO_RUN
    state: TaskState = TaskState.PENDING
    priority: int = 5
    place: int = 0
    """Counts the tasks posted: among equals the lower is claimed first."""
    attempts: int = 0
    """Claims so far; a release gives one back."""
    max_attempts: int = 3
    worker: str | None = None
    """Who leased it last; the holder while the state is ``leased``."""
    fence: str | None = None
    """``<epoch>-<n>`` of the last lease."""
    lease_until_ms: int | None = None
    """By the server's clock. The store has that of the claim: renewals are not logged."""
    not_before_ms: int | None = None
    """When a back-off ends."""
    asked_by: str | None = None
    """Who asked for assistance, and is not offered the task."""
    depends_on: tuple[str, ...] = ()
    result_finding_id: str | None = None
    reasons: tuple[Reason, ...] = ()
    idempotency_key: str | None = None
    posted_by: str | None = None
    posted_at_ms: int = 0
    ended_at_ms: int | None = None
    revision: int = 1
    """Counts its steps."""
    event: str = "posted"
    """The last step."""

    @property
    def holder(self) -> str | None:
        """Who holds it now."""
        return self.worker if self.state is TaskState.LEASED else None


def require_run(name: str) -> str:
    """The name itself when a run may have it, otherwise ``Invalid``."""
    if name != NO_RUN and _RUN.fullmatch(name) is None:
        raise Invalid(
            f"{name[:80]!r} cannot name a run: use up to 64 letters, digits, dots, hyphens and "
            "underscores, beginning with a letter or digit"
        )
    return name


def require_worker(name: str) -> str:
    """The name itself when a worker may have it, otherwise ``Invalid``."""
    if _WORKER.fullmatch(name) is None:
        raise Invalid(
            f"{name[:140]!r} cannot name a worker: use up to 128 letters, digits, dots, hyphens, "
            "underscores and @, beginning with a letter or digit"
        )
    return name


def require_lease(lease: timedelta) -> timedelta:
    """The lease itself when it may be asked for, otherwise ``Invalid``."""
    if not SHORTEST_LEASE <= lease <= LONGEST_LEASE:
        raise Invalid(
            f"a lease lasts from {SHORTEST_LEASE.total_seconds()} s to "
            f"{LONGEST_LEASE.total_seconds():.0f} s; {lease.total_seconds()} s was asked for"
        )
    return lease


def require_reason(reason: str) -> str:
    """The reason itself when it is short enough, otherwise ``Invalid``."""
    _within("reason", len(reason), MAX_REASON_CHARACTERS, "characters")
    return reason


def fence_order(fence: str | None) -> tuple[int, int]:
    """A fence as numbers that compare: a later lease has the greater one.

    Raises:
        Invalid: it is no ``<epoch>-<n>``.
    """
    if fence is None:
        return (0, 0)
    epoch, _, number = fence.partition("-")
    if not (epoch.isdecimal() and number.isdecimal()):
        raise Invalid(f"{fence[:60]!r} is no fence: a claim answers with one, as `3-41`")
    return int(epoch), int(number)


def _within(name: str, size: int, limit: int, unit: str) -> None:
    if size > limit:
        raise Invalid(f"{name} has {size:,} {unit}; the limit is {limit:,}", size=size, limit=limit)
