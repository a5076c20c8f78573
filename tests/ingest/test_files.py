"""Files to drafts: every bad input has its reason, and a good one its exact passages."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmem.domain.document import Draft, Kind, Skipped
from ifmem.engine.passages import MAX_CHARACTERS
from ifmem.errors import Invalid
from ifmem.ingest.files import read_file, read_text
from ifmem.ingest.passages import cut
from ifmem.ingest.reading import Part
from ifmem.ingest.snapshot import snapshot
from ifmem.ingest.walk import Found, walk

LIMIT = 32 * 1024 * 1024
# In two pieces, so that no scanner takes this file for one that leaks a key.
FAKE_KEY = "AKIA" + "IOSFODNN7EXAMPLE"
FAKE_PEM = "-----BEGIN RSA PRIVATE" + " KEY-----\nZmFrZQ==\nZmFrZQ==\n-----END RSA PRIVATE KEY-----"


def found(path: Path) -> Found:
    (one,) = walk([path], on_skip=lambda skipped: pytest.fail(skipped.reason))
    return one


def draft_of(path: Path) -> Draft:
    draft = read_file(found(path), max_bytes=LIMIT)
    assert isinstance(draft, Draft), draft
    return draft


def reason_for(path: Path, *, max_bytes: int = LIMIT) -> str:
    skipped = read_file(found(path), max_bytes=max_bytes)
    assert isinstance(skipped, Skipped), skipped
    assert skipped.path == str(path.resolve())
    return skipped.reason


def assert_covered(draft: Draft) -> None:
    """The passages join to the text, and their lines are those of the text."""
    assert "".join(draft.text[span.start : span.end] for span in draft.spans) == draft.text
    for span in draft.spans:
        assert draft.text.count("\n", 0, span.start) + 1 == span.first_line
        assert len(draft.text[span.start : span.end]) <= MAX_CHARACTERS


def test_a_file_becomes_a_draft_with_the_hash_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"def f():\r\n    return 1\r\n")
    draft = draft_of(path)
    assert draft.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (draft.text, draft.size) == ("def f():\n    return 1\n", 24)
    assert (draft.kind, draft.format, draft.group) == (Kind.CODE, "text", None)
    assert draft.source == str(path.resolve())
    assert_covered(draft)


def test_an_empty_file_is_a_document_without_passages(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").touch()
    assert draft_of(tmp_path / "__init__.py").spans == ()


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.txt"
    with path.open("wb") as file:
        file.truncate(3 * 1024**3)

    def read(descriptor: int, size: int) -> bytes:
        pytest.fail("the file was read")

    skipped = snapshot(found(path), max_bytes=LIMIT, read=read)
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "is 3.0 GiB; the limit is 32 MiB ([ingest] max_file_bytes)"


def test_a_file_of_exactly_the_limit_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 1000)
    assert isinstance(read_file(found(path), max_bytes=1000), Draft)
    reason = reason_for(path, max_bytes=999)
    assert reason == "is 1000 bytes; the limit is 999 bytes ([ingest] max_file_bytes)"


def writing(path: Path, change: Callable[[], object], *, times: int) -> Callable[..., bytes]:
    """A reader during whose first ``times`` readings another writer changes the file."""
    left = [times]

    def read(descriptor: int, size: int) -> bytes:
        chunk = os.read(descriptor, size)
        if chunk and left[0]:
            left[0] -= 1
            change()
        return chunk

    return read


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite"])
def test_a_file_that_changes_while_read_is_read_again_and_then_left(
    tmp_path: Path, change: str
) -> None:
    path = tmp_path / "log.txt"

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"more\n")

    def shrink() -> None:
        os.truncate(path, path.stat().st_size - 1)

    def rewrite() -> None:
        status = path.stat()
        path.write_bytes(b"y" * status.st_size)
        # Far away, so that the clock of the file system need not have moved on.
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))

    act = {"grow": grow, "shrink": shrink, "rewrite": rewrite}[change]
    path.write_bytes(b"x" * 100)
    once = snapshot(found(path), max_bytes=LIMIT, read=writing(path, act, times=1))
    assert once == path.read_bytes()
    always = snapshot(found(path), max_bytes=LIMIT, read=writing(path, act, times=9))
    assert always == Skipped(str(path), "changed while it was read; load it again")


def test_a_file_that_grows_past_the_limit_while_read_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"x" * 100)

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"x" * 500)

    skipped = snapshot(found(path), max_bytes=150, read=writing(path, grow, times=99))
    assert isinstance(skipped, Skipped)


def test_what_took_the_place_of_a_file_is_not_read(tmp_path: Path) -> None:
    path, other = tmp_path / "a.txt", tmp_path / "other.txt"
    path.write_text("a")
    other.write_text("b")
    one = found(path)
    path.unlink()
    assert read_file(one, max_bytes=LIMIT) == Skipped(one.path, "is no longer there")
    os.mkfifo(path)
    assert read_file(one, max_bytes=LIMIT) == Skipped(
        one.path, "changed while it was read; load it again"
    )
    path.unlink()
    path.symlink_to(other)
    assert isinstance(read_file(one, max_bytes=LIMIT), Skipped)


def test_binary_and_unknown_encodings_are_skipped_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "nul.txt").write_bytes(b"text\0text")
    (tmp_path / "noise.txt").write_bytes(bytes(range(129, 255)) * 3)
    assert reason_for(tmp_path / "nul.txt") == "is binary"
    assert reason_for(tmp_path / "noise.txt") == "encoding not recognised"


@pytest.mark.parametrize("encoding", ["utf-16", "cp932"])
def test_a_file_in_another_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    text = "これは日本語の文章です。文字の符号化を調べるために書きました。\n" * 4
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert draft_of(tmp_path / "a.txt").text == text


def test_credentials_are_masked_before_cutting_and_lines_stay(tmp_path: Path) -> None:
    filler = "".join(f"line {number} of many\n" for number in range(200))
    text = f"{filler}key = '{FAKE_KEY}'\n{FAKE_PEM}\n{filler}end\n"
    (tmp_path / "a.py").write_text(text)
    draft = draft_of(tmp_path / "a.py")
    assert FAKE_KEY not in draft.text
    assert "ZmFrZQ" not in draft.text
    assert draft.masked >= 2
    assert draft.text.count("\n") == text.count("\n")
    assert_covered(draft)
    assert draft.spans[-1].last_line == text.count("\n")


def test_a_key_that_runs_over_the_end_of_a_part_is_masked() -> None:
    head, tail = FAKE_PEM[:40], FAKE_PEM[40:]
    parts = [
        Part(text=f"before\n{head}", kind=Kind.PROSE, name="a.txt", locator="page 1"),
        Part(text=f"{tail}\nafter", kind=Kind.PROSE, name="a.txt", locator="page 2"),
    ]
    whole = [Part(text=FAKE_PEM, kind=Kind.CHAT, name="t", locator=f"turn {n}") for n in (1, 2)]
    for case in (parts, whole):
        text, spans, masked = cut(case)
        assert masked >= 1
        assert "".join(text[span.start : span.end] for span in spans) == text
    assert [span.locator for span in cut(whole)[1]] == ["turn 1", "turn 2"]


lines = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=400)
some_parts = st.lists(
    st.builds(
        Part,
        text=st.one_of(
            lines, st.just(f"token {FAKE_KEY}"), st.just(FAKE_PEM), st.just("w " * 2000)
        ),
        kind=st.sampled_from([Kind.CHAT, Kind.PROSE, Kind.CODE]),
        name=st.sampled_from(["a.py", "a.md", "a.txt"]),
    ),
    min_size=1,
    max_size=6,
)


@given(some_parts)
def test_passages_cover_the_masked_text_of_any_parts(parts: list[Part]) -> None:
    text, spans, _ = cut(parts)
    assert "".join(text[span.start : span.end] for span in spans) == text
    assert FAKE_KEY not in text
    for span in spans:
        assert span.first_line == text.count("\n", 0, span.start) + 1
        shown = text[span.start : span.end].rstrip()
        assert span.last_line == span.first_line + shown.count("\n")


def test_text_given_by_a_caller_goes_the_same_way(tmp_path: Path) -> None:
    text = f"# Notes\n\nThe key is {FAKE_KEY}.\n"
    given_draft = read_text(text, source="chat:42", name="notes.md", group="42")
    (tmp_path / "notes.md").write_text(text)
    from_file = draft_of(tmp_path / "notes.md")
    assert (given_draft.source, given_draft.group) == ("chat:42", "42")
    assert given_draft.spans == from_file.spans
    assert (given_draft.text, given_draft.sha256) == (from_file.text, from_file.sha256)
    assert given_draft.masked == 1


def test_given_text_that_is_not_what_its_name_says_is_refused() -> None:
    with pytest.raises(Invalid, match="is no valid notebook"):
        read_text("{", source="chat:1", name="a.ipynb", group=None)
    assert read_text("taken from it", source="u", name="a.pdf", group=None).format == "text"
