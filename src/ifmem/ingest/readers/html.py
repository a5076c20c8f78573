"""HTML pages: their text without scripts and navigation, headings as Markdown."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from ifmem.domain.document import Kind
from ifmem.ingest.readers import plain
from ifmem.ingest.reading import Part, Reading, Unreadable

_NOT_TEXT = "head, script, style, noscript, template, svg, iframe, object, select, button"
_CHROME = "nav, footer, [role=navigation], [role=contentinfo], [role=search], [hidden]"
_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_PARAGRAPHS = frozenset(
    (
        *("p", "pre", "ul", "ol", "dl", "table", "blockquote", "figure", "hr", "form"),
        *("article", "section", "main", "header", "aside"),
    )
)
_LINES = frozenset(
    (
        *("div", "li", "tr", "dt", "dd", "br", "caption", "figcaption", "details", "summary"),
        *("address", "option", "label", "legend", "fieldset", "thead", "tbody", "tfoot", "center"),
    )
)
_CELLS = ("td", "th")
_UNCLOSED = frozenset(
    (
        *("p", "li", "dt", "dd", "td", "th", "tr", "thead", "tbody", "tfoot", "option", "optgroup"),
        *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param"),
        *("source", "track", "wbr", "colgroup", "html", "head", "body", "rt", "rp"),
    )
)
"""Tags that pages leave open, so that counting them says nothing about depth."""
_MAX_DEPTH = 5_000
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9-]*)")
_WHITE = re.compile(r"[ \t\n\r\f]+")


def read(data: bytes, name: str) -> Reading:
    """The text of the page in one part, its title first.

    Lines are those of the extracted text, not of the file.
    """
    _, text = render(plain.text_of(data))
    if not text.strip():
        raise Unreadable("holds no text")
    part = Part(text=text, kind=Kind.PROSE, name=PurePosixPath(name).stem + ".md")
    return Reading(parts=(part,), kind=Kind.PROSE, format="html")


def render(html: str) -> tuple[str, str]:
    """The title of a page, and its text with the title as first heading.

    Raises:
        Unreadable: the parser refuses it, or would take minutes.
    """
    if _too_deep(html):
        raise Unreadable(f"nests its tags more than {_MAX_DEPTH:,} deep")
    try:
        tree = LexborHTMLParser(html)
    except (SelectolaxError, ValueError) as error:
        raise Unreadable("is no HTML the parser can read") from error
    heading = tree.css_first("title")
    title = _WHITE.sub(" ", heading.text()).strip() if heading is not None else ""
    body = tree.body
    if body is None:
        return title, ""
    text = _text(body, _ids(tree, f"{_NOT_TEXT}, {_CHROME}"))
    if not text:
        # A page that is all navigation is read as it is: an index of links is content too.
        text = _text(body, _ids(tree, _NOT_TEXT))
    if not title or text.startswith(f"# {title}\n"):
        return title, text
    return title, f"# {title}\n\n{text}" if text else f"# {title}\n"


def _too_deep(html: str) -> bool:
    """Whether tags nest so deep that the parser, quadratic in depth, would not end soon."""
    depth = 0
    for match in _TAG.finditer(html) if html.count("<") > _MAX_DEPTH else ():
        if match[2].lower() in _UNCLOSED:
            continue
        depth = max(depth - 1, 0) if match[1] else depth + 1
        if depth > _MAX_DEPTH:
            return True
    return False


def _ids(tree: LexborHTMLParser, selector: str) -> set[int]:
    return {node.mem_id for node in tree.css(selector)}


def _text(body: LexborNode, dropped: set[int]) -> str:
    """Walk without recursion, since a page may nest deeper than Python's stack."""
    page = _Page()
    node: LexborNode | None = body
    while node is not None:
        inner = None
        if node.mem_id not in dropped:
            page.enter(node)
            inner = node.first_child
            if inner is None:
                page.leave(node)
        if inner is not None:
            node = inner
            continue
        while node is not None and node.mem_id != body.mem_id and node.next is None:
            node = node.parent
            if node is not None:
                page.leave(node)
        node = None if node is None or node.mem_id == body.mem_id else node.next
    return page.finished()


class _Page:
    """Text being written: collapses white space as a browser does, except in ``pre``."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._pending = 0
        self._preformatted = 0

    def enter(self, node: LexborNode) -> None:
        tag = node.tag
        if tag == "-text":
            self._write(node.text_content or "")
        elif tag in _HEADINGS:
            self._break(2)
            self._write(f"{_HEADINGS[tag]} ")
        elif tag in _PARAGRAPHS:
            self._break(2)
            self._preformatted += tag == "pre"
        elif tag == "li":
            self._break(1)
            self._write("- ")
        elif tag in _CELLS and not self._pending:
            self._write(" | ")
        elif tag in _LINES:
            self._break(1)

    def leave(self, node: LexborNode) -> None:
        tag = node.tag
        if tag in _HEADINGS or tag in _PARAGRAPHS:
            self._break(2)
            self._preformatted -= tag == "pre"
        elif tag in _LINES:
            self._break(1)

    def finished(self) -> str:
        self._pending = 0
        text = "".join(self._out).rstrip()
        return f"{text}\n" if text else ""

    def _write(self, text: str) -> None:
        if not self._preformatted:
            text = _WHITE.sub(" ", text)
            if self._pending or not self._out or self._out[-1].endswith(" "):
                text = text.removeprefix(" ")
        if not text:
            return
        if self._out and self._pending:
            self._out.append("\n" * self._pending)
        self._pending = 0
        self._out.append(text)

    def _break(self, lines: int) -> None:
        if self._out and not self._preformatted and not self._pending:
            self._out[-1] = self._out[-1].rstrip(" ") or ""
        self._pending = max(self._pending, lines)
