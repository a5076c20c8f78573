"""``bench retrieval`` on a small set of our own: scores, groups, the run file, the baselines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ifmem.benchmarks import retrieval
from ifmem.benchmarks.labelled import read_labelled_set
from ifmem.benchmarks.plain_search import plain_search
from ifmem.engine.analysis import terms
from ifmem.errors import Invalid, NotFound

ROWS: list[dict[str, Any]] = [
    {"_id": "t1", "text": "The lighthouse keeper feeds the gulls at noon.", "group": "north"},
    {"_id": "t2", "text": "Nobody has repaired the harbour crane.", "group": "north", "order": 1},
    {"_id": "t3", "text": "The lighthouse was sold to a painter.", "group": "south", "order": 1},
    {"_id": "t4", "title": "Ovens", "text": "Bricks of the bakery are baked twice."},
]
QUERIES: list[dict[str, Any]] = [
    {"_id": "q1", "text": "Who owns the lighthouse?", "group": "south", "category": "grouped"},
    {"_id": "q2", "text": "lighthouse keeper gulls", "category": "open"},
    {"_id": "q3", "text": "ovens of the bakery", "category": "open"},
    {"_id": "q9", "text": "a query that nobody judged"},
]
QRELS = "query-id\tcorpus-id\tscore\nq1\tt3\t1\nq2\tt1\t2\nq2\tt2\t0\nq3\tt4\t1\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small-set")
    for name, lines in (("corpus.jsonl", ROWS), ("queries.jsonl", QUERIES)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "qrels.tsv").write_text(QRELS, encoding="utf-8")
    return folder


def test_a_set_is_loaded_searched_and_compared(folder: Path, tmp_path: Path) -> None:
    run_file = tmp_path / "run.jsonl"
    report = retrieval.run(folder, run_file=run_file, out=tmp_path)
    assert (report.documents, report.queries) == (4, 3)
    assert report.recall == {"5": 1.0, "10": 1.0, "20": 1.0}
    assert (report.mrr, report.ndcg10, report.hit10) == (1.0, 1.0, 1.0)
    assert set(report.per_category) == {"grouped", "open"}
    found = [msgspec.json.decode(line) for line in run_file.read_bytes().splitlines()]
    assert [list(line) for line in found] == [["q1"], ["q2"], ["q3"]]
    # The group holds back the other lighthouse.
    assert found[0] == {"q1": ["t3"]}
    assert found[1]["q2"][0] == "t1"
    written = msgspec.json.decode(Path(report.written).read_bytes())
    assert set(written["samples_ms"]) >= {"recall_inside", "fts5", "fts5_no_stop"}
    text = "\n".join(retrieval.lines(report))
    assert all(f"{baseline.mrr:.3f}" in text for baseline in report.baselines.values())


def test_a_source_s_name_adds_no_word_to_what_is_searched() -> None:
    from ifmem.benchmarks.labelled import _wordless_name

    names = [_wordless_name(number) for number in range(200)]
    assert len(set(names)) == 200
    assert [terms(name) for name in names] == [[]] * 200


def test_plain_search_is_fts5_with_and_without_stop_words(folder: Path) -> None:
    given = read_labelled_set(folder)
    with plain_search(given.rows) as index:
        every = index.search("is the lighthouse", group=None, limit=9, stop_words=True)
        some = index.search("is the lighthouse", group=None, limit=9, stop_words=False)
        north = index.search("lighthouse", group="north", limit=9, stop_words=True)
    assert set(some) == {"t1", "t3"}
    assert set(every) > set(some)
    assert north == ["t1"]


def test_a_set_with_a_missing_or_broken_file_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"corpus\.jsonl"):
        retrieval.run(tmp_path)
    for name in ("corpus.jsonl", "queries.jsonl"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1 t3 1\n", encoding="utf-8")
    with pytest.raises(Invalid, match=r"qrels.tsv:2"):
        read_labelled_set(tmp_path)
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n", encoding="utf-8")
    with pytest.raises(Invalid, match="judges nothing"):
        read_labelled_set(tmp_path)
