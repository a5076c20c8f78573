"""Citations verified again: on real files, a real store, and while the sources change."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ifmem.clock import new_id
from ifmem.domain.finding import Citation, CitationStatus, Finding
from ifmem.errors import Invalid, NotFound, NotPermitted
from ifmem.runtime import verifying
from ifmem.runtime.adopting import adopted
from ifmem.runtime.remembering import store_finding
from ifmem.store import contents
from ifmem.store.audit_anchor import read_key
from ifmem.wire import finding_json
from ifmem.wire.citation_records import is_signed
from ifmem.wire.verify_calls import CheckedCitation, VerifyPage

NOTES = "# Notes\n\nThe retry budget is three.\nThe port is 4711.\n"
BUDGET = "The retry budget is three."
Desk = Any
OpenDesk = Callable[..., AbstractAsyncContextManager[Any]]


@pytest.fixture
async def here(desk: OpenDesk) -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


async def cite(here: Desk, *citations: Any, claim: str = "So it is.", **fields: Any) -> str:
    finding = {"claim": claim, "citations": list(citations), **fields}
    stored = await here.call("remember", finding=finding)
    return str(stored.finding_id)


async def check(here: Desk, **params: Any) -> VerifyPage:
    page = await here.call("verify", **params)
    assert isinstance(page, VerifyPage)
    return page


async def status(here: Desk, **params: Any) -> CheckedCitation:
    (item,) = (await check(here, **params)).items
    return item


def notes(here: Desk, name: str = "one/notes.md") -> Path:
    return Path(here.folder) / name


@pytest.mark.anyio
async def test_what_did_not_change_is_verified_and_counted(here: Desk) -> None:
    await here.load({"one/notes.md": NOTES})
    finding = await cite(here, {"source": str(notes(here)), "lines": [3, 3]})
    page = await check(here)
    assert page.items == [
        CheckedCitation(finding, str(notes(here)), (3, 3), "verified"),
    ]
    assert (page.counts.verified, page.findings, page.next) == (1, 1, None)


@pytest.mark.anyio
async def test_a_quote_that_moved_is_verified_at_its_new_lines(here: Desk) -> None:
    await here.load({"one/notes.md": NOTES})
    await cite(here, {"source": str(notes(here)), "lines": [3, 3]})
    notes(here).write_text("Preface.\n\n" + NOTES)
    for _ in range(2):
        item = await status(here)
        assert (item.status, item.lines, item.lines_before) == ("verified", (5, 5), (3, 3))
        # Loaded again, the store's text is what the quote is looked for in.
        await here.load({})


@pytest.mark.anyio
async def test_a_quote_that_its_source_lost_is_stale_however_the_source_was_touched(
    here: Desk,
) -> None:
    await here.load({"one/notes.md": NOTES})
    await cite(here, {"source": str(notes(here)), "lines": [3, 3]})
    before = notes(here).stat()
    notes(here).write_text(NOTES.replace("three", "seven"))
    os.utime(notes(here), ns=(before.st_atime_ns, before.st_mtime_ns))
    assert notes(here).stat().st_size == before.st_size
    assert (await status(here)).status == "stale"
    await here.load({})
    assert (await status(here)).status == "stale"


@pytest.mark.anyio
async def test_a_source_that_was_only_touched_is_verified(here: Desk) -> None:
    await here.load({"one/notes.md": NOTES})
    await cite(here, {"source": str(notes(here)), "lines": [3, 3]})
    os.utime(notes(here), ns=(1, 1))
    assert (await status(here)).status == "verified"


@pytest.mark.anyio
async def test_a_file_that_is_gone_is_stale_while_its_snapshot_is_stored_and_then_missing(
    here: Desk,
) -> None:
    await here.load({"one/notes.md": NOTES})
    await cite(here, {"source": str(notes(here)), "lines": [3, 3]})
    notes(here).unlink()
    assert (await status(here)).status == "stale"
    await here.load({"one/else.md": "Something else.\n"})
    assert (await status(here)).status == "missing"


@pytest.mark.anyio
async def test_a_file_that_was_never_loaded_is_read_as_a_load_would_read_it(here: Desk) -> None:
    notes(here).parent.mkdir(parents=True)
    notes(here).write_text(NOTES)
    await cite(here, {"source": str(notes(here)), "lines": [3, 3]})
    assert (await status(here)).status == "verified"
    notes(here).unlink()
    assert (await status(here)).status == "missing"
    os.mkfifo(notes(here))
    assert (await status(here)).status == "missing"


@pytest.mark.anyio
async def test_a_quote_that_somebody_made_up_is_disputed(here: Desk) -> None:
    await here.load({"one/notes.md": NOTES})
    known = await cite(here, {"source": str(notes(here)), "lines": [3, 3]})
    line = await here.call("finding", id=known)
    (honest,) = line.finding["citations"]
    await direct(here, honest | {"quote": "The retry budget is nine.", "status": "verified"})
    await direct(here, honest | {"quote": "", "status": "revoked", "sha256": None})
    by_status = [item.status for item in (await check(here)).items]
    assert by_status == ["verified", "disputed", "unverified"]


@pytest.mark.anyio
async def test_what_is_kept_out_of_loads_is_not_read_to_verify_a_quote(here: Desk) -> None:
    secret = Path(here.folder) / ".env"
    secret.parent.mkdir(parents=True)
    secret.write_text("NAME=a value that nobody may read\n")
    await direct(here, {"source": str(secret), "quote": "a value that nobody may read"})
    item = await status(here)
    assert item.status == "missing"
    assert "credentials" in item.why


async def direct(here: Desk, *citations: Any) -> Finding:
    """A finding as somebody with the bus's credentials writes it, past our checks."""
    finding_id = new_id()
    said = {"claim": "So it is.", "worker_id": "eve", "citations": citations}
    finding = adopted(finding_id, msgspec.json.encode(said))
    await store_finding(here.space, finding, durable=True)
    return finding


