"""The task board as a person and a program use it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from ifmem.clock import new_id


def claimed(ifmem: Any, *args: str) -> Any:
    return ifmem("tasks", "claim", "--json", *args).json


def test_a_task_goes_from_post_to_done_with_its_finding(ifmem: Any) -> None:
    posted = ifmem("tasks", "post", "Read the log", "--data", '{"path": "a.log"}', "--json").json
    assert (posted["state"], posted["data"]) == ("pending", {"path": "a.log"})
    task = claimed(ifmem, "--worker", "ada", "--lease", "60")
    assert (task["task_id"], task["holder"], task["attempts"]) == (posted["task_id"], "ada", 1)
    renewed = ifmem(
        "tasks", "renew", task["task_id"], "--fence", task["fence"], "--worker", "ada",
        "--lease", "600", "--json",
    ).json  # fmt: skip
    assert renewed["lease_until"] > task["lease_until"]
    done = ifmem(
        "tasks", "finish", task["task_id"], "--fence", task["fence"], "--worker", "ada",
        "--claim", "The log is clean", "--topic", "log", "--json",
    ).json  # fmt: skip
    assert done["state"] == "done"
    (line,) = ifmem("findings", "--task", task["task_id"], "--json").lines
    assert line["finding_id"] == done["result_finding_id"]
    assert (line["claim"], line["worker_id"], line["durable"]) == ("The log is clean", "ada", True)
    assert ifmem("recall", "is the log clean", "--json").json["findings"]
    status = ifmem.status()["tasks"]
    assert (status["pending"], status["leased"], status["done"]) == (0, 0, 1)


def test_only_the_holder_with_its_fence_may_finish_and_the_refusal_says_why(ifmem: Any) -> None:
    ifmem("tasks", "post", "one")
    task = claimed(ifmem, "--worker", "ada")
    for fence, worker in ((task["fence"], "eve"), ("1-999", "ada")):
        refused = ifmem(
            "tasks", "finish", task["task_id"], "--fence", fence, "--worker", worker, code=1
        )
        refused.told()
    assert ifmem("tasks", "show", task["task_id"], "--json").json["state"] == "leased"


def test_urgent_comes_first_and_the_rest_in_order(ifmem: Any) -> None:
    for title in ("first", "second", "third"):
        ifmem("tasks", "post", title)
    ifmem("tasks", "post", "urgent", "--priority", "9")
    assert [claimed(ifmem)["title"] for _ in range(4)] == ["urgent", "first", "second", "third"]
    assert "no task is ready" in ifmem("tasks", "claim", code=3).told()


def test_a_task_that_keeps_failing_dies_with_its_reasons_and_can_be_requeued(ifmem: Any) -> None:
    posted = ifmem("tasks", "post", "poison", "--max-attempts", "1", "--json").json
    task = claimed(ifmem)
    ifmem(
        "tasks", "finish", task["task_id"], "--fence", task["fence"], "--outcome", "failed",
        "--reason", "it does not compile",
    )  # fmt: skip
    (dead,) = ifmem("tasks", "list", "--state", "dead", "--json").json["items"]
    assert dead["task_id"] == posted["task_id"]
    assert [one["reason"] for one in dead["reasons"]] == ["it does not compile"]
    ifmem("tasks", "requeue", task["task_id"])
    again = claimed(ifmem)
    assert (again["task_id"], again["attempts"]) == (posted["task_id"], 1)


def test_release_assist_cancel_and_dependencies(ifmem: Any) -> None:
    first = ifmem("tasks", "post", "first", "--json").json
    second = ifmem("tasks", "post", "second", "--depends-on", first["task_id"], "--json").json
    assert second["state"] == "blocked"
    task = claimed(ifmem, "--worker", "ada")
    held = ("--fence", task["fence"], "--worker", "ada")
    released = ifmem(
        "tasks", "release", task["task_id"], *held, "--assist", "--reason", "needs a key", "--json"
    ).json
    assert (released["state"], released["title"], released["data"]) == ("needs_assist", "first", {})
    ifmem("tasks", "claim", "--worker", "ada", code=3)
    task = claimed(ifmem, "--worker", "bob")
    ifmem("tasks", "finish", task["task_id"], "--fence", task["fence"], "--worker", "bob")
    assert claimed(ifmem)["task_id"] == second["task_id"]
    ifmem("tasks", "cancel", second["task_id"], "--reason", "not needed")
    assert ifmem("tasks", "show", second["task_id"], "--json").json["state"] == "cancelled"


def test_a_key_and_an_id_post_once(ifmem: Any) -> None:
    task_id = new_id()
    for given in (["--key", "nightly"], ["--id", task_id]):
        ids = {ifmem("tasks", "post", "once", *given, "--json").json["task_id"] for _ in range(3)}
        assert len(ids) == 1
    assert len(ifmem("tasks", "list", "--json").json["items"]) == 2


def test_runs_have_their_own_tasks_and_findings(ifmem: Any) -> None:
    ifmem("tasks", "post", "left over", "--run", "monday")
    ifmem("remember", "Monday saw the ferry", "--run", "monday")
    ifmem("tasks", "claim", "--run", "tuesday", code=3)
    ifmem("tasks", "claim", code=3)
    ifmem("remember", "Tuesday saw the lantern", "--run", "tuesday")
    (line,) = ifmem("findings", "--run", "tuesday", "--json").lines
    assert (line["claim"], line["session_id"]) == ("Tuesday saw the lantern", "tuesday")
    found = ifmem("recall", "who saw the ferry", "--run", "tuesday", "--json").json["findings"]
    assert [one["claim"] for one in found if "ferry" in one["claim"]] == []
    assert claimed(ifmem, "--run", "monday")["title"] == "left over"
    assert ifmem("tasks", "list", "--run", "tuesday", "--json").json["items"] == []


@pytest.fixture(scope="module")
def empty(install_shared: Any) -> Any:
    """For all who may post nothing."""
    return install_shared()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["post", " "], 2),
        (["post", "x", "--data", "[1]"], 2),
        (["post", "x", "--data", "{"], 2),
        (["post", "x", "--priority", "11"], 2),
        (["post", "x", "--depends-on", "not-a-uuid"], 2),
        (["post", "x", "--depends-on", "00000000-0000-4000-8000-000000000001"], 3),
        (["show", "00000000-0000-4000-8000-000000000001"], 3),
        (["cancel", "00000000-0000-4000-8000-000000000001"], 3),
        (["finish", "00000000-0000-4000-8000-000000000001", "--fence", "1-1"], 3),
        (["finish", "nonsense", "--fence", "1-1"], 2),
        (["claim", "--worker", "a:b"], 2),
        (["list", "--state", "sleeping"], 2),
    ],
)
def test_bad_input_is_refused_in_one_sentence_and_stores_nothing(
    empty: Any, words: list[str], code: int
) -> None:
    empty("tasks", *words, code=code).told()
    assert empty("tasks", "list", "--json").json["items"] == []


def test_credentials_do_not_enter_tasks(ifmem: Any) -> None:
    secret = "ghp_" + "0123456789abcdef" * 2 + "abcd"
    data = json.dumps({"password": "hunter" + "22", "note": f"use {secret}"})
    ifmem("tasks", "post", f"deploy with {secret}", "--data", data)
    task = claimed(ifmem)
    shown = json.dumps(task)
    assert secret not in shown
    assert "hunter" + "22" not in shown
    with ifmem.bus() as bus:
        assert secret not in str(bus.hgetall(f"ifmem:1:task:{task['task_id']}"))


def test_a_waiting_claim_is_woken_by_a_post(
    ifmem: Any, finish: Callable[[subprocess.Popen[str]], Any], eventually: Callable[..., Any]
) -> None:
    ifmem("status")
    waiting = ifmem.start("tasks", "claim", "--wait", "60", "--json")
    with ifmem.bus() as bus:
        eventually(lambda: bus.info("clients")["blocked_clients"] > 1)
    posted = ifmem("tasks", "post", "at last", "--json").json
    assert finish(waiting).json["task_id"] == posted["task_id"]


def test_the_flow_of_the_seed_a_finds_b_builds_on_it_and_the_answer_cites_both(ifmem: Any) -> None:
    ifmem.write("notes.md", "The harbor ledger is kept in the north office.\n")
    ifmem("load", "notes.md")
    first = ifmem("remember", "The harbor ledger shows forty barges", "--json").json
    (heard,) = ifmem("findings", "--since", "0", "--json").lines
    assert heard["finding_id"] == first["finding_id"]
    cite = f"finding:{first['finding_id']}"
    second = ifmem(
        "remember", "Forty barges in the harbor ledger means the quay is full", "--cite", cite,
        "--json",
    ).json  # fmt: skip
    answer = ifmem("ask", "What does the harbor ledger mean for the quay?", "--json").json
    cited = {one["finding_id"] for one in answer["citations"]}
    assert {first["finding_id"], second["finding_id"]} <= cited
    status = ifmem.status()
    assert status["context_active"] == sum(s["tokens"] for s in status["shards"] if s["active"])


def test_findings_that_disagree_on_one_topic_are_both_kept_and_listed_by_it(ifmem: Any) -> None:
    for value in ("5.8", "4.2"):
        ifmem(
            "remember", f"The pump draws {value} A", "--topic", "pump", "--value", value,
            "--unit", "A",
        )  # fmt: skip
    ifmem("remember", "The kettle draws 9 A", "--topic", "kettle", "--value", "9", "--unit", "A")
    lines = ifmem("findings", "--topic", "pump", "--json").lines
    assert [(one["value"], one["unit"]) for one in lines] == [(5.8, "A"), (4.2, "A")]
    with ifmem.bus() as bus:
        kept = [json.loads(bus.get(f"finding:{one['finding_id']}")) for one in lines]
    assert [one["value"] for one in kept] == [5.8, 4.2]
