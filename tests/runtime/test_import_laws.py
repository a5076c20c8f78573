"""Laws of export and import, over small spaces of every shape."""

from __future__ import annotations

import io
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifmem.archive_settings import TrustSettings
from ifmem.domain.finding import Citation, Finding, Trust
from ifmem.domain.shard import Speciality
from ifmem.engine.placement import DEFAULT_RULES
from ifmem.errors import Invalid, Refused
from ifmem.ingest.files import read_text
from ifmem.runtime import exporting, importing
from ifmem.runtime.import_checks import check
from ifmem.runtime.saving import Placement, prepare, save
from ifmem.runtime.storing import on_stored
from ifmem.store import findings, quarantine, sessions, shards
from ifmem.store.contents import Origin
from ifmem.store.database import Database
from ifmem.store.findings import StoredFinding
from ifmem.wire import finding_json
from ifmem.wire.export_file import Reader

CAPACITY = 8_000
PLACEMENT = Placement(tuple(DEFAULT_RULES), dict.fromkeys(Speciality, CAPACITY), 8)
AT = "2026-11-01T08:00:00.000Z"
RUNS = st.sampled_from([None, None, "spring", "autumn"])
WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(str.strip)
FINDING = st.fixed_dictionaries(
    {
        "number": st.integers(0, 9),
        "claim": WORDS,
        "topic": st.sampled_from([None, "crate", "gate"]),
        "value": st.none() | st.floats(-100, 100),
        "run": RUNS,
        "supersedes": st.none() | st.integers(0, 9),
        "cites": st.booleans(),
        "quarantined": st.booleans(),
        "confidence": st.sampled_from([0.01, 1.0]),
        "forgotten": st.booleans(),
    }
)
TEXT = st.fixed_dictionaries(
    {
        "source": st.sampled_from(["/srv/papers/a.md", "/srv/papers/b/c.py", "chat:1", "/x"]),
        "root": st.sampled_from(["/srv/papers", "/srv", ""]),
        "text": WORDS,
        "run": RUNS,
    }
)
SPACE = st.fixed_dictionaries(
    {
        "findings": st.lists(FINDING, max_size=8),
        "texts": st.lists(TEXT, max_size=5),
        "ended": st.sets(st.sampled_from(["spring", "autumn"])),
    }
)


def id_of(number: int) -> str:
    return str(uuid.UUID(int=number))


@contextmanager
def store(**filled: Any) -> Iterator[Database]:
    directory = Path(tempfile.mkdtemp())
    (directory / "store.sqlite").write_bytes(empty_store())
    database = Database(directory / "store.sqlite")
    try:
        database.write(lambda one: fill(one, **filled)).result()
        yield database
    finally:
        database.close()
        shutil.rmtree(directory)


