"""Loading again: what changed is read, what did not is not, what went is gone."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def names(ifmem: Any) -> dict[str, str]:
    """File name to sha256 of everything stored."""
    return {Path(one["source"]).name: one["sha256"] for one in ifmem.sources()}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def load(ifmem: Any, *paths: str) -> Any:
    return ifmem("load", *(paths or ("tree",)), "--json").json


@pytest.fixture
def tree(ifmem: Any) -> Any:
    for name in ("apple", "birch", "cedar", "dogwood"):
        ifmem.write(f"tree/{name}.md", f"# {name}\n\nThe {name} stands by the {name} gate.\n")
    report = load(ifmem)
    assert (report["read"], report["unchanged"], report["removed"]) == (4, 0, 0)
    return ifmem


def test_unchanged_files_are_not_read_again(tree: Any) -> None:
    # Unreadable for everybody but root; for root the counts tell.
    for path in (tree.directory / "tree").iterdir():
        path.chmod(0)
    again = load(tree)
    assert (again["read"], again["unchanged"], again["skipped"]) == (0, 4, [])
    assert again["documents"] == 4


def test_a_change_that_keeps_size_and_time_but_not_the_file_is_seen(tree: Any) -> None:
    path = tree.directory / "tree" / "apple.md"
    text = path.read_text().replace("stands", "leaned")
    replacement = tree.write("apple.new", text)
    replacement.replace(path)
    report = load(tree)
    assert (report["read"], report["unchanged"]) == (1, 3)
    assert names(tree)["apple.md"] == digest(text)


def test_changed_deleted_and_new_files_are_updated(tree: Any) -> None:
    tree.write("tree/apple.md", "# apple\n\nThe apple fell at noon.\n")
    (tree.directory / "tree" / "birch.md").unlink()
    tree.write("tree/elm.md", "# elm\n\nThe elm is new.\n")
    report = load(tree)
    assert (report["read"], report["unchanged"], report["removed"]) == (2, 2, 1)
    assert report["documents"] == 4
    found = names(tree)
    assert sorted(found) == ["apple.md", "cedar.md", "dogwood.md", "elm.md"]
    assert found["apple.md"] == digest("# apple\n\nThe apple fell at noon.\n")
    assert (
        "fell at noon" in tree("ask", "When was it that the apple fell?", "--json").json["answer"]
    )
    for gone in ("birch gate", "apple stands by the apple gate"):
        texts = [one["text"] for one in tree("recall", gone, "--json").json["passages"]]
        assert all("birch" not in text and "apple stands" not in text for text in texts)
    shards = tree("shards", "--json").json["items"]
    assert sum(one["tokens"] for one in shards) == report["tokens"]


def test_a_renamed_file_has_its_new_path_only(tree: Any) -> None:
    folder = tree.directory / "tree"
    before = names(tree)
    (folder / "sub").mkdir()
    (folder / "cedar.md").rename(folder / "sub" / "larch.md")
    report = load(tree)
    assert (report["documents"], report["removed"]) == (4, 1)
    after = names(tree)
    assert after == {
        **{k: v for k, v in before.items() if k != "cedar.md"},
        "larch.md": before["cedar.md"],
    }
    answer = tree("ask", "Where does the cedar stand?", "--json").json
    assert {Path(one["source"]).name for one in answer["citations"]} == {"larch.md"}


def test_every_path_of_a_text_is_kept_and_counted_once(tree: Any) -> None:
    text = (tree.directory / "tree" / "cedar.md").read_text()
    tokens = load(tree)["tokens"]
    tree.write("tree/copies/one.md", text)
    tree.write("tree/copies/two.md", text)
    report = load(tree)
    assert report["documents"] == 6
    assert report["tokens"] == tokens
    same = [one for one in tree.sources() if one["sha256"] == digest(text)]
    assert [Path(one["source"]).name for one in same] == ["cedar.md", "one.md", "two.md"]
    assert len({tuple(one["shards"]) for one in same}) == 1
    # The text stays for as long as one path leads to it.
    for name in ("cedar.md", "copies/one.md"):
        (tree.directory / "tree" / name).unlink()
        assert load(tree)["tokens"] == tokens
        assert tree("ask", "Where does the cedar stand?", "--json").json["found"]
    (tree.directory / "tree/copies/two.md").unlink()
    assert load(tree)["tokens"] < tokens
    assert not tree("ask", "Where does the cedar stand?", "--json").json["found"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\x7fELF\x02\x01\x01" + bytes(400), "binary"), (b"x\0y" * 100, "binary")],
)
def test_a_file_that_becomes_binary_leaves_with_a_reason(
    tree: Any, content: bytes, reason: str
) -> None:
    tree.write("tree/birch.md", content)
    report = load(tree)
    assert [(Path(s["path"]).name, reason in s["reason"]) for s in report["skipped"]] == [
        ("birch.md", True)
    ]
    assert sorted(names(tree)) == ["apple.md", "cedar.md", "dogwood.md"]
    assert report["documents"] == 3
    assert not tree("ask", "Where does the birch stand?", "--json").json["found"]
    tree.write("tree/birch.md", "# birch\n\nThe birch is back.\n")
    assert load(tree)["documents"] == 4


def test_a_file_that_becomes_ignored_leaves_too(tree: Any) -> None:
    tree.write("tree/.ifmemignore", "dogwood.md\n")
    report = load(tree)
    assert any("ifmemignore" in one["reason"] for one in report["skipped"])
    assert "dogwood.md" not in names(tree)


def test_loading_a_part_leaves_the_rest_alone(tree: Any) -> None:
    tree.write("tree/sub/fir.md", "# fir\n\nThe fir is tall.\n")
    report = load(tree, "tree/sub")
    assert (report["documents"], report["removed"]) == (1, 0)
    assert len(names(tree)) == 5
    # A folder beside it whose name begins alike is another folder.
    tree.write("tree-two/oak.md", "# oak\n\nThe oak is old.\n")
    load(tree, "tree-two")
    assert load(tree)["removed"] == 0
    assert "oak.md" in names(tree)


def test_an_interrupted_load_stops_and_the_next_one_completes_it(
    install: Any, writer: Any, finish: Any, eventually: Callable[..., Any]
) -> None:
    ifmem = install()
    pens = writer(77)
    for number in range(1_500):
        ifmem.write(f"big/{number % 9}/page_{number:04}.md", pens.prose(25))
    whole = install("whole")
    expected = load(whole, "big")
    ifmem("up")
    with ifmem.bus() as bus:
        process = ifmem.start("load", "big", "--json")
        # The first batch is stored: the load is under way.
        eventually(lambda: int(bus.get("context:active")) > 0 or process.poll() is not None)
        assert process.poll() is None, "the load was over before it could be interrupted"
        process.send_signal(signal.SIGINT)
    run = finish(process)
    assert run.code == 130
    assert run.err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in run.err
    partial = len(ifmem.sources())
    assert 0 < partial < 1_500
    rest = load(ifmem, "big")
    assert rest["unchanged"] >= partial
    assert rest["read"] + rest["unchanged"] == 1_500
    for one in ("documents", "passages", "tokens", "bytes", "shards", "skipped"):
        assert rest[one] == expected[one], one
    placed = [
        {(s["source"], tuple(s["shards"])) for s in each.sources()} for each in (ifmem, whole)
    ]
    assert placed[0] == placed[1]
