"""Sessions: what an ending archives, what stays live, what comes back, and what is refused."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from ifmem import clock
from ifmem.errors import NotFound, Refused
from ifmem.model_settings import ModelSettings
from ifmem.runtime.archived import archive_tokens, search_archive
from ifmem.runtime.archiving import REASON, sweep_sessions
from ifmem.runtime.remembering import complete, store_finding
from ifmem.store import audit, reports, sessions, shards
from ifmem.wire import keys
from ifmem.wire.calls import Filters, RememberCall

PATIENCE_S = 60
PLAIN = ModelSettings(keep_hot="off")
LANTERN = "The lantern of Trebic burns till four."
BRIDGE = "The bridge of Morava carries nine carts."
TOWER = "The tower of Olmutz has two clocks."


def run(desk: Any, *stories: Callable[[Any], Awaitable[None]]) -> None:
    """Each story meets the same home, served anew."""

    async def main() -> None:
        for story in stories:
            async with asyncio.timeout(PATIENCE_S), desk(PLAIN) as here:
                await story(here)

    asyncio.run(main())


async def say(here: Any, claim: str, session: str | None = None, **fields: Any) -> str:
    finding = {"claim": claim, **fields}
    if session is not None:
        finding["session_id"] = session
    return str((await here.call("remember", finding=finding)).finding_id)


async def load(here: Any, name: str, text: str | None = None, session: str = "-") -> Any:
    """Load one file of the desk's folder, written first when its text is given."""
    path = here.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if text is not None:
        path.write_text(text)
        # One that was written this moment is read again, for it may change within its time stamp.
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return await here.call("load", paths=[str(path)], run=session)


async def end(here: Any, session: str, **params: Any) -> Any:
    return await here.call("session_end", id=session, **params)


async def recall(here: Any, query: str, **params: Any) -> list[tuple[str, bool, str | None]]:
    """Text, whether it is archived, and session of what is recalled, best first of each kind."""
    found = await here.call("recall", query=query, **params)
    passages = [(one.text.strip(), one.archived, one.session) for one in found.passages]
    return passages + [(one.claim, one.archived, one.session) for one in found.findings]


async def live(here: Any, query: str) -> list[str]:
    return [text for text, *_ in await recall(here, query, archive="never")]


def day_later(days: float = 1.01) -> Callable[[], datetime]:
    return lambda: clock.now() + timedelta(days=days)


def test_an_ended_session_is_found_in_the_archive_with_its_name_and_no_more_among_the_live(
    desk: Any,
) -> None:
    async def story(here: Any) -> None:
        await say(here, LANTERN, "night")
        await load(here, "one/bridge.md", BRIDGE, "night")
        await say(here, TOWER)
        ended = await end(here, "night", actor="ada")
        assert (ended.outcome, ended.findings, ended.documents) == ("ended", 1, 1)
        assert await live(here, "lantern tower") == [TOWER]
        assert (LANTERN, True, "night") in await recall(here, "lantern of Trebic")
        assert (BRIDGE, True, "night") in await recall(here, "bridge of Morava")
        board = await here.call("status")
        assert sum(one.tokens for one in board.shards) == 0 == board.context_active

    async def later(here: Any) -> None:
        assert (LANTERN, True, "night") in await recall(here, "lantern of Trebic")
        assert (BRIDGE, True, "night") in await recall(here, "bridge of Morava")
        assert len(here.space.index) == 1
        assert len(here.space.archive) == 2

    run(desk, story, later)


def test_ending_again_says_so_and_an_unknown_session_is_not_found(desk: Any) -> None:
    async def story(here: Any) -> None:
        await say(here, LANTERN, "night")
        first = await end(here, "night", actor="ada")
        again = await end(here, "night", actor="bob")
        assert (again.outcome, again.ended_by, again.findings) == ("known", "ada", 0)
        assert again.ended_at == first.ended_at
        with pytest.raises(NotFound, match="no session 'nowhere'"):
            await end(here, "nowhere")
        with pytest.raises(NotFound):
            await here.call("session", id="nowhere")

    run(desk, story)


def test_a_session_that_was_ended_takes_nothing_new(desk: Any) -> None:
    async def story(here: Any) -> None:
        known = await say(here, LANTERN, "night")
        await end(here, "night")
        with pytest.raises(Refused, match="--run NAME"):
            await say(here, TOWER, "night")
        with pytest.raises(Refused):
            await load(here, "one/bridge.md", BRIDGE, "night")
        with pytest.raises(Refused):
            await here.call("load_text", text=BRIDGE, source="chat:b", run="night")
        with pytest.raises(Refused):
            await here.call("task_post", title="light the lantern", run="night")
        # What it said before may be repeated.
        assert await say(here, LANTERN, "night", finding_id=known) == known
        assert await live(here, "tower bridge") == []

    run(desk, story)


