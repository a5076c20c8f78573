"""What encloses a line: definitions by indentation, headings by level.

An outline is read once per text. It says where a definition begins with the decorators and
comments that belong to it, and, for any line, the path of names from the outermost inwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from ifmem.domain.document import Kind
from ifmem.engine.definitions import definitions_of, headings_of

_HEADER_LENGTH = 200
_FENCE = re.compile(r"\n[ ]{0,3}(?P<fence>`{3,}+|~{3,}+)")
_COMMENTS = ("#", "//", "/*", "*", "--", '"""', "'''")
# Lines that stand as far out as the definition they belong to, and so do not end it.
_CONTINUES = (
    *(")", "]", "}", "{", "@", "- ", "public:", "private:", "protected:", "default:"),
    *("else", "end", "where", "then"),
)
_DIRECTIVES = ("#include", "#define", "#undef", "#if", "#else", "#end", "#pragma", "#!")
_BELONGS_BEFORE = ("@", "#", "//", "/*", "*", "--", ";;", "'''", '"""')


@dataclass(frozen=True, slots=True)
class Mark:
    """A line that opens a definition or a section."""

    line: int
    """Counted from 0."""
    begins: int
    """The first line of the comments and decorators that belong to it."""
    depth: int
    """Indentation in characters (-1 where nothing nests), or the level of the heading."""
    label: str


@dataclass(frozen=True, slots=True)
class Lines:
    """A text as lines: their texts without breaks, where each starts, how far it is indented."""

    texts: list[str]
    starts: list[int]
    indents: list[int]
    """-1 for a line of white space."""


def lines_of(text: str) -> Lines:
    """The lines of a text, divided at ``\\n`` only."""
    texts = text.split("\n")
    starts = list(accumulate((len(line) + 1 for line in texts), initial=0))
    starts.pop()
    bare = [line.lstrip() for line in texts]
    indents = [
        len(line) - len(rest) if rest else -1 for line, rest in zip(texts, bare, strict=True)
    ]
    return Lines(texts, starts, indents)


@dataclass(frozen=True, slots=True)
class Outline:
    """The marks of a text by their line, and what else the splitter must know."""

    marks: dict[int, Mark]
    by_indentation: bool
    fenced: frozenset[int]
    """Lines inside a fenced block of Markdown, its closing fence included."""


def outline_of(text: str, lines: Lines, kind: Kind, name: str) -> Outline:
    """The outline of a text, by what its kind and name say about its format."""
    headings = headings_of(name) if kind in (Kind.PROSE, Kind.CHAT) else ()
    if headings:
        fenced = _fenced(text, lines) if len(headings) > 1 else frozenset[int]()
        return Outline(_headings(text, lines, headings, fenced), False, fenced)
    pattern = definitions_of(kind, name)
    marks = _definitions(text, lines, pattern) if pattern is not None else {}
    return Outline(marks, True, frozenset())


def headers(lines: Lines, outline: Outline, wanted: Iterable[int]) -> dict[int, str]:
    """For each wanted line, the labels that enclose it, outermost first.

    A definition that begins at the line, or whose decorators and comments do, is included.
    """
    if not outline.marks:
        return {}
    owner = {
        line: mark.line for mark in outline.marks.values() for line in range(mark.begins, mark.line)
    }
    asked: dict[int, list[int]] = {}
    for line in wanted:
        first = line
        while first < len(lines.indents) - 1 and lines.indents[first] < 0:
            first += 1
        asked.setdefault(owner.get(first, first), []).append(line)
    return _walk(lines, outline, asked)


def _walk(lines: Lines, outline: Outline, asked: dict[int, list[int]]) -> dict[int, str]:
    result: dict[int, str] = {}
    stack: list[Mark] = []
    marks = outline.marks
    for line, indent in enumerate(lines.indents):
        mark = marks.get(line)
        if mark is not None:
            while stack and stack[-1].depth >= mark.depth:
                stack.pop()
            stack.append(mark)
        elif outline.by_indentation and stack and 0 <= indent <= stack[-1].depth:
            _leave(stack, lines.texts[line], indent)
        if line in asked:
            header = " > ".join(mark.label for mark in stack)[:_HEADER_LENGTH]
            result.update(dict.fromkeys(asked[line], header))
    return result


