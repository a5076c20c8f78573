"""What the pages tell a reader to type does what they say it does."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from console import Reader, comparable, matches, steps

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    if "```console" in path.read_text(encoding="utf-8")
)
EXAMPLES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    if "```python" in path.read_text(encoding="utf-8")
)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    directory = tmp_path.resolve() / "work"
    directory.mkdir()
    someone = Reader(directory, tmp_path.resolve() / "home")
    yield someone
    someone.types("ifmem down")


def test_there_are_pages_to_follow() -> None:
    assert {"docs/tutorial.md", "docs/howto/load-a-repository.md"} <= set(PAGES)
    assert "README.md" in EXAMPLES


NEEDS = {
    "docs/howto/local-model.md": "xllamacpp",
    "docs/howto/audit.md": "cryptography",
    "docs/howto/connect-an-agent.md": "mcp",
}
"""Pages about an extra, and what it brings."""


@pytest.mark.parametrize("page", PAGES)
def test_a_reader_sees_what_the_page_shows(page: str, reader: Reader) -> None:
    if page in NEEDS:
        pytest.importorskip(NEEDS[page], reason="the extra of this page is not installed")
    for step in steps((ROOT / page).read_text(encoding="utf-8")):
        printed = reader.types(step.command)
        assert matches(step.printed, printed), (
            step.command,
            comparable(step.printed),
            comparable(printed),
        )


@pytest.mark.parametrize("page", EXAMPLES)
def test_the_examples_run_as_they_stand(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Reader
) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "src" / "retry.py").write_text(
        "# The retry budget is enforced here: three attempts.\nBUDGET = 3\n", encoding="utf-8"
    )
    monkeypatch.chdir(project)
    monkeypatch.setenv("IFMEM_HOME", str(tmp_path.resolve() / "home"))
    monkeypatch.setenv("IFMEM_RETRIEVAL_SEMANTIC", "off")
    for example in examples:
        code = compile(example, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        coroutine = eval(code, {"__name__": "example"})
        if coroutine is not None:
            asyncio.run(coroutine)


def test_a_difference_in_what_is_printed_is_seen() -> None:
    assert matches("a  b\n…\n5.4 ms", "a b\nx\ny\n7.1 ms") is False
    assert matches("a  b\n…\n5.4 ms", "a    b\nx\ny\n7.1 ms")
    assert not matches("found 1", "found 2")
