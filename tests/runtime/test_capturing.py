"""What a hook saw becomes a document of the local space: kept apart, sifted, found, removed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ifmem import clock
from ifmem.engine.capturing import local_space
from ifmem.errors import NotPermitted, Refused
from ifmem.model_settings import ModelSettings
from ifmem.runtime.captures import Captures
from ifmem.runtime.forwarded import _permitted
from ifmem.runtime.keeping_captured import retire
from ifmem.runtime.space import Space
from ifmem.store import captured
from ifmem.store.captured import StoredDocument
from ifmem.wire.agent_calls import CaptureCall, Captured
from ifmem.wire.forwarded import ForwardedCall

PATIENCE_S = 60
EXTRACTIVE = ModelSettings(default="extractive", keep_hot="off")
FILES, SEARCHES, TESTS, DECISIONS = 1, 2, 3, 4
SENTENCE = "The kingfisher budget allows seven attempts before the breaker opens."
QUESTION = "How many attempts does the kingfisher budget allow?"


@dataclass
class Project:
    """A project that an agent works in, and the daemon that hears of it."""

    desk: Any
    root: Path

    @property
    def space(self) -> Space:
        space = self.desk.space
        assert isinstance(space, Space)
        return space

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    async def hear(self, event: dict[str, Any] | str, **more: Any) -> Captured:
        """Capture an event and wait until it is stored."""
        given = {"agent": "claude", "root": str(self.root), "wait": True, **more}
        answer = await self.desk.call("capture", event=event, **given)
        assert isinstance(answer, Captured)
        return answer

    async def read(self, path: Path | str, **more: Any) -> Captured:
        return await self.hear(self.event("Read", {"file_path": str(path)}), **more)

    async def ran(self, command: str, output: str, **more: Any) -> Captured:
        event = self.event("Bash", {"command": command}, {"stdout": output, "stderr": ""})
        return await self.hear(event, **more)

    def event(self, tool: str, given: Any, response: Any = None) -> dict[str, Any]:
        return {
            "session_id": "s-1",
            "cwd": str(self.root),
            "hook_event_name": "PostToolUse",
            "tool_name": tool,
            "tool_input": given,
            "tool_response": response,
        }

    async def local(self) -> Space:
        local = await self.space.beside(local_space(self.space.name), False)
        assert local is not None, "nothing was captured yet"
        return local

    async def stored(self, source: str, space: Space | None = None) -> StoredDocument | None:
        where = space or await self.local()
        return await where.read(partial(captured.document, source=source))

    async def text_of(self, source: str) -> str:
        local = await self.local()
        query = "SELECT p.text FROM passage p JOIN document d USING (content_id) WHERE d.source = ?"
        rows = await local.read(lambda c: c.execute(query, (source,)).fetchall())
        return "".join(row[0] for row in rows)


Work = Callable[[Project], Awaitable[None]]


@pytest.fixture
def project(desk: Any, tmp_path: Path) -> Callable[[Work], None]:
    """Runs work in a project of its own."""
    root = tmp_path / "shop"
    root.mkdir()

    def run(work: Work) -> None:
        async def main() -> None:
            async with asyncio.timeout(PATIENCE_S), desk(EXTRACTIVE) as here:
                await work(Project(here, root))

        asyncio.run(main())

    return run


def test_what_was_done_lies_in_the_shard_of_its_speciality_in_the_local_space(
    project: Callable[[Work], None],
) -> None:
    async def work(shop: Project) -> None:
        path = shop.write("docs/budget.md", SENTENCE)
        done = [
            (FILES, await shop.read(path)),
            (FILES, await shop.ran("git log -1", "commit 0123456789 budget")),
            (SEARCHES, await shop.ran("rg budget", "docs/budget.md:1:The kingfisher budget")),
            (TESTS, await shop.ran("pytest -q", "7 passed")),
            (
                DECISIONS,
                await shop.hear({"hook_event_name": "Stop", "last_assistant_message": SENTENCE}),
            ),
        ]
        for shard, answer in done:
            assert answer.outcome == "stored", answer
            stored = await shop.stored(str(answer.source))
            assert stored is not None
            assert (stored.shard, stored.trust) == (shard, "captured")
            assert await shop.stored(str(answer.source), shop.space) is None

    project(work)


def test_recall_and_ask_look_there_when_they_are_told_to_and_say_who_brought_it(
    project: Callable[[Work], None],
) -> None:
    async def work(shop: Project) -> None:
        await shop.read(shop.write("budget.md", SENTENCE))
        plain = await shop.desk.call("recall", query=QUESTION)
        both = await shop.desk.call("recall", query=QUESTION, captured=True)
        assert not plain.passages
        assert [(one.text.strip(), one.trust) for one in both.passages] == [(SENTENCE, "captured")]
        silent = await shop.desk.ask(QUESTION)
        answer = await shop.desk.ask(QUESTION, captured=True)
        assert not silent.found
        assert answer.found
        assert [one.trust for one in answer.citations] == ["captured"]
        assert "captured" in answer.routing
        # What the space itself holds goes first, and the local one is not asked.
        own = "The kingfisher budget allows nine attempts."
        await shop.desk.load({"one/own.md": own})
        answer = await shop.desk.ask(QUESTION, captured=True)
        assert [(one.quote, one.trust) for one in answer.citations] == [(own, "user")]

    project(work)


def test_both_spaces_share_one_budget_and_one_limit(project: Callable[[Work], None]) -> None:
    async def work(shop: Project) -> None:
        texts = {f"one/{n}.md": f"Kingfisher number {n} dives at dawn." for n in range(6)}
        await shop.desk.load(texts)
        for n in range(6, 12):
            await shop.read(shop.write(f"{n}.md", f"Kingfisher number {n} dives at dawn."))
        few = await shop.desk.call("recall", query="kingfisher dives", captured=True, limit=5)
        assert len(few.passages) == 5
        scores = [one.score for one in few.passages]
        assert scores == sorted(scores, reverse=True)
        await shop.read(shop.write("best.md", "Kingfisher quarrels end at the old weir."))
        (best,) = (
            await shop.desk.call("recall", query="kingfisher quarrels weir", captured=True, limit=1)
        ).passages
        assert best.trust == "captured"
        tight = await shop.desk.call(
            "recall", query="kingfisher dives", captured=True, max_tokens=30
        )
        assert 0 < tight.tokens <= 30
        everything = await shop.desk.call("recall", query="kingfisher dives", captured=True)
        assert {one.trust for one in everything.passages} == {"user", "captured"}
        # The project's root leaves what was heard in it, though that has no path.
        heard = await shop.ran("pytest -q", "kingfisher dives: 3 passed")
        filters = {"root": str(shop.root)}
        inside = await shop.desk.call(
            "recall", query="kingfisher dives passed", captured=True, filters=filters
        )
        assert heard.source in {one.source for one in inside.passages}
        filters = {"root": str(shop.root.parent / "other")}
        outside = await shop.desk.call(
            "recall", query="kingfisher dives passed", captured=True, filters=filters
        )
        assert not outside.passages

    project(work)


def test_nothing_is_made_for_whoever_only_looks(project: Callable[[Work], None]) -> None:
    async def work(shop: Project) -> None:
        await shop.desk.call("recall", query=QUESTION, captured=True)
        await shop.desk.ask(QUESTION, captured=True)
        await shop.desk.call("forget_captured")
        spaces = shop.space.directory.parent
        assert [one.name for one in spaces.iterdir()] == [shop.space.name]

    project(work)


def test_with_share_it_lies_in_the_space_itself_until_its_user_loads_it(
    project: Callable[[Work], None],
) -> None:
    async def work(shop: Project) -> None:
        path = shop.write("budget.md", SENTENCE)
        await shop.read(path, share=True)
        stored = await shop.stored(str(path), shop.space)
        assert stored is not None
        assert stored.trust == "captured"
        await shop.desk.call("load", paths=[str(shop.root)])
        loaded = await shop.stored(str(path), shop.space)
        assert loaded is not None
        assert loaded.trust == "user"
        # And stays so when an agent writes it.
        path.write_text(SENTENCE.replace("seven", "nine"))
        wrote = await shop.hear(shop.event("Write", {"file_path": str(path)}), share=True)
        newer = await shop.stored(str(path), shop.space)
        assert newer is not None
        assert (newer.trust, newer.sha256) == ("user", wrote.sha256)
        forgotten = await shop.desk.call("forget_captured")
        assert forgotten.documents == 0
        assert await shop.stored(str(path), shop.space) is not None

    project(work)


def test_a_read_of_unchanged_bytes_is_answered_at_once_and_stores_nothing(
    project: Callable[[Work], None],
) -> None:
    async def work(shop: Project) -> None:
        path = shop.write("budget.md", SENTENCE)
        stored = await shop.read(path)
        again = await shop.read("budget.md", wait=False)
        assert again == Captured("unchanged", source=str(path), sha256=stored.sha256, shard=FILES)
        path.write_text(SENTENCE + "\n")
        assert (await shop.read(path)).outcome == "stored"
        # Also of what the user has loaded himself, and then it is not stored twice.
        await shop.desk.load({"two/mill.md": "The mill at Brno grinds barley."})
        mill = shop.desk.folder / "two/mill.md"
        folder = str(shop.desk.folder)
        event = shop.event("Read", {"file_path": str(mill)}) | {"cwd": folder}
        known = await shop.hear(event, root=folder)
        assert (known.outcome, known.shard) == ("unchanged", 2)
        assert await shop.stored(str(mill)) is None

    project(work)


@pytest.mark.parametrize("name", ["id_rsa", ".env", "keys/server.pem", ".aws/config"])
def test_credentials_are_never_read(project: Callable[[Work], None], name: str) -> None:
    async def work(shop: Project) -> None:
        path = shop.write(name, SENTENCE)
        answer = await shop.read(path)
        assert (answer.outcome, "credentials" in answer.reason) == ("skipped", True)

    project(work)


def test_what_is_ignored_lies_outside_or_is_a_way_out_is_skipped(
    project: Callable[[Work], None],
) -> None:
    async def work(shop: Project) -> None:
        (shop.root / ".git").mkdir()
        shop.write(".gitignore", "build/\n*.log\n")
        shop.write("docs/.ifmemignore", "private*\n")
        outside = shop.root.parent / "outside.md"
        outside.write_text(SENTENCE)
        (shop.root / "way-out.md").symlink_to(outside)
        (shop.root / "folder-out").symlink_to(shop.root.parent)
        ignored = [
            shop.write("build/out.md", SENTENCE),
            shop.write("a/b/run.log", SENTENCE),
            shop.write("docs/private-plan.md", SENTENCE),
            shop.write("node_modules/x/index.js", SENTENCE),
            shop.write(".git/description", SENTENCE),
        ]
        ways_out: list[Path | str] = [
            outside,
            shop.root / "way-out.md",
            shop.root / "folder-out/outside.md",
            "../x",
        ]
        for path in [*ignored, *ways_out]:
            assert (await shop.read(path)).outcome == "skipped", path
        # A link to a file inside is that file.
        (shop.root / "alias.md").symlink_to(shop.write("docs/budget.md", SENTENCE))
        through = await shop.read(shop.root / "alias.md")
        assert (through.outcome, through.source) == ("stored", str(shop.root / "docs/budget.md"))

    project(work)


def test_an_agent_that_stands_elsewhere_is_not_listened_to(
    project: Callable[[Work], None],
) -> None:
    async def work(shop: Project) -> None:
        for elsewhere in ("/", str(shop.root.parent), str(shop.root / "..")):
            event = shop.event("Bash", {"command": "pytest"}, "3 passed") | {"cwd": elsewhere}
            assert (await shop.hear(event)).outcome == "skipped", elsewhere
        for root in ("/", "relative", str(shop.root / "gone")):
            assert (await shop.ran("pytest", "3 passed", root=root)).outcome == "skipped", root

    project(work)


def test_outputs_lose_what_came_from_files_that_are_kept_out(
    project: Callable[[Work], None],
) -> None:
    async def work(shop: Project) -> None:
        shop.write(".env", "HIDDEN")
        shop.write("a.py", "fine")
        found = await shop.ran("grep -rn i .", "./.env:1:HIDDEN\n./a.py:1:fine")
        text = await shop.text_of(str(found.source))
        assert "fine" in text
        assert "HIDDEN" not in text
        diff = "diff --git a/.env b/.env\n+HIDDEN\ndiff --git a/a.py b/a.py\n+fine"
        told = await shop.ran("git diff", diff)
        text = await shop.text_of(str(told.source))
        assert "fine" in text
        assert "HIDDEN" not in text
        for command in (
            "git show HEAD:.env",
            "cat .env && pytest",
            "grep x ../other.txt /etc/hosts",
        ):
            assert (await shop.ran(command, "HIDDEN")).outcome == "skipped", command

    project(work)


def test_credentials_in_an_output_are_masked(project: Callable[[Work], None]) -> None:
    async def work(shop: Project) -> None:
        token = "ghp" + "_" + "FAKE" * 9
        told = await shop.ran("pytest", f"E   login with {token} failed")
        text = await shop.text_of(str(told.source))
        assert token not in text
        assert "[masked:" in text

    project(work)


def test_the_same_again_replaces_the_older_and_a_late_one_does_not(
    project: Callable[[Work], None],
) -> None:
    async def work(shop: Project) -> None:
        first = await shop.ran("pytest -q", "1 failed")
        second = await shop.ran("pytest -q", "all passed")
        assert first.source == second.source
        late = await shop.ran("pytest -q", "collection error", at="2020-01-01T00:00:00.000Z")
        assert late.outcome == "skipped"
        text = await shop.text_of(str(second.source))
        assert "all passed" in text
        assert "failed" not in text

    project(work)


def test_a_deleted_file_is_removed_and_a_user_s_document_is_not(
    project: Callable[[Work], None],
) -> None:
    async def work(shop: Project) -> None:
        path = shop.write("budget.md", SENTENCE)
        await shop.read(path)
        path.unlink()
        gone = await shop.hear(shop.event("Write", {"file_path": str(path)}))
        assert gone.outcome == "removed"
        assert await shop.stored(str(path)) is None
        kept = shop.write("kept.md", SENTENCE)
        await shop.desk.call("load", paths=[str(shop.root)])
        kept.unlink()
        await shop.hear(shop.event("Write", {"file_path": str(kept)}), share=True)
        assert await shop.stored(str(kept), shop.space) is not None

    project(work)


@pytest.mark.parametrize("event", ["", "{", "[1]", '"x"', "{}", '{"hook_event_name": 3}', "\0"])
def test_what_is_no_event_is_skipped_and_no_error(
    project: Callable[[Work], None], event: str
) -> None:
    async def work(shop: Project) -> None:
        assert (await shop.hear(event)).outcome == "skipped"

    project(work)


def test_events_wait_in_the_daemon_and_are_stored_in_the_background(
    project: Callable[[Work], None],
) -> None:
    async def work(shop: Project) -> None:
        async with shop.space.loading, asyncio.TaskGroup() as agents:
            # A load goes on meanwhile, and two agents tell of what they do.
            for agent in ("one", "two"):
                agents.create_task(_tell(shop, agent))
        # Whoever waits comes after those before.
        await shop.ran("pytest last", "passed")
        local = await shop.local()
        names = await local.read(captured.sources)
        assert len(names) == 41

    async def _tell(shop: Project, agent: str) -> None:
        for n in range(20):
            answer = await shop.ran(f"pytest {agent} {n}", "passed", wait=False)
            assert answer.outcome == "taken"

    project(work)


def test_too_many_events_push_out_the_oldest_and_are_counted() -> None:
    waiting = Captures(most=3, most_bytes=1_000)
    for n in range(5):
        waiting.put(CaptureCall(agent="x", event=f'{{"n": {n}}}', root="/r"))
    assert waiting.dropped == 2
    assert [json.loads(str(one.event))["n"] for one in waiting.take()] == [2, 3, 4]
    waiting.put(CaptureCall(agent="x", event="a" * 900, root="/r"))
    waiting.put(CaptureCall(agent="x", event="b" * 900, root="/r"))
    assert [str(one.event)[0] for one in waiting.take()] == ["b"]
    assert len(waiting) == 0


def test_what_was_captured_is_forgotten_in_both_spaces_and_findable_no_more(
    project: Callable[[Work], None],
) -> None:
    async def work(shop: Project) -> None:
        await shop.read(shop.write("budget.md", SENTENCE))
        await shop.ran("pytest", SENTENCE, share=True)
        await shop.desk.load({"one/own.md": "The heron budget allows nine attempts."})
        forgotten = await shop.desk.call("forget_captured")
        assert forgotten.documents == 2
        found = await shop.desk.call("recall", query=QUESTION, captured=True)
        assert [one.trust for one in found.passages] == ["user"]
        shards = await shop.desk.call("shards")
        assert sum(one.tokens for one in shards.items) == sum(one.tokens for one in found.passages)

    project(work)


def test_forgetting_since_a_moment_keeps_what_is_older_also_of_what_still_waits(
    project: Callable[[Work], None],
) -> None:
    async def work(shop: Project) -> None:
        hour_ago = clock.stamp(clock.now() - timedelta(hours=1))
        old = await shop.ran(
            "pytest old", "passed", at=clock.stamp(clock.now() - timedelta(days=1))
        )
        await shop.ran("pytest new", "passed")
        forgotten = await shop.desk.call("forget_captured", since=hour_ago)
        assert forgotten.documents == 1
        assert await (await shop.local()).read(captured.sources) == [old.source]
        # One that comes late, of a moment that was forgotten.
        late = clock.stamp(clock.now() - timedelta(minutes=30))
        assert (await shop.ran("pytest late", "passed", at=late)).outcome == "skipped"
        assert (await shop.ran("pytest now", "passed")).outcome == "stored"

    project(work)


def test_what_has_been_kept_long_enough_is_removed(project: Callable[[Work], None]) -> None:
    async def work(shop: Project) -> None:
        day = timedelta(days=1)
        days = shop.space.settings.capture.retention_days
        await shop.ran("pytest old", "passed", at=clock.stamp(clock.now() - day * (days + 1)))
        young = await shop.ran("pytest young", "passed", at=clock.stamp(clock.now() - day))
        # Opening the local space may have done it before.
        await retire(shop.space)
        assert await (await shop.local()).read(captured.sources) == [young.source]
        assert await retire(shop.space) == 0

    project(work)


def test_a_caller_on_the_bus_reaches_nothing_that_was_captured(
    project: Callable[[Work], None],
) -> None:
    async def work(shop: Project) -> None:
        def asked(method: str, params: dict[str, Any]) -> ForwardedCall:
            raw = json.dumps(params).encode()
            return ForwardedCall(
                id="1", method=method, params=msgspec.Raw(raw), caller="x", until_ms=0
            )

        with pytest.raises(NotPermitted):
            _permitted(shop.space, asked("capture", {"agent": "x", "event": {}, "root": "/"}))
        with pytest.raises(Refused):
            _permitted(shop.space, asked("forget_captured", {}))
        for method, params in (
            ("recall", {"query": "x", "captured": True}),
            ("ask", {"question": "x", "captured": True}),
        ):
            request = _permitted(shop.space, asked(method, params))
            assert json.loads(bytes(request.params)).get("captured", False) is False

    project(work)
