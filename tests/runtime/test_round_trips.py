"""Export and import through an open service: what goes out comes back as it was."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ifmem.errors import IfMemError, IntegrityError, Invalid, NotFound, NotPermitted, Refused
from ifmem.runtime.exporting import export_space
from ifmem.wire.calls import Request
from ifmem.wire.export_calls import ExportCall, Exported, Imported

PATIENCE_S = 90
NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Weights\n", "Of the crates."]},
        {"cell_type": "code", "metadata": {}, "source": ["total = 17"], "outputs": []},
    ],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
}
FILLED_BY_SQL = """
    INSERT INTO model_call (call_id, at, state, purpose, model, question_id, prompt_name,
        prompt_version, prefix_sha256, prefix_tokens, question_tokens, prompt_o200k, bound, price,
        uncached, cache_write_5m, cache_write_1h, cache_write_other, cache_read, output, reasoning,
        cost, storage_token_hours, reported_model, first_token_ms, total_ms)
    VALUES ('call-1', '2026-11-01T08:00:00.000Z', 'settled', 'answer', 'rule:a', 'q-1', 'shard', 1,
        'ab', 10, 5, 15, 900, :price, 1, 0, 0, 0, 2, 3, 0, 700, 0, 'rule', 1.0, 2.5),
        ('call-2', '2026-11-01T08:00:01.000Z', 'intent', 'answer', 'rule:a', NULL, 'shard', 1,
        'ab', 10, 5, 15, 900, :price, 0, 0, 0, 0, 0, 0, 0, 0, 0, '', NULL, NULL);
    INSERT INTO purse VALUES ('day', '2026-11-01', 700, 900), ('question', 'q-1', 700, 0);
    INSERT INTO asked_question (question_id, at, question_tokens, asked_tokens, corpus_tokens,
        retrieved_tokens, model, cached_answer)
    VALUES ('q-1', '2026-11-01T08:00:00.000Z', 5, 15, 400, 30, 'rule:a', 0);
    INSERT INTO archive_query (query_id, asked_at, sender, question, params, state, expires_at)
    VALUES ('query-1', '2026-11-01T08:00:00.000Z', 'ann', 'How heavy?', '{}', 'kept',
        '2099-01-01T00:00:00.000Z');
