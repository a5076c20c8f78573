"""Direct writes: adopted with the trust of any agent, or kept with the reason why not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from ifmem.domain.finding import Citation, CitationStatus, Finding, Trust
from ifmem.errors import Invalid, Unavailable
from ifmem.runtime.adopting import Adopter, adopted
from ifmem.wire.envelopes import Hint

ID = "00000000-0000-4000-8000-000000000001"
OTHER = "00000000-0000-4000-8000-000000000002"


def written(**fields: Any) -> bytes:
    return json.dumps({"claim": "The port is 6379.", **fields}).encode()


def test_what_its_writer_left_out_is_filled_in() -> None:
    finding = adopted(ID, written())
    assert (finding.finding_id, finding.worker_id, finding.durable) == (ID, "unknown", False)
    assert finding.tokens > 3
    assert finding.content_sha256


@pytest.mark.parametrize(
    ("claimed", "given"),
    [("user", Trust.AGENT), ("agent", Trust.AGENT), ("quarantined", Trust.QUARANTINED)],
)
def test_trust_is_at_most_that_of_an_agent(claimed: str, given: Trust) -> None:
    assert adopted(ID, written(trust=claimed)).trust is given


def test_a_citation_is_not_verified_because_its_writer_says_so() -> None:
    (cited,) = adopted(
        ID, written(citations=[{"source": "/a.py", "quote": "x", "status": "verified"}])
    ).citations
    assert isinstance(cited, Citation)
    assert cited.status is CitationStatus.UNVERIFIED


def test_credentials_are_masked() -> None:
    fake = "gh" + "p_" + "A1b2" * 9
    finding = adopted(ID, written(claim=f"The token is {fake}.", note={"token": fake}))
    assert fake not in json.dumps([finding.claim, dict(finding.unknown)])


@pytest.mark.parametrize(
    "body",
    [
        b"no JSON",
        b"[]",
        b"\xff",
        written(finding_id=OTHER),
        written(confidence=7),
        written(claim=" "),
        written(schema_version="9"),
    ],
)
def test_what_is_no_finding_is_invalid(body: bytes) -> None:
    with pytest.raises(Invalid):
        adopted(ID, body)


def test_a_bus_that_takes_nothing_now_is_waited_for_and_bad_writes_are_kept() -> None:
    values = {ID: written(), OTHER: b"no JSON"}
    published: list[str] = []
    letters: list[dict[str, Any]] = []
    refusals = [Unavailable("the store is behind"), Unavailable("the store is behind")]
    done = asyncio.Event()

    async def read(finding_id: str) -> bytes | None:
        return values.get(finding_id)

    async def publish(finding: Finding) -> None:
        if refusals:
            raise refusals.pop()
        published.append(finding.finding_id)
        done.set()

    async def dead_letter(**fields: Any) -> None:
        letters.append(fields)

    async def story() -> None:
        adopter = Adopter(read, publish, dead_letter, "channel:findings")
        adopter.take(b"\x00" * 5_000, Invalid("this is no JSON object"))
        adopter.take(OTHER.encode(), Hint(OTHER))
        adopter.take(b"gone", Hint("00000000-0000-4000-8000-000000000009"))
        adopter.take(b"{}", Hint(None))
        adopter.take(ID.encode(), Hint(ID))
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            running = group.create_task(adopter.run())
            await done.wait()
            running.cancel()

    asyncio.run(story())
    assert published == [ID]
    assert [letter["reason"][:15] for letter in letters] == ["this is no JSON", "the value at fi"]


def test_a_flood_of_hints_is_bounded() -> None:
    async def unused(*_: object, **__: object) -> None:
        raise AssertionError("nothing is adopted here")

    async def story() -> None:
        adopter = Adopter(unused, unused, unused, "channel:findings")
        for _ in range(5_000):
            adopter.take(ID.encode(), Hint(ID))
        assert adopter._hints.qsize() == 1_000

    asyncio.run(story())
