"""Readers: what each format gives, and how a damaged file is refused."""

from __future__ import annotations

import builtins
import io
import json
import zipfile
from collections.abc import Mapping, Sequence

import pytest

from ifmem.domain.document import Draft, Kind
from ifmem.ingest.files import read_text
from ifmem.ingest.readers import Reading, Unreadable, reader_for


def draft(content: object, name: str) -> Draft:
    text = content if isinstance(content, str) else json.dumps(content)
    return read_text(text, source="chat:1", name=name, group=None)


def read(data: bytes, name: str) -> Reading:
    return reader_for(name)(data, name)


def turns(draft: Draft) -> list[tuple[str | None, str]]:
    """Who said what, in order."""
    said = [draft.text[span.start : span.end].strip() for span in draft.spans]
    return [(span.speaker, text) for span, text in zip(draft.spans, said, strict=True)]


# Notebooks


def notebook(*cells: Mapping[str, object]) -> dict[str, object]:
    return {"nbformat": 4, "metadata": {"kernelspec": {"language": "python"}}, "cells": [*cells]}


def test_a_notebook_gives_its_cells_in_order_with_short_outputs() -> None:
    made = draft(
        notebook(
            {"cell_type": "markdown", "source": ["# Fit\n", "We fit a line."]},
            {
                "cell_type": "code",
                "source": "def fit():\n    return 3",
                "outputs": [
                    {"output_type": "stream", "text": ["slow\n", "done"]},
                    {"output_type": "execute_result", "data": {"text/plain": ["3"]}},
                    {"output_type": "display_data", "data": {"image/png": "AAAA"}},
                    {"output_type": "error", "ename": "ValueError", "evalue": "bad"},
                ],
            },
            {"cell_type": "code", "source": ""},
            {"cell_type": "raw", "source": "the end"},
        ),
        "a.ipynb",
    )
    assert (made.kind, made.format) == (Kind.CODE, "notebook")
    assert made.text == (
        "# Fit\nWe fit a line.\n\ndef fit():\n    return 3\n\nslow\ndone\n3\nValueError: bad\n\n"
        "the end\n"
    )
    located = [(span.locator, span.header) for span in made.spans]
    assert located[0] == ("cell 1", "Fit")
    assert [locator for locator, _ in located] == ["cell 1", "cell 2", "cell 2", "cell 4"]
    assert located[2][1] == "output"


def test_a_long_output_of_a_notebook_is_cut_and_says_so() -> None:
    cell = {"cell_type": "code", "source": "x", "outputs": [{"text": "y" * 5000}]}
    assert "… 3000 further characters of output" in draft(notebook(cell), "a.ipynb").text


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"cells": 3}', b"[" * 100_000, b"null"])
def test_a_damaged_notebook_is_refused(content: bytes) -> None:
    with pytest.raises(Unreadable, match="is no valid notebook"):
        read(content, "a.ipynb")


# HTML

PAGE = """<!doctype html><html><head><title>The  guide</title><style>p {}</style></head><body>
<nav><a href="/">Home</a></nav><script>track()</script>
<h1>Install</h1><p>Run <b>it</b>,
then wait.</p><pre>
  one
    two</pre><ul><li>first<li>second</ul>
<h2>Sizes</h2><table><tr><th>name</th><th>size</th></tr><tr><td>a</td><td>1</td></tr></table>
<div hidden>secret menu</div><footer>© nobody</footer>tail &amp; end</body></html>"""


def test_a_page_gives_its_text_with_headings_and_without_chrome() -> None:
    made = draft(PAGE, "guide.html")
    assert (made.kind, made.format) == (Kind.PROSE, "html")
    assert made.text == (
        "# The guide\n\n# Install\n\nRun it, then wait.\n\n  one\n    two\n\n- first\n- second\n\n"
        "## Sizes\n\nname | size\na | 1\n\ntail & end\n"
    )