"""


def run(desk: Any, story: Callable[[Any], Awaitable[None]], **opening: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S), desk(**opening) as here:
            await story(here)

    asyncio.run(main())


async def call(here: Any, method: str, *, space: str = "default", **params: Any) -> Any:
    raw = msgspec.Raw(msgspec.json.encode(params))
    return await here.service.call(Request(1, method, space, raw), _Unheard())


class _Unheard:
    def __call__(self, event: dict[str, Any]) -> None:
        return None

    async def drained(self) -> None:
        return None


async def exported(here: Any, path: Path, space: str = "default") -> Exported:
    done = await call(here, "export", space=space, path=str(path))
    assert isinstance(done, Exported)
    return done


async def imported(here: Any, path: Path, space: str, **params: Any) -> Imported:
    done = await call(here, "import", space=space, path=str(path), **params)
    assert isinstance(done, Imported)
    return done


async def say(here: Any, claim: str, space: str = "default", **fields: Any) -> str:
    said = await call(here, "remember", space=space, finding={"claim": claim, **fields})
    return str(said.finding_id)


async def recalled(here: Any, space: str, query: str = "How heavy is the crate?") -> list[str]:
    found = await call(here, "recall", space=space, query=query)
    return [one.id for one in found.passages] + [one.finding_id for one in found.findings]


async def everything(here: Any) -> None:
    """A space in which every table has a row."""
    await here.load(
        {
            "one/scale.py": "def weigh(crate: int) -> int:\n    return crate * 2\n",
            "two/notes.md": "# Crates\n\nThe red crate weighs 17 pounds.\n\n## Gate\n\nShut.\n",
            "two/copy.md": "# Crates\n\nThe red crate weighs 17 pounds.\n\n## Gate\n\nShut.\n",
            "three/weights.ipynb": json.dumps(NOTEBOOK),
        }
    )
    chat = "user: How heavy is it?\n\nassistant: The red crate weighs 17 pounds.\n"
    await call(here, "load_text", text=chat, source="chat:1", group="weighing")
    await call(here, "load_text", text="Old: 9 pounds.\n", source="https://a.test/", run="spring")
    cited = {"source": str(here.folder / "two/notes.md"), "lines": [3, 3]}
    first = await say(here, "The red crate weighs 17 pounds", citations=[cited], topic="crate")
    await say(here, "It weighs 18 pounds", supersedes=first, topic="crate", value=18.0)
    await say(here, "It weighs 40 pounds", topic="crate", value=40.0, tags=["scale"])
    await say(here, "Nobody is sure", confidence=0.01, extra={"kept": [1, None]})
    await say(here, "In spring it weighed 9", session_id="spring")
    gone = await say(here, "To be forgotten")
    await call(here, "forget", id=gone)
    await call(here, "remember", finding={"claim": "A stranger says 3 pounds"}, trust="quarantined")
    task = await call(here, "task_post", title="weigh it", data={"crate": "red"})
    await call(here, "task_claim", worker="bob")
    await call(here, "task_post", title="then the gate", depends_on=[task.task_id])
    await call(here, "send", body="The scale is free", to="bob", sender="ann")
    await call(here, "follow_topic", agent="bob", topic="scales")
    await call(here, "acknowledge", consumer="reader", cursor="3")
    await call(here, "session_end", id="spring")
    price = msgspec.json.encode(_price()).decode()

    def fill(connection: sqlite3.Connection) -> None:
        for statement in FILLED_BY_SQL.split(";\n"):
            if statement.strip():
                connection.execute(statement, {"price": price} if ":price" in statement else {})

    await here.space.write(fill)


def _price() -> Any:
    from ifmem.domain.price import Price, Rates

    rates = Rates(
        uncached=1,
        cache_write_5m=1,
        cache_write_1h=1,
        cache_write_other=1,
        cache_read=1,
        output=1,
        reasoning=1,
    )
    return Price(rates=rates, source="settings", as_of="2026-11-01")


def test_a_restored_space_has_the_same_content_and_recalls_the_same(
    desk: Any, tmp_path: Path
) -> None:
    async def story(here: Any) -> None:
        await everything(here)
        first = await exported(here, tmp_path / "a.tar")
        done = await imported(here, tmp_path / "a.tar", "copy")
        assert done.outcome == "restored"
        again = await exported(here, tmp_path / "b.tar", "copy")
        assert again.content_sha256 == first.content_sha256 == done.content_sha256
        assert (again.findings, again.documents) == (first.findings, first.documents) == (5, 6)
        assert await recalled(here, "copy") == await recalled(here, "default") != []

    run(desk, story)


def test_importing_again_changes_nothing(desk: Any, tmp_path: Path) -> None:
    async def story(here: Any) -> None:
        await everything(here)
        first = await exported(here, tmp_path / "a.tar")
        for space in ("copy", "copy", "default"):
            done = await imported(here, tmp_path / "a.tar", space)
        assert done.outcome == "known"
        assert done.members["findings"].known == 5
        copied = await exported(here, tmp_path / "b.tar", "copy")
        itself = await exported(here, tmp_path / "c.tar")
        assert copied.content_sha256 == itself.content_sha256 == first.content_sha256

    run(desk, story)


def test_a_restored_space_goes_on_where_the_source_was(desk: Any, tmp_path: Path) -> None:
    async def story(here: Any) -> None:
        await everything(here)
        last = await here.call("remember", finding={"claim": "The last word"})
        await call(here, "forget", id=last.finding_id)
        await exported(here, tmp_path / "a.tar")
        await imported(here, tmp_path / "a.tar", "copy")
        tasks = await call(here, "task_list", space="copy")
        assert [one.state for one in tasks.items] == ["pending", "blocked"]
        (claimed,) = (await call(here, "task_claim", space="copy", worker="eve")).items
        assert claimed.title == "weigh it"
        (message,) = (await call(here, "receive", space="copy", agent="bob")).items
        assert message.body == "The scale is free"
        assert [one.cursor for one in (await call(here, "findings", space="copy")).items] == [
            one.cursor for one in (await here.call("findings")).items
        ]
        new = await call(here, "remember", space="copy", finding={"claim": "A newer word"})
        assert int(new.cursor) > int(last.cursor)
        status = await call(here, "status", space="copy")
        assert status.findings == 6

    run(desk, story)


def test_what_is_merged_comes_behind_what_is_there(desk: Any, tmp_path: Path) -> None:
    async def story(here: Any) -> None:
        await everything(here)
        await exported(here, tmp_path / "a.tar")
        ours = await say(here, "We weighed 19 pounds", "other", topic="crate")
        await call(here, "acknowledge", space="other", consumer="reader", cursor="1")
        done = await imported(here, tmp_path / "a.tar", "other")
        assert done.outcome == "merged"
        assert (done.findings, done.documents) == (5, 6)
        assert done.members["consumers"].left == 1
        lines = (await call(here, "findings", space="other")).items
        assert lines[0].finding["finding_id"] == ours
        assert [int(one.cursor) for one in lines] == sorted(int(one.cursor) for one in lines)
        found = await recalled(here, "other")
        assert ours in found
        assert set(await recalled(here, "default")) <= set(found)
        spent = await here.service.space("other")
        held = "SELECT kind, name, known, held FROM purse ORDER BY kind"
        purses = await spent.read(lambda connection: connection.execute(held).fetchall())
        assert purses == [("day", "2026-11-01", 700, 900), ("question", "q-1", 700, 0)]

    run(desk, story)


def test_ours_stays_where_both_have_something_of_one_id(desk: Any, tmp_path: Path) -> None:
    async def story(here: Any) -> None:
        same = await say(here, "It weighs 17 pounds")
        await call(here, "load_text", text="Theirs: 17.\n", source="chat:1")
        await exported(here, tmp_path / "a.tar")
        await say(here, "It weighs 71 pounds", "other", finding_id=same)
        await call(here, "load_text", space="other", text="Ours: 71.\n", source="chat:1")
        done = await imported(here, tmp_path / "a.tar", "other")
        assert [(one.member, one.id) for one in done.differing] == [
            ("documents", "chat:1"),
            ("findings", same),
        ]
        (line,) = (await call(here, "findings", space="other")).items
        assert line.finding["claim"] == "It weighs 71 pounds"
        found = await call(here, "recall", space="other", query="Who has 71, ours?")
        assert [one.text for one in found.passages] == ["Ours: 71.\n"]

    run(desk, story)


def test_what_was_forgotten_here_is_not_brought_back(desk: Any, tmp_path: Path) -> None:
    async def story(here: Any) -> None:
        finding = await say(here, "The code of the gate is written on the wall")
        await say(here, "The gate is green")
        await call(here, "load_text", text="The gate squeaks in spring.\n", source="chat:1")
        await call(here, "load_text", text="The gate was painted.\n", source="chat:2")
        await exported(here, tmp_path / "a.tar")
        for gone in (finding, "chat:1"):
            await call(here, "forget", id=gone)
        done = await imported(here, tmp_path / "a.tar", "default")
        assert (done.members["findings"].blocked, done.members["documents"].blocked) == (1, 1)
        assert done.findings == done.documents == 0
        found = await call(here, "recall", query="gate")
        assert [one.text for one in found.passages] == ["The gate was painted.\n"]
        assert [one.claim for one in found.findings] == ["The gate is green"]

    run(desk, story)


def test_directories_that_lie_elsewhere_are_named_as_here(desk: Any, tmp_path: Path) -> None:
    async def story(here: Any) -> None:
        await here.load({"two/notes.md": "The red crate weighs 17 pounds.\n"})
        cited = {"source": str(here.folder / "two/notes.md"), "lines": [1, 1]}
        await say(here, "It weighs 17 pounds", citations=[cited])
        await exported(here, tmp_path / "a.tar")
        moved = {str(here.folder): "/elsewhere/papers"}
        done = await imported(here, tmp_path / "a.tar", "copy", moved=moved)
        assert done.outcome == "restored"
        (source,) = (await call(here, "sources", space="copy")).items
        assert source.source == "/elsewhere/papers/two/notes.md"
        (line,) = (await call(here, "findings", space="copy")).items
        assert line.finding["citations"][0]["source"] == "/elsewhere/papers/two/notes.md"
        assert line.finding["citations"][0]["status"] == "verified"

    run(desk, story)


def test_a_dry_run_says_what_would_be_done_and_does_nothing(desk: Any, tmp_path: Path) -> None:
    async def story(here: Any) -> None:
        await everything(here)
        await exported(here, tmp_path / "a.tar")
        told = await imported(here, tmp_path / "a.tar", "copy", dry_run=True)
        assert (told.outcome, told.findings, told.documents) == ("checked", 5, 6)
        assert (await call(here, "findings", space="copy")).items == []
        done = await imported(here, tmp_path / "a.tar", "copy")
        assert (done.outcome, done.members) == ("restored", told.members)

    run(desk, story)


def test_a_damaged_export_is_refused_and_the_target_is_as_it_was(desk: Any, tmp_path: Path) -> None:
    async def story(here: Any) -> None:
        await everything(here)
        await exported(here, tmp_path / "a.tar")
        whole = (tmp_path / "a.tar").read_bytes()
        kept = await say(here, "Ours", "other")
        for place in range(0, len(whole), len(whole) // 150):
            bent = bytearray(whole)
            bent[place] ^= 1
            (tmp_path / "bent.tar").write_bytes(bent)
            with pytest.raises((IntegrityError, Invalid)):
                await imported(here, tmp_path / "bent.tar", "other")
        (line,) = (await call(here, "findings", space="other")).items
        assert line.finding["finding_id"] == kept
        assert (await call(here, "sources", space="other")).items == []

    run(desk, story)


def test_an_export_under_writes_is_one_moment(desk: Any, tmp_path: Path) -> None:
    """Every finding cites the one before: none may be there without it."""

    async def story(here: Any) -> None:
        wrote: asyncio.Queue[str] = asyncio.Queue()

        async def write(stop: asyncio.Event) -> None:
            last, count = await say(here, "Number 0"), 0
            while not stop.is_set():
                wrote.put_nowait(last)
                last = await say(here, f"Number {count}", citations=[f"finding:{last}"])
                await call(here, "load_text", text=f"Text {count}\n", source=f"chat:{count}")
                count += 1

        stop = asyncio.Event()
        files = []
        async with asyncio.TaskGroup() as group:
            group.create_task(write(stop))
            for number in range(5):
                await wrote.get()
                files.append(await exported(here, tmp_path / f"{number}.tar"))
            stop.set()
        assert files[-1].findings >= 5
        for number, file in enumerate(files):
            done = await imported(here, Path(file.path), f"copy{number}")
            assert (done.findings, done.documents) == (file.findings, file.documents)
            lines = (await call(here, "findings", space=f"copy{number}")).items
            ids = [one.finding["finding_id"] for one in lines]
            cited = [one.finding["citations"] for one in lines]
            assert cited == [[], *([f"finding:{one}"] for one in ids[:-1])]
            again = await exported(here, tmp_path / f"{number}b.tar", f"copy{number}")
            assert again.content_sha256 == file.content_sha256

    run(desk, story)


def test_what_is_stored_while_an_export_runs_is_not_in_it(desk: Any, tmp_path: Path) -> None:
    async def story(here: Any) -> None:
        await call(here, "load_text", text="The gate is green.\n", source="chat:1")
        await say(here, "The gate is green")
        heard: list[str] = []

        def meanwhile(done: int, total: int, path: str) -> None:
            heard.append(path)
            if len(heard) > 1:
                return
            statement = (
                "INSERT INTO finding SELECT sequence + 100, 'f' || substr(finding_id, 2), author, "
                "task_id, topic, said_at, tokens, body, run, 0, NULL, NULL FROM finding"
            )
            here.space.database.write(lambda one: one.execute(statement).rowcount).result()

        asked = ExportCall(str(tmp_path / "a.tar"))
        done = await export_space(here.space, asked, meanwhile)
        assert heard[0] == "documents"
        assert (done.findings, done.documents) == (1, 1)
        taken = await imported(here, tmp_path / "a.tar", "copy")
        assert (taken.findings, taken.documents) == (1, 1)

    run(desk, story)


def test_tasks_alone_are_handed_out_after_an_import(desk: Any, tmp_path: Path) -> None:
    async def story(here: Any) -> None:
        await call(here, "task_post", title="open the gate")
        await exported(here, tmp_path / "a.tar")
        done = await imported(here, tmp_path / "a.tar", "copy")
        assert (done.outcome, done.findings) == ("restored", 0)
        (claimed,) = (await call(here, "task_claim", space="copy", worker="eve")).items
        assert claimed.title == "open the gate"

    run(desk, story)


def test_a_file_that_is_there_is_replaced_only_when_told(desk: Any, tmp_path: Path) -> None:
    async def story(here: Any) -> None:
        file = tmp_path / "a.tar"
        await exported(here, file)
        before = file.read_bytes()
        assert file.stat().st_mode & 0o777 == 0o600
        await say(here, "Something new")
        with pytest.raises(Refused, match="--force"):
            await exported(here, file)
        assert file.read_bytes() == before
        await call(here, "export", path=str(file), force=True)
        assert file.read_bytes() != before
        with pytest.raises(NotFound, match="no directory"):
            await exported(here, tmp_path / "nowhere" / "a.tar")
        with pytest.raises(Invalid, match="is a directory"):
            await exported(here, tmp_path)
        with pytest.raises(Invalid, match="no absolute path"):
            await call(here, "export", path="a.tar")

    run(desk, story)
    assert sorted(one.name for one in tmp_path.iterdir() if one.is_file()) == ["a.tar"]


def test_a_full_disk_leaves_nothing(desk: Any, tmp_path: Path) -> None:
    def full(done: int, total: int, path: str) -> None:
        raise OSError(28, "No space left on device")

    async def story(here: Any) -> None:
        await say(here, "Something")
        (tmp_path / "out").mkdir()
        with pytest.raises(IfMemError, match="no room"):
            await export_space(here.space, ExportCall(str(tmp_path / "out" / "a.tar")), full)
        assert list((tmp_path / "out").iterdir()) == []

    run(desk, story)


def test_what_is_no_export_is_refused(desk: Any, tmp_path: Path) -> None:
    async def story(here: Any) -> None:
        with pytest.raises(NotFound, match="no file"):
            await imported(here, tmp_path / "nothing.tar", "default")
        with pytest.raises(Invalid, match="is no file"):
            await imported(here, tmp_path, "default")
        (tmp_path / "other.tar").write_bytes(b"x" * 100_000)
        with pytest.raises(Invalid, match="no export"):
            await imported(here, tmp_path / "other.tar", "default")

    run(desk, story)


def test_a_client_daemon_does_not_export_or_import(desk: Any) -> None:
    from ifmem.runtime.forwarded import _permitted
    from ifmem.wire.forwarded import ForwardedCall

    async def story(here: Any) -> None:
        for method in ("export", "import"):
            raw = msgspec.Raw(b'{"path": "/a"}')
            fields = dict.fromkeys(ForwardedCall.__struct_fields__)
            asked = ForwardedCall(**{**fields, "method": method, "params": raw})
            with pytest.raises(NotPermitted, match="at its owner"):
                _permitted(here.space, asked)

    run(desk, story)


def test_both_are_in_the_audit(desk: Any, tmp_path: Path) -> None:
    async def story(here: Any) -> None:
        await say(here, "Something")
        first = await exported(here, tmp_path / "a.tar")
        await imported(here, tmp_path / "a.tar", "copy")
        rows = (
            "SELECT action, type, subject, reason FROM audit WHERE action IN ('export', 'import')"
        )
        (wrote,) = await here.space.read(lambda one: one.execute(rows).fetchall())
        assert wrote[:3] == ("export", "write", first.content_sha256)
        copy = await here.service.space("copy")
        (took,) = await copy.read(lambda one: one.execute(rows).fetchall())
        assert took[:3] == ("import", "write", first.content_sha256)
        assert here.space.store_id in took[3]
        assert "row 1, seal" in took[3]
        chain = await copy.read(lambda one: one.execute("SELECT min(row) FROM audit").fetchone())
        assert chain == (1,)

    run(desk, story)


DIES = """
import asyncio, importlib.util, os, signal, sys
conftest, home, file, point = sys.argv[1:]
spec = importlib.util.spec_from_file_location("desks", conftest)
desks = sys.modules["desks"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(desks)
import msgspec
from ifmem.bus.connection import connect
from ifmem.runtime import importing
from ifmem.runtime.service import Service, bus_directory
from ifmem.settings import RetrievalSettings, Settings
from ifmem.wire.calls import Request

async def main():
    settings = Settings(home=home, retrieval=RetrievalSettings(semantic="off"))
    server = await connect(settings.redis, bus_directory(settings))
    async with asyncio.TaskGroup() as tasks:
        service = Service(settings, server, worker_id="dies", version="0", tasks=tasks,
                          models=desks.RuleModels())
        raw = msgspec.Raw(msgspec.json.encode({"path": file}))
        await service.space("copy")
        setattr(importing, point, lambda *a, **n: os.kill(os.getpid(), signal.SIGKILL))
        await service.call(Request(1, "import", "copy", raw), desks._unheard)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("point", "outcome"),
    [
        ("take_quarantined", "restored"),
        ("_note", "restored"),
        ("_show", "known"),
    ],
)
def test_an_import_that_is_killed_is_whole_when_it_is_repeated(
    desk: Any, tmp_path: Path, point: str, outcome: str
) -> None:
    file = tmp_path / "a.tar"

    async def before(here: Any) -> None:
        await everything(here)
        await exported(here, file)

    async def after(here: Any) -> None:
        done = await imported(here, file, "copy")
        assert done.outcome == outcome
        again = await exported(here, tmp_path / "b.tar", "copy")
        assert again.content_sha256 == done.content_sha256
        assert await recalled(here, "copy") == await recalled(here, "default") != []
        (claimed,) = (await call(here, "task_claim", space="copy", worker="eve")).items
        assert claimed.title == "weigh it"

    run(desk, before)
    conftest = Path(__file__).with_name("conftest.py")
    home = str(tmp_path / "home")
    died = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DIES, str(conftest), home, str(file), point],
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    run(desk, after)
