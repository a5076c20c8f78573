"""Decoding: whatever encoding the bytes are in, the text or a reason."""

from __future__ import annotations

import codecs
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.ingest.decode import Undecodable, clean, decode

GERMAN = "Der größte Käse läuft über die Straße – „schön“ sagt Jürgen, und geht früh heim.\n" * 3
JAPANESE = "これは日本語の文章です。文字の符号化を調べるために書きました。\n" * 3
RUSSIAN = "Это короткий текст на русском языке, написанный для проверки кодировки.\n" * 3


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "utf-8"),
        (GERMAN, "utf-8-sig"),
        (GERMAN, "utf-16"),
        (GERMAN, "utf-32"),
        (JAPANESE, "utf-16"),
        (GERMAN, "cp1252"),
        (JAPANESE, "cp932"),
        (JAPANESE, "euc_jp"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8_r"),
        ("naïve", "latin-1"),
        ("# © 2020 Jürgen Müller\nint main() { return 0; }\n", "latin-1"),
    ],
)
def test_the_text_comes_back_whatever_it_was_written_in(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(("encoding", "mark"), [("utf-16-be", codecs.BOM_UTF16_BE)])
def test_a_byte_order_mark_says_the_order(encoding: str, mark: bytes) -> None:
    assert decode(mark + GERMAN.encode(encoding)) == GERMAN


@given(st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"])))
def test_every_utf8_text_comes_back(text: str) -> None:
    assert decode(text.encode()) == text.removeprefix("\ufeff")


def test_a_declared_encoding_wins_over_a_guess() -> None:
    for declaration in ("# -*- coding: iso-8859-5 -*-\n", '<meta charset="iso-8859-5">\n'):
        text = declaration + "слово\n"
        assert decode(text.encode("iso-8859-5")) == text


def test_a_declared_encoding_nobody_knows_is_passed_over() -> None:
    text = "# coding: no-such-thing\nnaïve\n"
    assert decode(text.encode("latin-1")) == text


def test_broken_bytes_in_a_utf8_text_become_replacement_characters() -> None:
    broken = GERMAN.encode() + b"\xff\xfe\n" + GERMAN.encode()
    assert decode(broken) == f"{GERMAN}\ufffd\ufffd\n{GERMAN}"


def test_nul_bytes_and_known_signatures_are_binary() -> None:
    for data in (b"text\0more", b"\x89PNG\r\n", b"%PDF-1.7\n", b"PK\x03\x04", b"\x1f\x8b\x08"):
        with pytest.raises(Undecodable, match="is binary"):
            decode(data)


@pytest.mark.parametrize("size", [40, 400, 4_000])
def test_bytes_at_random_are_no_text(size: int) -> None:
    noise = random.Random(size)
    for _ in range(20):
        data = bytes(noise.randint(1, 255) for _ in range(size))
        with pytest.raises(Undecodable):
            decode(data)


def test_line_ends_are_made_one_without_moving_lines() -> None:
    assert decode(b"a\r\nb\r\n") == "a\nb\n"
    assert decode(b"a\rb\r") == "a\nb\n"
    assert decode(b"10%\r20%\r30%\ndone\n") == "10%\r20%\r30%\ndone\n"


def test_what_no_store_can_hold_is_replaced() -> None:
    assert clean("a\0b") == "a\ufffdb"
    assert "\ud83d" not in clean("half \ud83d of a pair")
    assert clean("half \ud83d of a pair").startswith("half \ufffd")