def test_headings_of_a_page_head_its_passages() -> None:
    sections = "".join(f"<h2>Part {n}</h2><p>{'word ' * 250}</p>" for n in range(3))
    headers = [span.header for span in draft(f"<h1>All</h1>{sections}", "a.html").spans]
    assert any("Part 2" in header for header in headers)


def test_a_page_of_links_alone_is_kept() -> None:
    assert draft("<nav><a>Alpha</a> <a>Beta</a></nav>", "a.html").text == "Alpha Beta\n"


def test_a_page_declares_its_own_encoding() -> None:
    page = '<meta charset="iso-8859-5"><p>слово</p>'.encode("iso-8859-5")
    assert read(page, "a.html").parts[0].text == "слово\n"


def test_pages_without_text_or_with_hostile_nesting_are_refused_at_once() -> None:
    with pytest.raises(Unreadable, match="holds no text"):
        read(b"<html><script>only()</script></html>", "a.html")
    with pytest.raises(Unreadable, match="deep"):
        read(b"<div>" * 200_000 + b"x", "a.html")
    assert read(b"<p>open\n" * 20_000, "a.html").parts[0].text.startswith("open\n\nopen")
    assert read(b"<div>" * 4_000 + b"x", "a.html").parts[0].text == "x\n"


# Chats

HELLO = [("user", "user: hello"), ("assistant", "assistant: hi there")]


@pytest.mark.parametrize(
    "content",
    [
        [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi there"}],
        {"id": "c1", "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hello"}, {"type": "image"}]},
            {"author": {"role": "assistant"}, "content": {"parts": ["hi there"]}},
        ]},
        [{"id": "c1", "turns": [{"speaker": "user", "text": "hello"},
                                {"from": "assistant", "value": "hi there"}]}],
        {"title": "", "mapping": {
            "root": {"message": None, "parent": None},
            "a": {"message": {"author": {"role": "user"}, "content": {"parts": ["hello"]}},
                  "parent": "root"},
            "x": {"message": {"author": {"role": "assistant"}, "content": {"parts": ["no"]}},
                  "parent": "a"},
            "b": {"message": {"author": {"role": "assistant"}, "content": {"parts": ["hi there"]}},
                  "parent": "a"},
        }, "current_node": "b"},
    ],
)  # fmt: skip
def test_common_shapes_of_chats_give_their_turns(content: object) -> None:
    made = draft(content, "log.json")
    assert (made.kind, made.format) == (Kind.CHAT, "chat")
    assert turns(made) == HELLO
    assert [span.locator for span in made.spans] == ["turn 1", "turn 2"]


SESSION = [
    {"type": "summary", "summary": "A greeting"},
    {"type": "user", "sessionId": "s-1", "timestamp": "2025-01-02T03:04:05Z",
     "message": {"role": "user", "content": "hello"}},
    {"type": "assistant", "sessionId": "s-1", "timestamp": "2025-01-02T03:04:09Z",
     "message": {"role": "assistant", "content": [
         {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "hi there"},
         {"type": "tool_use", "name": "ls", "input": {}}]}},
    {"type": "user", "sessionId": "s-1", "timestamp": "2025-01-02T03:04:10Z",
     "message": {"role": "user", "content": [{"type": "tool_result", "content": "a b"}]}},
]  # fmt: skip


