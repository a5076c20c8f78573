"""Distilling: texts from their sources, and words cut as the encoder cuts them."""

from __future__ import annotations

import random
from pathlib import Path

import distil_corpus
import distil_vectors
import pytest

from ifmem.index.encoder import _Words

ROOT = Path(__file__).parents[2]


WORDS = ["retry", "retries", "tokenisation", "zzqx", "antidisestablishmentarianism", "42", "ünder"]


def test_wordnet_gives_glosses_lemmas_and_examples(tmp_path: Path) -> None:
    for part in ("noun", "verb", "adj", "adv"):
        (tmp_path / f"data.{part}").write_text("  licence text\n", encoding="utf-8")
    line = (
        '00001 06 n 02 small_boat 0 dory 0 001 @ 00002 n 0000 | rowed by hand; "he took the dory"\n'
    )
    (tmp_path / "data.noun").write_text(line, encoding="utf-8")
    assert list(distil_corpus.wordnet(tmp_path)) == [
        ("gloss", "rowed by hand"),
        ("lemma", "small boat, dory: rowed by hand"),
        ("example", "he took the dory"),
    ]


def test_sources_give_comments_docstrings_titles_and_code(tmp_path: Path) -> None:
    source = '# A comment that is long enough.\ndef openFile():\n    """Open it."""\n'
    (tmp_path / "a.py").write_text(source, encoding="utf-8")
    (tmp_path / "broken.py").write_text("def (", encoding="utf-8")
    found = list(distil_corpus.python_sources(tmp_path, random.Random(1)))
    assert ("comment", "A comment that is long enough.") in found
    assert ("doc", "Open it.") in found
    assert ("code", 'def openFile(): """Open it."""') in found
    assert next(text for kind, text in found if kind == "title").endswith("open File")


def test_the_same_seed_chooses_the_same_texts_in_the_same_order() -> None:
    texts = [("chat", f"line {number}") for number in range(distil_corpus.MOST["chat"] + 10)]
    first, second = (distil_corpus.chosen(iter(texts), random.Random(3)) for _ in range(2))
    assert first == second
    assert len(first) == len(set(first)) == distil_corpus.MOST["chat"]
    assert first != sorted(first)


@pytest.mark.parametrize("word", WORDS)
def test_training_cuts_a_word_as_the_encoder_does(word: str) -> None:
    words = _Words.read()
    pieces = distil_vectors.Pieces(list(words.rows_of))
    assert pieces.of_word(word) == words.pieces(word)


def test_only_permissive_packages_are_read() -> None:
    assert not {"pip", "tqdm"} & set(distil_corpus.PACKAGES)