def test_a_document_that_others_loaded_too_stays_live_until_they_have_ended(desk: Any) -> None:
    async def story(here: Any) -> None:
        await load(here, "one/bridge.md", BRIDGE, "night")
        await load(here, "one/bridge.md", session="day")
        await load(here, "one/tower.md", TOWER, "night")
        await load(here, "one/tower.md")
        assert (await end(here, "night")).documents == 0
        assert await live(here, "bridge of Morava") != []
        assert (await end(here, "day")).documents == 1
        # Loaded without a session, too: that never ends.
        assert await live(here, "bridge tower") == [TOWER]

    run(desk, story)


def test_one_text_under_two_paths_is_archived_with_the_last_session_that_reads_it(
    desk: Any,
) -> None:
    async def story(here: Any) -> None:
        await load(here, "one/a.md", BRIDGE, "night")
        await load(here, "one/b.md", BRIDGE, "day")
        assert (await end(here, "night")).documents == 0
        (here.folder / "one/b.md").unlink()
        # The path that kept it live is gone, and who is left has ended.
        await here.call("load", paths=[str(here.folder)], run="day")
        assert await live(here, "bridge of Morava") != []
        await end(here, "day")
        assert await live(here, "bridge of Morava") == []
        assert (await recall(here, "bridge of Morava"))[0][:2] == (BRIDGE, True)

    run(desk, story)


def test_loading_an_archived_document_again_makes_it_live_though_it_did_not_change(
    desk: Any,
) -> None:
    async def story(here: Any) -> None:
        report = await load(here, "one/bridge.md", BRIDGE, "night")
        before = [one.tokens for one in report.shards]
        await end(here, "night")
        report = await load(here, "one/bridge.md", session="day")
        assert (report.unchanged, [one.tokens for one in report.shards]) == (1, before)
        assert await recall(here, "bridge of Morava") == [(BRIDGE, False, None)]
        assert len(here.space.archive) == 0
        assert await archive_tokens(here.space) == 0
        answer = await here.ask("What does the bridge of Morava carry?")
        assert answer.found

    async def later(here: Any) -> None:
        assert await recall(here, "bridge of Morava") == [(BRIDGE, False, None)]
        assert (await end(here, "day")).documents == 1
        assert await recall(here, "bridge of Morava") == [(BRIDGE, True, "day")]

    run(desk, story, later)


def test_a_changed_text_keeps_who_had_loaded_its_path_before(desk: Any) -> None:
    async def story(here: Any) -> None:
        await load(here, "one/bridge.md", BRIDGE)
        await load(here, "one/bridge.md", TOWER, "night")
        await end(here, "night")
        assert await live(here, "tower of Olmutz") == [TOWER]

    run(desk, story)


def test_open_tasks_of_an_ended_session_are_cancelled_and_its_workers_forget(desk: Any) -> None:
    async def story(here: Any) -> None:
        space = here.space
        for title in ("light it", "guard it"):
            await here.call("task_post", title=title, run="night")
        other = await here.call("task_post", title="sweep", run="day")
        (held,) = (await here.call("task_claim", worker="ada", run="night")).items
        names = {who: space.bus.keys.of(keys.WORKER_CONTEXT, id=who) for who in ("ada", "bob")}
        for name in names.values():
            await space.bus.client.set(name, "[]", ex=600)
        ended = await end(here, "night")
        assert ended.tasks == 2
        page = await here.call("task_list", run="night")
        assert {task.state for task in page} == {"cancelled"}
        assert {reason.reason for task in page for reason in task.reasons} == {REASON}
        with pytest.raises(Refused):
            await here.call("task_finish", task_id=held.task_id, worker="ada", fence=held.fence)
        assert (await here.call("task_show", task_id=other.task_id)).state == "pending"
        assert await space.bus.client.exists(names["ada"]) == 0
        assert await space.bus.client.exists(names["bob"]) == 1
        assert await space.bus.client.llen(space.bus.keys.of(keys.WORKER_TASKS, id="ada")) == 0

    run(desk, story)


def test_an_idle_session_ends_by_itself_and_goes_on_when_somebody_works_in_it(desk: Any) -> None:
    async def story(here: Any) -> None:
        await say(here, LANTERN, "night")
        await sweep_sessions(here.space, now=day_later(0.9))
        assert (await here.call("session", id="night")).state == "open"
        await sweep_sessions(here.space, now=day_later())
        told = await here.call("session", id="night")
        assert (told.state, told.ended_by) == ("ended", None)
        assert await live(here, "lantern") == []
        await say(here, TOWER, "night")
        assert (await here.call("session", id="night")).state == "open"
        assert await live(here, "lantern tower") == [TOWER]

    run(desk, story)


