"""What an agent is told of a project before it begins: which findings, and how many of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile

from ifmem.domain.finding import Citation, Finding, Trust

LOOKED_AT = 500
"""Findings that a brief is chosen from, the newest: it costs the same in a store of any size."""
_TOLD = {Trust.USER: 2, Trust.AGENT: 1}
"""What is trusted enough to be told unasked, and how far."""


def choose(
    newest: Sequence[Finding], *, root: str | None = None, topic: str | None = None
) -> list[Finding]:
    """Those worth telling, in the order given.

    Findings of a person or an agent that no other of them supersedes. One of lower trust supersedes
    nothing: else whoever may write little could silence what a person said.

    Args:
        newest: newest first.
        root: of a project: one that cites a file elsewhere is left out.
        topic: only those about it.
    """
    told = [one for one in newest if one.trust in _TOLD]
    by_id = {one.finding_id: one for one in told}
    superseded = {
        one.supersedes
        for one in told
        if one.supersedes is not None
        and one.supersedes != one.finding_id
        and (old := by_id.get(one.supersedes)) is not None
        and _TOLD[one.trust] >= _TOLD[old.trust]
    }
    return [
        one
        for one in told
        if one.finding_id not in superseded
        and (root is None or cites_nothing_outside(one, root))
        and (topic is None or one.topic == topic)
    ]


def cites_nothing_outside(finding: Finding, root: str) -> bool:
    """True when every file that it cites lies in ``root``; URLs, chats and findings lie nowhere."""
    inside = root.rstrip("/") + "/"
    files = (source for source in map(_source, finding.citations) if source.startswith("/"))
    return all(source == root or source.startswith(inside) for source in files)


def fitting(lines: Sequence[str], *, budget: int, tokens: Callable[[str], int]) -> list[str]:
    """The lines from the first on that fit the budget together.

    The first that does not fit ends them: what is left out is older than all that is told.
    """
    left = budget

    def fits(line: str) -> bool:
        nonlocal left
        left -= tokens(line)
        return left >= 0

    return list(takewhile(fits, lines))


def _source(citation: Citation | str) -> str:
    return citation if isinstance(citation, str) else citation.source
