"""Tasks as JSON and as fields: what goes out comes back."""

from __future__ import annotations

import uuid

import pytest

from ifmem.domain.task import NewTask, Reason, Task, TaskState
from ifmem.errors import Invalid
from ifmem.wire import task_fields, task_json

ID, OTHER, FINDING = (str(uuid.UUID(int=n)) for n in (1, 2, 3))
LEASED = Task(
    task_id=ID,
    title='say "ü"\n',
    data={"a": [1, {"b": None}]},
    run="nightly",
    state=TaskState.LEASED,
    priority=9,
    place=4,
    attempts=2,
    worker="ada",
    fence="3-41",
    lease_until_ms=1_767_323_045_678,
    depends_on=(OTHER,),
    result_finding_id=FINDING,
    reasons=(Reason(attempt=1, worker="bob", reason="a\nb, c", at_ms=1_767_323_045_001),),
    idempotency_key="k",
    posted_by="eve",
    posted_at_ms=1_767_323_000_000,
    revision=6,
    event="claimed",
)


def test_people_see_the_shape_of_the_contract() -> None:
    shown = task_json.to_json(LEASED)
    contract = (
        "task_id state title data priority attempts max_attempts holder fence lease_until "
        "depends_on result_finding_id reasons"
    )
    assert set(contract.split()) <= set(shown)
    assert (shown["state"], shown["holder"], shown["fence"]) == ("leased", "ada", "3-41")
    assert shown["lease_until"] == "2026-01-02T03:04:05.678Z"
    assert shown["reasons"] == [
        {"attempt": 1, "worker": "bob", "reason": "a\nb, c", "at": "2026-01-02T03:04:05.001Z"}
    ]


def test_without_a_lease_there_is_no_holder_and_no_fence() -> None:
    done = Task(task_id=ID, title="t", state=TaskState.DONE, worker="ada", fence="3-41")
    shown = task_json.to_json(done)
    assert (shown["holder"], shown["fence"], shown["lease_until"]) == (None, None, None)


def test_json_comes_back_as_the_task_and_the_seeds_states_are_read() -> None:
    shown = task_json.to_json(LEASED)
    again = task_json.from_json(shown)
    assert task_json.to_json(again) == shown
    assert task_json.from_json({**shown, "state": "in_progress"}).state is TaskState.LEASED
    assert task_json.from_json({**shown, "state": "completed"}).state is TaskState.DONE
    for damage in ({"state": "?"}, {"task_id": "?"}, {"title": 7}, {"reasons": [1]}):
        with pytest.raises(Invalid):
            task_json.from_json({**shown, **damage})


def test_the_fields_on_the_bus_come_back_as_the_task() -> None:
    fields = dict(zip(task_fields.FIELDS, task_fields.to_fields(LEASED, [OTHER]), strict=True))
    assert fields["unmet"] == OTHER
    assert task_fields.from_fields(ID, fields) == LEASED
    with pytest.raises(Invalid, match="cannot be read"):
        task_fields.from_fields(ID, {**fields, "place": "x"})


def test_a_key_stands_for_one_task_of_its_space_and_run() -> None:
    ids = {
        task_json.keyed_id(space, run, key)
        for space, run, key in (
            ("a", "-", "k"),
            ("b", "-", "k"),
            ("a", "r", "k"),
            ("a", "-", "l"),
            ("a-", "", "k"),
        )
    }
    assert len(ids) == 5
    assert task_json.keyed_id("a", "-", "k") in ids
    NewTask(task_id=task_json.keyed_id("a", "-", "k"), title="t")


def test_data_is_a_json_object_of_bounded_size() -> None:
    fits = NewTask(task_id=ID, title="t", data={"a": "x" * (256 * 1024 - 8)})
    task_json.body_of(fits)
    with pytest.raises(Invalid, match="262,145 bytes"):
        task_json.body_of(NewTask(task_id=ID, title="t", data={"a": "x" * (256 * 1024 - 7)}))
    with pytest.raises(Invalid, match="JSON object"):
        task_json.body_of(NewTask(task_id=ID, title="t", data={"a": {1j}}))
