"""Disagreement, seen from the verbs: conflicts, the inbox, blocked tasks, policy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from ifmem.archive_settings import TrustSettings
from ifmem.domain.model import ModelCall, Purpose
from ifmem.errors import ConfigError, Invalid, NotFound, Refused
from ifmem.model_settings import BudgetSettings
from ifmem.runtime.inbox import decide
from ifmem.runtime.judging import judge_waiting, require_judge
from ifmem.runtime.settling import ask_authors, settle_tasks
from ifmem.runtime.storing import on_stored
from ifmem.runtime.working_findings import compose
from ifmem.settings import Settings
from ifmem.store import audit, conflicts, findings, inbox
from ifmem.wire import finding_json
from ifmem.wire.inbox_calls import InboxResolveCall

PATIENCE_S = 60
NOWHERE = "00000000-0000-4000-8000-0000000000ff"
KEPT_QUERY = (
    "INSERT INTO archive_query (query_id, asked_at, sender, question, params, state, expires_at, "
    "not_before, reason) VALUES ('q-1', '2026-01-02T03:04:05.000Z', 'ada', 'why?', '{}', 'kept', "
    "'2026-01-09T03:04:05.000Z', '2026-01-03T00:00:00.000Z', 'all are exhausted')"
)


def run(desk: Any, *stories: Callable[[Any], Awaitable[None]], **opening: Any) -> None:
    """Each story meets the same home, served anew."""

    async def main() -> None:
        for story in stories:
            async with asyncio.timeout(PATIENCE_S), desk(**opening) as here:
                await story(here)

    asyncio.run(main())


async def say(here: Any, claim: str, **fields: Any) -> str:
    said = await here.call("remember", finding={"claim": claim, **fields})
    return str(said.finding_id)


async def until(come_true: Callable[[], bool]) -> None:
    """Wait for what the daemon does by itself; the story's time limits it."""
    while not come_true():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def test_two_values_of_one_topic_block_their_task(desk: Any) -> None:
    async def story(here: Any) -> None:
        task = await here.call("task_post", title="measure")
        await say(here, "The bridge is 5.8 m", topic="bridge", value=5.8, task_id=task.task_id)
        assert (await here.call("task_show", task_id=task.task_id)).state == "pending"
        await say(here, "The bridge is 4.2 m", topic="Bridge ", value=4.2, task_id=task.task_id)
        shown = await here.call("task_show", task_id=task.task_id)
        assert shown.state == "blocked", shown

    run(desk, story)


def test_both_sides_are_shown_cited_and_a_person_decides(desk: Any) -> None:
    async def story(here: Any) -> None:
        await here.load({"one/plan.md": "The bridge is 5.8 m long.\n", "two/old.md": "4.2 m.\n"})
        task = await here.call("task_post", title="measure")
        plan, old = (
            {"source": str(here.folder / name), "lines": [1, 1]}
            for name in ("one/plan.md", "two/old.md")
        )
        first = await say(
            here, "5.8", topic="bridge", value=5.8, citations=[plan], task_id=task.task_id
        )
        second = await say(here, "4.2", topic="bridge", value=4.2, citations=[old])
        (item,) = await here.call("inbox")
        assert (item.kind, item.act, item.outcome) == ("conflict", "escalate", None)
        assert [one.finding_id for one in item.findings] == [first, second]
        assert [one.citations[0]["quote"] for one in item.findings] == [
            "The bridge is 5.8 m long.",
            "4.2 m.",
        ]
        assert item.tasks == [task.task_id]
        done = await here.call(
            "inbox_resolve", item=item.item, keep=[first], reason="measured", actor="ann"
        )
        assert (done.outcome, done.closed_by, done.reason) == ("kept", "ann", "measured")
        assert [one.kept for one in done.findings] == [True, False]
        assert (await here.call("task_show", task_id=task.task_id)).state == "pending"
        assert (await here.call("inbox")).items == []
        assert [one.outcome for one in await here.call("conflicts", all=True)] == ["kept"]
        recalled = await here.call("recall", query="bridge")
        assert [one.finding_id for one in recalled.findings] == [first]

    run(desk, story)


