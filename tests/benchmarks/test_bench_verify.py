"""The figures of verifying come from runs in which every citation was verified."""

from __future__ import annotations

import asyncio

import pytest

from ifmem.benchmarks import verify
from ifmem.errors import Refused


def test_the_figures_are_of_runs_over_all_citations() -> None:
    figures = asyncio.run(verify.measure(citations=60, files=8, per_finding=4, n=3))
    assert (figures.citations, figures.findings, figures.files) == (60, 15, 8)
    assert len(figures.samples_ms) == figures.n == 3
    assert figures.rate_worst <= figures.rate_p50
    assert figures.audit_rows >= 15


def test_more_files_than_there_are_cannot_be_cited() -> None:
    with pytest.raises(Refused, match="only"):
        asyncio.run(verify.measure(files=100_000))
