"""The recent commit messages of a repository as one draft."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from ifmem.domain.document import Draft, Kind, Skipped
from ifmem.ingest import reasons
from ifmem.ingest.decode import clean
from ifmem.ingest.fence import Fence
from ifmem.ingest.listing import listed
from ifmem.ingest.passages import cut
from ifmem.ingest.reading import Part

_MAX_BYTES = 32 * 1024 * 1024
_COMMAND = (
    *("git", "--no-pager"),
    *("log", "-z", "--no-show-signature", "--no-notes", "--no-mailmap", "--encoding=UTF-8"),
    "--format=tformat:%H%n%an%n%aI%n%B",
)
_ELSEWHERE = ("commondir", "objects/info/alternates", "objects/info/http-alternates")
_NO_COMMITS = ("does not have any commits", "unknown revision", "bad default revision")


def read_git_log(
    root: Path,
    *,
    commits: int,
    fence: Fence | None = None,
    timeout: timedelta = timedelta(seconds=30),
) -> Draft | Skipped | None:
    """The messages of the last ``commits`` commits, newest first, one passage each.

    None when ``root`` is no repository's top folder or has no commit yet.

    Args:
        fence: a repository that has parts elsewhere is not read.
    """
    is_there = (root / ".git").exists() if fence is None else os.path.lexists(root / ".git")
    if commits <= 0 or not is_there:
        return None
    path = str(root.resolve())
    source = f"git+file://{path}#log"
    if fence is not None and not _is_whole(fence, path):
        return Skipped(source, reasons.NOT_PERMITTED)
    result = _run(path, commits, timeout.total_seconds())
    if isinstance(result, str):
        if any(known in result for known in _NO_COMMITS):
            return None
        # What git complains of may be a file that its configuration includes.
        return Skipped(source, result if fence is None else reasons.NOT_PERMITTED)
    parts = tuple(_parts(result))
    if not parts:
        return None
    text, spans, masked = cut(parts)
    return Draft(
        source=source,
        sha256=hashlib.sha256(result).hexdigest(),
        format="git-log",
        kind=Kind.GIT_LOG,
        text=text,
        spans=spans,
        size=len(result),
        masked=masked,
    )


def _run(root: str, commits: int, timeout: float) -> bytes | str:
    """What git printed, or why it could not be asked."""
    with tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(
                (*_COMMAND, f"--max-count={commits}"),
                cwd=root,
                env=_environment(root),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
            )
        except FileNotFoundError:
            return "git is not installed, so its log was not read"
        except OSError as error:
            return f"git could not be started: {(error.strerror or 'unknown error').lower()}"
        late = threading.Timer(timeout, process.kill)
        with process:
            late.start()
            assert process.stdout is not None
            output = process.stdout.read(_MAX_BYTES + 1)
            if len(output) > _MAX_BYTES:
                process.kill()
            process.wait()
            late.cancel()
        complaints.seek(0)
        complaint = complaints.read(4096).decode("utf-8", "replace").strip()
    if len(output) > _MAX_BYTES:
        return "its log is larger than 32 MiB; ask for fewer commits ([ingest] git_commits)"
    if process.returncode == -signal.SIGKILL:
        return f"git log did not end within {timeout:g} s"
    return output if process.returncode == 0 else _reason(complaint)


def _is_whole(fence: Fence, root: str) -> bool:
    """Whether all that git would read of a repository lies in its own folder.

    Links in it, a common folder and other repositories' objects could lead anywhere.
    """
    folder = f"{root}/.git"
    if fence.resolve(folder) != folder or _leads_elsewhere(folder):
        return False
    waiting = [folder]
    while waiting:
        try:
            for entry in listed(waiting.pop(), fence):
                if entry.is_symlink():
                    return False
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
        except OSError:
            return False
    return True


def _leads_elsewhere(folder: str) -> bool:
    return any(os.path.lexists(f"{folder}/{name}") for name in _ELSEWHERE)


def _environment(root: str) -> dict[str, str]:
    """Ours without what points git elsewhere or lets it ask, fetch or write."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return inherited | {
        "LC_ALL": "C",
        # A broken repository here must not make git take the one above for it.
        "GIT_CEILING_DIRECTORIES": os.path.dirname(root),  # noqa: PTH120
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
    }


def _reason(complaint: str) -> str:
    if "dubious ownership" in complaint:
        return (
            "belongs to another user, so git does not read it; "
            "run: git config --global --add safe.directory <its path>"
        )
    first = complaint.split("\n", 1)[0].removeprefix("fatal: ")
    return f"git log failed: {first or 'no reason given'}"


def _parts(output: bytes) -> Iterator[Part]:
    for record in output.split(b"\0"):
        lines = clean(record.decode("utf-8", "replace")).split("\n", 3)
        if len(lines) < 4:
            continue
        commit, author, written, message = lines
        yield Part(
            text=message.strip("\n") + "\n",
            kind=Kind.GIT_LOG,
            name="message.txt",
            header=f"commit {commit[:12]}",
            speaker=author,
            said_at=written,
            locator=commit,
        )
