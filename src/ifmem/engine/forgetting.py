"""What forgetting one thing does to others: quotes of it go, what was said with them stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from ifmem.domain.finding import Citation, CitationStatus, Finding

_FINDING = "finding:"


@dataclass(frozen=True, slots=True)
class BlankedPassage:
    """A passage whose words went, its document stays."""

    sources: frozenset[str]
    """Every path that leads to it."""
    sha256: str
    """Of the document's bytes as read."""
    lines: tuple[int, int]
    text: str


@dataclass(frozen=True, slots=True)
class Gone:
    """What is forgotten, by the names under which others cite it."""

    findings: Set[str] = frozenset()
    sources: Set[str] = frozenset()
    passages: Sequence[BlankedPassage] = field(default=())

    def cites(self, citation: Citation) -> bool:
        """Whether a citation quotes something of it."""
        if citation.source.startswith(_FINDING):
            return citation.source.removeprefix(_FINDING) in self.findings
        if citation.source in self.sources:
            return True
        return any(_quotes(citation, one) for one in self.passages)


def without_quotes(finding: Finding, gone: Gone) -> Finding | None:
    """The finding with the quotes of what is gone revoked; None when it has none.

    The caller computes its digest anew.
    """
    kept = tuple(
        _revoked(one) if isinstance(one, Citation) and gone.cites(one) else one
        for one in finding.citations
    )
    return None if kept == finding.citations else replace(finding, citations=kept)


def names_any(value: Any, names: Set[str]) -> bool:
    """Whether any text in JSON-compatible data is one of these names."""
    if isinstance(value, str):
        return value in names or value.removeprefix(_FINDING) in names
    if isinstance(value, Mapping):
        return any(names_any(one, names) for one in value.values())
    if isinstance(value, list | tuple):
        return any(names_any(one, names) for one in value)
    return False


def _quotes(citation: Citation, passage: BlankedPassage) -> bool:
    if citation.source not in passage.sources and citation.sha256 != passage.sha256:
        return False
    if citation.lines is not None:
        first, last = citation.lines
        if first <= passage.lines[1] and passage.lines[0] <= last:
            return True
    quote = " ".join(citation.quote.split())
    return bool(quote) and quote in " ".join(passage.text.split())


def _revoked(citation: Citation) -> Citation:
    # Fields that this version does not know may hold the words as well.
    return replace(citation, quote="", status=CitationStatus.REVOKED, unknown={})