@pytest.mark.anyio
async def test_a_cited_finding_is_verified_until_it_is_forgotten(here: Desk) -> None:
    first = await cite(here)
    await cite(here, f"finding:{first}")
    assert (await status(here)).status == "verified"
    await here.call("forget", id=first)
    assert (await status(here)).status == "missing"


@pytest.mark.anyio
async def test_urls_are_not_looked_up(here: Desk) -> None:
    await cite(here, "https://example.org/a", {"source": "https://example.org/b", "quote": "x"})
    page = await check(here)
    assert [item.status for item in page.items] == ["unverified", "unverified"]
    assert page.counts.unverified == 2


@pytest.mark.anyio
async def test_sides_of_an_open_conflict_are_disputed_until_it_is_resolved(here: Desk) -> None:
    await here.load({"one/notes.md": NOTES})
    pointer = {"source": str(notes(here)), "lines": [3, 3]}
    sides = [
        await cite(here, pointer, claim=f"It is {value}.", topic="budget", value=value, unit="GB")
        for value in (4.2, 5.8)
    ]
    page = await check(here)
    assert [item.finding_id for item in page.items if item.status == "disputed"] == sides
    await here.space.write(lambda c: c.execute("UPDATE conflict SET outcome = 'both'") and None)
    assert (await check(here)).counts.disputed == 0


@pytest.mark.anyio
async def test_pages_follow_each_other_and_miss_nothing_while_writes_go_on(here: Desk) -> None:
    await here.load({"one/notes.md": NOTES})
    pointer = {"source": str(notes(here)), "lines": [3, 3]}
    ids = [await cite(here, pointer, claim=f"Number {n}.") for n in range(7)]
    seen: list[str] = []
    cursor: str | None = "0"
    while cursor is not None:
        page = await check(here, since=cursor, limit=3)
        seen += [item.finding_id for item in page.items]
        if len(ids) < 9:
            ids.append(await cite(here, pointer, claim=f"Number {len(ids)}."))
        cursor = page.next
    assert seen == ids


@pytest.mark.anyio
async def test_a_page_ends_with_the_finding_that_fills_it(
    here: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "MOST_CITATIONS", 4)
    await here.load({"one/notes.md": NOTES})
    pointers = [{"source": str(notes(here)), "lines": [n, n]} for n in (1, 3, 4)]
    for n in range(3):
        await cite(here, *pointers, claim=f"Number {n}.")
    first = await check(here, total=True)
    assert (len(first.items), first.findings, first.total) == (6, 2, 3)
    assert first.next is not None
    second = await check(here, since=first.next)
    assert (len(second.items), second.next) == (3, None)


@pytest.mark.anyio
async def test_verifying_keeps_to_a_source_a_finding_or_what_is_wrong(here: Desk) -> None:
    await here.load({"one/notes.md": NOTES, "two/more.md": NOTES})
    more = notes(here, "two/more.md")
    both = await cite(
        here, {"source": str(notes(here)), "lines": [3, 3]}, {"source": str(more), "lines": [4, 4]}
    )
    await cite(here, "https://example.org/a")
    below = await check(here, source=[str(more.parent)])
    assert [item.source for item in below.items] == [str(more)]
    assert (await check(here, finding=both)).counts.verified == 2
    wrong = await check(here, problems_only=True)
    assert [item.source for item in wrong.items] == ["https://example.org/a"]
    assert (wrong.counts.verified, wrong.counts.unverified) == (2, 1)


@pytest.mark.anyio
async def test_what_is_no_cursor_or_no_finding_is_refused(here: Desk) -> None:
    with pytest.raises(Invalid, match="cursor"):
        await check(here, since="yesterday")
    with pytest.raises(NotFound):
        await check(here, finding=new_id())