def test_what_was_believed_can_be_asked(desk: Any) -> None:
    async def story(here: Any) -> None:
        first = await say(here, "Trebic bridge is 5.8 m", timestamp="2026-01-01T00:00:00.000Z")
        second = await say(
            here,
            "Trebic bridge is 6.1 m",
            supersedes=first,
            timestamp="2026-02-01T00:00:00.000Z",
        )

        async def recalled(at: str | None) -> list[str]:
            found = await here.call("recall", query="Trebic bridge", filters={"at": at})
            return [one.finding_id for one in found.findings]

        async def listed(at: str | None) -> list[str]:
            page = await here.call("findings", filters={"at": at})
            return [line.finding["finding_id"] for line in page]

        assert await recalled(None) == [second]
        assert await recalled("2026-01-15T00:00:00.000Z") == [first]
        assert await recalled("2026-02-15T00:00:00.000Z") == [second]
        assert await recalled("2025-02-15T00:00:00.000Z") == []
        assert await listed(None) == [first, second]
        assert await listed("2026-01-15T00:00:00.000Z") == [first]
        assert await listed("2026-02-15T00:00:00.000Z") == [second]

    run(desk, story)


async def disagree(here: Any, *task_ids: str | None, topic: str = "bridge") -> str:
    """Two findings that disagree, of these tasks; the item that came of it."""
    for value, task_id in zip((5.8, 4.2), (*task_ids, None, None), strict=False):
        await say(here, f"{topic} is {value}", topic=topic, value=value, task_id=task_id)
    return str([one.item for one in await here.call("inbox", kind="conflict")][-1])


async def state(here: Any, task_id: str) -> str:
    return str((await here.call("task_show", task_id=task_id)).state)


def test_who_holds_a_task_is_told_why_it_is_blocked_and_loses_no_attempt(desk: Any) -> None:
    async def story(here: Any) -> None:
        await here.call("task_post", title="measure")
        (task,) = await here.call("task_claim", worker="w-1")
        item = await disagree(here, task.task_id)
        held = {"task_id": task.task_id, "worker": "w-1", "fence": task.fence}
        for method in ("task_finish", "task_renew", "task_release"):
            with pytest.raises(Refused, match=f"ifmem inbox show {item}") as refused:
                await here.call(method, **held)
            assert refused.value.facts["inbox_item"] == item
        assert (await here.call("task_claim", worker="w-2")).items == []
        blocked = await here.call("task_show", task_id=task.task_id)
        assert (blocked.state, blocked.attempts, blocked.holder) == ("blocked", 0, None)
        assert item in blocked.reasons[-1].reason
        await here.call("inbox_resolve", item=item, both=True, actor="ann")
        (again,) = await here.call("task_claim", worker="w-2")
        assert (again.task_id, again.attempts) == (task.task_id, 1)
        with pytest.raises(Refused, match="held by w-2"):
            await here.call("task_finish", **held)
        done = await here.call("task_finish", task_id=task.task_id, worker="w-2", fence=again.fence)
        assert done.state == "done"

    run(desk, story)


def test_a_task_waits_for_other_tasks_and_for_a_person_at_once(desk: Any) -> None:
    async def story(here: Any) -> None:
        first = await here.call("task_post", title="first")
        second = await here.call("task_post", title="second", depends_on=[first.task_id])
        item = await disagree(here, second.task_id)
        assert await state(here, second.task_id) == "blocked"
        # The task before it is done: a person is still waited for.
        (claimed,) = await here.call("task_claim", worker="w-1")
        await here.call("task_finish", task_id=first.task_id, worker="w-1", fence=claimed.fence)
        assert await state(here, second.task_id) == "blocked"
        other = await disagree(here, second.task_id, topic="tunnel")
        await here.call("inbox_resolve", item=item, both=True, actor="ann")
        assert await state(here, second.task_id) == "blocked"
        await here.call("inbox_resolve", item=other, both=True, actor="ann")
        assert await state(here, second.task_id) == "pending"

        third = await here.call("task_post", title="third", depends_on=[second.task_id])
        last = await disagree(here, third.task_id, topic="tower")
        await here.call("inbox_resolve", item=last, both=True, actor="ann")
        assert await state(here, third.task_id) == "blocked"
        assert [one.task_id for one in await here.call("task_claim", worker="w", count=5)] == [
            second.task_id
        ]

    run(desk, story)


def test_what_has_ended_stays_ended_and_is_blocked_when_it_is_requeued(desk: Any) -> None:
    async def story(here: Any) -> None:
        task = await here.call("task_post", title="measure")
        await here.call("task_cancel", task_id=task.task_id, actor="ann")
        item = await disagree(here, task.task_id)
        assert await state(here, task.task_id) == "cancelled"
        await here.call("task_requeue", task_id=task.task_id, actor="ann")
        await settle_tasks(here.space)
        assert await state(here, task.task_id) == "blocked"
        await here.call("task_cancel", task_id=task.task_id, actor="ann")
        await here.call("inbox_resolve", item=item, both=True, actor="ann")
        assert await state(here, task.task_id) == "cancelled"

    run(desk, story)


