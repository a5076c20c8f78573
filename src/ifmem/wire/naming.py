"""What names mean, as people and agents write them: sources, citations, moments, amounts."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

from ifmem.clock import stamp
from ifmem.errors import Invalid
from ifmem.wire.calls import MAX_QUESTION_CHARACTERS

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")
_WITH_LINES = re.compile(r"(?P<source>.+):(?P<first>\d+)(?:-(?P<last>\d+))?", re.DOTALL)
_BEGINS_LIKE_A_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def source_name(text: str, directory: Path) -> str:
    """The source a person means: URLs and ``chat:<id>`` as they are, paths made absolute.

    Links on the way are followed and a file's own name is kept, which is how loaded files are
    named. A path with ``*`` is a pattern; only its part before that is followed.
    """
    # A file may really be called `notes:12`.
    if _SCHEME.match(text) and not (directory / text).exists():
        return text
    path = os.path.normpath(directory / text)
    if "*" in path:
        plain, star, pattern = path.partition("*")
        folder, slash, begun = plain.rpartition("/")
        return os.path.realpath(folder or "/").rstrip("/") + slash + begun + star + pattern
    if Path(path).is_dir():
        return os.path.realpath(path)
    folder, name = os.path.split(path)
    return str(Path(os.path.realpath(folder)) / name)


def citation(text: str, directory: Path) -> dict[str, Any] | str:
    """``SOURCE``, ``SOURCE:LINE`` or ``SOURCE:FIRST-LAST`` as a finding holds it.

    Raises:
        Invalid: the lines are not counted from 1, or run backwards.
    """
    if text.startswith("finding:") or "://" in text:
        return text
    match = _WITH_LINES.fullmatch(text)
    if match is None or (directory / text).exists():
        return {"source": source_name(text, directory), "lines": None}
    first = int(match["first"])
    last = int(match["last"] or first)
    if not 1 <= first <= last:
        raise Invalid(
            f"{text!r} cites no lines: write SOURCE:LINE or SOURCE:FIRST-LAST, counted from 1",
            cite=text,
        )
    return {"source": source_name(match["source"], directory), "lines": [first, last]}


def is_moment(text: str) -> bool:
    """Whether a text begins like a date, so that it is no cursor."""
    return _BEGINS_LIKE_A_DATE.match(text) is not None


def moment(text: str, *, end_of_day: bool = False) -> str:
    """A date or time as UTC, in the form the store compares; UTC is meant where no zone is given.

    Raises:
        Invalid: it is neither a date nor a time in ISO-8601.
    """
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid(
            f"{text!r} is no date: write 2026-01-31, or 2026-01-31T18:00:00Z", moment=text
        ) from error
    if end_of_day and len(text) == len("2026-01-31"):
        read = datetime.combine(read, time.max)
    return stamp(read if read.tzinfo else read.replace(tzinfo=UTC))


def question(text: str) -> str:
    """The question without space around it.

    Raises:
        Invalid: it is empty, or too long to be one.
    """
    stripped = text.strip()
    if not stripped:
        raise Invalid("the question is empty: say in a few words what you want to know")
    if len(stripped) > MAX_QUESTION_CHARACTERS:
        raise Invalid(
            f"the question has {len(stripped):,} characters and the limit is "
            f"{MAX_QUESTION_CHARACTERS:,}: load the long text as a document and ask about it",
            characters=len(stripped),
            limit=MAX_QUESTION_CHARACTERS,
        )
    return stripped


def dollars(text: str | None) -> str | None:
    """An amount in US dollars as a call takes it: a decimal string.

    Raises:
        Invalid: it is none.
    """
    if text is None:
        return None
    amount = text.strip().removeprefix("$")
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,12})?", amount) is None:
        raise Invalid(f"{text!r} is no amount in US dollars: write it like 0.25", amount=text)
    return amount
