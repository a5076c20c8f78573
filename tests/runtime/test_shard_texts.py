"""A shard as a model reads it: whole in its order, or the passages that fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ifmem.bus.state import Context
from ifmem.runtime.shard_texts import (
    FENCE_TOKENS,
    MOST_HELD,
    ShardTexts,
    excerpts,
    whole,
)
from ifmem.wire.blob import BlobPart, BlobPassage, LoadedPart

TOKENS = 10


def part(name: str, *texts: str, first: int = 0) -> LoadedPart:
    passages = tuple(
        BlobPassage(len(text), first + n, n + 1, n + 1, TOKENS, f"# {name}")
        for n, text in enumerate(texts)
    )
    tokens = TOKENS * len(texts)
    return LoadedPart(BlobPart(f"/{name}.md", name * 8, "prose", tokens, passages), texts)


def context(*parts: LoadedPart, shard: int = 1) -> Context:
    tokens = sum(one.part.tokens for one in parts)
    return Context(shard=shard, generation=0, tokens=tokens, blobs=(), parts=parts)


HELD = context(part("a", "a0\n", "a1\n", "a2\n", "a3\n"), part("b", "b0\n", "b1\n"))


def test_the_whole_shard_is_its_parts_in_order_numbered_from_one() -> None:
    text = whole(HELD)
    assert [one.number for one in text.documents] == [1, 2]
    assert [one.shown.text for one in text.documents] == ["a0\na1\na2\na3\n", "b0\nb1\n"]
    assert text.text == "".join(one.fenced.fenced for one in text.documents)
    assert text.documents[0].shown.header_at(4) == "# a"
    assert text.numbers({"b" * 8}) == (2,)


def test_found_passages_stand_in_the_order_of_the_shard_and_neighbours_are_joined() -> None:
    found = [("b" * 8, 1), ("a" * 8, 2), ("a" * 8, 0), ("a" * 8, 1), ("gone", 0), ("b" * 8, 1)]
    text = excerpts(HELD, found, most=10_000)
    assert [(one.number, one.shown.text) for one in text.documents] == [
        (1, "a0\na1\na2\n"),
        (2, "b1\n"),
    ]


def test_the_best_passages_that_fit_the_budget_are_taken() -> None:
    found = [("a" * 8, 3), ("b" * 8, 0), ("a" * 8, 0)]
    text = excerpts(HELD, found, most=2 * (TOKENS + FENCE_TOKENS))
    assert [one.shown.text for one in text.documents] == ["a3\n", "b0\n"]
    assert excerpts(HELD, found, most=TOKENS).documents == ()


def test_a_text_is_made_once_while_its_context_is_held() -> None:
    kept = ShardTexts()
    first = kept.of(HELD)
    assert kept.of(HELD) is first
    grown = context(*HELD.parts, part("c", "c0\n"))
    assert kept.of(grown) is not first
    for shard in range(2, MOST_HELD + 2):
        kept.of(context(part("d", "d0\n"), shard=shard))
    assert len(kept._texts) == MOST_HELD


names = st.lists(st.sampled_from("abcdef"), unique=True, max_size=5)


@given(names, names)
def test_what_is_appended_to_a_shard_is_appended_to_its_text(
    held: list[str], more: list[str]
) -> None:
    before = [part(name, f"{name} <|x|>\n") for name in held]
    after = [*before, *(part(name.upper(), name) for name in more)]
    assert whole(context(*after)).text.startswith(whole(context(*before)).text)