def lines_of(records: Sequence[object]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_a_session_log_gives_what_was_said_with_times_and_its_conversation() -> None:
    made = draft(lines_of(SESSION), "s.jsonl")
    assert turns(made) == HELLO
    assert [span.said_at for span in made.spans] == ["2025-01-02T03:04:05Z", "2025-01-02T03:04:09Z"]
    assert made.group == "s-1"


def test_a_log_cut_off_in_its_last_line_is_read_up_to_there() -> None:
    assert turns(draft(lines_of(SESSION) + '{"type": "us', "s.jsonl")) == HELLO


def test_the_group_is_the_conversation_or_the_name_of_the_file() -> None:
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    assert draft(messages, "monday.json").group == "monday.json"
    assert draft({"conversation_id": "c9", "messages": messages}, "x.json").group == "c9"
    assert draft([{"id": "1", "messages": messages}] * 2, "two.json").group == "two.json"
    given = read_text(json.dumps(messages), source="chat:1", name="x.json", group="mine")
    assert given.group == "mine"


def test_turns_keep_their_order_and_times_however_time_is_written() -> None:
    made = draft(
        [
            {"speaker": "Ann", "text": "one", "time": "10:01 am, 2 May"},
            {"speaker": "Bob", "text": "two", "time": 1_700_000_000},
            {"speaker": "Ann", "text": "three\nlines\nlong", "time": 1_700_000_000_000},
        ],
        "c.json",
    )
    assert [span.said_at for span in made.spans] == [
        "10:01 am, 2 May",
        "2023-11-14T22:13:20+00:00",
        "2023-11-14T22:13:20+00:00",
    ]
    assert made.text == "Ann: one\n\nBob: two\n\nAnn: three\nlines\nlong\n"
    assert [(span.first_line, span.last_line) for span in made.spans] == [(1, 1), (3, 3), (5, 7)]


def test_a_long_turn_is_cut_and_each_piece_keeps_its_speaker() -> None:
    long = {"speaker": "Ann", "text": "We talked about the harvest. " * 200, "time": "noon"}
    made = draft([long, {"speaker": "Bob", "text": "Yes.", "time": "noon"}], "c.json")
    assert len(made.spans) > 3
    assert {(s.speaker, s.said_at, s.locator) for s in made.spans[:-1]} == {
        ("Ann", "noon", "turn 1")
    }
    assert "".join(made.text[span.start : span.end] for span in made.spans) == made.text


def test_a_credential_in_a_turn_is_masked() -> None:
    key = "AKIA" + "IOSFODNN7EXAMPLE"
    talk = [
        {"role": "user", "content": f"use {key} please"},
        {"role": "assistant", "content": "ok"},
    ]
    made = draft(talk, "c.json")
    assert key not in made.text
    assert (made.masked, len(made.spans)) == (1, 2)


def test_text_no_store_can_hold_is_cleaned_in_turns() -> None:
    content = '[{"role": "user", "content": "half \\ud83d, nul \\u0000"}]'
    draft(content, "c.json").text.encode("utf-8")
    assert "\0" not in draft(content, "c.json").text


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ('{"a": [1, 2]}', "a.json"),
        ('{"broken": ', "a.json"),
        ('[{"speaker": "A", "text": "a"}, {"v": 1}, {"speaker": "B", "text": "b"}]', "a.json"),
        ("[" * 50_000, "a.json"),
        ("", "a.jsonl"),
        ('{"_id": "1", "title": "T", "text": "x"}\n{"_id": "2", "text": "y"}\n', "corpus.jsonl"),
        ('[{"name": "left", "text": "a"}, {"name": "right", "text": "b"}]', "a.json"),
        ('{"time": 1, "level": "info", "name": "app", "message": "up"}\n' * 3, "log.jsonl"),
        ('{"name": "app", "body": "one row", "date": "2024-01-01"}', "a.json"),
        (
            '{"role": "user", "content": "hi"}\nnot json\n{"role": "user"}\n',
            "a.jsonl",
        ),
    ],
)
def test_json_that_is_no_chat_is_data_as_it_stands(content: str, name: str) -> None:
    made = draft(content, name)
    assert (made.kind, made.format, made.text) == (Kind.DATA, "text", content)


# PDF


