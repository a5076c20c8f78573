"""What becomes of what an agent did: under which name it is kept, where, and for how long."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from ifmem.domain.document import Kind
from ifmem.domain.shard import Speciality
from ifmem.domain.space import RESERVED
from ifmem.engine.hook_events import AskedGit, Decided, RanTests, Searched
from ifmem.engine.placement import PlacementRule

SOURCE = "captured:"
"""How the sources of captured texts begin; a captured file has its own path."""
MAX_TEXT = 200_000
"""Characters kept of an output: its beginning and its end."""
_LONGEST_NAME = 41
_SUFFIX = "-local"

Text = Searched | RanTests | AskedGit | Decided


@dataclass(frozen=True, slots=True)
class CapturedText:
    """A text to keep."""

    source: str
    """The same for the same deed in the same project, so that the newer replaces the older."""
    name: str
    """The file name whose rules of reading fit it."""
    text: str


def local_space(name: str) -> str:
    """The space in which what was captured for a space stays: never another space's."""
    plain = f"{name}{_SUFFIX}"
    if len(plain) <= _LONGEST_NAME and name not in RESERVED:
        return plain
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST_NAME - len(_SUFFIX) - 9]}-{digest}{_SUFFIX}"


def captured_text(deed: Text, root: str) -> CapturedText | None:
    """The text to keep of a deed; None when it says nothing."""
    match deed:
        case Searched(query, hits):
            said = f"Searched for: {_one_line(query)}\n\n{hits.strip()}"
            return _kept("search", query, root, said, hits)
        case RanTests(command, output):
            said = f"$ {command.strip()}\n\n{output.strip()}"
            return _kept("test", command, root, said, output)
        case AskedGit(command, output):
            said = f"$ {command.strip()}\n\n{output.strip()}"
            return _kept("git", command, root, said, output)
        case Decided(text, session, plan):
            about = f"plan {session}" if plan else text
            return _kept("decision", about, root, text, text, ending=".md")


PLACEMENT = (
    PlacementRule(Speciality.ANALYSIS_SEARCH, paths=(f"/{SOURCE}search:*",)),
    PlacementRule(Speciality.TESTING_VALIDATION, paths=(f"/{SOURCE}test:*",)),
    PlacementRule(Speciality.COORDINATION_DECISION, paths=(f"/{SOURCE}decision:*",)),
    PlacementRule(Speciality.FILES_GIT, kinds=frozenset(Kind)),
)
"""The placement table of everything that is captured, whatever the settings say of documents."""


def shortened(text: str, most: int = MAX_TEXT) -> str:
    """The text, or its beginning and end with a line between them that says what is missing.

    The ends of outputs hold what matters most: a summary of failures, the newest lines.
    """
    if len(text) <= most:
        return text
    head = text[: most // 2]
    tail = text[-(most - len(head)) :]
    return f"{head}\n[… {len(text) - most:,} characters are left out …]\n{tail}"


def without_hits(hits: str, is_kept_out: Callable[[str], bool]) -> str:
    """Search results without the lines that come from files which must not be kept.

    Args:
        is_kept_out: whether a path, as the results spell it, is such a file; asked once for each.
    """
    known: dict[str, bool] = {}

    def kept_out(path: str) -> bool:
        if path not in known:
            known[path] = is_kept_out(path)
        return known[path]

    kept: list[str] = []
    dropping = False
    for line in hits.split("\n"):
        heading = _HEADING.match(line)
        if heading:
            dropping = kept_out(heading[1].strip())
        elif line.startswith("---") and not line.strip("-"):
            dropping = False
        if not dropping and not any(map(kept_out, _paths_of_hit(line))):
            kept.append(line)
    return "\n".join(kept)


def without_diffs(output: str, is_kept_out: Callable[[str], bool]) -> str:
    """What git printed without the differences of files that must not be kept."""
    kept: list[str] = []
    dropping = False
    for line in output.split("\n"):
        if _COMMIT.match(line):
            dropping = False
        elif begun := _DIFF.match(line):
            dropping = any(map(is_kept_out, filter(None, begun.groups())))
        if not dropping:
            kept.append(line)
    return "\n".join(kept)


def due_before(now: datetime, retention_days: int) -> datetime:
    """What was captured before this moment has been kept long enough."""
    return now - timedelta(days=retention_days)


Item = TypeVar("Item")


def merged(
    ours: Iterable[Item], captured: Iterable[Item], score: Callable[[Item], float]
) -> list[Item]:
    """Both, best first; of equals those of the space itself come first."""
    return sorted([*ours, *captured], key=lambda item: -score(item))


_HEADING = re.compile(r"File: (.+)$")
_HIT = re.compile(r"(.+?)[:-]\d+[:-]")
_COMMIT = re.compile(r"commit [0-9a-f]{7,64}\b")
_DIFF = re.compile(r"diff --(?:git a/(.+?) b/(.+)|(?:cc|combined) (.+))$")


def _paths_of_hit(line: str) -> tuple[str, ...]:
    """What may be the file of a line of results: `path`, `path:12:text`, `path:text`."""
    found = [line.strip()] if len(line) < 4_096 else []
    if with_number := _HIT.match(line):
        found.append(with_number[1])
    name, colon, _ = line.partition(":")
    if colon:
        found.append(name)
    return tuple(dict.fromkeys(one for one in found if one))


def _kept(
    what: str, about: str, root: str, said: str, content: str, *, ending: str = ".txt"
) -> CapturedText | None:
    if not content.strip():
        return None
    digest = hashlib.sha256(f"{root}\0{about}".encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return CapturedText(f"{SOURCE}{what}:{digest}", f"{what}{ending}", f"{shortened(said)}\n")


def _one_line(text: str) -> str:
    return " ".join(text.split())
