"""``bench retrieval DIR``: retrieval quality on a labelled set, beside FTS5 in the same run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from ifmem import clock
from ifmem.benchmarks.conditions import Conditions, conditions
from ifmem.benchmarks.labelled import LabelledSet, load_into, read_labelled_set
from ifmem.benchmarks.plain_search import plain_search
from ifmem.benchmarks.ranked_lists import Quality, quality, quality_by_category
from ifmem.benchmarks.report import condition_lines, table, write
from ifmem.benchmarks.settling import until_embedded
from ifmem.benchmarks.statistics import Latency, latency
from ifmem.benchmarks.throwaway import throwaway
from ifmem.client.memory import Memory
from ifmem.wire.shapes import Recall

RESULTS = 20
_BUDGET = 1_000_000
"""Tokens: more than any 20 results have."""
_PASSAGES = 100
"""A long row is several passages, and counts once, by its best."""
_FTS5 = {
    "fts5": "SQLite FTS5, porter, title and text, all words of the question joined with OR, bm25",
    "fts5_no_stop": "the same without the question's stop words: the stronger baseline",
}


class Baseline(msgspec.Struct, frozen=True):
    """FTS5 with Porter stemming over the same rows in the same run."""

    what: str
    recall: dict[str, float]
    ndcg10: float
    mrr: float
    hit10: float
    per_category: dict[str, Quality]
    p50_ms: float
    p95_ms: float


class RetrievalReport(msgspec.Struct, frozen=True):
    dataset: str
    documents: int
    queries: int
    recall: dict[str, float]
    ndcg10: float
    mrr: float
    hit10: float
    per_category: dict[str, Quality]
    ingest_docs_per_s: float
    p50_ms: float
    """Inside the daemon."""
    p95_ms: float
    end_to_end: Latency
    """As the caller sees it, over the socket."""
    baselines: dict[str, Baseline]
    """``fts5`` searches for all words of a question, ``fts5_no_stop`` leaves stop words out."""
    conditions: Conditions
    written: str = ""


def run(
    directory: Path,
    *,
    run_file: Path | None = None,
    semantic: bool = False,
    out: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> RetrievalReport:
    """Load the set, recall for every query with default settings, and compare.

    Args:
        directory: holds ``corpus.jsonl``, ``queries.jsonl`` and ``qrels.tsv``.
        run_file: gets ``{"query-id": [ids…]}``, a line for each query.
        semantic: with the extra of that name, once it has embedded everything.
        out: the folder for the report.

    Raises:
        NotFound, Invalid: the directory holds no such set.
    """
    return asyncio.run(_run(read_labelled_set(directory), run_file, semantic, out, note))


async def _run(
    given: LabelledSet,
    run_file: Path | None,
    semantic: bool,
    out: Path | None,
    note: Callable[[str], None],
) -> RetrievalReport:
    inside: list[float] = []
    outside: list[float] = []
    async with throwaway(semantic=semantic) as place:
        note(f"loading {len(given.rows):,} rows of {given.name}")
        started = clock.stopwatch_ns()
        await load_into(place.memory, given.rows)
        seconds = clock.milliseconds_since(started) / 1000
        if semantic:
            await until_embedded(place.memory, note)
        note(f"{len(given.queries):,} queries")
        found = await _recalled(place.memory, given, inside, outside)
        status = await place.memory.status()
    note("the same with FTS5")
    plain_ms: dict[str, list[float]] = {}
    baselines = {}
    for name, what in _FTS5.items():
        plain, plain_ms[name] = _plainly_found(given, stop_words=name == "fts5")
        baselines[name] = _baseline(what, given, plain, plain_ms[name])
    ours, times = quality(given.queries, found), latency(inside)
    report = RetrievalReport(
        dataset=given.name,
        documents=len(given.rows),
        queries=len(given.queries),
        recall=ours.recall,
        ndcg10=ours.ndcg10,
        mrr=ours.mrr,
        hit10=ours.hit10,
        per_category=quality_by_category(given.queries, found),
        ingest_docs_per_s=round(len(given.rows) / seconds, 1),
        p50_ms=times.p50_ms,
        p95_ms=times.p95_ms,
        end_to_end=latency(outside),
        baselines=baselines,
        conditions=conditions(status.redis.version, semantic=semantic),
    )
    if run_file is not None:
        _write_run(run_file, found)
    raw = {"recall_inside": inside, "recall_end_to_end": outside} | plain_ms
    name = f"retrieval-{given.name}" + "-semantic" * semantic
    path = write(name, report, raw, lines=lines(report), out=out, directory=Path.cwd())
    return msgspec.structs.replace(report, written=str(path))


def lines(report: RetrievalReport) -> list[str]:
    """The report for a person."""
    rows = [_row("all", report)]
    rows += [_row(f"  {name}", plain) for name, plain in report.baselines.items()]
    for category, taken in report.per_category.items():
        rows.append(_row(category, taken))
        rows += [
            _row(f"  {name}", plain.per_category[category])
            for name, plain in report.baselines.items()
        ]
    header = ("", "R@5", "R@10", "R@20", "nDCG@10", "MRR", "hit@10")
    return [
        f"retrieval on {report.dataset}: {report.documents:,} documents, "
        f"{report.queries:,} queries, default settings, no language model",
        *condition_lines(report.conditions),
        "",
        *table(header, rows),
        "",
        f"ingest {report.ingest_docs_per_s:,.0f} documents/s; recall inside the daemon p50 "
        f"{report.p50_ms:.2f} ms, p95 {report.p95_ms:.2f} ms; end to end p50 "
        f"{report.end_to_end.p50_ms:.2f} ms, p95 {report.end_to_end.p95_ms:.2f} ms",
        *(
            f"{name}: {plain.what}; p50 {plain.p50_ms:.2f} ms, p95 {plain.p95_ms:.2f} ms"
            for name, plain in report.baselines.items()
        ),
        *([f"samples: {report.written}"] if report.written else []),
    ]


def row_ids(recalled: Recall) -> list[str]:
    """The rows of the passages found, best first, each once, at most ``RESULTS``."""
    ids = (passage.locator for passage in recalled.passages)
    return list(dict.fromkeys(one for one in ids if one is not None))[:RESULTS]


async def _recalled(
    memory: Memory, given: LabelledSet, inside: list[float], outside: list[float]
) -> dict[str, list[str]]:
    found = {}
    for query in given.queries:
        started = clock.stopwatch_ns()
        recalled = await memory.recall(
            query.text, max_tokens=_BUDGET, limit=_PASSAGES, group=query.group, scope="space"
        )
        outside.append(clock.milliseconds_since(started))
        inside.append(recalled.elapsed_ms)
        found[query.query_id] = row_ids(recalled)
    return found


def _plainly_found(
    given: LabelledSet, *, stop_words: bool
) -> tuple[dict[str, list[str]], list[float]]:
    found, taken = {}, []
    with plain_search(given.rows) as index:
        for query in given.queries:
            started = clock.stopwatch_ns()
            found[query.query_id] = index.search(
                query.text, group=query.group, limit=RESULTS, stop_words=stop_words
            )
            taken.append(clock.milliseconds_since(started))
    return found, taken


def _baseline(
    what: str, given: LabelledSet, found: Mapping[str, Sequence[str]], taken: Sequence[float]
) -> Baseline:
    theirs, times = quality(given.queries, found), latency(taken)
    return Baseline(
        what=what,
        recall=theirs.recall,
        ndcg10=theirs.ndcg10,
        mrr=theirs.mrr,
        hit10=theirs.hit10,
        per_category=quality_by_category(given.queries, found),
        p50_ms=times.p50_ms,
        p95_ms=times.p95_ms,
    )


def _write_run(path: Path, found: Mapping[str, Sequence[str]]) -> None:
    with path.open("wb") as file:
        for query_id, ids in found.items():
            file.write(msgspec.json.encode({query_id: ids}) + b"\n")


def _row(what: str, taken: RetrievalReport | Baseline | Quality) -> list[str]:
    figures = (*taken.recall.values(), taken.ndcg10, taken.mrr, taken.hit10)
    return [what, *(f"{figure:.3f}" for figure in figures)]