def _leave(stack: list[Mark], line: str, indent: int) -> None:
    """Close what a line this far out ends; comments stand anywhere and end nothing."""
    if line.startswith(_COMMENTS, indent):
        return
    keeps = line.startswith(_CONTINUES, indent)
    while stack and (stack[-1].depth > indent or (stack[-1].depth == indent and not keeps)):
        stack.pop()


def _definitions(text: str, lines: Lines, pattern: re.Pattern[str]) -> dict[int, Mark]:
    marks: dict[int, Mark] = {}
    line = 0
    previous = 0
    # With a line break put before the text, a match begins where its line does in the text.
    framed = f"\n{text}\n"
    for match in pattern.finditer(framed):
        line += framed.count("\n", previous, match.start())
        previous = match.start()
        depth = len(match["indent"]) if "indent" in pattern.groupindex else -1
        marks[line] = Mark(line, _first_line(lines, line), depth, _label(match))
    return marks


def _label(match: re.Match[str]) -> str:
    groups = match.groupdict()
    word = groups.get("word") or groups.get("word2")
    name = groups.get("name") or groups.get("name2") or groups.get("name3")
    if name is None:
        return f"{groups.get('name4')}()"
    return f"{' '.join(word.split())} {name.strip()}" if word else name.strip(" \"'\r")


def _first_line(lines: Lines, at: int) -> int:
    """The first of the decorators and comments that stand directly above a definition."""
    indent, first = lines.indents[at], at
    above = at - 1
    while above >= 0 and at - above <= 60 and lines.indents[above] >= indent:
        text = lines.texts[above]
        if lines.indents[above] == indent:
            if text.startswith(_DIRECTIVES, indent):
                break
            if text.startswith(_BELONGS_BEFORE, indent):
                first = above
            elif text[indent] not in ")]":
                break
        elif text.lstrip().startswith("*") and lines.indents[above] == indent + 1:
            first = above
        above -= 1
    return first


def _headings(
    text: str, lines: Lines, patterns: tuple[re.Pattern[str], ...], fenced: frozenset[int]
) -> dict[int, Mark]:
    framed = f"\n{text}\n"
    marks: dict[int, Mark] = {}
    levels: dict[str, int] = {}
    for pattern in patterns:
        line = previous = 0
        for match in pattern.finditer(framed):
            line += framed.count("\n", previous, match.start())
            previous = match.start()
            if line in fenced or line >= len(lines.texts):
                continue
            title = match["title"].strip().rstrip("#").rstrip()
            marks[line] = Mark(line, line, _level(match["level"], levels), title[:100])
    return dict(sorted(marks.items()))


_TEX_LEVELS = {"part": 1, "chapter": 2, "section": 3, "subsection": 4, "subsubsection": 5}


def _level(sign: str, seen: dict[str, int]) -> int:
    """The level of a heading; underlines rank by the order in which a text first uses them."""
    if sign in _TEX_LEVELS:
        return _TEX_LEVELS[sign]
    if sign.count("#") == len(sign) and len(sign) <= 6:
        return len(sign)
    if len(sign) <= 2:
        return len(sign)
    return seen.setdefault(sign[0], len(seen) + 1)


def _fenced(text: str, lines: Lines) -> frozenset[int]:
    inside: set[int] = set()
    opened: tuple[str, int] | None = None
    framed = f"\n{text}"
    line = previous = 0
    for match in _FENCE.finditer(framed):
        line += framed.count("\n", previous, match.start())
        previous = match.start()
        fence = match["fence"]
        if opened is None:
            opened = fence, line
        elif fence[0] == opened[0][0] and len(fence) >= len(opened[0]):
            inside.update(range(opened[1] + 1, line + 1))
            opened = None
    if opened is not None:
        inside.update(range(opened[1] + 1, len(lines.texts)))
    return frozenset(inside)