def test_an_idle_session_that_goes_on_has_its_documents_back_by_loading_them(desk: Any) -> None:
    async def story(here: Any) -> None:
        await load(here, "one/bridge.md", BRIDGE, "night")
        await sweep_sessions(here.space, now=day_later())
        assert await live(here, "bridge of Morava") == []
        assert (await load(here, "one/bridge.md", session="night")).unchanged == 1
        assert await live(here, "bridge of Morava") == [BRIDGE]

    run(desk, story)


def test_a_session_is_not_idle_while_a_task_of_it_is_worked_on(desk: Any) -> None:
    async def story(here: Any) -> None:
        await here.call("task_post", title="light it", run="night")
        await here.call("task_claim", worker="ada", run="night", lease_seconds=600)
        await sweep_sessions(here.space, now=day_later())
        assert (await here.call("session", id="night")).state == "open"

    run(desk, story)


def test_a_finding_that_comes_after_the_end_of_its_session_is_archived_at_once(desk: Any) -> None:
    async def story(here: Any) -> None:
        await say(here, LANTERN, "night")
        end_it = partial(sessions.end, session_id="night", at=clock.stamp(clock.now()), by="ada")
        # As when the session is ended between the acceptance of a finding and its commit.
        said = RememberCall(finding={"claim": TOWER, "session_id": "night"})
        finding = await complete(here.space, said)
        await here.space.write(end_it)
        await store_finding(here.space, finding, durable=True)
        assert TOWER not in await live(here, "tower of Olmutz")
        assert (TOWER, True, "night") in await recall(here, "tower of Olmutz", archive="always")

    run(desk, story)


def test_what_was_interrupted_after_the_commit_is_completed_by_the_next_start(desk: Any) -> None:
    async def story(here: Any) -> None:
        await say(here, LANTERN, "night")
        await load(here, "one/bridge.md", BRIDGE, "night")
        await here.call("task_post", title="light it", run="night")
        # The transaction alone: what a kill right after it leaves behind.
        at = clock.stamp(clock.now())
        await here.space.write(partial(sessions.end, session_id="night", at=at, by="ada"))

    async def later(here: Any) -> None:
        assert await live(here, "lantern bridge") == []
        assert len(here.space.archive) == 2
        board = await here.call("status")
        assert board.context_active == 0
        await sweep_sessions(here.space)
        (task,) = await here.call("task_list", run="night")
        assert task.state == "cancelled"

    run(desk, story, later)


def test_auto_reaches_the_archive_only_where_what_is_live_does_not_answer(desk: Any) -> None:
    async def story(here: Any) -> None:
        await say(here, LANTERN, "night")
        await end(here, "night")
        await say(here, "The lantern of Trebic burns till five.")
        question = "How long does the lantern of Trebic burn?"
        assert [one[1] for one in await recall(here, question)] == [False]
        assert sorted(one[1] for one in await recall(here, question, archive="always")) == [
            False,
            True,
        ]
        await end(here, "night")
        other = await recall(here, "Who guards the gate of Jihlava?", archive="never")
        assert all(not archived for _, archived, _ in other)

    run(desk, story)


def test_live_texts_that_share_a_rare_word_do_not_keep_a_question_from_the_archive(
    desk: Any,
) -> None:
    async def story(here: Any) -> None:
        budget = "The retry budget of the Courier is 3 attempts."
        await say(here, budget, "night")
        await end(here, "night")
        for topic in ("contract", "beast", "wave", "spirit", "config"):
            await load(
                here, f"{topic}.txt", f"libs/{topic}/courier.cpp\nlibs/{topic}/{topic}.ipp\n"
            )
        question = "What is the retry budget of the Courier?"
        assert await recall(here, question, limit=1) == [(budget, True, "night")]
        assert "3 attempts" in str((await here.ask(question)).answer)
        assert not any(one[1] for one in await recall(here, "beast courier.cpp"))

    run(desk, story)


def test_a_run_does_not_hide_what_was_archived(desk: Any) -> None:
    async def story(here: Any) -> None:
        await say(here, LANTERN, "night")
        await say(here, TOWER, "dusk")
        await end(here, "night")
        here_only = {"run": "dawn"}
        found = await recall(here, "lantern of Trebic", filters=here_only)
        assert found == [(LANTERN, True, "night")]
        # One that goes on is kept apart from other runs.
        assert TOWER not in [text for text, *_ in await recall(here, TOWER, filters=here_only)]

    run(desk, story)


def test_a_question_that_only_the_archive_answers_is_answered_from_it(desk: Any) -> None:
    async def story(here: Any) -> None:
        await say(here, LANTERN, "night")
        await say(here, TOWER)
        await end(here, "night")
        question = "How long does the lantern of Trebic burn?"
        assert not (await here.ask(question, archive="never")).found
        assert not (await here.ask(question, shard=4)).found
        answer = await here.ask(question)
        assert answer.found
        assert "till four" in str(answer.answer)

    run(desk, story)


