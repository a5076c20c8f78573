"""Many questions at once: each gets what it would get alone, from what is true when it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import msgspec

from ifmem.bus.state import Context
from ifmem.index.space_index import Hit
from ifmem.model_settings import ModelSettings
from ifmem.runtime.asking import offer, understand, verified

PATIENCE_S = 60
EXTRACTIVE = ModelSettings(default="extractive", keep_hot="off")
SAYINGS = {
    "one/ferry.md": "The ferry to Ostrava leaves at dawn.\nIt carries nine crates.\n",
    "two/mill.md": "The mill at Brno grinds barley.\nIts miller is called Radek.\n",
    "three/clock.md": "The clock of Telc runs four minutes late.\n",
    "four/bridge.md": "The bridge at Znojmo bears twelve tons.\n",
}
QUESTIONS = [
    "When does the ferry to Ostrava leave?",
    "What does the mill at Brno grind?",
    "Who is the miller?",
    "How late is the clock of Telc?",
    "How many tons does the bridge at Znojmo bear?",
    "Summarize every village",
    "Where is Zorbulax?",
]


def run(desk: Any, work: Callable[[Any], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S), desk(EXTRACTIVE) as here:
            await here.load(SAYINGS)
            await work(here)

    asyncio.run(main())


def plain(answer: Any) -> Any:
    return msgspec.to_builtins(msgspec.structs.replace(answer, elapsed_ms=0.0, query_id=""))


def test_questions_at_once_get_the_answers_that_each_gets_alone(desk: Any) -> None:
    async def work(here: Any) -> None:
        alone = [plain(await here.ask(question)) for question in QUESTIONS]
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(here.ask(question)) for question in QUESTIONS * 3]
        assert [plain(one.result()) for one in asked] == alone * 3
        assert [one["found"] for one in alone[:5]] == [True] * 5
        assert not alone[-1]["found"]
        recalled = await here.call("recall", query=QUESTIONS[1])
        async with asyncio.TaskGroup() as group:
            again = [
                group.create_task(here.call("recall", query=question)) for question in QUESTIONS
            ]
        assert again[1].result().passages == recalled.passages

    run(desk, work)


def test_a_question_asked_among_others_sees_what_changed_before_it(desk: Any) -> None:
    async def work(here: Any) -> None:
        async with asyncio.TaskGroup() as group:
            for question in QUESTIONS:
                group.create_task(here.ask(question))
            await here.load({"one/ferry.md": "The ferry to Ostrava leaves at midnight.\n"})
            changed = group.create_task(here.ask(QUESTIONS[0]))
            await here.space.bus.set_ready(3, here.space.worker_id, active=False)
            down = group.create_task(here.ask(QUESTIONS[3]))
        (cited,) = changed.result().citations
        assert cited.quote == "The ferry to Ostrava leaves at midnight."
        assert down.result().shards_missing == [3]

    run(desk, work)


def test_a_text_that_the_context_lacks_is_read_from_the_store(desk: Any) -> None:
    async def work(here: Any) -> None:
        space = here.space
        question = understand(space, QUESTIONS[1], None)
        hits: list[Hit] = space.index.search(QUESTIONS[1], limit=9)
        best = next(hit for hit in hits if hit.shard == 2)
        whole: Context = await space.contexts.fetch(2)
        lacking = replace(whole, parts=())
        (held,) = offer(space, question, whole, [(0, best)])[:1]
        (stored,) = offer(space, question, lacking, [(0, best)])[:1]
        assert held == stored
        (cited,) = await verified(space, [stored])
        assert cited.quote == "The mill at Brno grinds barley."

    run(desk, work)


def test_a_sentence_that_is_gone_from_the_store_is_not_cited(desk: Any) -> None:
    async def work(here: Any) -> None:
        space = here.space
        question = understand(space, QUESTIONS[1], None)
        best = space.index.search(QUESTIONS[1], limit=9)[0]
        context = await space.contexts.fetch(best.shard)
        offered = offer(space, question, context, [(0, best)])
        assert offered
        invented = replace(offered[0], sentence="The mill grinds gold.")
        gone = replace(offered[0], key=999)
        assert await verified(space, [invented, gone]) == []
        assert len(await verified(space, [invented, gone, offered[0]])) == 1

    run(desk, work)
