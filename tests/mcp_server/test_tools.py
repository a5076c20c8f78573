"""Each tool, called as an agent calls it, on a real memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from mcp import MCPError

Agents = Callable[..., Any]

LANTERN = "# Lanterns\n\nThe amber lantern burns whale oil until dawn.\nNobody trims it twice.\n"
FERRY = "def ferry_fare(riders: int) -> int:\n    return riders * 17\n"


@pytest.fixture(scope="module", autouse=True)
def project(desk: Any) -> Any:
    """A project with two files that are loaded."""
    desk.write("notes/lantern.md", LANTERN)
    desk.write("src/ferry.py", FERRY)
    return desk.project


def test_what_is_loaded_is_recalled_with_its_source_and_trust(
    agents: Agents, desk: Any, era: str
) -> None:
    async def talk(ada: Any) -> Any:
        report = await ada.facts("load", paths=["notes", "src"])
        found = await ada.facts("recall", query="amber lantern oil")
        return report, found

    report, found = agents(talk, mode=era)
    assert report["documents"] == 2
    assert report["skipped"] == []
    best = found["passages"][0]
    assert best["source"].endswith("/notes/lantern.md")
    assert "whale oil" in best["text"]
    assert (best["author"], best["trust"]) == ("user", "user")
    assert best["time"] > "2026"
    assert best["lines"][0] >= 1
    assert found["omitted"] == 0


def test_an_answer_quotes_its_source(agents: Agents, era: str) -> None:
    async def talk(ada: Any) -> Any:
        await ada.facts("load", paths=["."])
        return await ada.facts("ask", question="What does the amber lantern burn?", max_cost=0.1)

    answer = agents(talk, mode=era)
    assert answer["found"]
    assert "whale oil" in answer["answer"]
    cited = answer["citations"][0]
    assert cited["verified"]
    assert (cited["author"], cited["trust"]) == ("user", "user")
    assert cited["time"] > "2026"
    assert answer["cost_usd"] == "0"


def test_a_finding_is_its_callers_and_is_found_at_once(agents: Agents, era: str) -> None:
    async def talk(ada: Any) -> Any:
        await ada.facts("load", paths=["."])
        said = await ada.facts(
            "remember",
            claim="The ferry fare is seventeen a rider",
            citations=["src/ferry.py:1-2", {"source": "notes/lantern.md", "lines": [3, 3]}],
            confidence=0.75,
            topic="fares",
            tags=["money"],
        )
        found = await ada.facts("recall", query="ferry fare rider")
        return said, found

    said, found = agents(talk, mode=era)
    finding = next(f for f in found["findings"] if f["finding_id"] == said["finding_id"])
    assert finding["worker_id"] == "ada"
    assert finding["trust"] == "agent"
    assert finding["confidence"] == 0.75
    first, second = finding["citations"]
    assert first["lines"] == [1, 2]
    assert first["status"] == "verified"
    assert "ferry_fare" in first["quote"]
    assert second["quote"].endswith("until dawn.")


def test_a_finding_repeated_with_its_id_is_stored_once(agents: Agents) -> None:
    same = "6b0f3c1e-7a55-4b6a-9d0b-0c6f1f1f4a10"

    async def talk(ada: Any) -> Any:
        first = await ada.facts("remember", claim="The kettle whistles", id=same)
        return first, await ada.facts("remember", claim="The kettle whistles", id=same)

    first, second = agents(talk)
    assert (first["outcome"], second["outcome"]) == ("stored", "known")
    assert first["cursor"] == second["cursor"]


def test_an_author_and_a_trust_cannot_be_argued(agents: Agents) -> None:
    async def talk(ada: Any) -> Any:
        return [
            await ada.refusal("remember", claim="x", worker_id="root"),
            await ada.refusal("remember", claim="x", trust="user"),
            await ada.refusal("task_claim", worker="bob"),
        ]

    for told, field in zip(agents(talk), ("worker_id", "trust", "worker"), strict=True):
        assert told["error"] == "Invalid"
        assert field in told["message"]
        assert told["facts"] == {"field": field}


def test_a_quote_that_is_not_there_is_refused(agents: Agents) -> None:
    async def talk(ada: Any) -> Any:
        cited = {"source": "notes/lantern.md", "quote": "The lantern burns gas"}
        told = await ada.refusal("remember", claim="It burns gas", citations=[cited])
        return told, await ada.facts("changes", limit=500)

    told, changes = agents(talk)
    assert told["error"] == "Invalid"
    assert "quote" in told["message"]
    assert all(item["claim"] != "It burns gas" for item in changes["items"])


def test_a_status_of_a_citation_is_not_taken_from_its_author(agents: Agents) -> None:
    async def talk(ada: Any) -> Any:
        cited = {"source": "https://example.org/a", "quote": "so it is", "status": "verified"}
        said = await ada.facts("remember", claim="It is so, says the web", citations=[cited])
        found = await ada.facts("recall", query="says the web")
        return next(f for f in found["findings"] if f["finding_id"] == said["finding_id"])

    assert agents(talk)["citations"][0]["status"] == "unverified"


def test_a_text_is_loaded_under_its_source(agents: Agents, era: str) -> None:
    async def talk(ada: Any) -> Any:
        report = await ada.facts("load", text="The quarry closes at six.", source="chat:quarry")
        return report, await ada.facts("recall", query="quarry closes", scope="space")

    report, found = agents(talk, mode=era)
    assert report["documents"] == 1
    assert found["passages"][0]["source"] == "chat:quarry"


@pytest.mark.parametrize(
    "arguments",
    [{}, {"paths": []}, {"text": "a"}, {"source": "chat:a"}, {"paths": ["."], "text": "a"}],
)
def test_a_load_names_paths_or_a_text(agents: Agents, arguments: dict[str, Any]) -> None:
    async def talk(ada: Any) -> Any:
        return await ada.refusal("load", **arguments)

    assert agents(talk)["facts"] == {"field": "paths"}


def test_what_lies_outside_the_roots_is_not_permitted_whether_it_is_there_or_not(
    agents: Agents, desk: Any
) -> None:
    there = desk.project.parent / "secret.txt"
    there.write_text("the combination is four\n")
    absent = desk.project.parent / "absent.txt"

    async def talk(ada: Any) -> Any:
        return [
            [
                await ada.refusal("load", paths=[str(path)]),
                await ada.refusal("remember", claim="c", citations=[f"{path}:1"]),
            ]
            for path in (there, absent)
        ]

    for of_one, of_other in zip(*agents(talk), strict=True):
        assert of_one["error"] == of_other["error"] == "NotPermitted"
        assert of_one["message"].replace("secret", "") == of_other["message"].replace("absent", "")


def test_a_caller_without_a_directory_names_whole_paths(agents: Agents, desk: Any) -> None:
    nowhere = desk.caller("remote", root=None, directory=None)

    async def talk(remote: Any) -> Any:
        told = [
            await remote.refusal("load", paths=["notes"]),
            await remote.refusal("remember", claim="c", citations=["notes/lantern.md:1"]),
            await remote.refusal("recall", query="lantern", source="notes"),
        ]
        report = await remote.facts("load", paths=[str(desk.project / "notes")])
        await remote.facts("recall", query="lantern", source=str(desk.project / "notes"))
        return told, report

    told, report = agents(talk, nowhere)
    assert {one["error"] for one in told} == {"NotPermitted"}
    assert report["documents"] == 1


def test_a_search_is_about_the_project_unless_it_asks_for_the_space(
    agents: Agents, desk: Any
) -> None:
    elsewhere = desk.project.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "gasket.md").write_text("The hollow gasket seals the furnace.\n")
    neighbour = desk.caller("bob", root=str(elsewhere), roots=(str(elsewhere),))
    unbound = desk.caller("cyd", root=None)

    async def talk(ada: Any, bob: Any, cyd: Any) -> Any:
        await bob.facts("load", paths=[str(elsewhere)])
        return [
            await ada.facts("recall", query="hollow gasket"),
            await ada.facts("recall", query="hollow gasket", scope="space"),
            await cyd.facts("recall", query="hollow gasket"),
            await cyd.refusal("recall", query="hollow gasket", scope="project"),
        ]

    own, whole, unbound_found, told = agents(talk, desk.caller(), neighbour, unbound)
    sources = [[p["source"] for p in found["passages"]] for found in (own, whole, unbound_found)]
    assert not any("gasket.md" in source for source in sources[0])
    assert any("gasket.md" in source for source in sources[1])
    assert any("gasket.md" in source for source in sources[2])
    assert told["facts"] == {"field": "scope"}


def test_a_source_narrows_a_search(agents: Agents) -> None:
    async def talk(ada: Any) -> Any:
        await ada.facts("load", paths=["."])
        one = await ada.facts("recall", query="lantern ferry", source="src")
        both = await ada.facts("recall", query="lantern ferry", source=["src", "notes/*.md"])
        late = await ada.facts("recall", query="lantern ferry", since="2999-01-01")
        return one, both, late

    one, both, late = agents(talk)
    assert [p["source"].rsplit("/", 1)[1] for p in one["passages"]] == ["ferry.py"]
    assert {p["source"].rsplit("/", 1)[1] for p in both["passages"]} == {"ferry.py", "lantern.md"}
    assert late["passages"] == late["findings"] == []


def test_changes_go_on_where_they_ended_and_miss_nothing(agents: Agents, desk: Any) -> None:
    space = desk.caller(space="log")

    async def talk(ada: Any) -> Any:
        said = [
            (await ada.facts("remember", claim=f"Number {number} was drawn"))["finding_id"]
            for number in range(7)
        ]
        heard, cursor, pages = [], None, 0
        while True:
            page = await ada.facts("changes", limit=3, **({"cursor": cursor} if cursor else {}))
            heard += [item["finding_id"] for item in page["items"]]
            cursor, pages = page["cursor"], pages + 1
            if page["next"] is None:
                break
            assert page["next"] == cursor
        empty = await ada.facts("changes", cursor=cursor)
        late = await ada.facts("remember", claim="One more was drawn")
        more = await ada.facts("changes", cursor=empty["cursor"])
        return said, heard, empty, late, more, pages

    said, heard, empty, late, more, pages = agents(talk, space)
    assert heard == said
    assert pages == 3
    assert empty["items"] == []
    assert [item["finding_id"] for item in more["items"]] == [late["finding_id"]]
    assert more["items"][0]["worker_id"] == "ada"


def test_changes_of_one_author_still_move_on(agents: Agents, desk: Any) -> None:
    one, other = (desk.caller(name, space="authors") for name in ("ada", "bob"))

    async def talk(ada: Any, bob: Any) -> Any:
        for number in range(3):
            await ada.facts("remember", claim=f"ada saw {number}")
            await bob.facts("remember", claim=f"bob saw {number}")
        return await ada.facts("changes", author="bob")

    page = agents(talk, one, other)
    assert [item["worker_id"] for item in page["items"]] == ["bob"] * 3


def test_a_wrong_cursor_is_told(agents: Agents) -> None:
    async def talk(ada: Any) -> Any:
        return await ada.refusal("changes", cursor="yesterday")

    assert "cursor" in agents(talk)["message"]


def test_what_is_forgotten_is_not_recalled(agents: Agents, era: str) -> None:
    async def talk(ada: Any) -> Any:
        said = await ada.facts("remember", claim="The bobbin turns leftwards")
        gone = await ada.facts("forget", id=said["finding_id"])
        found = await ada.facts("recall", query="bobbin leftwards")
        return said, gone, found, await ada.refusal("forget", id=said["finding_id"])

    said, gone, found, told = agents(talk, mode=era)
    assert gone == {"id": said["finding_id"], "kind": "finding"}
    assert all(f["finding_id"] != said["finding_id"] for f in found["findings"])
    assert told["error"] == "NotFound"


def test_the_status_names_who_asks_and_no_address_of_the_bus(agents: Agents, era: str) -> None:
    async def talk(ada: Any) -> Any:
        return await ada.call("status")

    result = agents(talk, mode=era)
    board = result.structured_content
    assert (board["space"], board["agent"]) == ("default", "ada")
    assert board["health"] == "healthy"
    assert len(board["shards"]) == 4
    assert set(board["redis"]) == {"embedded", "version"}
    for form in (str(board), result.content[0].text):
        assert "unix:" not in form
        assert "redis://" not in form


def test_an_unknown_tool_is_an_error_of_the_protocol(agents: Agents, era: str) -> None:
    async def talk(ada: Any) -> Any:
        with pytest.raises(MCPError) as caught:
            await ada.call("recollect", query="x")
        return caught.value.error

    error = agents(talk, mode=era)
    assert error.code == -32602
    assert "recollect" in error.message


@pytest.mark.parametrize(
    ("tool", "arguments", "field"),
    [
        ("recall", {}, "query"),
        ("recall", {"query": 3}, "query"),
        ("recall", {"query": "x", "max_tokens": "many"}, "max_tokens"),
        ("recall", {"query": "x", "max_tokens": 0}, "max_tokens"),
        ("recall", {"query": "x", "limit": -1}, "limit"),
        ("recall", {"query": "x", "scope": "world"}, "scope"),
        ("recall", {"query": "x", "source": [1]}, "source[0]"),
        ("recall", {"query": "x", "colour": "red"}, "colour"),
        ("ask", {"question": "x", "max_cost": {}}, "max_cost"),
        ("remember", {"claim": "x", "confidence": 2}, "confidence"),
        ("remember", {"claim": "x", "citations": "a:1"}, "citations"),
        ("remember", {"claim": "x", "citations": [{"lines": [1, 2]}]}, "citations[0]"),
        ("changes", {"limit": 100_000}, "limit"),
        ("task_post", {"title": "x", "priority": 11}, "priority"),
        ("task_post", {"title": "x", "data": [1]}, "data"),
        ("task_claim", {"lease_seconds": 0}, "lease_seconds"),
        ("task_renew", {"task_id": "x"}, "fence"),
        ("task_finish", {"task_id": "x", "fence": "1-1", "outcome": "meh"}, "outcome"),
        ("forget", {"id": None}, "id"),
        ("status", {"show_secrets": True}, "show_secrets"),
    ],
)
def test_a_wrong_argument_is_a_result_that_names_it(
    agents: Agents, tool: str, arguments: dict[str, Any], field: str
) -> None:
    async def talk(ada: Any) -> Any:
        return await ada.refusal(tool, **arguments)

    told = agents(talk)
    assert told["error"] == "Invalid"
    assert told["facts"]["field"] == field
    assert f"`{field}`" in told["message"]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("recall", {"query": "   "}),
        ("recall", {"query": "x" * 16_001}),
        ("recall", {"query": "x", "since": "lately"}),
        ("recall", {"query": "x", "source": ""}),
        ("recall", {"query": "x", "source": "a\0b"}),
        ("ask", {"question": "x", "max_cost": "free"}),
        ("ask", {"question": "x", "max_cost": -1}),
        ("remember", {"claim": "  "}),
        ("remember", {"claim": "x", "id": "not-a-uuid"}),
        ("remember", {"claim": "x", "citations": ["notes/lantern.md:9-3"]}),
        ("remember", {"claim": "half \ud800"}),
        ("status", {"half \ud800": 1}),
        ("recall", {"query": "x", "source": "half/\ud800/of.md"}),
        ("task_post", {"title": " "}),
        ("task_post", {"title": "x", "depends_on": ["y"]}),
    ],
)
def test_an_argument_that_breaks_a_rule_is_invalid(
    agents: Agents, tool: str, arguments: dict[str, Any]
) -> None:
    async def talk(ada: Any) -> Any:
        return await ada.refusal(tool, **arguments)

    told = agents(talk)
    assert told["error"] == "Invalid"
    # It can be sent, whatever was in the argument.
    assert str(told).encode()


def test_a_path_longer_than_a_path_can_be_is_not_permitted(agents: Agents) -> None:
    async def talk(ada: Any) -> Any:
        return await ada.refusal("remember", claim="x", citations=["a" * 5_000 + ":3"])

    assert agents(talk)["error"] == "NotPermitted"


def test_two_agents_that_write_at_once_never_collide(agents: Agents, desk: Any) -> None:
    each = 25
    callers = [desk.caller(name, space="crowd") for name in ("ada", "bob")]

    async def talk(*crowd: Any) -> Any:
        async def say(agent: Any, number: int) -> Any:
            claim = f"{agent.caller.agent} counted {number}"
            return (await agent.facts("remember", claim=claim))["finding_id"]

        async with asyncio.TaskGroup() as group:
            said = [
                group.create_task(say(agent, number)) for agent in crowd for number in range(each)
            ]
        heard = await crowd[0].facts("changes", limit=500)
        rest = await crowd[0].facts("changes", limit=500, cursor=heard["cursor"])
        return [task.result() for task in said], heard["items"] + rest["items"]

    said, heard = agents(talk, *callers)
    assert len(set(said)) == 2 * each
    assert sorted(item["finding_id"] for item in heard) == sorted(said)
    for item in heard:
        assert item["claim"].startswith(item["worker_id"])
    cursors = [int(item["cursor"]) for item in heard]
    assert cursors == sorted(set(cursors))