def store_only(here: Any, n: int, value: float, task_id: str) -> Any:
    """What a process has committed that was killed before it told the bus."""
    body = {"claim": f"it is {value}", "topic": "bridge", "value": value, "task_id": task_id}
    finding = compose({**body, "finding_id": f"00000000-0000-4000-8000-{n:012}"}, worker="w-1")

    def work(connection: Any) -> None:
        sequence, _ = findings.append(
            connection,
            finding_id=finding.finding_id,
            author="w-1",
            task_id=task_id,
            topic="bridge",
            said_at=finding.timestamp,
            tokens=1,
            body=finding_json.to_json(finding),
        )
        stored = findings.by_sequence(connection, [sequence])[sequence]
        on_stored(connection, finding, stored, here.space.settings.trust)

    return here.space.write(work)


def test_a_process_that_was_killed_before_the_bus_was_told_changes_nothing(desk: Any) -> None:
    tasks: list[str] = []
    items: list[str] = []

    async def killed_before_blocking(here: Any) -> None:
        tasks.append((await here.call("task_post", title="measure")).task_id)
        for n, value in enumerate((5.8, 4.2)):
            await store_only(here, n, value, tasks[0])
        items.append((await here.call("inbox")).items[0].item)

    async def killed_before_freeing(here: Any) -> None:
        assert await state(here, tasks[0]) == "blocked"
        call = InboxResolveCall(item=items[0], actor="ann", both=True)
        await here.space.write(partial(decide, call=call, at="2026-01-02T03:04:05.000Z"))

    async def afterwards(here: Any) -> None:
        assert await state(here, tasks[0]) == "pending"
        (task,) = await here.call("task_claim", worker="w-1")
        assert task.attempts == 1

    run(desk, killed_before_blocking, killed_before_freeing, afterwards)


async def lose(here: Any) -> None:
    """Empty the bus, and wait until it is true again."""
    losses = here.space.acknowledgements.losses
    await here.space.bus.client.flushall()
    here.space.mark_lost("emptied by a test")
    space = here.space
    await until(lambda: space.acknowledgements.losses > losses and space.attached.is_set())


def test_a_bus_that_was_lost_with_the_news_of_a_release_releases_again(desk: Any) -> None:
    async def story(here: Any) -> None:
        task = await here.call("task_post", title="measure")
        item = await disagree(here, task.task_id)
        while await here.space.read(partial(inbox.to_block, limit=1)):
            await here.space.bus.run_id()

        def told_and_not_heard(connection: Any) -> None:
            call = InboxResolveCall(item=item, actor="ann", both=True)
            decide(connection, call=call, at="2026-01-02T03:04:05.000Z")
            inbox.unblocked(connection, inbox.to_unblock(connection, 10))

        await here.space.write(told_and_not_heard)
        assert await state(here, task.task_id) == "blocked"
        await lose(here)
        assert await state(here, task.task_id) == "pending"

    run(desk, story)


def test_a_lost_bus_forgets_neither_block_nor_release(desk: Any) -> None:
    async def story(here: Any) -> None:
        task = await here.call("task_post", title="measure")
        item = await disagree(here, task.task_id)
        await lose(here)
        assert await state(here, task.task_id) == "blocked"
        assert (await here.call("task_claim", worker="w-1")).items == []
        await here.call("inbox_resolve", item=item, both=True, actor="ann")
        await lose(here)
        assert await state(here, task.task_id) == "pending"
        counts = (await here.call("status")).tasks
        assert (counts.pending, counts.blocked) == (1, 0)

    run(desk, story)


def test_an_author_with_too_few_sources_is_asked_once(desk: Any) -> None:
    async def story(here: Any) -> None:
        said = await say(here, "It is so", worker_id="ada", citations=["https://example.org/a"])
        page = await here.call("receive", agent="ada", wait_seconds=30)
        (message,) = page
        assert (message.action_type, message.body["speech_act"]) == ("question", "request")
        assert message.body["finding_id"] == said
        (item,) = await here.call("inbox")
        assert (item.kind, item.act, item.subject) == ("single_source", "request", said)
        await ask_authors(here.space)
        await here.call("acknowledge_messages", agent="ada", ids=[message.message_id])
        assert (await here.call("receive", agent="ada")).items == []
        with pytest.raises(Invalid, match="no conflict"):
            await here.call("inbox_resolve", item=item.item, both=True, actor="ann")
        with pytest.raises(Invalid, match="--reason"):
            await here.call("inbox_resolve", item=said, dismiss=True, actor="ann")
        done = await here.call(
            "inbox_resolve", item=said, dismiss=True, actor="ann", reason="it is well known"
        )
        assert done.outcome == "dismissed"
        rows = await here.space.read(lambda connection: audit.newest(connection, 100))
        decided = [(row.action, row.subject, row.actor) for row in rows if row.type == "decision"]
        assert decided == [("resolve", item.item, "ann"), ("request", said, "ada")]

    run(desk, story, trust=TrustSettings(sources=2))


