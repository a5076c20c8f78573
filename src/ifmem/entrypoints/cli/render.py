"""How results look to a person."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ifmem.entrypoints.cli.answers import numbers
from ifmem.entrypoints.cli.paper import Accent, Bold, Dim, Paper, count, one_line, size
from ifmem.wire.shapes import (
    Checkup,
    FindingLine,
    LibrarianShape,
    LoadReport,
    Page,
    Recall,
    RecalledFinding,
    RecalledPassage,
    SemanticShape,
    ShardShape,
    SourceShape,
    SpaceShape,
    Status,
    TaskCounts,
    Why,
    WorkerShape,
)

_DIGEST_SHOWN = 12
"""Characters of a prefix's digest."""
_SKIPPED_SHOWN = 3
"""Paths shown of those that were skipped for one reason."""


def load(paper: Paper, report: LoadReport) -> None:
    """Counts, the shard table, and what was skipped, by reason."""
    paper.line(Bold(loaded(report)))
    changes = [
        text
        for number, text in (
            (report.read, f"{report.read:,} read"),
            (report.unchanged, f"{report.unchanged:,} unchanged"),
            (report.removed, f"{report.removed:,} removed"),
            (report.masked, f"{count(report.masked, 'credential')} masked"),
            (len(report.skipped), f"{len(report.skipped):,} skipped"),
        )
        if number
    ]
    if changes:
        paper.line(Dim(", ".join(changes)))
    if report.shards:
        paper.line()
        paper.table(
            ("shard", "speciality", "tokens", "capacity", "full"),
            [
                (s.shard, s.speciality, s.tokens, s.capacity, _share(s.tokens, s.capacity))
                for s in report.shards
            ],
        )
    _skipped(paper, report)


def loaded(report: LoadReport) -> str:
    """A load in one line."""
    return (
        f"{count(report.documents, 'document')}, {count(report.passages, 'passage')}, "
        f"{count(report.tokens, 'token')}, {size(report.bytes)} in {report.seconds:.2f} s"
    )


def _skipped(paper: Paper, report: LoadReport) -> None:
    reasons: dict[str, list[str]] = defaultdict(list)
    for one in report.skipped:
        reasons[one.reason].append(one.path)
    if reasons:
        paper.line()
        paper.line("skipped:")
    for reason, paths in sorted(reasons.items(), key=lambda item: -len(item[1])):
        shown = ", ".join(paper.place(path) for path in paths[:_SKIPPED_SHOWN])
        more = len(paths) - _SKIPPED_SHOWN
        paper.line(
            f"  {len(paths):,} × {reason}  ", Dim(shown + (f" … {more:,} more" if more > 0 else ""))
        )


def recall(paper: Paper, value: Recall) -> None:
    """Passages and findings, best first, each with where it is from and why it scored."""
    found: list[RecalledPassage | RecalledFinding] = [*value.passages, *value.findings]
    for one in sorted(found, key=lambda one: -one.score):
        if isinstance(one, RecalledPassage):
            _recalled_passage(paper, one)
        else:
            _recalled_finding(paper, one)
        paper.line(Dim(f"    score {one.score:.2f}: {_parts(one.why)}"))
        paper.line()
    if not found:
        paper.line("Nothing that is loaded matches.")
    paper.line(Dim(f"{count(value.tokens, 'token')} · {value.elapsed_ms:.1f} ms"))


def _recalled_passage(paper: Paper, passage: RecalledPassage) -> None:
    about = [_where(passage), passage.header]
    about += [passage.speaker or "", passage.said_at or "", passage.id]
    paper.line(
        Accent(paper.place(passage.source, passage.lines)),
        Dim("  " + " · ".join(part for part in about if part)),
    )
    for line in passage.text.splitlines():
        paper.line("    " + line)


def _recalled_finding(paper: Paper, found: RecalledFinding) -> None:
    paper.line(
        Bold(found.claim),
        Dim(f"  {found.confidence:.2f} · {found.worker_id} · {found.trust}"),
    )
    _cited(paper, found.citations)
    where = f" · {_archived(found)}" if found.archived else ""
    paper.line(Dim(f"    {found.timestamp} · {found.finding_id}{where}"))


def _where(passage: RecalledPassage) -> str:
    return _archived(passage) if passage.archived else f"shard {passage.shard}"


def _archived(one: RecalledPassage | RecalledFinding) -> str:
    return "archive" if one.session is None else f"archive, session {one.session}"


def _parts(why: Why) -> str:
    return f"lexical {why.lexical:.2f}, vector {why.vector:.2f}, neighbour {why.neighbour:.2f}"


def finding(paper: Paper, line: FindingLine) -> None:
    """One finding of the log."""
    held = line.finding
    topic = held.get("topic")
    paper.line(
        Dim(f"{held.get('timestamp', '')}  "),
        Bold(str(held.get("claim", ""))),
        Dim(f"  [{topic}]" if topic else ""),
        Dim(f"  {held.get('confidence', 1.0):.2f} · {held.get('worker_id', '')}"),
    )
    _cited(paper, held.get("citations", []))
    paper.line(Dim(f"    {held.get('finding_id', '')}  cursor {line.cursor}"))


