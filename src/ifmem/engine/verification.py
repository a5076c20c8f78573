"""What is known of a citation once its source was looked at again."""

from __future__ import annotations

from dataclasses import dataclass

from ifmem.domain.finding import CitationStatus
from ifmem.engine.anchoring import LinedText, anchor

Lines = tuple[int, int] | None

MISSING = "missing"
"""Beside those of ``CitationStatus``: there is nothing left to look at."""
VERIFIED = str(CitationStatus.VERIFIED)
UNVERIFIED = str(CitationStatus.UNVERIFIED)
STALE = str(CitationStatus.STALE)
DISPUTED = str(CitationStatus.DISPUTED)
REVOKED = str(CitationStatus.REVOKED)


@dataclass(frozen=True, slots=True)
class Text:
    """A source as it is now."""

    text: LinedText
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """What a citation says of its source."""

    quote: str
    lines: Lines
    sha256: str | None
    was_verified: bool
    """Code found the quote when it was written."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A citation's status, and the lines at which its quote stands now."""

    status: str
    lines: Lines = None
    why: str = ""

    def under(self, conflict: str | None) -> Judgement:
        """The same where the finding is a side of an open conflict; lost evidence counts more."""
        if conflict is None or self.status in (MISSING, REVOKED, DISPUTED):
            return self
        return Judgement(DISPUTED, self.lines, f"the finding is a side of conflict {conflict}")


def judge(cited: Pointer, now: Text | None, then: LinedText | None, *, gone: str = "") -> Judgement:
    """The status of a citation.

    Args:
        cited: what it says.
        now: its source as it is; None when it cannot be read.
        then: the text whose digest it names, when that is stored.
        gone: why the source cannot be read.
    """
    is_same = now is not None and cited.sha256 is not None and now.sha256 == cited.sha256
    if then is None and is_same and now is not None:
        then = now.text
    if not cited.quote.strip():
        return _of_source(cited, now, then, is_same=is_same, gone=gone)
    if then is not None and anchor(then, cited.quote, cited.lines) is None:
        return Judgement(
            DISPUTED, cited.lines, "the quote is not in the text whose digest is named"
        )
    if now is None:
        return _lost(cited, then, gone)
    place = anchor(now.text, cited.quote, cited.lines)
    if place is not None:
        return Judgement(VERIFIED, place)
    if then is not None or cited.was_verified:
        return Judgement(STALE, cited.lines, "the source changed and no longer holds the quote")
    return Judgement(DISPUTED, cited.lines, "the quote was never found in the source")


def _of_source(
    cited: Pointer, now: Text | None, then: LinedText | None, *, is_same: bool, gone: str
) -> Judgement:
    """The status of a citation that quotes nothing: only its digest can be compared."""
    if now is None:
        return _lost(cited, then, gone)
    if cited.sha256 is None:
        return Judgement(UNVERIFIED, cited.lines, "it quotes nothing and names no digest")
    if not is_same:
        return Judgement(STALE, cited.lines, "the source changed, and the citation quotes nothing")
    if cited.lines is not None and not now.text.has(cited.lines):
        return Judgement(DISPUTED, cited.lines, "the source has no such lines")
    return Judgement(VERIFIED, cited.lines)


def _lost(cited: Pointer, then: LinedText | None, gone: str) -> Judgement:
    if then is not None:
        return Judgement(STALE, cited.lines, f"the snapshot holds it; the source {gone}")
    return Judgement(MISSING, cited.lines, f"no snapshot is stored, and the source {gone}")