@pytest.mark.anyio
async def test_an_if_uri_is_stored_as_what_it_stands_for_when_that_is_here(here: Desk) -> None:
    await here.load({"one/notes.md": NOTES})
    await here.call("load_text", text="ada: the port is 4711\n", source="chat:epic-1")
    known = await cite(here)
    cited = await cite(
        here,
        f"IF://code/{notes(here)}#L3",
        "if://doc/one/notes.md#L3",
        "if://conversation/epic-1#L1",
        f"if://claim/{known}",
        "IF://Citation/x y/",
        "if://doc/nowhere.md",
    )
    line = await here.call("finding", id=cited)
    by_path, by_name, chat, finding, other, nowhere = line.finding["citations"]
    for one in (by_path, by_name):
        assert (one["source"], one["quote"], one["status"]) == (
            str(notes(here)),
            BUDGET,
            "verified",
        )
        assert one["uri"].startswith("if://")
    assert (chat["source"], chat["status"]) == ("chat:epic-1", "verified")
    assert finding == f"finding:{known}"
    assert (other, nowhere) == ("if://citation/x%20y", "if://doc/nowhere.md")
    statuses = [item.status for item in (await check(here, finding=cited)).items]
    assert statuses == ["verified"] * 4 + ["unverified"] * 2


@pytest.mark.anyio
async def test_an_if_uri_leads_nobody_out_of_its_roots(here: Desk, tmp_path: Path) -> None:
    await here.load({"one/notes.md": NOTES})
    inside = tmp_path / "inside"
    inside.mkdir()
    for place in (str(notes(here)), str(tmp_path / "absent.md")):
        call = {"claim": "x", "citations": [f"if://doc/{place}#L3"]}
        with pytest.raises(NotPermitted):
            await here.call("remember", finding=call, within=[str(inside)])
    call = {"claim": "x", "citations": ["if://doc/one/notes.md#L3"]}
    stored = await here.call("remember", finding=call, within=[str(inside)])
    line = await here.call("finding", id=stored.finding_id)
    assert line.finding["citations"] == ["if://doc/one%2Fnotes.md#L3"]


@pytest.mark.anyio
async def test_a_record_of_an_earlier_tool_is_checked_like_any_citation(here: Desk) -> None:
    await here.load({"one/notes.md": NOTES})
    known = await cite(here, {"source": str(notes(here)), "lines": [3, 3]})
    (ours,) = (await here.call("finding", id=known)).finding["citations"]
    record = {
        "citation_id": "if://citation/c-1",
        "claim_id": "if://claim/c-1",
        "sources": [
            {"type": "code", "ref": f"{notes(here)}:3", "hash": "sha256:" + ours["sha256"]},
            {"type": "web", "ref": "https://example.org/a", "note": "read in May"},
        ],
        "status": "VERIFIED",
        "reviewed_by": "ada",
    }
    cited = await cite(here, record)
    mine, web = (await here.call("finding", id=cited)).finding["citations"]
    assert (mine["quote"], mine["status"], mine["reviewed_by"]) == (BUDGET, "verified", "ada")
    assert (web["source"], web["status"], web["note"]) == (
        "https://example.org/a",
        "unverified",
        "read in May",
    )
    page = await check(here, finding=cited, records=True)
    assert [item.status for item in page.items] == ["verified", "unverified"]
    (written,) = page.records
    assert (written.citation_id, written.status) == ("if://citation/c-1", "unverified")
    assert [source.ref for source in written.sources] == [
        f"{notes(here)}:3",
        "https://example.org/a",
    ]


@pytest.mark.anyio
async def test_records_are_signed_by_the_key_of_the_audit(here: Desk) -> None:
    await here.load({"one/notes.md": NOTES})
    finding = await cite(here, {"source": str(notes(here)), "lines": [3, 3]})
    (record,) = (await check(here, records=True)).records
    assert record.claim_id == f"if://claim/{finding}"
    assert (record.status, record.sources[0].quote) == ("verified", BUDGET)
    assert record.verified_by == here.space.worker_id
    key = read_key(here.space.database.path)
    assert key is not None
    assert is_signed(record, key)
    assert not is_signed(record, bytes(32))
    assert not is_signed(msgspec.structs.replace(record, status="disputed"), key)


@pytest.mark.anyio
async def test_a_revoked_quote_stays_revoked(here: Desk) -> None:
    await here.load({"one/notes.md": NOTES})
    finding = await cite(here, {"source": str(notes(here)), "lines": [3, 3]})
    stored = (await here.call("finding", id=finding)).finding
    read = finding_json.from_json(stored)
    (cited,) = read.citations
    assert isinstance(cited, Citation)
    body = finding_json.to_json(
        replace(read, citations=(replace(cited, quote="", status=CitationStatus.REVOKED),))
    )
    await here.space.write(
        lambda c: c.execute("UPDATE finding SET body = ?", (body.decode(),)) and None
    )
    assert (await status(here)).status == "revoked"


@pytest.mark.anyio
async def test_a_forgotten_passage_is_not_verified_from_what_a_page_before_had_read(
    here: Desk,
) -> None:
    await here.load({"one/notes.md": NOTES})
    pointer = {"source": str(notes(here)), "lines": [3, 3]}
    for n in range(2):
        await cite(here, pointer, claim=f"Number {n}.")
    first = await check(here, limit=1)
    assert first.items[0].status == "verified"
    place = await here.space.read(partial(contents.content_at, source=str(notes(here))))
    await here.space.write(partial(contents.blank_passage, content_id=place[0], ordinal=0))
    (second,) = (await check(here, since=first.next)).items
    assert second.status == "disputed"
