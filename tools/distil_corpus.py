"""Write the training texts of the word vectors: one text a line, in a seeded order, none twice.

    python tools/distil_corpus.py OUT.txt --wordnet DIR [--pydoc DIR] [--chat DIR] [--seed 1]

WordNet is under the WordNet licence, the Python documentation under the PSF licence, the chat lines
of ``chatterbot-corpus`` under BSD-3. Docstrings, comments and short pieces of code come from the
running interpreter's library and from the installed packages in ``PACKAGES`` (BSD, MIT, Apache).
"""

from __future__ import annotations

import argparse
import ast
import html
import os
import random
import re
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGES = (
    "numpy",
    "scipy",
    "sympy",
    "networkx",
    "jinja2",
    "click",
    "fsspec",
    "anyio",
    "setuptools",
    "mpmath",
    "huggingface_hub",
    "yaml",
    "packaging",
)
"""Permissive packages only. The shipped vectors also saw ``pip`` and ``tqdm``: decision 0005."""
MOST = {
    "gloss": 45_000,
    "lemma": 25_000,
    "example": 45_000,
    "comment": 6_000,
    "doc": 18_000,
    "title": 12_000,
    "code": 9_000,
    "pydoc": 8_000,
    "chat": 15_000,
}
"""Texts kept of each kind."""

_PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
_LEFT_OUT = {"test", "tests", "site-packages", "idlelib", "lib2to3", "__pycache__"}
_LONGEST = 400
_LEAST = 5
_CODE_LINES = 12
_SPACE = re.compile(r"\s+")
_SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z])")
_COMMENT = re.compile(r"(?:^[ \t]*#[^\n]*\n)+", re.MULTILINE)
_CHAT_LINE = re.compile(r"^\s*-\s+(?:-\s+)?(.+)$", re.MULTILINE)

Text = tuple[str, str]
"""A kind of ``MOST``, and the text."""


def wordnet(folder: Path) -> Iterator[Text]:
    """Glosses, lemmas with their gloss, and example sentences."""
    for part in _PARTS_OF_SPEECH:
        for line in (folder / f"data.{part}").read_text(encoding="utf-8").splitlines():
            if line.startswith(" ") or " | " not in line:
                continue
            head, said = line.split(" | ", 1)
            fields = head.split()
            words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
            lemmas = [re.sub(r"\(\w+\)$", "", word).replace("_", " ") for word in words]
            gloss = tidy(re.sub(r';?\s*"[^"]*"?', "", said))
            yield "gloss", gloss
            yield "lemma", f"{', '.join(lemmas[:4])}: {gloss}"
            for example in re.findall(r'"([^"]{8,})', said):
                yield "example", tidy(example)


def python_sources(folder: Path, chance: random.Random) -> Iterator[Text]:
    """Comments, docstrings, names as titles, and the beginnings of definitions."""
    for place, inner, names in os.walk(folder):
        inner[:] = sorted(set(inner) - _LEFT_OUT)
        for name in sorted(names):
            if name.endswith(".py"):
                yield from _python_source(Path(place, name), chance)


def _python_source(path: Path, chance: random.Random) -> Iterator[Text]:
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
    except (UnicodeDecodeError, SyntaxError, ValueError, RecursionError, OSError):
        return
    for comment in _COMMENT.finditer(text):
        said = tidy(re.sub(r"^[ \t]*#+", " ", comment[0], flags=re.MULTILINE))
        if len(said) > 25:
            yield "comment", said
    lines = text.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _documentation(node, chance)
            code = lines[node.lineno - 1 : node.end_lineno][:_CODE_LINES]
            yield "code", tidy("\n".join(code), 300)


def _documentation(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, chance: random.Random
) -> Iterator[Text]:
    paragraphs = (ast.get_docstring(node) or "").split("\n\n")
    if not paragraphs[0]:
        return
    yield "doc", tidy(paragraphs[0])
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", node.name).replace("_", " ")
    # As people put it when they search: some ask for the language, some for the way.
    asked = "python " if chance.random() < 0.5 else "how to " if chance.random() < 0.3 else ""
    yield "title", asked + tidy(words)
    for paragraph in paragraphs[1:4]:
        if len(paragraph) > 30 and ">>>" not in paragraph:
            yield "doc", tidy(paragraph)


def documentation_pages(folder: Path) -> Iterator[Text]:
    """Sentences of the paragraphs of HTML pages."""
    for path in sorted(folder.rglob("*.html")):
        text = path.read_text(encoding="utf-8", errors="ignore")
        for paragraph in re.findall(r"<p>(.*?)</p>", text, re.DOTALL):
            plain = tidy(html.unescape(re.sub(r"<[^>]+>", "", paragraph)), 2_000)
            yield from (("pydoc", tidy(one)) for one in _SENTENCE.split(plain) if len(one) > 30)


def conversations(folder: Path) -> Iterator[Text]:
    """The lines of YAML conversations."""
    for path in sorted(folder.glob("*.yml")):
        for line in _CHAT_LINE.findall(path.read_text(encoding="utf-8")):
            yield "chat", tidy(line.strip("'\""))


def tidy(text: str, limit: int = _LONGEST) -> str:
    """The text on one line, cut at ``limit`` characters."""
    return _SPACE.sub(" ", text).strip()[:limit]


def chosen(texts: Iterator[Text], chance: random.Random) -> list[str]:
    """At most ``MOST`` of each kind, without repetition, in a seeded order."""
    kinds: dict[str, set[str]] = defaultdict(set)
    for kind, text in texts:
        if len(text) >= _LEAST and text.isprintable():
            kinds[kind].add(text)
    kept: set[str] = set()
    for kind in sorted(kinds):
        found = sorted(kinds[kind])
        chance.shuffle(found)
        kept.update(found[: MOST[kind]])
        sys.stderr.write(f"{kind}: {len(found):,} found, {min(len(found), MOST[kind]):,} kept\n")
    ordered = sorted(kept)
    chance.shuffle(ordered)
    return ordered


def main() -> None:
    """Read every source that was named, and write the texts."""
    parser = argparse.ArgumentParser(description="Write the training texts of the word vectors.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--pydoc", type=Path)
    parser.add_argument("--chat", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    texts = chosen(_all_texts(given, chance), chance)
    given.out.write_text("\n".join(texts) + "\n", encoding="utf-8")
    sys.stderr.write(f"{len(texts):,} texts\n")


def _all_texts(given: argparse.Namespace, chance: random.Random) -> Iterator[Text]:
    paths = sysconfig.get_paths()
    yield from wordnet(given.wordnet)
    yield from python_sources(Path(paths["stdlib"]), chance)
    for package in PACKAGES:
        yield from python_sources(Path(paths["purelib"], package), chance)
    if given.pydoc:
        yield from documentation_pages(given.pydoc)
    if given.chat:
        yield from conversations(given.chat)


if __name__ == "__main__":
    main()
