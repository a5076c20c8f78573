"""What kind of document a file name promises."""

from __future__ import annotations

import pytest

from ifmem.domain.document import Kind
from ifmem.engine.kinds import is_markdown, kind_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("main.py", Kind.CODE),
        ("src/deep/Widget.TSX", Kind.CODE),
        ("deploy.sh", Kind.CODE),
        ("0001_initial.sql", Kind.CODE),
        ("Dockerfile", Kind.CODE),
        ("Dockerfile.dev", Kind.CODE),
        ("Makefile", Kind.CODE),
        ("CMakeLists.txt", Kind.CODE),
        ("api.proto", Kind.CODE),
        ("pyproject.toml", Kind.CONFIG),
        ("values.yaml", Kind.CONFIG),
        ("package.json", Kind.CONFIG),
        ("tsconfig.build.json", Kind.CONFIG),
        ("requirements-dev.txt", Kind.CONFIG),
        (".gitignore", Kind.CONFIG),
        ("setup.cfg", Kind.CONFIG),
        ("orders.json", Kind.DATA),
        ("events.jsonl", Kind.DATA),
        ("table.csv", Kind.DATA),
        ("feed.xml", Kind.DATA),
        ("server.log", Kind.DATA),
        ("README.md", Kind.PROSE),
        ("guide.rst", Kind.PROSE),
        ("notes.txt", Kind.PROSE),
        ("paper.tex", Kind.PROSE),
        ("LICENSE", Kind.PROSE),
        ("strange.qqq", Kind.PROSE),
        ("", Kind.PROSE),
        (r"C:\work\tool.rs", Kind.CODE),
    ],
)
def test_a_name_promises_its_kind(name: str, kind: Kind) -> None:
    assert kind_of(name) is kind


def test_a_folder_in_the_path_says_nothing_about_the_file() -> None:
    assert kind_of("Makefile/notes.md") is Kind.PROSE
    assert kind_of("lib.py/data.csv") is Kind.DATA


def test_markdown_is_told_by_its_suffix_only() -> None:
    assert is_markdown("docs/README.MD")
    assert not is_markdown("guide.rst")
    assert not is_markdown("README")
