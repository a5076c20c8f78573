"""The claims page: what was claimed, what was measured, and whether the one bears out the other."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import measured

_MANIFEST = Path("tests/claims/manifest.py")
_SHORT = (
    "paper.load.p50",
    "paper.load.p95",
    "paper.load.speedup",
    "load.against.warm-files",
    "ingest.rate",
    "ingest.memory",
    "recall.small.p50",
    "recall.large.p50",
    "ask.small.p95",
    "ask.clients-32.p95",
    "ask.models.overhead",
    "agents.start",
    "agents.recall.stdio",
    "agents.recall.http",
    "agents.heard",
    "agents.lost",
    "archive.answer",
    "archive.verify",
    "archive.quota",
    "paper.tokens.saved",
    "tokens.saved.95",
    "tokens.over-asked",
    "tokens.over-cached",
    "tokens.once",
    "tokens.accuracy",
    "tokens.accuracy.local",
    "cost.hot",
    "hot.7k",
    "hot.7k.140",
    "hot.500",
    "hot.restored",
    "durability.lost",
    "claims.twice",
    "claims.drain",
    "claims.p99",
    "delivery.lost",
    "delivery.p50",
    "retrieval.locomo-dev",
    "retrieval.cranfield",
    "retrieval.cosqa-dev",
    "retrieval.musique-dev",
    "needles.named",
    "needles.paraphrase",
    "needles.abstained",
    "needles.abstained.swapped",
)
"""What the README shows: what was missed as well as what was reached."""


@dataclass(frozen=True, slots=True)
class Row:
    """A claim with what was found."""

    name: str
    claim: Any
    verdict: str
    value: float | None = None
    report: str = ""
    """The file the value is from."""
    beside: str = ""
    """A baseline of the same run, for people."""


def manifest(root: Path) -> ModuleType:
    """The module that lists the claims."""
    spec = importlib.util.spec_from_file_location("claims_manifest", root / _MANIFEST)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by its name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def rows(root: Path) -> list[Row]:
    """Every claim, in the order of the manifest."""
    known = manifest(root)
    return [_row(root, known, name, claim) for name, claim in known.CLAIMS.items()]


def render(root: Path) -> str:
    """The whole table, then the conditions of the reports it cites."""
    lines = [
        "| claim | says | measured | verdict | conditions and notes |",
        "| --- | --- | --- | --- | --- |",
    ]
    found = rows(root)
    for row in found:
        claim = row.claim
        notes = "; ".join(text for text in (claim.conditions, claim.note) if text)
        said = f"{claim.says} ({claim.source})"
        lines.append(f"| `{row.name}` | {said} | {_value(row)} | **{row.verdict}** | {notes} |")
    return "\n".join(lines) + "\n" + _conditions(root, found)


def render_short(root: Path) -> str:
    """The claims the README shows."""
    found = {row.name: row for row in rows(root)}
    chosen = [found[name] for name in _SHORT]
    if all(row.value is None for row in chosen):
        return measured.NONE_YET
    lines = ["| claim | measured | verdict |", "| --- | --- | --- |"]
    for row in chosen:
        under = f" ({row.claim.conditions})" if row.claim.conditions else ""
        lines.append(f"| `{row.name}`: {row.claim.says}{under} | {_value(row)} | {row.verdict} |")
    return "\n".join(lines) + "\n" + _conditions(root, chosen)


def _row(root: Path, known: ModuleType, name: str, claim: Any) -> Row:
    if claim.settled is not None:
        return Row(name, claim, claim.settled)
    for file, report in measured.reports(root, claim.measured_by.report):
        value = at(report, claim.measured_by.field)
        if value is None:
            continue
        verdict = known.Verdict.DIVERGES
        if claim.measured_by.meets(value):
            verdict = known.Verdict.CONDITIONAL if claim.conditions else known.Verdict.HOLDS
        beside = at(report, "baselines.fts5.recall.10") if "retrieval" in name else None
        return Row(name, claim, verdict, value, file, f"; FTS5 {beside:.3f}" if beside else "")
    return Row(name, claim, known.Verdict.UNMEASURED)


def at(report: Mapping[str, Any], field: str) -> float | None:
    """The number at a place of a report, None when it is not there."""
    value: Any = report
    for name in field.split("."):
        if isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        elif isinstance(value, dict) and name in value:
            value = value[name]
        else:
            return None
    return float(value) if isinstance(value, int | float) else None


def _value(row: Row) -> str:
    if row.value is None:
        return "–"
    figure = f"{row.value:,.0f}" if row.value >= 1_000 else f"{row.value:.3g}"
    return f"{figure} {row.claim.measured_by.unit}{row.beside} (`{row.report}`)"


def _conditions(root: Path, found: list[Row]) -> str:
    cited = sorted({row.report for row in found if row.report})
    if not cited:
        return ""
    lines = ["", "Conditions of the reports, all under `benchmarks/results/`:", ""]
    for name in cited:
        (_, report), *_ = measured.reports(root, name.removesuffix(".json"))
        lines.append(f"- `{name}`: {measured.conditions_line(report)}")
    return "\n".join(lines) + "\n"
