"""From text to terms: what a person writes and what a program is called meet in one form."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.engine.analysis import date_words, names, term_counts, terms, word_terms

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=100)


@pytest.mark.parametrize("form", ["user_name", "userName", "UserName", "USER_NAME"])
def test_an_identifier_is_found_whole_and_by_its_parts(form: str) -> None:
    assert word_terms(form) == ("username", "user", "name")
    assert set(terms("the user name")) < set(terms(form))


def test_forms_of_a_word_share_a_stem() -> None:
    assert terms("retry") == terms("retries") == terms("Retrying") == terms("RETRIED")


def test_words_without_a_subject_are_left_out() -> None:
    assert terms("What is it that they would have been doing?") == []


def test_a_clitic_is_not_a_word() -> None:
    assert terms("Ada's") == terms("Ada’s") == terms("Ada")
    assert terms("don't") == []


def test_letters_and_digits_are_told_apart() -> None:
    assert word_terms("sha256") == ("sha256", "sha", "256")
    assert word_terms("HTTPServer2") == ("httpserver2", "http", "server", "2")


def test_scripts_without_spaces_are_cut_into_pairs() -> None:
    assert terms("設定値") == ["設定値", "設定", "定値"]
    assert set(terms("設定")) <= set(terms("再設定値"))


def test_capitals_beside_such_a_script_are_lowered_too() -> None:
    assert terms("API設定") == terms("api設定")


def test_accents_do_not_cut_a_word() -> None:
    assert len(terms("Überraschung")) == 1
    assert terms("ÜBERRASCHUNG") == terms("überraschung")


def test_data_is_not_a_word() -> None:
    assert terms("a" * 64) != []
    assert terms("a" * 65) == []


def test_an_empty_text_has_no_terms() -> None:
    assert terms("") == terms(" \n—…!") == []


@given(text)
def test_counting_and_listing_agree(given_text: str) -> None:
    assert term_counts(given_text) == Counter(terms(given_text))


@given(text, text)
def test_terms_of_two_lines_are_the_terms_of_each(first: str, second: str) -> None:
    assert terms(f"{first}\n{second}") == terms(first) + terms(second)


@given(text)
def test_analysis_is_the_same_the_second_time(given_text: str) -> None:
    assert terms(given_text) == terms(given_text)
    assert all(term and term == term.lower() for term in terms(given_text))


@pytest.mark.parametrize(
    ("said_at", "words"),
    [
        ("2023-05-08", "2023-05-08 8 May 2023"),
        ("2023-12-31T23:59:00Z", "2023-12-31 31 December 2023"),
        ("1:56 pm on 8 May, 2023", "1:56 pm on 8 May, 2023"),
        ("2023-13-08", "2023-13-08"),
        (None, ""),
        ("", ""),
    ],
)
def test_a_date_gains_the_words_a_person_would_use(said_at: str | None, words: str) -> None:
    assert date_words(said_at) == words


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("Where does Ada live?", {"ada"}),
        ("Where? Ada knows.", set()),
        ("what is retry_budget", {"retrybudget", "retri", "budget"}),
        ("what does loadAll do", {"loadall", "load", "all"}),
        ("what happened in 2023", {"2023"}),
        ("who wrote sha256sum", {"sha256sum", "sha", "256", "sum"}),
        ("who is that", set()),
    ],
)
def test_names_are_capitals_inside_a_sentence_digits_and_identifiers(
    question: str, found: set[str]
) -> None:
    assert names(question) == found


@given(text)
def test_a_name_is_a_term_of_its_question(question: str) -> None:
    assert names(question) <= set(terms(question))
