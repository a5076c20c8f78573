"""From the parts of a reading to masked text and passages that cover it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ifmem.domain.document import Span
from ifmem.engine.masking import mask
from ifmem.engine.passages import split
from ifmem.ingest.reading import Part


def cut(parts: Sequence[Part]) -> tuple[str, tuple[Span, ...], int]:
    """The masked text of all parts, its passages, and how many credentials were masked.

    The whole text is masked at once, so that a key that runs over the end of a part is found;
    the parts are found again by their lines, whose number masking keeps.
    """
    if len(parts) == 1:
        masked = mask(parts[0].text)
        return masked.text, tuple(_spans(parts[0], masked.text, 0, 1)), masked.count
    texts = [_closed(part.text, last=part is parts[-1]) for part in parts]
    masked = mask("".join(texts))
    lines = [text.count("\n") for text in texts]
    spans: list[Span] = []
    start, line = 0, 1
    for part, count in zip(parts, lines, strict=True):
        end = len(masked.text) if part is parts[-1] else _after_lines(masked.text, start, count)
        spans += _spans(part, masked.text[start:end], start, line)
        start, line = end, line + count
    return masked.text, tuple(spans), masked.count


def masked_labels(*labels: str | None) -> tuple[str | None, ...]:
    """What stands beside a text (a header, who said it, where), without credentials."""
    if not mask("\n".join(filter(None, labels))).count:
        return labels
    return tuple(None if label is None else mask(label).text for label in labels)


def _closed(text: str, *, last: bool) -> str:
    """A part ends with a line end, and all but the last with an empty line."""
    return text.rstrip("\n") + ("\n" if last else "\n\n")


def _after_lines(text: str, start: int, count: int) -> int:
    for _ in range(count):
        start = text.index("\n", start) + 1
    return start


def _spans(part: Part, text: str, start: int, line: int) -> Iterator[Span]:
    """The passages of one part that begins at this character and line of the document.

    A part that fits into a passage is one, so a turn is cut only when it is too long.
    """
    header, speaker, said_at, locator = masked_labels(
        part.header, part.speaker, part.said_at, part.locator
    )
    for span in split(text, part.kind, part.name):
        yield replace(
            span,
            start=span.start + start,
            end=span.end + start,
            first_line=span.first_line + line - 1,
            last_line=span.last_line + line - 1,
            header=" > ".join(filter(None, (header, span.header))),
            speaker=speaker,
            said_at=said_at,
            locator=locator,
        )
