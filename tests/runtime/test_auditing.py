"""What is done is in the audit: who, what and why, and never what was said."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ifmem.errors import Failed, IfMemError, Invalid, Refused
from ifmem.runtime import auditing
from ifmem.wire.audit_calls import AcceptBreakCall, AuditLine
from ifmem.wire.audit_checkpoints import make_key, sign

if TYPE_CHECKING:
    from conftest import Desk

    Opened = Callable[..., contextlib.AbstractAsyncContextManager[Desk]]

TASK = "0f3c1a52-0000-4000-8000-000000000001"
MESSAGE = "0f3c1a52-0000-4000-8000-0000000000a1"


def run(desk: Opened, use: Callable[[Desk], Awaitable[None]]) -> None:
    async def inside() -> None:
        async with desk() as opened:
            await use(opened)

    asyncio.run(inside())


async def audited(desk: Desk, **filters: object) -> list[AuditLine]:
    """Rows in the order in which they were added."""
    page = await desk.call("audit", limit=1_000, **filters)
    return sorted(page.items, key=lambda line: line.row)


def told(lines: list[AuditLine]) -> list[tuple[str, str, str]]:
    return [(line.type, line.action, line.actor) for line in lines]


def test_each_document_that_is_stored_changed_or_removed_has_a_row(desk: Opened) -> None:
    async def use(opened: Desk) -> None:
        await opened.load({"one/a.md": "# First\n\nkiwis", "one/b.md": "# Second\n\npears"})
        await opened.load({"one/a.md": "# First\n\nplums"})
        (opened.folder / "one/b.md").unlink()
        await opened.load({})
        await opened.load({})
        lines = await audited(opened)
        assert [(line.action, Path(line.subject).name) for line in lines] == [
            ("load", "a.md"),
            ("load", "b.md"),
            ("load_changed", "a.md"),
            ("remove", "b.md"),
        ]
        assert {(line.type, line.severity) for line in lines} == {("write", "info")}
        assert not any("kiwis" in line.reason for line in lines)

    run(desk, use)


def test_the_life_of_a_task_is_found_by_its_id(desk: Opened) -> None:
    async def use(opened: Desk) -> None:
        await opened.call("task_post", id=TASK, title="secret title", posted_by="ada")
        (task,) = (await opened.call("task_claim", worker="bob")).items
        with pytest.raises(Refused):
            await opened.call("task_finish", task_id=TASK, worker="eve", fence=task.fence)
        await opened.call(
            "task_finish", task_id=TASK, worker="bob", fence=task.fence, claim="it is done"
        )
        lines = await audited(opened, task=TASK)
        assert told(lines) == [
            ("write", "task_posted", "ada"),
            ("write", "task_claimed", "bob"),
            ("refusal", "finish_task", "eve"),
            ("write", "task_done", "bob"),
            ("write", "remember", "bob"),
        ]
        assert not any("secret" in line.reason for line in lines)

    run(desk, use)


def test_messages_and_topics_are_told_without_what_was_said(desk: Opened) -> None:
    async def use(opened: Desk) -> None:
        await opened.call("follow_topic", agent="bob", topic="launch")
        await opened.call(
            "send", id=MESSAGE, topic="launch", sender="ada", body={"text": "at noon"}
        )
        await opened.call("receive", agent="bob")
        await opened.call("acknowledge_messages", agent="bob", ids=[MESSAGE])
        await opened.call("unfollow_topic", agent="bob", topic="launch")
        lines = await audited(opened)
        assert told(lines) == [
            ("write", "follow_topic", "bob"),
            ("write", "send", "ada"),
            ("write", "acknowledge", "bob"),
            ("write", "unfollow_topic", "bob"),
        ]
        assert [line.subject for line in lines] == ["launch", MESSAGE, MESSAGE, "launch"]
        assert not any("noon" in line.reason for line in lines)

    run(desk, use)


def test_identical_refusals_of_an_agent_are_counted(desk: Opened) -> None:
    async def use(opened: Desk) -> None:
        async def refused(agent: str) -> None:
            finding = {"worker_id": agent, "claim": "it rains", "confidence": 1.5}
            with contextlib.suppress(IfMemError):
                await opened.call("remember", finding=finding)

        for _ in range(20):
            await refused("ada")
        await refused("bob")
        assert told(await audited(opened)) == [
            ("refusal", "remember", "ada"),
            ("refusal", "remember", "bob"),
        ]

    run(desk, use)


def test_what_is_asked_for_must_be_possible(desk: Opened) -> None:
    async def use(opened: Desk) -> None:
        for wrong in ({"type": "gossip"}, {"severity": "loud"}, {"after": "nowhere"}):
            with pytest.raises(Invalid):
                await opened.call("audit", **wrong)

    run(desk, use)


def test_a_break_is_named_accepted_and_then_passed_over(desk: Opened) -> None:
    async def use(opened: Desk) -> None:
        await opened.load({f"one/{n}.md": f"text {n}" for n in range(6)})
        space = opened.space
        assert (await opened.call("audit_chain")).intact
        with pytest.raises(Refused):
            await auditing.accept_break(space, AcceptBreakCall("nothing is wrong"))
        _tamper(space.database.path, "UPDATE audit SET actor = 'eve' WHERE row = 2")
        _tamper(space.database.path, "DELETE FROM audit WHERE row > 4")
        checked = await auditing.check_audit(space)
        assert (checked.rows, checked.intact, checked.first_broken) == (4, False, 2)
        with pytest.raises(Failed, match="not intact from row 2"):
            await auditing.checkpoint(space)
        accepted = await auditing.accept_break(space, AcceptBreakCall("a test wrote it", "ada"))
        assert (accepted.intact, accepted.first_broken, accepted.accepted) == (False, 5, 1)
        done = await auditing.accept_break(space, AcceptBreakCall("a test cut it", "ada"))
        assert (done.intact, done.first_broken, done.accepted) == (True, None, 2)
        lines = await audited(opened, action="audit_accepted")
        assert [(line.actor, line.reason) for line in lines] == [
            ("ada", "a test wrote it"),
            ("ada", "a test cut it"),
        ]
        _tamper(space.database.path, "UPDATE audit SET reason = 'fine' WHERE row = 3")
        assert (await auditing.check_audit(space)).first_broken == 3

    run(desk, use)


@pytest.mark.parametrize("rows", ["2-2", "2-4", "1-3"])
def test_nobody_without_the_key_can_have_a_break_passed_over(desk: Opened, rows: str) -> None:
    async def use(opened: Desk) -> None:
        await opened.load({f"one/{n}.md": f"text {n}" for n in range(3)})
        path = opened.space.database.path
        _tamper(path, "UPDATE audit SET actor = 'eve' WHERE row = 2")
        _tamper(
            path,
            f"INSERT INTO audit SELECT 4, 'chain:accepted:{rows}', at, 'audit_accepted', actor, "
            "subject, reason, 'decision', 'critical', task_id, seal FROM audit WHERE row = 3",
        )
        checked = await auditing.check_audit(opened.space)
        assert (checked.intact, checked.first_broken) == (False, 2)

    run(desk, use)


def test_a_checkpoint_shows_a_history_that_was_sealed_anew(desk: Opened, tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="the extra that signs is not installed")
    public = make_key(tmp_path / "key.pem")

    async def use(opened: Desk) -> None:
        await opened.load({f"one/{n}.md": f"text {n}" for n in range(3)})
        unsigned = await opened.call("audit_checkpoint")
        signed = sign(unsigned, tmp_path / "key.pem")
        said = {name: getattr(signed, name) for name in signed.__struct_fields__}
        await opened.load({"one/more.md": "more"})
        assert (await auditing.check_checkpoint(opened.space, said, public)).holds
        with pytest.raises(Invalid, match="another store"):
            other = sign(_of_another_store(unsigned), tmp_path / "key.pem")
            names = other.__struct_fields__
            await auditing.check_checkpoint(
                opened.space, {name: getattr(other, name) for name in names}
            )
        await opened.space.write(_rewritten)
        checked = await auditing.check_checkpoint(opened.space, said, public)
        assert (checked.rows, checked.holds) == (3, False)
        assert "was rewritten" in checked.why

    run(desk, use)


def _of_another_store(checkpoint: object) -> object:
    import msgspec

    return msgspec.structs.replace(checkpoint, store_id="another")  # type: ignore[type-var]


def _rewritten(connection: sqlite3.Connection) -> None:
    """As whoever has the key can do it."""
    rows = connection.execute(
        "SELECT row, entry, at, type, severity, action, actor, subject, reason, task_id FROM audit"
    ).fetchall()
    seal = ""
    for number, *columns in rows:
        columns[5] = "nobody"
        marks = ", ".join("?" * 9)
        (seal,) = connection.execute(
            f"SELECT audit_seal(?, ?, {marks})", (seal.encode(), number, *columns)
        ).fetchone()
        connection.execute(
            "UPDATE audit SET actor = 'nobody', seal = ? WHERE row = ?", (seal, number)
        )


def _tamper(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)