def test_everything_that_waits_is_listed_page_by_page(desk: Any) -> None:
    async def story(here: Any) -> None:
        await disagree(here)
        await say(here, "hardly so", confidence=0.1)
        held = await here.call("remember", finding={"claim": "rumour"}, trust="quarantined")
        await here.call("task_post", title="fails", max_attempts=1)
        (dead,) = await here.call("task_claim", worker="w-1")
        step = {"task_id": dead.task_id, "worker": "w-1", "fence": dead.fence}
        await here.call("task_finish", **step, outcome="failed", reason="no ruler")
        await here.call("task_post", title="hard")
        (hard,) = await here.call("task_claim", worker="w-1")
        step = {"task_id": hard.task_id, "worker": "w-1", "fence": hard.fence}
        await here.call("task_release", **step, assist=True, reason="too long")
        await here.space.write(lambda connection: connection.execute(KEPT_QUERY).rowcount)

        found, after = [], ""
        while after is not None:
            page = await here.call("inbox", limit=1, after=after)
            found += [(one.kind, one.subject) for one in page]
            after = page.next
        assert [kind for kind, _ in found] == [
            "conflict",
            "low_confidence",
            "quarantined",
            "archive_query",
            "dead",
            "needs_assist",
        ]
        whole = await here.call("inbox")
        assert [(one.kind, one.subject) for one in whole] == found and whole.next is None
        for kind, subject in found[2:]:
            (only,) = await here.call("inbox", kind=kind)
            assert only == await here.call("inbox_item", item=subject)
            with pytest.raises(Refused, match="decided where it is kept"):
                await here.call("inbox_resolve", item=subject, both=True, actor="ann")
        assert "no ruler" in (await here.call("inbox_item", item=dead.task_id)).rationale
        await here.call("release", id=held.finding_id)
        assert (await here.call("inbox", kind="quarantined")).items == []
        for wrong in ("nonsense", "item:x", "item:-1"):
            with pytest.raises(Invalid):
                await here.call("inbox", after=wrong)
        with pytest.raises(Invalid):
            await here.call("inbox", kind="nonsense")
        for unknown in ("inbox_item", "inbox_resolve"):
            with pytest.raises(NotFound):
                more = {"both": True, "actor": "ann"} if unknown == "inbox_resolve" else {}
                await here.call(unknown, item="nothing", **more)

    run(desk, story)


def test_a_corrected_finding_is_found_by_nobody_and_stays_in_the_log(desk: Any) -> None:
    async def begin(here: Any) -> None:
        first = await say(here, "The zorbulax hums at midnight")
        await say(here, "The zorbulax hums at noon", supersedes=first)
        assert await claims(here, "zorbulax hums") == ["The zorbulax hums at noon"]
        assert len((await here.call("findings")).items) == 2
        answer = await here.ask("When does the zorbulax hum?", model="extractive")
        assert "noon" in answer.answer and "midnight" not in answer.answer
        brief = await here.call("brief")
        assert "noon" in brief.text and "midnight" not in brief.text
        with pytest.raises(Invalid, match="supersedes"):
            await here.call(
                "remember",
                finding={"claim": "x", "finding_id": NOWHERE, "supersedes": await successor(here)},
            )
        with pytest.raises(Invalid, match="cannot supersede itself"):
            await here.call(
                "remember", finding={"claim": "x", "finding_id": NOWHERE, "supersedes": NOWHERE}
            )
        with pytest.raises(Invalid, match="recall --at"):
            await here.call("ask", question="zorbulax?", filters={"at": "2026-01-01"})

    async def again(here: Any) -> None:
        assert await claims(here, "zorbulax hums") == ["The zorbulax hums at noon"]

    run(desk, begin, again)


async def successor(here: Any) -> str:
    """A finding that says it supersedes one that is not there yet."""
    return await say(here, "it was foreseen", supersedes=NOWHERE)


async def claims(here: Any, query: str) -> list[str]:
    return [one.claim for one in (await here.call("recall", query=query)).findings]


def contradicts(call: ModelCall) -> str:
    asked = call.prompt.question
    yes = "bridge is open" in asked and "bridge is closed" in asked
    return '{"verdict": "yes"}' if yes else '{"verdict": "no"}'