def _cited(paper: Paper, citations: Sequence[Mapping[str, Any] | str]) -> None:
    for one in citations:
        if isinstance(one, str):
            paper.line("    ", Accent(one))
            continue
        quote = one_line(str(one.get("quote") or ""))
        paper.line(
            "    ",
            Accent(paper.place(str(one.get("source", "")), one.get("lines"))),
            f'  "{quote}"' if quote else "",
            Dim(f"  ({one.get('status')})" if one.get("status") != "verified" else ""),
        )


def sources(paper: Paper, page: Page[SourceShape]) -> None:
    """The documents as a table."""
    if not page.items:
        paper.line("Nothing is loaded here.")
        return
    paper.table(
        ("source", "kind", "tokens", "passages", "shards", "group"),
        [
            (
                paper.place(one.source),
                one.kind,
                one.tokens,
                one.passages,
                numbers(one.shards).removeprefix("shard ").removeprefix("shards "),
                one.group,
            )
            for one in page
        ],
    )


def spaces(paper: Paper, page: Page[SpaceShape]) -> None:
    """The spaces as a table."""
    paper.table(("space", "store", "open"), [(s.space, size(s.store_bytes), s.open) for s in page])


def shards(paper: Paper, items: Sequence[ShardShape]) -> None:
    """The shards as a table."""
    paper.table(
        ("shard", "speciality", "tokens", "capacity", "full", "documents", "active", "worker"),
        [
            (
                s.shard,
                s.speciality,
                s.tokens,
                s.capacity,
                _share(s.tokens, s.capacity),
                s.documents,
                s.active,
                s.worker,
            )
            for s in items
        ],
    )
    modelled = [s for s in items if s.hot != "-"]
    if modelled:
        paper.line()
        _hotness(paper, modelled)


def _hotness(paper: Paper, items: Sequence[ShardShape]) -> None:
    """What the models' providers last reported."""
    paper.table(
        ("shard", "model", "state", "until or why", "generation", "prefix", "its tokens"),
        [
            (
                s.shard,
                s.model,
                s.hot,
                s.why_cold or s.hot_until or "as long as the provider keeps it",
                s.generation,
                (s.prefix_sha256 or "")[:_DIGEST_SHOWN],
                s.prefix_tokens,
            )
            for s in items
        ],
    )


def workers(paper: Paper, items: Sequence[WorkerShape]) -> None:
    """The workers as a table."""
    paper.table(
        ("worker", "alive", "heartbeat"), [(w.worker_id, w.alive, w.heartbeat) for w in items]
    )


def librarians(paper: Paper, items: Sequence[LibrarianShape]) -> None:
    """The librarians as a table."""
    paper.table(
        ("librarian", "model", "status", "calls left", "next day", "tokens", "passed over"),
        [
            (
                one.librarian,
                one.model,
                one.status,
                f"{one.quota:,} of {one.daily:,}" if one.pool else "unmetered",
                _local(one.resets_at),
                one.capacity,
                one.why,
            )
            for one in items
        ],
    )


def _local(moment: str | None) -> str | None:
    """A moment in this machine's time zone, which is named."""
    if moment is None:
        return None
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def status(paper: Paper, value: Status) -> None:
    """Everything at a glance."""
    tasks = value.tasks
    alive = sum(worker.alive for worker in value.workers)
    bus = "embedded" if value.redis.embedded else value.redis.url
    paper.line(Bold(f"ifmem {value.version}: {value.health}"))
    for name, text in (
        ("context", f"{count(value.context_active, 'token')} in active shards"),
        ("findings", f"{value.findings:,}"),
        ("tasks", _task_counts(tasks)),
        ("workers", f"{alive} alive"),
        ("bus", f"{bus}, server {value.redis.version}"),
        ("store", f"{paper.place(value.store.path)}, {size(value.store.bytes)}"),
        ("semantic", _semantic(value.semantic)),
        ("daemon", f"process {value.daemon_pid}"),
    ):
        paper.line(Dim(f"{name:<10}"), text)
    paper.line()
    shards(paper, value.shards)


def checkup(paper: Paper, value: Checkup) -> None:
    """One line per check."""
    for check in value.checks:
        paper.line(Bold("ok  " if check.ok else "BAD "), f"{check.name}  ", Dim(check.message))


def _task_counts(counts: TaskCounts) -> str:
    always = f"{counts.pending} pending, {counts.leased} leased, {counts.done} done"
    rare = {
        "blocked": counts.blocked,
        "waiting for assistance": counts.needs_assist,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "dead": counts.dead,
    }
    return always + "".join(f", {number} {name}" for name, number in rare.items() if number)


def _semantic(value: SemanticShape) -> str:
    if not value.enabled:
        return "off: ranking by words and word vectors"
    if value.embedded >= value.passages:
        return "on"
    return f"embedding in the background, {value.embedded:,} of {value.passages:,} passages"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "–"
