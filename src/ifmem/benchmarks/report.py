"""Where a report and its raw samples go, and how a report's parts look to a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from ifmem.benchmarks.conditions import Conditions
from ifmem.benchmarks.statistics import Latency


class Goal(msgspec.Struct, frozen=True):
    """A figure that was to be reached, and whether it was."""

    goal: str
    measured: float
    reached: bool


Samples = Mapping[str, Sequence[float]]
"""Raw samples by what was measured, in milliseconds, in the order taken."""


def write(
    name: str,
    report: msgspec.Struct,
    samples: Samples,
    *,
    lines: Sequence[str],
    out: Path | None,
    directory: Path,
) -> Path:
    """Write a report with its raw samples as ``NAME.json``, and say where.

    Args:
        lines: the report for a person, written beside it as ``NAME.txt``.
        out: the folder; by default ``benchmarks/results`` in a checkout, else ``ifmem-bench``.
        directory: where the person stands.
    """
    folder = out or _default_folder(directory)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    rounded = {what: [round(one, 4) for one in many] for what, many in samples.items()}
    whole = msgspec.to_builtins(report) | {"samples_ms": rounded}
    path.write_bytes(_readable(whole))
    path.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _default_folder(directory: Path) -> Path:
    results = directory / "benchmarks" / "results"
    in_checkout = (directory / "src" / "ifmem").is_dir() and results.parent.is_dir()
    return results if in_checkout else directory / "ifmem-bench"


def _readable(whole: dict[str, object]) -> bytes:
    """Indented, but each list of samples on one line."""
    parts = []
    for name, value in whole.items():
        if name == "samples_ms" and isinstance(value, dict):
            lists = [_pair(what, msgspec.json.encode(many)) for what, many in value.items()]
            parts.append(_pair(name, b"{\n    " + b",\n    ".join(lists) + b"\n  }"))
        else:
            indented = msgspec.json.format(msgspec.json.encode(value), indent=2)
            parts.append(_pair(name, indented.replace(b"\n", b"\n  ")))
    return b"{\n  " + b",\n  ".join(parts) + b"\n}\n"


def _pair(name: str, value: bytes) -> bytes:
    return msgspec.json.encode(name) + b": " + value


def condition_lines(given: Conditions) -> list[str]:
    """The conditions for a person."""
    busy = "" if given.load_average is None else f", load average {given.load_average}"
    return [
        f"{given.at}, {given.host}, {given.cores} cores{busy}",
        f"ifmem {given.ifmem} (commit {given.commit or 'none'}), Python {given.python}, "
        f"{given.server}",
        f"{given.persistence}; tokens are {given.tokenizer}; extra semantic {given.semantic}",
    ]


def latency_row(what: str, given: Latency) -> list[str]:
    """One row of a table of latencies."""
    times = (given.p50_ms, given.p95_ms, given.p99_ms, given.max_ms)
    return [what, f"{given.n:,}", *(f"{time:.2f}" for time in times)]


LATENCY_HEADER = ("ms", "n", "p50", "p95", "p99", "max")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table; the first column and those without a name stand left, the others right."""
    cells = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place and header[place] else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def goal_lines(goals: Iterable[Goal]) -> list[str]:
    """One line a goal; one that was missed is as large as one that was reached."""
    return [
        f"{'REACHED    ' if goal.reached else 'NOT REACHED'} {goal.goal}: {goal.measured:,.2f}"
        for goal in goals
    ]
