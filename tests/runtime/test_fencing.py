"""Guarantee 10 where files are read: what a call names lies inside, or is refused alike."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ifmem.errors import Invalid, NotPermitted
from ifmem.runtime.fencing import fence_of, require_source
from ifmem.store import audit

PATIENCE_S = 60
MARK = "zorbulax"


def run(desk: Any, story: Callable[[Any], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S), desk() as here:
            await story(here)

    asyncio.run(main())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with ways out of it."""
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    for name in ("a.txt", "deep/b.txt", "stored.txt"):
        (outside / name).write_text(f"The {MARK} hums at midnight.\n")
    project = tmp_path / "project"
    (project / "sub").mkdir(parents=True)
    (project / "notes.txt").write_text("The lantern burns till four.\n")
    (project / "sub" / "more.txt").write_text("The ferry leaves at dawn.\n")
    (project / "to-file").symlink_to(outside / "a.txt")
    (project / "to-folder").symlink_to(outside)
    (project / "to-nothing").symlink_to(outside / "absent")
    return project


async def refusal(call: Awaitable[Any]) -> NotPermitted:
    with pytest.raises(NotPermitted) as caught:
        await call
    return caught.value


def shape(error: NotPermitted) -> str:
    """The message without the path that the caller gave."""
    return error.message.removeprefix(str(error.facts["path"]))


async def sources(here: Any) -> list[str]:
    return [one.source for one in await here.call("sources")]


def test_a_tree_is_loaded_without_what_its_links_lead_to_outside(desk: Any, root: Path) -> None:
    async def story(here: Any) -> None:
        report = await here.call("load", paths=[str(root)], within=[str(root)])
        assert report.documents == 2
        left_out = {Path(one.path).name: one.reason for one in report.skipped}
        assert left_out == dict.fromkeys(("to-file", "to-folder", "to-nothing"), "not permitted")
        # Without a fence the same link says more, and may be named.
        await here.call("load", paths=[str(root / "to-file")])
        assert len(await sources(here)) == 3
        await here.call("load", paths=[str(root)], within=[str(root)])
        assert len(await sources(here)) == 2

    run(desk, story)
    home = root.parent / "home"
    stored = b"".join(one.read_bytes() for one in home.rglob("*") if one.is_file())
    assert b"lantern" in stored and len(re.findall(rb"lantern burns", stored)) > 0


def test_nothing_of_what_lies_outside_reaches_the_store(desk: Any, root: Path) -> None:
    async def story(here: Any) -> None:
        within = [str(root)]
        await here.call("load", paths=[str(root), str(root / "sub")], within=within)
        for source in (f"{root}/to-file", f"{root}/to-folder/deep/b.txt"):
            await refusal(here.call("load", paths=[source], within=within))
            cited = {"claim": "It hums.", "citations": [{"source": source, "lines": [1, 1]}]}
            await refusal(here.call("remember", finding=cited, within=within))

    run(desk, story)
    home = root.parent / "home"
    stored = b"".join(one.read_bytes() for one in home.rglob("*") if one.is_file())
    assert b"lantern" in stored
    assert MARK.encode() not in stored


def test_absent_and_forbidden_are_one_answer_and_are_audited(desk: Any, root: Path) -> None:
    outside = root.parent / "outside"
    odd = [
        str(outside),
        f"{outside}/a.txt",
        f"{outside}/absent.txt",
        f"{root}/absent.txt",
        f"{root}/to-file",
        f"{root}/to-nothing",
        f"{root}/to-folder/deep",
        f"{root}/../outside/a.txt",
        "notes.txt",
        "~/notes.txt",
        "",
        f"{root}/notes\0.txt",
        f"{root}/{'long' * 2_000}",
    ]

    async def story(here: Any) -> None:
        within = [str(root)]
        told = set()
        for path in odd:
            for paths in ([path], [str(root), path]):
                told.add(shape(await refusal(here.call("load", paths=paths, within=within))))
            cited = {"claim": "So it is.", "citations": [{"source": path, "lines": [1, 1]}]}
            if path:
                told.add(shape(await refusal(here.call("remember", finding=cited, within=within))))
        assert len(told) == 1
        assert await sources(here) == []
        rows = await here.space.read(lambda connection: audit.newest(connection, 100))
        assert {row.action for row in rows} == {"load", "remember"}
        assert f"{outside}/a.txt" in {row.subject for row in rows}
        # Without a fence the two are told apart, and no roots at all permit nothing.
        await refusal(here.call("load", paths=[str(root)], within=[]))
        await here.call("load", paths=[f"{outside}/stored.txt"])
        assert await sources(here) == [f"{outside}/stored.txt"]
        told.add(
            shape(await refusal(here.call("load", paths=[f"{outside}/stored.txt"], within=[])))
        )
        assert len(told) == 1

    run(desk, story)