def pdf(*pages: str, trailer: str = "") -> bytes:
    """A PDF with one line of text per page."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents {5 + 2 * number} 0 R"
            " /Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
    out, offsets = "%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    return (
        f"{out}xref\n0 {size}\n0000000000 65535 f \n{table}"
        f"trailer\n<< /Size {size} /Root 1 0 R {trailer} >>\nstartxref\n{len(out)}\n%%EOF\n"
    ).encode("latin-1")


def test_a_pdf_gives_the_text_of_its_pages() -> None:
    pytest.importorskip("pypdfium2")
    reading = read(pdf("Hello first page", "", "Third page here"), "a.pdf")
    assert (reading.kind, reading.format) == (Kind.PROSE, "pdf")
    assert [(part.locator, part.text) for part in reading.parts] == [
        ("page 1", "Hello first page"),
        ("page 3", "Third page here"),
    ]


def test_pdfs_that_cannot_be_read_are_refused_with_the_reason() -> None:
    pytest.importorskip("pypdfium2")
    locked = "/ID [<00> <00>] /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 "
    locked += f"/O <{'00' * 32}> /U <{'11' * 32}> >>"
    for content, reason in (
        (b"%PDF-1.4 nothing here", "is damaged or no PDF"),
        (b"", "is damaged or no PDF"),
        (pdf(""), "holds no text"),
        (pdf("x", trailer=locked), "is encrypted"),
    ):
        with pytest.raises(Unreadable, match=reason):
            read(content, "a.pdf")


# Word

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
OFFICE = "http://schemas.openxmlformats.org"
TYPES = (
    f'<Types xmlns="{OFFICE}/package/2006/content-types"><Override PartName="/word/document.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document'
    '.main+xml"/></Types>'
)
RELATIONS = (
    f'<Relationships xmlns="{OFFICE}/package/2006/relationships"><Relationship Id="r1" Type="'
    f'{OFFICE}/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/>'
    "</Relationships>"
)


def docx(body: str, *, head: str = "", more: Mapping[str, bytes] | None = None) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", TYPES)
        archive.writestr("_rels/.rels", RELATIONS)
        document = f'{head}<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>'
        archive.writestr("word/document.xml", document)
        for name, content in (more or {}).items():
            archive.writestr(name, content)
    return packed.getvalue()


def paragraph(text: str, style: str = "") -> str:
    styled = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{styled}<w:r><w:t>{text}</w:t></w:r></w:p>"


def test_a_word_file_gives_its_text_with_headings() -> None:
    pytest.importorskip("mammoth")
    reading = read(docx(paragraph("Plan", "Heading1") + paragraph("Sow in May.")), "a.docx")
    assert (reading.kind, reading.format) == (Kind.PROSE, "docx")
    assert reading.parts[0].text.split() == ["#", "Plan", "Sow", "in", "May."]


def test_word_files_that_cannot_be_read_are_refused_with_the_reason() -> None:
    pytest.importorskip("mammoth")
    entity = '<!DOCTYPE x [<!ENTITY a "aaaaaaaa">]>'
    for content, reason in (
        (b"not a zip", "is damaged or no .docx"),
        (docx(paragraph("x"))[:200], "is damaged or no .docx"),
        (docx("<w:p><unclosed>"), "is damaged or no .docx"),
        (b"\xd0\xcf\x11\xe0" + b"\0" * 600, "is encrypted or an old .doc"),
        (docx(""), "holds no text"),
        (docx(paragraph("x"), more={"word/bomb.xml": b"\0" * (65 << 20)}), "unpacks to more"),
        (docx(paragraph("&a;"), head=entity), "declares XML entities"),
    ):
        with pytest.raises(Unreadable, match=reason):
            read(content, "a.docx")


@pytest.mark.parametrize(("name", "package"), [("a.pdf", "pypdfium2"), ("a.docx", "mammoth")])
def test_a_format_whose_extra_is_missing_says_how_to_install_it(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(wanted: str, *rest: object, **more: object) -> object:
        if wanted == package:
            raise ImportError(wanted)
        return real(wanted, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(Unreadable, match=rf"pip install 'ifmem\[{name[2:]}\]'"):
        read(b"", name)
