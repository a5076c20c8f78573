"""Whatever is loaded, said, ended or removed: live and archived are as a model says."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ifmem.errors import Refused
from ifmem.index.space_index import SpaceIndex
from ifmem.model_settings import ModelSettings
from ifmem.runtime.archived import archive_tokens
from ifmem.runtime.indexing import reconcile
from ifmem.store.shards import ARCHIVE
from ifmem.wire.calls import Request

PATIENCE_S = 120
NOBODY, SESSIONS, SOURCES, TEXTS = "-", ("ada", "bob"), ("a", "b"), ("one", "two", "ten")

runs = st.sampled_from((NOBODY, *SESSIONS))
steps = st.one_of(
    st.tuples(st.just("load"), st.sampled_from(SOURCES), st.sampled_from(TEXTS), runs),
    st.tuples(st.just("load again"), st.sampled_from(SOURCES), runs),
    st.tuples(st.just("vanish"), st.sampled_from(SOURCES)),
    st.tuples(st.just("say"), runs),
    st.tuples(st.just("end"), st.sampled_from(SESSIONS)),
    st.tuples(st.just("forget"), st.integers(0, 3)),
)


@dataclass
class Model:
    """What the archive should be, by the rule and without a store."""

    texts: dict[str, str] = field(default_factory=dict)
    """By source."""
    loaders: dict[str, set[str]] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    """The run of each finding."""
    known: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)

    def load(self, source: str, text: str, run: str) -> None:
        self.texts[source] = text
        self.loaders.setdefault(source, set()).add(run)
        self.known.add(run)

    def vanish(self, source: str) -> None:
        self.texts.pop(source, None)
        self.loaders.pop(source, None)

    @property
    def live_texts(self) -> set[str]:
        return {text for source, text in self.texts.items() if self.loaders[source] - self.ended}

    @property
    def archived_texts(self) -> set[str]:
        return set(self.texts.values()) - self.live_texts

    @property
    def archived_findings(self) -> set[str]:
        return {one for one, run in self.said.items() if run in self.ended}


class _Unheard:
    def __call__(self, event: dict[str, Any]) -> None:
        return None

    async def drained(self) -> None:
        return None


@dataclass
class Bench:
    """A space of its own in a running service, beside its model."""

    service: Any
    space: Any
    folder: Path
    model: Model = field(default_factory=Model)

    async def call(self, method: str, **params: Any) -> Any:
        raw = msgspec.Raw(msgspec.json.encode(params))
        return await self.service.call(Request(1, method, self.space.name, raw), _Unheard())

    async def step(self, kind: str, *given: Any) -> None:
        match kind, given:
            case "load", (source, text, run):
                await self._load(source, text, run)
            case "load again", (source, run) if source in self.model.texts:
                await self._load(source, self.model.texts[source], run)
            case "vanish", (source,) if source in self.model.texts:
                (self.folder / source / "note.md").unlink()
                await self.call("load", paths=[str(self.folder / source)])
                self.model.vanish(source)
            case "say", (run,):
                await self._say(run)
            case "end", (session,) if session in self.model.known:
                ended = await self.call("session_end", id=session)
                assert ended.outcome == ("known" if session in self.model.ended else "ended")
                self.model.ended.add(session)
            case "forget", (place,) if place < len(self.model.said):
                finding = list(self.model.said)[place]
                await self.call("forget", id=finding)
                del self.model.said[finding]

    async def _load(self, source: str, text: str, run: str) -> None:
        path = self.folder / source / "note.md"
        if run in self.model.ended:
            try:
                await self.call("load", paths=[str(self.folder)], run=run)
            except Refused:
                return
            raise AssertionError("an ended session took a document")
        if self.model.texts.get(source) != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"The {text} lantern of Trebic burns till {text}.\n")
            # Apart from the text before, and long past: unchanged when it is loaded again.
            seconds = 1_700_000_000 + TEXTS.index(text)
            os.utime(path, (seconds, seconds))
        await self.call("load", paths=[str(path.parent)], run=run)
        self.model.load(source, text, run)

    async def _say(self, run: str) -> None:
        finding = {"claim": f"The lantern number {len(self.model.said)} is lit."}
        if run != NOBODY:
            finding["session_id"] = run
        try:
            said = await self.call("remember", finding=finding)
        except Refused:
            assert run in self.model.ended
            return
        assert run not in self.model.ended
        self.model.said[said.finding_id] = run
        self.model.known.add(run)

    async def check(self) -> None:
        space, model = self.space, self.model
        stored = await space.read(_stored)
        assert stored.live_texts == model.live_texts
        assert stored.archived_texts == model.archived_texts
        assert stored.archived_findings == model.archived_findings
        assert stored.live_findings == set(model.said) - model.archived_findings
        assert space.index.keys() == stored.live_keys
        assert space.archive.keys() == stored.archived_keys
        assert await archive_tokens(space) == stored.archived_tokens
        assert stored.counted == stored.summed
        assert (await self.call("status")).context_active == sum(
            tokens for number, (tokens, _) in stored.summed.items() if number != ARCHIVE
        )

    async def check_rebuilt(self) -> None:
        """What a start without snapshots builds is what the changes have led to."""
        for kept, archived in ((self.space.index, False), (self.space.archive, True)):
            built = SpaceIndex()
            await asyncio.to_thread(reconcile, self.space, built, archived=archived)
            assert built.keys() == kept.keys()


@dataclass
class Stored:
    """What the store has, read by plain SQL."""

    live_texts: set[str]
    archived_texts: set[str]
    live_findings: set[str]
    archived_findings: set[str]
    live_keys: set[int]
    archived_keys: set[int]
    archived_tokens: int
    counted: dict[int, tuple[int, int]]
    summed: dict[int, tuple[int, int]]


def _stored(connection: sqlite3.Connection) -> Stored:
    passages = connection.execute(
        "SELECT passage_id, shard, text FROM passage JOIN part USING (part_id)"
    ).fetchall()
    findings = connection.execute(
        "SELECT sequence, finding_id, archived, tokens FROM finding"
    ).fetchall()
    shards = connection.execute("SELECT number, tokens, parts FROM shard").fetchall()
    summed = {number: (0, 0) for number, *_ in shards}
    summed |= {
        number: (tokens, parts)
        for number, tokens, parts in connection.execute(
            "SELECT shard, sum(tokens), count(*) FROM part GROUP BY shard"
        )
    }
    return Stored(
        live_texts={text.split()[1] for _, shard, text in passages if shard != ARCHIVE},
        archived_texts={text.split()[1] for _, shard, text in passages if shard == ARCHIVE},
        live_findings={one for _, one, archived, _ in findings if not archived},
        archived_findings={one for _, one, archived, _ in findings if archived},
        live_keys={key for key, shard, _ in passages if shard != ARCHIVE}
        | {-sequence for sequence, _, archived, _ in findings if not archived},
        archived_keys={key for key, shard, _ in passages if shard == ARCHIVE}
        | {-sequence for sequence, _, archived, _ in findings if archived},
        archived_tokens=summed[ARCHIVE][0]
        + sum(tokens for _, _, archived, tokens in findings if archived),
        counted={number: (tokens, parts) for number, tokens, parts in shards},
        summed=summed,
    )


def test_live_and_archived_are_as_the_rule_says_after_any_steps(
    desk: Callable[..., AbstractAsyncContextManager[Any]], tmp_path: Path
) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S), desk(ModelSettings(keep_hot="off")) as here:
            loop = asyncio.get_running_loop()
            examples = iter(range(1_000))

            async def example(taken: list[tuple[Any, ...]]) -> None:
                number = next(examples)
                space = await here.service.space(f"example-{number}")
                bench = Bench(here.service, space, tmp_path / "files" / str(number))
                for one in taken:
                    await bench.step(*one)
                    await bench.check()
                await bench.check_rebuilt()

            @settings(
                max_examples=40,
                deadline=None,
                # A step takes milliseconds: shrinking would take minutes, and tells little more.
                phases=(Phase.explicit, Phase.reuse, Phase.generate),
                suppress_health_check=[HealthCheck.too_slow],
            )
            @given(st.lists(steps, min_size=4, max_size=14))
            def law(taken: list[tuple[Any, ...]]) -> None:
                asyncio.run_coroutine_threadsafe(example(taken), loop).result()

            await asyncio.to_thread(law)

    asyncio.run(main())