def test_a_citation_is_of_what_lies_inside_whether_it_is_stored_or_not(
    desk: Any, root: Path
) -> None:
    outside = root.parent / "outside"

    async def story(here: Any) -> None:
        within = [str(root)]
        await here.call("load", paths=[f"{outside}/stored.txt", f"{root}/notes.txt"])

        async def cite(citation: Any, **params: Any) -> Any:
            finding = {"claim": "So it is.", "citations": [citation]}
            done = await here.call("remember", finding=finding, within=within, **params)
            page = await here.call("findings", since=str(int(done.cursor) - 1))
            return page.items[-1].finding["citations"][0]

        stored = {"source": f"{outside}/stored.txt", "quote": f"The {MARK} hums"}
        await refusal(cite(stored))
        await refusal(cite(f"{outside}/stored.txt"))
        await refusal(cite(f"file://{outside}/stored.txt"))
        await refusal(cite({"source": f"git+file://{outside}#log"}))
        inside = await cite({"source": f"{root}/sub/../notes.txt", "quote": "The lantern"})
        assert (inside["source"], inside["status"]) == (f"{root}/notes.txt", "verified")
        unloaded = await cite({"source": f"{root}/sub/more.txt", "lines": [1, 1]})
        assert unloaded["quote"] == "The ferry leaves at dawn."
        # What is stored can be cited after its file is gone.
        (root / "notes.txt").unlink()
        gone = await cite({"source": f"{root}/notes.txt", "quote": "The lantern"})
        assert gone["status"] == "verified"
        assert await cite("https://example.org/a") == "https://example.org/a"
        with pytest.raises(Invalid):
            await cite({"source": f"{root}/sub/more.txt", "quote": "not there"})
        # The roots of another host are compared by their letters: no link of this one is followed.
        elsewhere = {"source": "/project/of/theirs.txt"}
        with pytest.raises(NotPermitted):
            await cite(elsewhere, elsewhere=True)
        within = ["/project/of"]
        with pytest.raises(Invalid, match="another host"):
            await cite(elsewhere, elsewhere=True)
        with pytest.raises(NotPermitted):
            await cite({"source": "/project/of/../x.txt"}, elsewhere=True)

    run(desk, story)


def test_a_result_of_a_task_cites_within_its_authors_roots(desk: Any, root: Path) -> None:
    async def story(here: Any) -> None:
        await here.call("task_post", title="listen")
        (task,) = await here.call("task_claim", worker="w")
        finish = {"task_id": task.task_id, "worker": "w", "fence": task.fence, "claim": "It hums."}
        cited = [{"source": f"{root.parent}/outside/a.txt", "lines": [1, 1]}]
        await refusal(here.call("task_finish", **finish, citations=cited, within=[str(root)]))
        assert (await here.call("task_show", task_id=task.task_id)).state == "leased"
        cited = [{"source": f"{root}/notes.txt", "lines": [1, 1]}]
        done = await here.call("task_finish", **finish, citations=cited, within=[str(root)])
        assert done.state == "done"

    run(desk, story)


def test_a_text_replaces_no_document_outside(desk: Any, root: Path) -> None:
    outside = root.parent / "outside"

    async def story(here: Any) -> None:
        within = [str(root)]
        await here.call("load", paths=[f"{outside}/stored.txt"])
        for source in (
            f"{outside}/stored.txt",
            f"{root}/../outside/stored.txt",
            f"{root}/to-folder/new.txt",
            f"file://{outside}/stored.txt",
            f"FILE:{outside}/%73tored.txt",
            f"git+file://{outside}#log",
            "notes.txt",
        ):
            await refusal(here.call("load_text", text="x", source=source, within=within))
            await refusal(
                here.call(
                    "load_rows", source=source, rows=[{"id": "1", "text": "x"}], within=within
                )
            )
        for source in (f"{root}/sub/../new.md", "https://example.org/a", "chat:1", "captured:x:1"):
            await here.call("load_text", text=f"Of {source}.", source=source, within=within)
        assert await sources(here) == sorted(
            [
                f"{outside}/stored.txt",
                f"{root}/new.md",
                "captured:x:1",
                "chat:1",
                "https://example.org/a",
            ]
        )
        far = {"source": "/project/new.md", "elsewhere": True}
        await here.call("load_text", text="Far away.", within=["/project"], **far)
        await refusal(here.call("load_text", text="Far away.", within=["/projects"], **far))
        text = await here.call("recall", query=MARK)
        assert MARK in msgspec.json.encode(text).decode()

    run(desk, story)


def test_what_is_not_printable_is_told_in_letters(root: Path) -> None:
    fence = fence_of([str(root)])
    with pytest.raises(NotPermitted) as caught:
        require_source(fence, "/\udcff\0x" + "y" * 500)
    caught.value.message.encode()
    assert len(caught.value.message) < 400
    assert "\\xff\\0" in caught.value.message


def test_loading_a_link_by_its_name_leaves_what_it_leads_to(desk: Any, root: Path) -> None:
    (root / "also").symlink_to(root / "notes.txt")

    async def story(here: Any) -> None:
        for within in (None, [str(root)]):
            await here.call("load", paths=[f"{root}/notes.txt"], within=within)
            await here.call("load", paths=[f"{root}/also"], within=within)
            assert await sources(here) == [f"{root}/also", f"{root}/notes.txt"]

    run(desk, story)
