"""Forgetting: what goes with what, what stays, what is refused when it is offered again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ifmem.errors import Invalid, NotFound, Refused
from ifmem.runtime.forgetting_rows import Told, erase_documents, erase_findings
from ifmem.store import audit, forgettable, tombstones
from ifmem.wire import finding_json
from ifmem.wire.calls import Request

PATIENCE_S = 60
WORD = "quillfeather"
TEXT = f"The {WORD} of Marrow Bay opens at dawn.\n"
OTHER = "The granary of Marrow Bay is painted green.\n"


def run(desk: Any, *stories: Callable[[Any], Awaitable[None]]) -> None:
    """Each story meets the same home, served anew."""

    async def main() -> None:
        for story in stories:
            async with asyncio.timeout(PATIENCE_S), desk() as here:
                await story(here)

    asyncio.run(main())


async def say(here: Any, claim: str, **fields: Any) -> str:
    said = await here.call("remember", finding={"claim": claim, **fields})
    return str(said.finding_id)


async def finding(here: Any, finding_id: str) -> dict[str, Any]:
    line = await here.call("finding", id=finding_id)
    return dict(line.finding)


def at(here: Any, name: str) -> str:
    return str(here.folder / name)


async def found(here: Any, query: str) -> str:
    recalled = await here.call("recall", query=query, archive="always")
    return msgspec.json.encode(recalled).decode()


async def reload(here: Any) -> Any:
    entries = msgspec.to_builtins(here.service.settings.placement)
    return await here.call("load", paths=[str(here.folder)], placement=entries)


def test_a_quote_goes_with_its_document_and_the_claim_stays(desk: Any) -> None:
    async def story(here: Any) -> None:
        await here.load({"one/a.md": TEXT, "one/b.md": OTHER})
        cited = {"source": at(here, "one/a.md"), "lines": [1, 1]}
        mine = await say(here, "It opens early.", citations=[cited])
        other = await say(
            here, "It is green.", citations=[{**cited, "source": at(here, "one/b.md")}]
        )
        assert WORD in (await finding(here, mine))["citations"][0]["quote"]
        gone = await here.call("forget", id=at(here, "one/a.md"))
        assert (gone.kind, gone.revoked) == ("document", [mine])
        told = await finding(here, mine)
        assert told["claim"] == "It opens early."
        assert (told["citations"][0]["quote"], told["citations"][0]["status"]) == ("", "revoked")
        parsed = finding_json.from_json(told)
        assert parsed.content_sha256 == finding_json.digest(parsed)
        assert "granary" in (await finding(here, other))["citations"][0]["quote"]
        assert WORD not in await found(here, f"{WORD} opens early")
        body = await here.space.bus.client.get(f"finding:{mine}")
        assert WORD not in body.decode() and b"revoked" in body

    run(desk, story)


def test_a_quote_goes_with_the_finding_that_it_quotes(desk: Any) -> None:
    async def story(here: Any) -> None:
        first = await say(here, f"The {WORD} is shut.")
        second = await say(here, "Somebody says it is.", citations=[{"source": f"finding:{first}"}])
        gone = await here.call("forget", id=f"finding:{first}")
        assert (gone.id, gone.kind, gone.revoked) == (first, "finding", [second])
        assert (await finding(here, second))["citations"][0]["status"] == "revoked"
        assert (await finding(here, second))["citations"][0]["quote"] == ""

    run(desk, story)


def test_what_was_forgotten_is_not_loaded_again_until_it_is_lifted(desk: Any) -> None:
    async def story(here: Any) -> None:
        await here.load({"one/a.md": TEXT, "one/b.md": OTHER})
        source = at(here, "one/a.md")
        await here.call("forget", id=source)
        # The same path with another text, and the same text at another path.
        (here.folder / "one/a.md").write_text("Something else altogether.\n")
        (here.folder / "one/copy.md").write_text(TEXT)
        report = await reload(here)
        reasons = {Path(one.path).name: one.reason for one in report.skipped}
        assert reasons.keys() == {"a.md", "copy.md"}
        assert source in reasons["a.md"] and "--lift" in reasons["copy.md"]
        assert (report.documents, report.refused) == (1, 0)
        assert WORD not in await found(here, WORD)
        lifted = await here.call("lift", id=source)
        # The mark of its text goes with the mark of the source under which it was forgotten.
        assert lifted.tombstones == 2
        report = await reload(here)
        assert (report.documents, report.skipped) == (3, [])
        assert WORD in await found(here, WORD)
        with pytest.raises(NotFound):
            await here.call("lift", id=source)

    run(desk, story)


def test_a_text_that_another_path_leads_to_stays_there_and_that_is_told(desk: Any) -> None:
    async def story(here: Any) -> None:
        await here.load({"one/a.md": TEXT, "one/copy.md": TEXT})
        gone = await here.call("forget", id=at(here, "one/a.md"))
        assert any(at(here, "one/copy.md") in one.what for one in gone.unreachable)
        assert WORD in await found(here, WORD)
        gone = await here.call("forget", id=at(here, "one/copy.md"))
        assert not any("copy.md" in one.what for one in gone.unreachable)
        assert WORD not in await found(here, WORD)

    run(desk, story)


def test_a_forgotten_passage_stays_blank_at_another_path_and_in_a_changed_file(desk: Any) -> None:
    async def story(here: Any) -> None:
        filler = "It is drawn by two oxen on market days.\n\n" * 200
        secret = f"# Doors\n\n{TEXT}\n# Carts\n\n{filler}"
        await here.load({"one/a.md": secret})
        recalled = await here.call("recall", query=WORD)
        mine = await say(
            here, "So it is.", citations=[{"source": at(here, "one/a.md"), "lines": [3, 3]}]
        )
        (passage,) = [one for one in recalled.passages if WORD in one.text]
        gone = await here.call("forget", id=passage.id)
        assert (gone.kind, gone.revoked) == ("passage", [mine])
        assert (await here.call("forget", id=passage.id)).kind == "passage"
        blocks = await here.space.read(
            lambda c: tombstones.blocked(c, tombstones.PASSAGE, passage.id)
        )
        assert blocks
        (here.folder / "one/copy.md").write_text(secret)
        (here.folder / "two").mkdir()
        assert passage.text != secret
        (here.folder / "two/c.md").write_text(passage.text)
        await reload(here)
        assert WORD not in await found(here, f"{WORD} Marrow Bay")
        await here.call("forget", id=at(here, "one/copy.md"))
        await here.call("lift", id=at(here, "one/copy.md"))
        await reload(here)
        assert WORD not in await found(here, f"{WORD} Marrow Bay")
        await here.call("lift", id=passage.id)
        await reload(here)
        assert WORD in await found(here, f"{WORD} Marrow Bay")

    run(desk, story)


def test_what_must_all_fit_is_what_goes(desk: Any) -> None:
    async def story(here: Any) -> None:
        await here.load({"one/a.md": TEXT, "one/b.md": OTHER, "two/c.md": "Ropes are coiled.\n"})
        kept = await say(here, "Nothing of a session.")
        of_run = await say(here, "Something of a session.", session_id="nightly")
        with pytest.raises(Invalid):
            await here.call("forget_matching")
        with pytest.raises(Invalid):
            await here.call("forget_matching", everything=True, session="nightly")
        pattern = [at(here, "one/*")]
        dry = await here.call("forget_matching", source=pattern, dry_run=True)
        assert (dry.documents, dry.findings, dry.dry_run) == (2, 0, True)
        assert sorted(dry.examples) == [at(here, "one/a.md"), at(here, "one/b.md")]
        early = await here.call("forget_matching", source=pattern, before="2000-01-01T00:00:00Z")
        assert (early.documents, early.tombstones) == (0, 0)
        gone = await here.call("forget_matching", session="nightly")
        assert (gone.documents, gone.findings) == (0, 1)
        with pytest.raises(NotFound):
            await finding(here, of_run)
        gone = await here.call("forget_matching", source=[at(here, "one")])
        assert (gone.documents, gone.passages, gone.findings) == (2, 2, 0)
        assert (await finding(here, kept))["claim"] == "Nothing of a session."
        assert "Ropes" in await found(here, "coiled ropes")
        gone = await here.call("forget_matching", before="2999-01-01T00:00:00Z")
        assert (gone.documents, gone.findings) == (1, 1)

    run(desk, story)


def test_a_whole_space_goes_with_its_tasks_and_messages(desk: Any) -> None:
    async def story(here: Any) -> None:
        await here.load({"one/a.md": TEXT})
        said = await say(here, f"A {WORD} again.")
        await here.call("task_post", title=f"Mend the {WORD}")
        await here.call("send", to="ada", sender="bob", body={"text": f"Where is the {WORD}?"})
        gone = await here.call("forget_matching", everything=True)
        assert (gone.documents, gone.findings, gone.tasks, gone.messages) == (1, 1, 1, 1)
        assert (await here.call("task_list")).items == []
        assert (await here.call("receive", agent="ada")).items == []
        with pytest.raises(Refused):
            await say(here, "Again.", finding_id=said)
        listed = await here.call("forgotten")
        assert [one.id for one in listed.items] == [said]
        # It goes on: new tasks are posted and claimed, new messages arrive.
        await here.call("task_post", title="Mend the roof")
        claimed = await here.call("task_claim", worker="ada")
        assert [one.title for one in claimed.items] == ["Mend the roof"]
        await here.call("send", to="ada", sender="bob", body={"text": "Hello"})
        assert len((await here.call("receive", agent="ada")).items) == 1
        await here.call("lift", everything=True)
        assert (await reload(here)).documents == 1

    run(desk, story)


def test_the_audit_names_a_finding_by_its_id_and_a_document_by_its_mark(desk: Any) -> None:
    async def story(here: Any) -> None:
        await here.load({"one/a.md": TEXT})
        said = await say(here, "This is said.")
        source = at(here, "one/a.md")
        await here.call("forget", id=said)
        await here.call("forget", id=source)
        mark = await here.space.read(lambda c: tombstones.mark(c, tombstones.SOURCE, source))
        rows = await here.space.read(lambda c: audit.newest(c, 100))
        told = [(one.subject, one.reason) for one in rows if one.action == "forget"]
        assert sorted(told) == sorted([(said, "finding"), (mark, "document")])
        # What is told of its loading names it; nothing that is told of the forgetting does.
        named = {one.action for one in rows if source in one.subject + one.reason}
        assert named <= {"load"}

    run(desk, story)


def test_who_follows_hears_of_it_and_can_ask_what_it_missed(desk: Any) -> None:
    async def story(here: Any) -> None:
        heard: list[dict[str, Any]] = []
        told = asyncio.Event()
        awaited = {"following"}

        class Emit:
            def __call__(self, event: dict[str, Any]) -> None:
                heard.append(event)
                if event.keys() & awaited:
                    told.set()

            async def drained(self) -> None:
                return None

        said = await say(here, "This is said.")
        raw = msgspec.Raw(msgspec.json.encode({"since": "0"}))
        request = Request(1, "follow", here.space.name, raw)
        following = asyncio.ensure_future(here.service.call(request, Emit()))
        await here.space.feed.connected()
        await told.wait()
        awaited.add("forgotten")
        told.clear()
        await here.call("forget", id=said)
        await told.wait()
        (event,) = [one["forgotten"] for one in heard if "forgotten" in one]
        assert (event["kind"], list(event["ids"])) == ("finding", [said])
        # A reader of plain findings passes over it: the next one comes as if nothing was.
        awaited.add("finding")
        after = await say(here, "This is said later.")
        while after not in repr([one["finding"] for one in heard if "finding" in one]):
            told.clear()
            await told.wait()
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following
        listed = await here.call("forgotten", since="2000-01-01")
        assert [one.id for one in listed.items] == [said]
        dead = await here.space.bus.log.dead_letters(10)
        assert dead == []

    run(desk, story)


def test_a_forgetting_that_was_killed_after_its_commit_is_finished_at_the_next_start(
    desk: Any,
) -> None:
    told: dict[str, str] = {}

    async def interrupted(here: Any) -> None:
        await here.load({"one/a.md": TEXT, "one/b.md": OTHER})
        cited = {"source": at(here, "one/a.md"), "lines": [1, 1]}
        told["mine"] = await say(here, "It opens early.", citations=[cited])
        told["gone"] = await say(here, f"A {WORD} is a bird.")
        await here.space.bus.log.dead_letter(message=f"about {WORD} and {told['gone']}")
        by = Told(by="desk-1", at="2026-01-01T00:00:00.000Z")
        await here.space.write(partial(erase_findings, ids=[told["gone"]], told=by))
        source = at(here, "one/a.md")
        await here.space.write(partial(erase_documents, sources=[source], told=by))
        # As a kill leaves it: nobody but the store has heard of it.
        assert await here.space.read(forgettable.is_due)

    async def finished(here: Any) -> None:
        for _ in range(PATIENCE_S * 100):
            if not await here.space.read(forgettable.is_due):
                break
            await asyncio.sleep(0.01)
        client = here.space.bus.client
        values = [
            await client.get(name)
            async for name in client.scan_iter(count=1_000)
            if await client.type(name) == b"string"
        ]
        assert values and not any(WORD.encode() in value for value in values)
        assert await here.space.bus.log.dead_letters(10) == []
        assert (await finding(here, told["mine"]))["citations"][0]["status"] == "revoked"
        assert WORD not in await found(here, f"{WORD} opens early")
        with pytest.raises(NotFound):
            await finding(here, told["gone"])

    run(desk, interrupted, finished)


def test_a_held_answer_that_cites_it_is_taken_back_and_others_are_kept(desk: Any) -> None:
    async def story(here: Any) -> None:
        await here.load({"one/a.md": TEXT, "one/b.md": OTHER})
        said = await say(here, "This is said.")
        cited = (at(here, "one/a.md"), at(here, "one/b.md"), f"finding:{said}")

        def work(connection: Any) -> None:
            for number, source in enumerate(cited):
                response = {"text": f"The {WORD}.", "citations": [{"source": source}]}
                connection.execute(
                    "INSERT INTO archive_query (query_id, asked_at, sender, question, params, "
                    "state, expires_at, answered_at, response) "
                    "VALUES (?, '2026', 'ada', 'Why?', '{}', 'answered', '2999', '2026', ?)",
                    (str(number), msgspec.json.encode(response).decode()),
                )

        await here.space.write(work)

        async def held() -> list[str]:
            read = "SELECT query_id FROM archive_query WHERE response IS NOT NULL ORDER BY number"
            rows = await here.space.read(lambda c: c.execute(read).fetchall())
            return [str(one) for (one,) in rows]

        assert await held() == ["0", "1", "2"]
        await here.call("forget", id=at(here, "one/a.md"))
        assert await held() == ["1", "2"]
        await here.call("forget", id=said)
        assert await held() == ["1"]

    run(desk, story)


def test_a_space_answers_nothing_from_before_a_forgetting(desk: Any) -> None:
    async def story(here: Any) -> None:
        await here.load({"one/a.md": TEXT})
        said = await say(here, f"A {WORD} is a bird.")
        assert WORD in (await here.ask(f"What is a {WORD}?", model="extractive")).text
        await here.call("forget", id=said)
        await here.call("forget", id=at(here, "one/a.md"))
        answer = await here.ask(f"What is a {WORD}?", model="extractive")
        assert not answer.found
        assert len(here.space.answers) == 0

    run(desk, story)
