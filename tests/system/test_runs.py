"""Scenario 11: what an earlier run left is not handed to the next; each sees its own findings."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from ifmem import BlockingMemory, Memory
from ifmem.settings import Settings


def test_a_new_run_gets_only_its_own_tasks_and_findings(ifmem: Any) -> None:
    def of(run: str) -> AbstractContextManager[BlockingMemory]:
        return Memory.open_sync(settings=Settings(home=str(ifmem.home), run=run))

    def claims(memory: BlockingMemory) -> list[str]:
        return [line.finding["claim"] for line in memory.findings()]

    ifmem("up")
    with of("monday") as monday:
        left = monday.post("Left over")
        held = monday.post("Held when it ended", priority=10)
        assert monday.claim("ada").task_id == held.task_id
        monday.remember("Seen on monday.")
    # The processes of the first run end, and so does the daemon.
    ifmem.down()
    ifmem("remember", "Seen on no day.")
    assert ifmem("tasks", "claim", "--worker", "bob", "--run", "tuesday", code=3).told()
    with of("tuesday") as tuesday:
        assert tuesday.tasks().items == []
        assert claims(tuesday) == []
        fresh = tuesday.post("Fresh")
        task = tuesday.claim("bob")
        assert task.task_id == fresh.task_id
        tuesday.finish(task, claim="Done on tuesday.")
        tuesday.remember("Seen on tuesday.")
        assert tuesday.claim("bob") is None
        assert claims(tuesday) == ["Done on tuesday.", "Seen on tuesday."]
        found = tuesday.recall("what was seen on monday").findings
        assert {one.claim for one in found} <= {"Done on tuesday.", "Seen on tuesday."}
    with of("-") as everybody:
        assert len(claims(everybody)) == 4
        assert everybody.claim("bob") is None
    with of("monday") as monday:
        assert claims(monday) == ["Seen on monday."]
        # Whoever names the old run still gets what it left.
        assert monday.claim("bob").task_id == left.task_id
