"""The arbiter: every step in every state, and steps told again."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from ifmem.domain.task import MAX_REASONS, Task, TaskState
from ifmem.engine.tasks import Refusal, Step, TaskEvent, decide

ID = str(uuid.UUID(int=1))
FENCE, LATER = "1-5", "1-9"

POSTED = Task(task_id=ID, title="count", place=7, posted_at_ms=1_000)
LEASED = replace(
    POSTED,
    state=TaskState.LEASED,
    worker="ada",
    fence=FENCE,
    attempts=1,
    lease_until_ms=9_000,
    revision=2,
    event="claimed",
)
DONE = replace(
    LEASED,
    state=TaskState.DONE,
    lease_until_ms=None,
    ended_at_ms=2_000,
    result_finding_id="f",
    revision=3,
    event="done",
)
TASKS = {
    TaskState.PENDING: POSTED,
    TaskState.BLOCKED: replace(POSTED, state=TaskState.BLOCKED),
    TaskState.LEASED: LEASED,
    TaskState.NEEDS_ASSIST: replace(LEASED, state=TaskState.NEEDS_ASSIST, asked_by="ada"),
    TaskState.DONE: DONE,
    TaskState.FAILED: replace(DONE, state=TaskState.FAILED),
    TaskState.CANCELLED: replace(DONE, state=TaskState.CANCELLED),
    TaskState.DEAD: replace(DONE, state=TaskState.DEAD),
}
ENDS = {TaskState.LEASED}
FITS = {
    Step.UNBLOCKED: {TaskState.BLOCKED},
    Step.CLAIMED: {TaskState.PENDING, TaskState.NEEDS_ASSIST},
    Step.RELEASED: ENDS,
    Step.ASSIST: ENDS,
    Step.FAILED: ENDS,
    Step.DONE: ENDS,
    Step.EXPIRED: ENDS,
    Step.CANCELLED: {state for state in TaskState if state.is_open},
    Step.REQUEUED: {
        TaskState.DEAD,
        TaskState.FAILED,
        TaskState.CANCELLED,
        TaskState.NEEDS_ASSIST,
    },
}
LEADS_TO = {
    Step.UNBLOCKED: TaskState.PENDING,
    Step.CLAIMED: TaskState.LEASED,
    Step.RELEASED: TaskState.PENDING,
    Step.ASSIST: TaskState.NEEDS_ASSIST,
    Step.FAILED: TaskState.PENDING,
    Step.DONE: TaskState.DONE,
    Step.EXPIRED: TaskState.PENDING,
    Step.CANCELLED: TaskState.CANCELLED,
    Step.REQUEUED: TaskState.PENDING,
}


def event(
    step: Step, *, revision: int = 99, fence: str = FENCE, worker: str = "ada", reason: str = ""
) -> TaskEvent:
    return TaskEvent(
        step=step,
        task_id=ID,
        revision=revision,
        at_ms=5_000,
        state=LEADS_TO[step],
        worker=worker,
        fence=fence,
        attempts=1,
        reason=reason,
    )


def posted(place: int) -> TaskEvent:
    return TaskEvent(
        step=Step.POSTED,
        task_id=ID,
        revision=1,
        at_ms=1_000,
        state=TaskState.PENDING,
        posted=replace(POSTED, place=place),
    )


@pytest.mark.parametrize("step", FITS)
@pytest.mark.parametrize("state", TASKS)
def test_each_step_fits_the_states_it_is_for_and_no_other(step: Step, state: TaskState) -> None:
    fence = LATER if step is Step.CLAIMED else FENCE
    outcome = decide(TASKS[state], event(step, fence=fence))
    if state in FITS[step]:
        assert isinstance(outcome, Task)
        assert (outcome.state, outcome.event, outcome.revision) == (LEADS_TO[step], step, 99)
    else:
        assert isinstance(outcome, Refusal)
        assert state in outcome.message and outcome.facts["task_id"] == ID


def test_nothing_happens_to_a_task_that_was_never_posted() -> None:
    assert isinstance(decide(None, event(Step.CLAIMED)), Refusal)
    assert decide(None, posted(7)) == POSTED


def test_the_same_posting_is_known_and_another_of_its_id_is_refused() -> None:
    assert decide(DONE, posted(7)) is DONE
    outcome = decide(DONE, posted(8))
    assert isinstance(outcome, Refusal) and "was posted before and is done" in outcome.message


@pytest.mark.parametrize("step", [Step.DONE, Step.FAILED, Step.RELEASED, Step.EXPIRED])
def test_a_lease_is_ended_by_its_holder_with_its_fence_only(step: Step) -> None:
    assert isinstance(decide(LEASED, event(step)), Task)
    assert isinstance(decide(LEASED, event(step, fence=LATER)), Refusal)
    assert isinstance(decide(LEASED, event(step, fence="1-4")), Refusal)
    assert isinstance(decide(LEASED, event(step, worker="bob")), Refusal)


def test_a_claim_needs_a_later_fence_than_any_before() -> None:
    released = decide(LEASED, event(Step.RELEASED, revision=3))
    assert isinstance(released, Task)
    for fence in (FENCE, "1-4", "0-99"):
        assert isinstance(decide(released, event(Step.CLAIMED, fence=fence)), Refusal)
    for fence in (LATER, "2-1"):
        assert isinstance(decide(released, event(Step.CLAIMED, fence=fence)), Task)


def test_the_first_accepted_completion_wins() -> None:
    late = decide(DONE, event(Step.DONE, fence=LATER, worker="bob"))
    assert isinstance(late, Refusal) and "done by ada before" in late.message


def test_after_a_bus_lost_its_memory_no_step_in_place_of_another_passes_unseen() -> None:
    # The bus is back at an earlier revision; what it lets happen has numbers the store has seen.
    for step in (Step.CLAIMED, Step.DONE, Step.FAILED, Step.RELEASED):
        outcome = decide(DONE, event(step, revision=2, fence=LATER, worker="bob"))
        assert isinstance(outcome, Refusal)
    requeued = replace(DONE, state=TaskState.PENDING, event="requeued", revision=9)
    assert isinstance(decide(requeued, event(Step.DONE, revision=9)), Refusal)


def test_steps_that_the_task_has_behind_it_change_nothing() -> None:
    story = [
        posted(7),
        event(Step.CLAIMED, revision=2),
        event(Step.EXPIRED, revision=3, reason="lease expired"),
        event(Step.CLAIMED, revision=4, fence=LATER, worker="bob"),
        event(Step.DONE, revision=5, fence=LATER, worker="bob"),
    ]
    task: Task | None = None
    for one in story:
        outcome = decide(task, one)
        assert isinstance(outcome, Task)
        assert decide(outcome, one) is outcome
        task = outcome
    assert task is not None
    assert all(decide(task, one) is task for one in story)
    assert (task.state, task.worker, len(task.reasons)) == (TaskState.DONE, "bob", 1)


def test_a_reason_tells_the_attempt_and_only_the_newest_are_kept() -> None:
    task: Task = LEASED
    for number in range(MAX_REASONS + 5):
        revision = task.revision + 1
        failed = decide(task, event(Step.FAILED, revision=revision, reason=f"no {number}"))
        assert isinstance(failed, Task)
        task = replace(failed, state=TaskState.LEASED)
    assert len(task.reasons) == MAX_REASONS
    assert task.reasons[-1].reason == f"no {MAX_REASONS + 4}"
    assert (task.reasons[0].attempt, task.reasons[0].worker) == (1, "ada")