@cache
def empty_store() -> bytes:
    """A new store as a file: to open a copy takes a tenth of the time."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "store.sqlite")
        database = Database(path)
        database.write(lambda one: shards.open_default_shards(one, CAPACITY)).result()
        database.close()
        return path.read_bytes()


def fill(
    connection: sqlite3.Connection,
    *,
    findings: Any = (),
    texts: Any = (),
    ended: Any = (),
) -> None:
    for one in texts:
        draft = read_text(one["text"], source=one["source"], name=one["source"], group=None)
        origin = Origin(one["source"], one["root"], 1, -1, 0, AT, run=one["run"] or "-")
        save(connection, [prepare(draft, origin, capacity=CAPACITY)], PLACEMENT)
    for one in findings:
        store_finding(connection, one)
    for run in sorted(ended):
        sessions.end(connection, run, at=AT, by="ann")


def store_finding(connection: sqlite3.Connection, one: dict[str, Any]) -> None:
    older = one["supersedes"]
    cited = (Citation(source="/srv/papers/a.md", quote="q"),) if one["cites"] else ()
    finding = Finding(
        finding_id=id_of(one["number"]),
        worker_id="bob",
        timestamp=AT,
        claim=one["claim"],
        topic=one["topic"],
        value=one["value"],
        confidence=one["confidence"],
        session_id=one["run"],
        citations=cited,
        supersedes=id_of(older) if older not in (None, one["number"]) else None,
        trust=Trust.QUARANTINED if one["quarantined"] else Trust.AGENT,
        tokens=3,
    )
    body = finding_json.as_durable(finding_json.to_json(finding))
    row = StoredFinding(
        0, finding.finding_id, "bob", None, finding.topic, AT, 3, body, finding.session_id
    )
    known = quarantine.sequence_of(connection, finding.finding_id)
    if known is not None or findings.was_forgotten(connection, finding.finding_id):
        return
    if one["quarantined"] and findings.by_id(connection, finding.finding_id) is None:
        quarantine.append(connection, row)
        return
    sequence, is_new = findings.append(
        connection,
        finding_id=row.finding_id,
        author=row.author,
        task_id=None,
        topic=row.topic,
        said_at=AT,
        tokens=3,
        body=body,
        run=row.run,
    )
    if is_new:
        stored = findings.by_sequence(connection, [sequence])[sequence]
        on_stored(connection, finding, stored, TrustSettings())
        if one["forgotten"]:
            findings.delete(connection, finding.finding_id, AT)


def exported(database: Database) -> tuple[bytes, str]:
    file = io.BytesIO()
    space: Any = SimpleNamespace(name="default", store_id="s")
    manifest = database.read_together(
        lambda one: exporting._write(space, file, lambda *told: None, one)
    )
    return file.getvalue(), manifest.content_sha256


def imported(database: Database, data: bytes) -> importing._Done:
    reader = Reader(io.BytesIO(data))
    heard = importing._Heard(reader, lambda *told: None)
    plan = importing._Plan(reader, check(reader, heard.checking), {}, PLACEMENT, "ann")
    done = importing._Done()
    database.write(
        lambda one: importing._take(one, plan=plan, done=done, heard=heard, undo=False)
    ).result()
    return done


def all_of(database: Database, statement: str) -> list[Any]:
    return database.read(lambda one: one.execute(statement).fetchall())


DERIVED = (
    "SELECT sequence, ordinal, source FROM citation ORDER BY 1, 2",
    "SELECT sequence, topic, unit, value FROM stated ORDER BY 1",
    "SELECT sequence, mark FROM claim_mark ORDER BY 1",
    "SELECT findings, tokens FROM archived_findings",
    "SELECT superseded_at FROM finding ORDER BY sequence",
    "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name IN ('finding', 'quarantined')",
    "SELECT number = 0, sum(tokens), sum(parts) FROM shard GROUP BY 1 ORDER BY 1",
)


@settings(max_examples=15, deadline=None)
@given(SPACE)
def test_a_restored_space_has_the_same_facts_and_what_is_derived_from_them(
    space: dict[str, Any],
) -> None:
    with store(**space) as source, store() as target:
        data, content = exported(source)
        assert imported(target, data).restored
        assert exported(target)[1] == content
        for statement in DERIVED:
            assert all_of(target, statement) == all_of(source, statement), statement


@settings(max_examples=15, deadline=None)
@given(SPACE, SPACE)
def test_merging_again_changes_nothing(space: dict[str, Any], other: dict[str, Any]) -> None:
    ids = "SELECT finding_id FROM finding"
    with store(**space) as source, store(**other) as target:
        data, _ = exported(source)
        before = set(all_of(target, ids))
        gone = set(all_of(target, "SELECT id FROM forgotten"))
        apart = set(all_of(target, "SELECT finding_id FROM quarantined"))
        imported(target, data)
        merged = exported(target)[1]
        assert set(all_of(target, ids)) == before | (set(all_of(source, ids)) - gone - apart)
        assert not imported(target, data).is_new
        assert exported(target)[1] == merged
        assert not imported(source, exported(source)[0]).is_new


def test_every_column_of_the_store_is_exported_or_left_out_on_purpose() -> None:
    """Whoever adds one decides which: here, in ``wire/exports.py`` and in ``store/exports.py``."""
    left_out = {
        # Of this very store, or who may use it.
        *("meta", "token", "audit_seal"),
        # Derived from what is exported, or learnt anew.
        *("shard", "part", "neighbourhood", "passage_embedding", "finding_embedding", "citation"),
        *("stated", "claim_mark", "archived_findings", "hotness", "calibration"),
        # Written as rows within others.
        *("content", "document", "passage", "document_session", "finding", "quarantined"),
        *("message", "recipient", "conflict_side", "inbox_task"),
    }
    whole = {
        "task": exporting.MEMBERS["tasks"],
        "topic_follower": exporting.MEMBERS["topics"],
        "consumer": exporting.MEMBERS["consumers"],
        "session": exporting.MEMBERS["sessions"],
        "conflict": exporting.MEMBERS["conflicts"],
        "inbox_item": exporting.MEMBERS["inbox"],
        "model_call": exporting.MEMBERS["calls"],
        "purse": exporting.MEMBERS["purses"],
        "asked_question": exporting.MEMBERS["questions"],
        "forgotten": exporting.MEMBERS["forgotten"],
        "archive_query": exporting.MEMBERS["queries"],
        "tombstone": exporting.MEMBERS["tombstones"],
        "audit": exporting.MEMBERS["audit"],
    }
    anew = {
        "session": {"cleared_at"},
        "model_call": {"row"},
        "asked_question": {"row"},
        "archive_query": {"number", "holder", "fence", "lease_until"},
    }
    with store() as made:
        tables = {
            name
            for (name,) in all_of(made, "SELECT name FROM sqlite_schema WHERE type = 'table'")
            if not name.startswith("sqlite_")
        }
        assert tables - left_out == whole.keys()
        for table, row in whole.items():
            columns = {one[1] for one in all_of(made, f"PRAGMA table_info({table})")}
            assert columns - anew.get(table, set()) == set(row.__struct_fields__) - {
                "sides",
                "tasks",
            }, table


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("UPDATE finding SET body = '{}'", "findings"),
        ("UPDATE finding SET body = replace(body, '\"agent\"', '\"quarantined\"')", "findings"),
        ("UPDATE document SET loaded_at = 'yesterday'", "documents"),
        ("UPDATE task SET state = 'lost'", "tasks"),
        ("UPDATE task SET body = '['", "tasks"),
    ],
)
def test_a_row_that_no_ifmem_writes_is_refused(statement: str, error: str) -> None:
    said = {"number": 1, "claim": "c", "topic": None, "value": None, "run": None}
    said |= {"supersedes": None, "cites": False, "quarantined": False, "confidence": 1.0}
    text = {"source": "/srv/a.md", "root": "/srv", "text": "t", "run": None}
    task = (
        "INSERT INTO task (task_id, run, state, priority, place, attempts, max_attempts, "
        "depends_on, reasons, posted_at_ms, revision, event, body) VALUES ("
        f"'{id_of(7)}', '-', 'pending', 5, 1, 0, 3, '', '', 1, 1, 'posted', "
        '\'{"title":"t"}\')'
    )
    with store(findings=[{**said, "forgotten": False}], texts=[text]) as source, store() as target:
        source.write(lambda one: one.execute(task)).result()
        imported(target, exported(source)[0])
        source.write(lambda one: one.execute(statement)).result()
        with pytest.raises(Invalid, match=f"of {error}"):
            imported(target, exported(source)[0])


def test_credentials_in_an_export_are_masked_on_their_way_in() -> None:
    key = "AKIA" + "FAKE" + "EXAMPLE" + "00000"
    said = {"number": 1, "claim": "c", "topic": None, "value": None, "run": None}
    said |= {"supersedes": None, "cites": False, "quarantined": False, "confidence": 1.0}
    text = {"source": "/srv/a.md", "root": "/srv", "text": "t", "run": None}
    with store(findings=[{**said, "forgotten": False}], texts=[text]) as source, store() as target:

        def spoil(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE finding SET body = replace(body, '\"c\"', ?)", (f'"{key}"',))
            connection.execute("UPDATE passage SET text = ?", (f"the key {key} here\n",))

        source.write(spoil).result()
        data, content = exported(source)
        done = imported(target, data)
        assert done.masked == 2
        assert exported(target)[1] != content
        (body,) = all_of(target, "SELECT body FROM finding")[0]
        assert key not in body
        assert "[masked:" in finding_json.parse(body.encode()).claim
        assert "[masked:" in all_of(target, "SELECT text FROM passage")[0][0]


def test_documents_that_find_no_room_refuse_the_whole_import() -> None:
    text = {"source": "/srv/a.md", "root": "/srv", "text": "word " * 3_000, "run": None}
    other = {"source": "/srv/b.md", "root": "/srv", "text": "other " * 6_000, "run": None}
    small = Placement(tuple(DEFAULT_RULES), dict.fromkeys(Speciality, CAPACITY), 4)
    with store(texts=[text, other]) as source, store() as target:
        data, _ = exported(source)
        reader = Reader(io.BytesIO(data))
        heard = importing._Heard(reader, lambda *told: None)
        plan = importing._Plan(reader, check(reader, heard.checking), {}, small, "ann")
        done = importing._Done()
        with pytest.raises(Refused, match="nothing was imported"):
            target.write(
                lambda one: importing._take(one, plan=plan, done=done, heard=heard, undo=False)
            ).result()
        assert all_of(target, "SELECT source FROM document") == []
        assert all_of(target, "SELECT count(*) FROM audit") == [(0,)]
