"""Tables of measurements, from the reports under ``benchmarks/results``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path("benchmarks/results")
NONE_YET = "*Not measured yet: `benchmarks/results/` holds no report of this kind.*\n"

Report = Mapping[str, Any]


def reports(root: Path, pattern: str) -> Iterator[tuple[str, Report]]:
    """The reports whose names match, with their file names, in order."""
    for path in sorted((root / RESULTS).glob(f"{pattern}.json")):
        yield path.name, json.loads(path.read_text(encoding="utf-8"))


def conditions_line(report: Report) -> str:
    """When, where and with what a report was made."""
    had = report.get("conditions", {})
    load = had.get("load_average")
    busy = "" if load is None else f", load average {load}"
    return (
        f"{had.get('at', '?')}, {had.get('host', '?')}, {had.get('cores', '?')} cores{busy}, "
        f"ifmem {had.get('ifmem', '?')} (commit {had.get('commit') or 'none'}), "
        f"Python {had.get('python', '?')}, {had.get('server', '?')}, "
        f"extra `semantic` {had.get('semantic', 'off')}"
    )


def render_retrieval(root: Path) -> str:
    """Quality on every labelled set and on planted sentences."""
    return _labelled(root) + "\n" + _planted(root)


def _labelled(root: Path) -> str:
    """Each set beside FTS5 of the same run."""
    found = list(reports(root, "retrieval-*"))
    if not found:
        return NONE_YET
    lines = [
        "| set | system | R@5 | R@10 | R@20 | nDCG@10 | MRR |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, report in found:
        encoder = report.get("conditions", {}).get("semantic") == "on"
        ours = "with `semantic`" if encoder else "default settings, no extra"
        rows = {ours: report, **report["baselines"]}
        for system, taken in rows.items():
            figures = [*taken["recall"].values(), taken["ndcg10"], taken["mrr"]]
            cells = " | ".join(f"{figure:.3f}" for figure in figures)
            lines.append(f"| {report['dataset']} | {system} | {cells} |")
        lines.append(f"| | *{name}: {report['queries']:,} queries* | | | | | |")
    baselines = {k: v["what"] for _, report in found for k, v in report["baselines"].items()}
    lines.append("")
    lines += [f"- `{name}`: {what}" for name, what in baselines.items()]
    lines += [f"- conditions of `{name}`: {conditions_line(report)}" for name, report in found]
    return "\n".join(lines) + "\n"


def _planted(root: Path) -> str:
    """Planted sentences found, quoted, and not made up."""
    found = list(reports(root, "needles-*"))
    if not found:
        return f"Planted sentences: {NONE_YET}"
    lines = [
        "| report | tokens | questions | in recall | answered | refused, name unknown | "
        "refused, name of another |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, report in found:
        cells = [
            f"`{name}`",
            f"{report['tokens']:,}",
            _by_kind(report["needles"], "d"),
            _by_kind(report["answerable"], ".2f"),
            _by_kind(report["answered"], ".2f"),
            f"{report['abstained']:.2f} of {report['unanswerable']}",
            f"{report['abstained_swapped']:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"- conditions of `{name}`: {conditions_line(report)}" for name, report in found]
    return "\n".join(lines) + "\n"


def _by_kind(figures: Mapping[str, Any], form: str) -> str:
    return ", ".join(f"{kind} {figure:{form}}" for kind, figure in figures.items())


def render_sizing(root: Path) -> str:
    """Memory, ingest rate and latency for every amount of text measured."""
    found = list(reports(root, "query-*"))
    if not found:
        return NONE_YET
    lines = [
        "| tokens | passages | shards | ingest MB/s | daemon peak MB | recall p50 / p95 ms | "
        "ask p50 / p95 ms |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for _, report in found:
        alone = {one["verb"]: one["inside"] for one in report["points"] if one["clients"] == 1}
        peak = report["daemon_peak_mb"]
        cells = [
            f"{report['tokens']:,}",
            f"{report['passages']:,}",
            f"{report['shards']}",
            f"{report['ingest_mb_per_s']:.2f}",
            "not told" if peak is None else f"{peak:,.0f}",
            *(_times(alone.get(verb)) for verb in ("recall", "ask")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Times are inside the daemon, one client asking. Conditions:", ""]
    lines += [f"- `{name}`: {conditions_line(report)}" for name, report in found]
    return "\n".join(lines) + "\n"


def _times(taken: Report | None) -> str:
    return "–" if taken is None else f"{taken['p50_ms']:.1f} / {taken['p95_ms']:.1f}"