@pytest.mark.parametrize("name", ["nope", "nobody:model", "extractive", "openai:"])
def test_a_judge_that_no_model_can_be_is_refused_before_anything_starts(name: str) -> None:
    with pytest.raises(ConfigError, match=r"trust\.judge"):
        require_judge(Settings(trust=TrustSettings(judge=name)))


@pytest.mark.parametrize("name", ["", "local", "openai:some-model"])
def test_a_judge_is_a_model_by_its_name(name: str) -> None:
    require_judge(Settings(trust=TrustSettings(judge=name)))


def test_a_judge_finds_contradictions_in_words(desk: Any) -> None:
    async def story(here: Any) -> None:
        judge = here.models.add("rule:judge", contradicts)
        task = await here.call("task_post", title="look")
        for n, claim in enumerate(
            ("The bridge is red", "The bridge is open", "The bridge is old", "A new bridge", "x")
        ):
            await say(here, claim, topic="bridge" if n < 4 else "other")
        await say(here, "The bridge is closed", topic="Bridge", task_id=task.task_id)
        await until_listed(here)
        (item,) = await here.call("inbox")
        assert {one.claim for one in item.findings} == {
            "The bridge is open",
            "The bridge is closed",
        }
        (conflict,) = await here.call("conflicts")
        assert conflict.kind == "text"
        while await state(here, task.task_id) != "blocked":
            await here.space.bus.run_id()
        assert all(call.purpose is Purpose.JUDGE for call in judge.calls)
        assert all(call.prompt.documents == "" for call in judge.calls)
        calls = len(judge.calls)
        # One of a topic of its own is compared with nothing, and nothing is judged twice.
        await say(here, "alone", topic="nothing else")
        assert not await judge_waiting(here.space)
        assert len(judge.calls) == calls
        rows = [entry.call for entry in (await here.call("ledger")) if entry.call is not None]
        assert {row.purpose for row in rows} == {"judge"}

    run(desk, story, trust=TrustSettings(judge="rule:judge"))


async def until_listed(here: Any) -> None:
    while not (await here.call("inbox", kind="conflict")).items:
        await here.space.bus.run_id()


def test_a_judge_without_a_key_or_a_budget_leaves_the_claims_for_later(desk: Any) -> None:
    async def story(here: Any) -> None:
        await say(here, "The bridge is open", topic="bridge")
        await say(here, "The bridge is closed", topic="bridge")
        assert not await judge_waiting(here.space)
        assert (await here.call("inbox")).items == []
        waiting = await here.space.read(partial(conflicts.to_judge, limit=10))
        # The first has nothing to be compared with, which needs no model.
        assert [one.topic for one, _, _ in waiting] == ["bridge"]

    async def broke(here: Any) -> None:
        here.models.add("rule:judge", contradicts)
        assert not await judge_waiting(here.space)
        assert (await here.call("inbox")).items == []

    async def rich(here: Any) -> None:
        here.models.add("rule:judge", contradicts)
        await judge_waiting(here.space)
        await until_listed(here)

    trust = TrustSettings(judge="rule:judge")
    run(desk, story, trust=trust)
    run(desk, broke, trust=trust, budget=BudgetSettings(background_per_day=0))
    run(desk, rich, trust=trust)


def test_every_decision_of_policy_is_in_the_inbox_and_audited_with_its_reason(desk: Any) -> None:
    async def story(here: Any) -> None:
        two = ["https://example.org/a", "https://example.org/b"]
        doubted = await say(here, "hardly so", confidence=0.1, citations=two)
        alone = await say(here, "only I say so", citations=two[:1])
        first = await say(here, "the lamp is lit", citations=two)
        again = await say(here, "The lamp  is lit", citations=two, worker_id="eve")
        found = {one.act: (one.kind, one.subject) for one in await here.call("inbox")}
        assert found == {
            "escalate": ("low_confidence", doubted),
            "request": ("single_source", alone),
            "hold": ("duplicate", first),
        }
        held = await here.call("inbox_item", item=first)
        assert [one.finding_id for one in held.findings] == [first, again]
        assert len((await here.call("findings")).items) == 4
        rows = await here.space.read(lambda connection: audit.newest(connection, 100))
        decided = [(r.action, r.subject, r.reason) for r in rows if r.type == "decision"]
        assert decided[::-1] == [
            ("escalate", doubted, "low_confidence: its confidence is 0.1, below 0.2"),
            ("request", alone, "single_source: it cites 1 different source; 2 are asked for"),
            (
                "hold",
                again,
                f"duplicate: the same claim as finding {first}; both are kept",
            ),
        ]

    run(desk, story, trust=TrustSettings(sources=2))
