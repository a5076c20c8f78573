"""What an event of an agent's hook has stored: inside its project, not ignored, no credentials."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ifmem import clock
from ifmem.domain.document import Draft, Skipped
from ifmem.domain.finding import Trust
from ifmem.engine import capturing
from ifmem.engine.hook_events import (
    AskedGit,
    Decided,
    Deed,
    Nothing,
    RanTests,
    Read,
    Searched,
    Wrote,
    deed_of,
    directory_of,
)
from ifmem.ingest.files import read_file, read_text
from ifmem.ingest.sifting import OUTSIDE, resolved, why_left_out
from ifmem.ingest.snapshot import snapshot
from ifmem.ingest.walk import Found, walk
from ifmem.runtime.repacking import capacities
from ifmem.runtime.saving import Prepared, prepare
from ifmem.runtime.space import Space
from ifmem.store import captured
from ifmem.store.captured import StoredDocument
from ifmem.store.contents import Origin
from ifmem.wire.agent_calls import CaptureCall, Captured

MOST_REHASHED = 8 * 1024 * 1024
"""Bytes of a file that are digested while its reader waits."""


@dataclass(slots=True)
class Work:
    """What is to be done for one event."""

    outcome: Captured
    """When it is done."""
    prepared: list[Prepared] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    """Files that are there no longer."""

    @property
    def is_work(self) -> bool:
        return bool(self.prepared or self.gone)

    @property
    def sources(self) -> list[str]:
        return [*(one.origin.source for one in self.prepared), *self.gone]


def work_of(space: Space, call: CaptureCall) -> Work:
    """What is to be done for an event: files are read, texts sifted and cut. Not for the loop."""
    event = event_of(call)
    deed = deed_of(event)
    project = _Project.of(call, event)
    if project is None:
        return Work(skipped("its project is no directory, or the whole file system"))
    if project.why_left_out(space.settings.home_path) is not None:
        return Work(skipped(OUTSIDE))
    match deed:
        case Read(paths) | Wrote(paths):
            return _files(space, call, project, paths)
        case Searched() | RanTests() | AskedGit():
            return _text(space, call, project, _sifted(deed, project))
        case Decided():
            return _text(space, call, project, deed)
        case Nothing(reason):
            return Work(skipped(reason))


def unchanged_in(spaces: Sequence[Space], call: CaptureCall, path: str) -> Captured | None:
    project = _Project.of(call, event_of(call))
    if project is None or project.why_left_out(spaces[0].settings.home_path) is not None:
        return None
    place = project.resolve(path)
    stored = [one.database.read(partial(captured.document, source=place)) for one in spaces]
    if not any(stored) or why_left_out(place, project.root) is not None:
        return None
    digest = _digest(spaces[0], place)
    same = next((one for one in stored if one is not None and one.sha256 == digest), None)
    return None if same is None else _told(place, same)


def event_of(call: CaptureCall) -> Mapping[str, Any]:
    """What the hook was given; empty when that is no object."""
    if isinstance(call.event, dict):
        return call.event
    try:
        return msgspec.json.decode(call.event, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def skipped(reason: str) -> Captured:
    return Captured("skipped", reason)


@dataclass(frozen=True, slots=True)
class _Project:
    """Where an event happened."""

    root: str
    directory: str
    """Where the agent stood; always inside."""

    @classmethod
    def of(cls, call: CaptureCall, event: Mapping[str, Any]) -> _Project | None:
        root = os.path.realpath(call.root)
        if root == "/" or not call.root.startswith("/") or not Path(root).is_dir():
            return None
        return cls(root, resolved(directory_of(event) or root, root))

    def why_left_out(self, home: Path) -> str | None:
        """Why nothing is kept of what is done here."""
        inside = self.directory == self.root or self.directory.startswith(self.root + "/")
        in_home = self.directory == str(home) or self.directory.startswith(f"{home}/")
        return OUTSIDE if not inside or in_home else None

    def resolve(self, path: str) -> str:
        return resolved(path, self.directory)

    def leaves_out(self, path: str) -> bool:
        """Whether what somebody wrote is a file, or a folder, that must not be kept."""
        if "\0" in path or len(path) > 4_096:
            return False
        place = self.resolve(path)
        if not os.path.lexists(place):
            return False
        return place != self.root and why_left_out(place, self.root) is not None


def _sifted(deed: Searched | RanTests | AskedGit, project: _Project) -> Deed:
    """The deed without what came from files that must not be kept."""
    named = next((one for one in deed.named if project.leaves_out(one)), None)
    if named is not None:
        return Nothing(f"it names {named[:100]}, which is not captured")
    match deed:
        case Searched():
            return replace(deed, hits=capturing.without_hits(deed.hits, project.leaves_out))
        case _:
            kept_out = _from_top(project)
            return replace(deed, output=capturing.without_diffs(deed.output, kept_out))


def _from_top(project: _Project) -> Callable[[str], bool]:
    """``git`` names files from the top of the work tree, wherever it is asked."""
    folder = Path(project.directory)
    top = next((one for one in (folder, *folder.parents) if (one / ".git").exists()), folder)

    def leaves_out(path: str) -> bool:
        # A file that is gone still has a name, and that may say enough.
        return why_left_out(str(top / path), project.root) is not None

    return leaves_out


def _text(space: Space, call: CaptureCall, project: _Project, deed: Deed) -> Work:
    if isinstance(deed, (Read, Wrote, Nothing)):
        return Work(skipped(deed.reason if isinstance(deed, Nothing) else "it is no text"))
    told = capturing.captured_text(deed, project.root)
    if told is None:
        return Work(skipped("it said nothing"))
    draft = read_text(told.text, source=told.source, name=told.name, group=None)
    origin = Origin(told.source, project.root, draft.size, -1, 0, str(call.at), Trust.CAPTURED)
    least = min(capacities(space).values())
    stored = Captured("stored", source=told.source, sha256=draft.sha256)
    return Work(stored, [prepare(draft, origin, capacity=least)])


def _files(space: Space, call: CaptureCall, project: _Project, paths: Sequence[str]) -> Work:
    work = Work(skipped("it names no file"))
    for path in paths:
        place = project.resolve(path)
        reason = why_left_out(place, project.root)
        if reason is None and not os.path.lexists(place):
            work.gone.append(place)
            work.outcome = Captured("removed", source=place)
            continue
        draft = Skipped(place, reason) if reason else _draft(space, place)
        if isinstance(draft, Skipped):
            work.outcome = work.outcome if work.prepared else skipped(draft.reason)
            continue
        found, read = draft
        origin = Origin(
            *(place, project.root, found.size, found.mtime_ns, found.inode),
            *(clock.stamp(clock.now()), Trust.CAPTURED),
        )
        least = min(capacities(space).values())
        work.prepared.append(prepare(read, origin, capacity=least))
        work.outcome = Captured("stored", source=place, sha256=read.sha256)
    return work


def _found(space: Space, place: str) -> Found | Skipped:
    left_out: list[Skipped] = []
    found = list(walk([Path(place)], on_skip=left_out.append)) if Path(place).is_file() else []
    if len(found) != 1:
        return left_out[0] if left_out else Skipped(place, "is no file")
    return found[0]


def _draft(space: Space, place: str) -> tuple[Found, Draft] | Skipped:
    found = _found(space, place)
    if isinstance(found, Skipped):
        return found
    read = read_file(found, max_bytes=space.settings.ingest.max_file_bytes)
    return read if isinstance(read, Skipped) else (found, read)


def _told(place: str, stored: StoredDocument) -> Captured:
    return Captured("unchanged", source=place, sha256=stored.sha256, shard=stored.shard)


def _digest(space: Space, place: str) -> str | None:
    found = _found(space, place)
    if isinstance(found, Skipped):
        return None
    content = snapshot(found, max_bytes=MOST_REHASHED)
    return None if isinstance(content, Skipped) else hashlib.sha256(content).hexdigest()
