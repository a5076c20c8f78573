"""Findings for a reader that is a model: a line each, attributed, all between two marks."""

from __future__ import annotations

from collections.abc import Sequence

from ifmem.domain.finding import Citation, CitationStatus, Finding
from ifmem.prompts.fencing import fenced, quoted

MOST_CHARACTERS = 600
"""Of a claim as it is shown; who needs the rest reads the finding."""
_MOST_CITED = 3


def finding_line(finding: Finding, *, root: str | None = None) -> str:
    """Who said it, when, how far they are trusted, what it cites and what it says, on one line.

    The attribution stands before the claim and line ends in it become spaces, so no claim can
    look like a line of somebody else.

    Args:
        root: paths below it are shown relative to it.
    """
    about = [
        f"id {finding.finding_id}",
        f"at {_shown(finding.timestamp, 40)}",
        f"by {_quoted(finding.worker_id)}",
        f"trust {finding.trust}",
        f"confidence {finding.confidence:g}",
        *([f"topic {_quoted(finding.topic)}"] if finding.topic else []),
        *([f"supersedes {finding.supersedes}"] if finding.supersedes else []),
        _cited(finding, root),
    ]
    return f"- [{'; '.join(about)}] {_shown(finding.claim, MOST_CHARACTERS)}"


def is_unverified(finding: Finding) -> bool:
    """True when nothing that it cites was found in its source by code."""
    return not any(
        isinstance(one, Citation) and one.status is CitationStatus.VERIFIED
        for one in finding.citations
    )


def fenced_lines(name: str, lines: Sequence[str]) -> str:
    """The lines between two marks, which nothing in them closes; ``name`` says what they are."""
    return fenced(name, "\n".join(lines) + "\n")


def on_one_line(text: str, characters: int = MOST_CHARACTERS) -> str:
    """A text of somebody else as part of a line, cut where it is too long."""
    return _shown(text, characters)


def _cited(finding: Finding, root: str | None) -> str:
    if not finding.citations:
        return "cites nothing"
    shown = [_pointer(one, root) for one in finding.citations[:_MOST_CITED]]
    more = len(finding.citations) - len(shown)
    return f"cites {', '.join(shown)}{f' and {more} more' if more else ''}"


def _pointer(citation: Citation | str, root: str | None) -> str:
    if isinstance(citation, str):
        return _quoted(citation, 200)
    source = citation.source
    if root is not None:
        source = source.removeprefix(root.rstrip("/") + "/")
    lines = "" if citation.lines is None else f":{citation.lines[0]}-{citation.lines[1]}"
    return f"{_quoted(source + lines, 200)} ({citation.status})"


def _quoted(text: str, characters: int = 100) -> str:
    return quoted(_shown(text, characters))


def _shown(text: str, characters: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= characters else text[: characters - 1] + "…"
