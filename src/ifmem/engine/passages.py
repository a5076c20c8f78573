"""Where a text is cut into passages: at the best boundary near the target length.

The law: the passages of a text cover it without gap or overlap, and their lines are exact. The
weights below were chosen by looking at real code and prose; only their order matters much.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right

from ifmem.domain.document import Kind, Span
from ifmem.engine.outline import Lines, Outline, headers, lines_of, outline_of

MAX_CHARACTERS = 1500
TARGET_CHARACTERS = 1200
_LEAST = 300
"""A passage is not cut shorter than this when a line or a word allows it."""

_SENTENCE_END = re.compile(r"[.!?…。！？][\"')\]”’]*(?:\s+|$)|(?<=[。！？])")
_ENDS_SENTENCE = (".", "!", "?", ":", "…", "。", "！", "？")


def split(text: str, kind: Kind, name: str) -> tuple[Span, ...]:
    """The passages of a text, none longer than ``MAX_CHARACTERS``; of the empty text, none.

    Args:
        name: the file's name, which says which definitions or headings enclose a line.
    """
    if not text:
        return ()
    lines = lines_of(text)
    outline = outline_of(text, lines, kind, name)
    cuts = _cuts(text, lines, _weights(lines, outline, kind), kind)
    first_lines = [bisect_right(lines.starts, start) - 1 for start, _ in cuts]
    header = headers(lines, outline, first_lines)
    return tuple(
        Span(
            start=start,
            end=end,
            first_line=first + 1,
            last_line=_last_line(text, lines, start, end, first),
            header=header.get(first, ""),
        )
        for (start, end), first in zip(cuts, first_lines, strict=True)
    )


def _last_line(text: str, lines: Lines, start: int, end: int, first: int) -> int:
    """The line, from 1, of the last character that is not white space."""
    kept = len(text[start:end].rstrip())
    return bisect_right(lines.starts, start + max(0, kept - 1)) if kept else first + 1


def _cuts(text: str, lines: Lines, weights: list[float], kind: Kind) -> list[tuple[int, int]]:
    cuts: list[tuple[int, int]] = []
    end_of_words = len(text.rstrip())
    start = 0
    while len(text) - start > MAX_CHARACTERS:
        highest = start + MAX_CHARACTERS
        if start < end_of_words <= highest and len(text) - end_of_words < MAX_CHARACTERS:
            # The rest is white space: leave it some words, so that no passage is empty.
            highest = max(start + 1, end_of_words - 1)
        cut = _best_cut(text, lines, weights, kind, start, highest)
        cuts.append((start, cut))
        start = cut
    cuts.append((start, len(text)))
    return cuts


def _best_cut(
    text: str, lines: Lines, weights: list[float], kind: Kind, start: int, highest: int
) -> int:
    """The end of the passage that begins at ``start``: after it, and at most ``highest``."""
    target = start + min(TARGET_CHARACTERS, max(_LEAST, (len(text) - start) // 2))
    lowest = min(start + _LEAST, highest)
    best, at = -1000.0, 0
    first = bisect_left(lines.starts, lowest)
    for line in range(first, bisect_right(lines.starts, highest, first)):
        position = lines.starts[line]
        score = weights[line] - _distance(position, target)
        if score >= best:
            best, at = score, position
    if kind in (Kind.PROSE, Kind.CHAT) and best < 15:
        inner = _best_sentence_end(text, lowest, highest, target)
        if inner is not None and 25 - _distance(inner, target) > best:
            return inner
    return (
        at or _before_long_line(lines, start, first) or _within_line(text, start, lowest, highest)
    )


def _before_long_line(lines: Lines, start: int, first: int) -> int | None:
    """The start of a line that would fit a passage of its own, if this passage has others."""
    position = lines.starts[first - 1]
    fits = len(lines.texts[first - 1]) < MAX_CHARACTERS
    return position if position > start and fits else None


def _distance(position: int, target: int) -> float:
    return (target - position) * 0.05 if position < target else (position - target) * 0.07


def _best_sentence_end(text: str, lowest: int, highest: int, target: int) -> int | None:
    ends = [
        match.end()
        for match in _SENTENCE_END.finditer(text, lowest, highest)
        if match.end() < highest
    ]
    return min(ends, key=lambda end: _distance(end, target), default=None)


def _within_line(text: str, start: int, lowest: int, highest: int) -> int:
    """A cut inside a line too long to be kept: after a space, a comma, or just anywhere."""
    for sign in (" ", "\t", ",", ";", ">"):
        at = text.rfind(sign, lowest, highest)
        if at >= 0:
            return at + 1
    if text[highest - 1] == "\r" and text[highest] == "\n" and highest - 1 > start:
        return highest - 1
    return highest


def _weights(lines: Lines, outline: Outline, kind: Kind) -> list[float]:
    """How good it is to begin a passage at each line."""
    if kind is Kind.DATA and not outline.marks:
        return [-30.0 if indent < 0 else 20.0 for indent in lines.indents]
    if outline.by_indentation and kind not in (Kind.PROSE, Kind.CHAT):
        weights = _code_weights(lines)
    else:
        weights = _prose_weights(lines, outline)
    for mark in outline.marks.values():
        if outline.by_indentation:
            level = _level(lines.texts[mark.line], mark.depth)
            weights[mark.begins] = max(weights[mark.begins], 90.0 - 15 * level)
            for line in range(mark.begins + 1, mark.line + 1):
                weights[line] = -40.0
        else:
            weights[mark.line] = 100.0 - 6 * mark.depth
    return weights


def _code_weights(lines: Lines) -> list[float]:
    weights: list[float] = []
    after_blank = False
    for text, indent in zip(lines.texts, lines.indents, strict=True):
        if indent < 0:
            weights.append(-30.0)
            after_blank = True
            continue
        level = _level(text, indent)
        if after_blank:
            weights.append(45.0 - 5 * level)
        else:
            weights.append((0.0 if text[indent] in ")]}" else 12.0) - 3 * level)
        after_blank = False
    return weights


def _level(text: str, indent: int) -> float:
    """Indentation in steps of four columns, six at most."""
    columns = indent * 4 if text.startswith("\t") else indent
    return min(columns / 4, 6.0)


def _prose_weights(lines: Lines, outline: Outline) -> list[float]:
    weights: list[float] = []
    above = "."
    after_blank = False
    for line, (text, indent) in enumerate(zip(lines.texts, lines.indents, strict=True)):
        if indent < 0:
            weight = -30.0
        elif after_blank:
            weight = 45.0 - min(indent, 12)
        else:
            weight = 20.0 if above.endswith(_ENDS_SENTENCE) else 5.0
        weights.append(weight - 50 if line in outline.fenced else weight)
        above, after_blank = text.rstrip(), indent < 0
    return weights
