"""``if://`` URIs: many spellings are read, one is written, and none is lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.if_uri import TYPES, IfUri, normalised, parse, uri_of
from ifmem.errors import Invalid

ID = "00000000-0000-4000-8000-00000000000a"
GRAMMAR = re.compile(
    r"if://(?P<type>[a-z-]+)/(?:[A-Za-z0-9._~:@,+=-]|%[0-9A-F]{2})+"
    r"(?:/[0-9A-Za-z.+-]+)?(?:#(?:[A-Za-z0-9._~:@,+=/-]|%[0-9A-F]{2})+)?"
)
plain = st.characters(exclude_categories=["Cc", "Cs"])
uris = st.builds(
    IfUri,
    st.sampled_from(sorted(TYPES)),
    st.text(plain, min_size=1, max_size=60),
    st.none() | st.sampled_from(["1", "v2.0", "2025-12-01", "1.0-rc1", "latest", "d345235"]),
    st.none() | st.text(plain, min_size=1, max_size=20),
)


@given(uris)
def test_what_is_written_is_read_as_the_same_uri(uri: IfUri) -> None:
    assert parse(uri.written()) == uri


@given(uris)
def test_what_is_written_has_one_strict_form(uri: IfUri) -> None:
    match = GRAMMAR.fullmatch(uri.written())
    assert match is not None
    assert match["type"] in TYPES


@given(st.text() | st.text().map("if://doc/".__add__) | st.text().map("IF://Code/a/".__add__))
def test_reading_and_writing_again_changes_nothing_more(text: str) -> None:
    once = normalised(text)
    assert normalised(once) == once
    assert (parse(once) is None) == (parse(text) is None)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("if://claim/c-1", "if://claim/c-1"),
        ("IF://Claim/c-1", "if://claim/c-1"),
        ("  if://claim/c-1/ ", "if://claim/c-1"),
        ("if://claim/c-1///", "if://claim/c-1"),
        ("if://doc/my notes", "if://doc/my%20notes"),
        ("if://doc/my%20notes", "if://doc/my%20notes"),
        ("if://code/src/retry.py#L3", "if://code/src%2Fretry.py#L3"),
        ("if://doc//home/ada/x.md", "if://doc/%2Fhome%2Fada%2Fx.md"),
        ("if://test-run/nightly/2025-12-01", "if://test-run/nightly/2025-12-01"),
        ("if://doc/50%", "if://doc/50%25"),
        ("if://doc/a#", "if://doc/a"),
    ],
)
def test_many_spellings_are_read_and_one_is_written(text: str, written: str) -> None:
    assert normalised(text) == written


@pytest.mark.parametrize(
    "text",
    [
        "if://",
        "if://doc",
        "if://doc/",
        "if://d oc/x",
        "if:/doc/x",
        "http://doc/x",
        "if://doc/\x00",
        "if://doc/" + "x" * 2_000,
        "if://swarm/alpha/Beta ",
        "if://file/a b",
    ],
)
def test_what_cannot_be_read_or_not_be_written_stays_the_text_it_is(text: str) -> None:
    assert normalised(text) == text


def test_a_type_seen_in_practice_is_read_and_refused_on_write() -> None:
    uri = parse("if://swarm/alpha")
    assert uri == IfUri("swarm", "alpha")
    with pytest.raises(Invalid, match="test-run"):
        uri.written()


@pytest.mark.parametrize(
    "parts",
    [("Doc", "a"), ("doc", ""), ("doc", "a\n"), ("doc", "a", "x y"), ("doc", "a", None, "")],
)
def test_a_uri_of_odd_parts_cannot_be_made(parts: tuple[str, ...]) -> None:
    with pytest.raises(Invalid, match="no if:// URI"):
        IfUri(*parts)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("if://conversation/epic-1", "chat:epic-1"),
        ("if://doc/%2Fsrc%2Fa.md", "/src/a.md"),
        ("if://code/src/a.py", "src/a.py"),
        (f"if://claim/{ID}", f"finding:{ID}"),
        (f"if://finding/{ID.upper()}", f"finding:{ID}"),
        ("if://claim/c-1", None),
        ("if://agent/ada", None),
        ("if://code/src/a.py/d345235", None),
    ],
)
def test_a_uri_stands_for_a_source_of_ours(text: str, source: str | None) -> None:
    uri = parse(text)
    assert uri is not None
    assert uri.source == source


@pytest.mark.parametrize("source", ["chat:epic-1", "/src/my notes.md", f"finding:{ID}"])
def test_the_uri_of_a_source_leads_back_to_it(source: str) -> None:
    uri = uri_of(source)
    assert uri is not None
    again = parse(uri.written())
    assert again is not None
    assert again.source == source


@pytest.mark.parametrize(
    ("fragment", "lines"),
    [
        ("L3", (3, 3)),
        ("L3-9", (3, 9)),
        ("L3-L9", (3, 9)),
        ("lines=3-9", (3, 9)),
        ("3", (3, 3)),
        ("L9-3", None),
        ("L0", None),
        ("heading", None),
    ],
)
def test_a_fragment_names_lines(fragment: str, lines: tuple[int, int] | None) -> None:
    assert IfUri("doc", "a", None, fragment).lines == lines