def test_the_archive_is_counted_without_a_scan_and_what_is_removed_is_subtracted(
    desk: Any,
) -> None:
    async def story(here: Any) -> None:
        space = here.space
        assert await archive_tokens(space) == 0
        lantern = await say(here, LANTERN, "night")
        report = await load(here, "one/bridge.md", BRIDGE, "night")
        await end(here, "night")
        both = await archive_tokens(space)
        assert both > report.tokens > 0
        await here.call("forget", id=lantern)
        assert await archive_tokens(space) == report.tokens
        await here.call("forget", id=str(here.folder / "one/bridge.md"))
        assert await archive_tokens(space) == 0
        assert await recall(here, "lantern bridge", archive="always") == []

    run(desk, story)


def test_the_archive_is_searched_as_a_question_to_it_and_unindexed_by_key(desk: Any) -> None:
    async def story(here: Any) -> None:
        await say(here, LANTERN, "night", worker_id="ada")
        await say(here, TOWER, "night", worker_id="bob")
        await end(here, "night")
        question, hits = await search_archive(here.space, "the lantern of Brno", most=5)
        assert "brno" in question.unknown
        assert hits[0].shard == shards.ARCHIVE
        only = Filters(author="bob")
        _, of_bob = await search_archive(here.space, "lantern tower", most=5, filters=only)
        assert len(of_bob) == 1
        here.space.unindex([hits[0].key])
        _, left = await search_archive(here.space, "the lantern of Brno", most=5)
        assert hits[0].key not in [hit.key for hit in left]

    run(desk, story)


def test_sessions_are_listed_newest_first_a_page_at_a_time_with_their_counts(desk: Any) -> None:
    async def story(here: Any) -> None:
        for name in ("one", "two", "three"):
            await say(here, f"{LANTERN} {name}", name, worker_id="ada")
        await load(here, "one/bridge.md", BRIDGE, "two")
        await end(here, "two")
        first = await here.call("sessions", limit=2)
        assert [one.session_id for one in first] == ["three", "two"]
        rest = await here.call("sessions", limit=2, after=first.next)
        assert [one.session_id for one in rest] == ["one"]
        assert [s.session_id for s in await here.call("sessions", state="ended")] == ["two"]
        told = await here.call("session", id="two")
        assert (told.findings, told.documents, told.archived_documents) == (1, 1, 1)
        assert told.authors == {"ada": 1}
        listed = await here.call("findings", filters={"run": "two"})
        assert [line.finding["session_id"] for line in listed] == ["two"]

    run(desk, story)


def test_an_ending_is_in_the_audit(desk: Any) -> None:
    async def story(here: Any) -> None:
        await say(here, LANTERN, "night")
        await end(here, "night", actor="ada")
        rows = await here.space.read(partial(audit.newest, limit=5))
        (row,) = [row for row in rows if row.action == "session_end"]
        assert (row.type, row.actor, row.subject) == ("decision", "ada", "night")
        assert LANTERN not in row.reason

    run(desk, story)


def test_the_archive_is_no_shard(desk: Any) -> None:
    async def story(here: Any) -> None:
        await load(here, "one/bridge.md", BRIDGE, "night")
        await end(here, "night")
        assert [one.shard for one in await here.call("shards")] == [1, 2, 3, 4]
        assert await here.space.read(reports.shard_tokens) == []
        (listed,) = await here.call("sources")
        assert listed.shards == [shards.ARCHIVE]

    run(desk, story)


def test_always_gives_the_answer_that_holds_more_of_the_question(desk: Any) -> None:
    async def story(here: Any) -> None:
        await say(here, "The lantern of Trebic burns bright until dawn.", "night")
        await end(here, "night")
        await say(here, "The lantern of Trebic burns low but bright.")
        for day in ("Monday", "Tuesday", "Friday"):
            await say(here, f"The dawn of {day} was bright.")
        question = "Does the lantern of Trebic burn bright until dawn?"
        assert "burns low but bright" in str((await here.ask(question, archive="auto")).answer)
        assert "until dawn" in str((await here.ask(question, archive="always")).answer)
        # As much of it: what is live goes first.
        await say(here, "The lantern of Trebic does not burn bright until dawn.")
        assert "does not" in str((await here.ask(question, archive="always")).answer)

    run(desk, story)


def test_one_sentence_that_holds_the_question_goes_before_two_that_hold_half_each(
    desk: Any,
) -> None:
    async def story(here: Any) -> None:
        await say(here, "Credentials are masked before any write.", "night")
        await end(here, "night")
        await say(here, "The credential of the envoy was sealed.")
        await say(here, "The actor wore a mask.")
        answer = str((await here.ask("How are credentials masked?")).answer)
        assert "before any write" in answer

    run(desk, story)
