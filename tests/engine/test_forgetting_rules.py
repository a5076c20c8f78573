"""Which citations quote what is gone, and what is left of their findings."""

from __future__ import annotations

from typing import Any

import pytest

from ifmem.domain.finding import Citation, CitationStatus, Finding
from ifmem.engine.forgetting import BlankedPassage, Gone, names_any, without_quotes

ID = "00000000-0000-4000-8000-000000000001"
OTHER = "00000000-0000-4000-8000-000000000002"
PASSAGE = BlankedPassage(frozenset({"/a"}), "ab" * 32, (5, 9), "The gate is\n  shut today.\n")


def quoting(**fields: Any) -> Citation:
    return Citation(quote="The gate", status=CitationStatus.VERIFIED, **fields)


def finding(*citations: Citation | str) -> Finding:
    return Finding(
        finding_id=ID,
        worker_id="ada",
        timestamp="2026-01-01T00:00:00Z",
        claim="The gate is shut.",
        citations=citations,
    )


@pytest.mark.parametrize(
    ("citation", "gone"),
    [
        (quoting(source="/a"), Gone(sources={"/a"})),
        (quoting(source="https://a.example/x"), Gone(sources={"https://a.example/x"})),
        (quoting(source=f"finding:{OTHER}"), Gone(findings={OTHER})),
        (quoting(source="/a", lines=(9, 12)), Gone(passages=[PASSAGE])),
        (quoting(source="/a", lines=(1, 5)), Gone(passages=[PASSAGE])),
        # Where lines mean nothing, and at another path with the same bytes.
        (Citation(source="/a", quote="is shut  today"), Gone(passages=[PASSAGE])),
        (quoting(source="/moved", sha256="ab" * 32, lines=(7, 7)), Gone(passages=[PASSAGE])),
    ],
)
def test_a_quote_of_what_is_gone_is_revoked_and_the_claim_stays(
    citation: Citation, gone: Gone
) -> None:
    other = quoting(source="/kept", lines=(7, 7))
    left = without_quotes(finding(citation, other, "https://b.example"), gone)
    assert left is not None
    revoked, kept, url = left.citations
    assert isinstance(revoked, Citation)
    assert (revoked.quote, revoked.status) == ("", CitationStatus.REVOKED)
    assert (revoked.source, revoked.lines) == (citation.source, citation.lines)
    assert (kept, url) == (other, "https://b.example")
    assert left.claim == "The gate is shut."


@pytest.mark.parametrize(
    "citation",
    [
        quoting(source="/ab"),
        quoting(source=f"finding:{ID}"),
        quoting(source="/a", lines=(1, 4)),
        quoting(source="/a", lines=(10, 10)),
        quoting(source="/other", sha256="cd" * 32, lines=(5, 9)),
        Citation(source="/a", quote=""),
    ],
)
def test_what_cites_something_else_stays_as_it_is(citation: Citation) -> None:
    elsewhere = BlankedPassage(PASSAGE.sources, PASSAGE.sha256, PASSAGE.lines, "Nothing.\n")
    gone = Gone(findings={OTHER}, sources={"/b"}, passages=[elsewhere])
    assert without_quotes(finding(citation), gone) is None


def test_what_later_versions_wrote_of_a_quote_goes_too() -> None:
    cited = quoting(source="/a", unknown={"context": "The gate is shut today."})
    left = without_quotes(finding(cited), Gone(sources={"/a"}))
    assert left is not None
    assert "today" not in repr(left.citations)


@pytest.mark.parametrize(
    "said",
    ["/a", ID, f"finding:{ID}", ["x", {"y": f"finding:{ID}"}], {"citations": [{"source": "/a"}]}],
)
def test_a_name_is_found_however_deep(said: Any) -> None:
    assert names_any(said, {"/a", ID})
    assert not names_any(said, {"/b", OTHER})


@pytest.mark.parametrize("said", ["see /a", None, 7, {"/a": 1}, []])
def test_a_text_that_only_holds_a_name_is_none(said: Any) -> None:
    assert not names_any(said, {"/a"})
