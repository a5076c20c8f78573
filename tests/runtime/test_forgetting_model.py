"""Whatever is loaded, said, quoted, forgotten and lifted in whatever order: the store's own bytes
hold exactly the words that a plain model says are left."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import uuid
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ifmem.domain.finding import Citation, CitationStatus, Finding
from ifmem.domain.shard import Speciality
from ifmem.ingest.files import read_text
from ifmem.runtime.forgetting_rows import Told, erase_documents, erase_findings
from ifmem.runtime.saving import Placement, prepare, save
from ifmem.store import citations, findings, shards, tombstones
from ifmem.store.contents import Origin
from ifmem.store.database import Database
from ifmem.wire import finding_json

WHEN = "2026-01-01T00:00:00.000Z"
PATHS = [f"/notes/{name}.md" for name in ("a", "b", "c", "d")]
PLACEMENT = Placement((), capacities=dict.fromkeys(Speciality, 100_000), limit=50)


@dataclass
class Said:
    word: str
    quotes: list[tuple[str, str]] = field(default_factory=list)
    """Cited source and the word of the quote; gone once it is revoked."""


def word_of(kind: str, number: int) -> str:
    """A word that stands nowhere by chance."""
    digest = hashlib.sha256(f"{kind}{number}".encode()).hexdigest()
    return kind + "".join(chr(ord("a") + int(c, 16)) for c in digest[:14])


def text_of(word: str) -> str:
    # Long enough that rows move between pages when others go.
    return f"The {word} stands by the quay. " + "It rains on the quay. " * 30 + "\n"


class Forgetting(RuleBasedStateMachine):
    """The store on disk beside a model of what must be left."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.database = Database(self.folder / "store.sqlite")
        self.documents: dict[str, str] = {}
        self.said: dict[str, Said] = {}
        self.sources: set[str] = set()
        """Forgotten sources."""
        self.texts: dict[str, str] = {}
        """By word of a forgotten text, the source under which it went last."""
        self.gone_ids: list[str] = []
        self.words: set[str] = set()
        self.count = 0

    @initialize()
    def open_shards(self) -> None:
        self.write(lambda c: shards.open_default_shards(c, 100_000))

    def write(self, work: Any) -> Any:
        return self.database.write(work).result()

    def teardown(self) -> None:
        self.database.close()
        shutil.rmtree(self.folder)

    @rule(path=st.sampled_from(PATHS), number=st.integers(0, 5))
    def load(self, path: str, number: int) -> None:
        word = word_of("text", number)
        self.words.add(word)
        draft = read_text(text_of(word), source=path, name=path, group=None)
        origin = Origin(path, "/notes", draft.size, -1, 0, WHEN)
        changes = self.write(
            partial(save, batch=[prepare(draft, origin, capacity=100_000)], placement=PLACEMENT)
        )
        blocked = path in self.sources or word in self.texts
        assert (changes.forgotten, len(changes.skipped)) == ((1, 1) if blocked else (0, 0))
        if blocked:
            self.documents.pop(path, None)
        else:
            self.documents[path] = word

    @precondition(lambda self: self.documents)
    @rule(data=st.data())
    def quote_a_document(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.documents)))
        self.remember(path, self.documents[path])

    @precondition(lambda self: self.said)
    @rule(data=st.data())
    def quote_a_finding(self, data: st.DataObject) -> None:
        finding_id = data.draw(st.sampled_from(sorted(self.said)))
        self.remember(f"finding:{finding_id}", self.said[finding_id].word)

    def remember(self, source: str, quoted: str) -> None:
        self.count += 1
        word, finding_id = word_of("said", self.count), str(uuid.UUID(int=self.count))
        self.words.add(word)
        quote = text_of(quoted)
        cited = Citation(source=source, quote=quote, status=CitationStatus.VERIFIED)
        finding = Finding(
            finding_id=finding_id,
            worker_id="ada",
            timestamp=WHEN,
            claim=text_of(word),
            citations=(cited,),
        )

        def work(connection: Any) -> None:
            sequence, _ = findings.append(
                connection,
                finding_id=finding_id,
                author="ada",
                task_id=None,
                topic=None,
                said_at=WHEN,
                tokens=1,
                body=finding_json.to_json(finding),
            )
            citations.fill(connection, finding, sequence)

        self.write(work)
        self.said[finding_id] = Said(word, [(source, quoted)])

    @precondition(lambda self: self.documents)
    @rule(data=st.data(), several=st.booleans())
    def forget_documents(self, data: st.DataObject, several: bool) -> None:
        path = data.draw(st.sampled_from(sorted(self.documents)))
        paths = sorted(self.documents) if several else [path]
        erased = self.write(partial(erase_documents, sources=paths, told=Told("ada", WHEN)))
        assert sorted(erased.sources) == paths
        forgotten = {one: self.documents.pop(one) for one in paths}
        self.sources |= forgotten.keys()
        kept = self.documents.values()
        self.texts |= {word: one for one, word in forgotten.items() if word not in kept}
        self.revoke(lambda source: source in forgotten, erased)

    @precondition(lambda self: self.said)
    @rule(data=st.data())
    def forget_a_finding(self, data: st.DataObject) -> None:
        finding_id = data.draw(st.sampled_from(sorted(self.said)))
        erased = self.write(partial(erase_findings, ids=[finding_id], told=Told("ada", WHEN)))
        assert erased.findings.keys() == {finding_id}
        del self.said[finding_id]
        self.gone_ids.append(finding_id)
        self.revoke(lambda source: source == f"finding:{finding_id}", erased)

    def revoke(self, is_gone: Any, erased: Any) -> None:
        lost = set()
        for finding_id, said in self.said.items():
            kept = [one for one in said.quotes if not is_gone(one[0])]
            if kept != said.quotes:
                lost.add(finding_id)
                said.quotes = kept
        assert erased.revoked.keys() == lost

    @precondition(lambda self: self.sources)
    @rule(data=st.data())
    def lift(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.sources)))
        assert self.write(partial(tombstones.lift, kind=tombstones.SOURCE, name=path)) >= 1
        self.sources.remove(path)
        self.texts = {word: one for word, one in self.texts.items() if one != path}

    @invariant()
    def the_bytes_hold_what_is_left_and_nothing_else(self) -> None:
        left = set(self.documents.values())
        for said in self.said.values():
            left |= {said.word, *(word for _, word in said.quotes)}
        assert self.database.truncate_log().result()
        stored = (self.folder / "store.sqlite").read_bytes()
        held = {word for word in self.words if word.encode() in stored}
        assert held == left

    @invariant()
    def marks_hold_until_they_are_lifted(self) -> None:
        for path in PATHS:
            is_blocked = self.database.read(
                partial(tombstones.blocked, kind=tombstones.SOURCE, name=path)
            )
            assert is_blocked == (path in self.sources)
        for finding_id in self.gone_ids:
            assert self.database.read(
                partial(tombstones.blocked, kind=tombstones.FINDING, name=finding_id)
            )


Forgetting.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=20,
    deadline=None,
    # A step costs milliseconds of disk: what failed is told as it is.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
TestForgetting = Forgetting.TestCase
