"""The task board over MCP: one holder, one fence, one end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

Agents = Callable[..., Any]


@pytest.fixture
def two(desk: Any, request: pytest.FixtureRequest) -> Any:
    """Two agents in a space of the test's own."""
    space = f"t{abs(hash(request.node.name)) % 10**9}"
    return [desk.caller(name, space=space) for name in ("ada", "bob")]


def test_a_task_is_posted_claimed_renewed_and_finished_under_its_callers_names(
    agents: Agents, two: Any, era: str
) -> None:
    async def talk(ada: Any, bob: Any) -> Any:
        posted = await ada.facts(
            "task_post", title="Read the log", data={"path": "build.log", "lines": [1, 2]}
        )
        claimed = await bob.facts("task_claim", lease_seconds=60)
        held = {"task_id": claimed["task_id"], "fence": claimed["fence"]}
        renewed = await bob.facts("task_renew", **held, lease_seconds=3_600)
        done = await bob.facts("task_finish", **held, claim="The log is clean", citations=[])
        heard = await ada.facts("changes")
        return posted, claimed, renewed, done, heard

    posted, claimed, renewed, done, heard = agents(talk, *two, mode=era)
    assert (posted["state"], posted["posted_by"]) == ("pending", "ada")
    assert claimed["claimed"] is True
    assert claimed["task_id"] == posted["task_id"]
    assert claimed["data"] == {"path": "build.log", "lines": [1, 2]}
    assert (claimed["state"], claimed["holder"]) == ("leased", "bob")
    assert renewed["lease_until"] > claimed["lease_until"]
    assert done["state"] == "done"
    (finding,) = heard["items"]
    assert finding["finding_id"] == done["result_finding_id"]
    assert (finding["worker_id"], finding["task_id"]) == ("bob", posted["task_id"])
    assert finding["trust"] == "agent"


def test_nobody_but_the_holder_with_its_fence_moves_a_task(agents: Agents, two: Any) -> None:
    async def talk(ada: Any, bob: Any) -> Any:
        await ada.facts("task_post", title="Guard the gate")
        first = await ada.facts("task_claim")
        stolen = {"task_id": first["task_id"], "fence": first["fence"]}
        others = [
            await bob.refusal("task_renew", **stolen),
            await bob.refusal("task_release", **stolen),
            await bob.refusal("task_finish", **stolen),
        ]
        await ada.facts("task_release", **stolen)
        second = await bob.facts("task_claim")
        late = await ada.refusal("task_finish", **stolen, claim="I was late")
        own = {"task_id": second["task_id"], "fence": second["fence"]}
        done = await bob.facts("task_finish", **own)
        again = await bob.facts("task_finish", **own)
        return others, late, second, done, again, await ada.facts("changes")

    others, late, second, done, again, heard = agents(talk, *two)
    assert {told["error"] for told in (*others, late)} == {"Refused"}
    assert second["attempts"] == 1
    assert (done["state"], again["state"]) == ("done", "done")
    assert heard["items"] == []


def test_a_board_without_work_says_so(agents: Agents, two: Any, era: str) -> None:
    async def talk(ada: Any, bob: Any) -> Any:
        return await ada.call("task_claim")

    result = agents(talk, *two, mode=era)
    assert not result.is_error
    assert result.structured_content == {"claimed": False}
    assert "claimed=false" in result.content[0].text


def test_each_task_goes_to_one_of_two_who_claim_at_once(agents: Agents, two: Any) -> None:
    async def talk(ada: Any, bob: Any) -> Any:
        posted = [
            (await ada.facts("task_post", title=f"Piece {number}"))["task_id"]
            for number in range(12)
        ]
        async with asyncio.TaskGroup() as group:
            claims = [group.create_task(agent.facts("task_claim")) for agent in (ada, bob) * 8]
        return posted, [one.result() for one in claims]

    posted, claims = agents(talk, *two)
    taken = [one["task_id"] for one in claims if one["claimed"]]
    assert sorted(taken) == sorted(posted)
    assert sum(not one["claimed"] for one in claims) == 4


def test_help_is_asked_for_and_a_task_is_called_off(agents: Agents, two: Any) -> None:
    async def talk(ada: Any, bob: Any) -> Any:
        await ada.facts("task_post", title="Lift the barge")
        task = await ada.facts("task_claim")
        held = {"task_id": task["task_id"], "fence": task["fence"]}
        waiting = await ada.facts("task_release", **held, assist=True, reason="too heavy")
        ended = await bob.facts("task_cancel", task_id=task["task_id"], reason="it sank")
        late = await ada.refusal("task_finish", **held)
        return waiting, ended, late

    waiting, ended, late = agents(talk, *two)
    assert waiting["state"] == "needs_assist"
    assert ended["state"] == "cancelled"
    assert any("it sank" in one["reason"] for one in ended["reasons"])
    assert late["error"] == "Refused"


def test_a_key_posts_a_task_once_and_the_first_comes_first(agents: Agents, two: Any) -> None:
    async def talk(ada: Any, bob: Any) -> Any:
        low = await ada.facts("task_post", title="Later", priority=1, idempotency_key="k")
        same = await bob.facts("task_post", title="Later", priority=1, idempotency_key="k")
        high = await bob.facts("task_post", title="First", priority=9)
        last = await bob.facts("task_post", title="Last", depends_on=[low["task_id"]])
        return low, same, high, last, await ada.facts("task_claim")

    low, same, high, last, claimed = agents(talk, *two)
    assert low["task_id"] == same["task_id"]
    assert claimed["task_id"] == high["task_id"]
    assert last["state"] == "blocked"


def test_a_task_that_nobody_knows_is_not_found(agents: Agents, two: Any) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"

    async def talk(ada: Any, bob: Any) -> Any:
        return await ada.refusal("task_cancel", task_id=unknown)

    assert agents(talk, *two)["error"] == "NotFound"
