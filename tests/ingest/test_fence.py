"""The fence: nothing outside is read, listed or told, whatever links lie on the way."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifmem.domain.document import Draft, Skipped
from ifmem.engine.fencing import leads_to, lies_in, path_of_source
from ifmem.ingest.fence import Fence
from ifmem.ingest.files import read_file
from ifmem.ingest.git_log import read_git_log
from ifmem.ingest.walk import Found, walk

MARK = "zorbulax"
"""Stands in every file, and every name, outside."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside" / MARK).mkdir(parents=True)
    (tmp_path / "outside" / f"{MARK}.txt").write_text(MARK)
    (tmp_path / "outside" / "plain.txt").write_text(MARK)
    (tmp_path / "outside" / MARK / "a.txt").write_text(MARK)
    return tmp_path / "root"


def read_all(paths: list[Path], fence: Fence) -> tuple[list[str], list[Skipped]]:
    """The texts that are read below these paths, and what was left out."""
    skipped: list[Skipped] = []
    texts = []
    for found in walk(paths, fence=fence, on_skip=skipped.append):
        draft = read_file(found, max_bytes=1 << 20, fence=fence)
        if isinstance(draft, Draft):
            texts.append(draft.text)
        else:
            skipped.append(draft)
    return texts, skipped


def reasons_of(skipped: list[Skipped]) -> dict[str, str]:
    return {Path(one.path).name: one.reason for one in skipped}


def test_a_root_is_in_itself_and_its_neighbour_is_not() -> None:
    assert lies_in("/a/b", ["/a/b"]) and lies_in("/a/b/c", ["/x", "/a/b"]) and lies_in("/a", ["/"])
    assert not lies_in("/a/bc", ["/a/b"]) and not lies_in("/a", ["/a/b"]) and not lies_in("/a", [])
    assert leads_to("/", ["/a/b"]) and leads_to("/a", ["/a/b"]) and not leads_to("/ab", ["/a/b"])


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("/a/b", "/a/b"),
        ("notes.md", "notes.md"),
        ("file:///a%2Fb", "/a/b"),
        ("FILE:/a", "/a"),
        ("file://host/a", "/a"),
        ("git+file:///a/b#log", "/a/b"),
        ("file://[/a", ""),
        ("https://example.org/a", None),
        ("chat:1", None),
    ],
)
def test_a_source_stands_for_a_path_or_for_none(source: str, path: str | None) -> None:
    assert path_of_source(source) == path


def test_a_path_is_permitted_by_where_it_leads(root: Path) -> None:
    fence = Fence.around([str(root), str(root / "nothing"), "relative"])
    assert fence.roots == (str(root.resolve()),)
    (root / "sub").mkdir()
    (root / "sub" / "a.txt").write_text("inside")
    (root / "link.txt").symlink_to("sub/../sub/a.txt")
    (root.parent / "way").symlink_to(root)
    inside = str(root.resolve())
    assert fence.named(f"{root}/sub/a.txt") == f"{inside}/sub/a.txt"
    assert fence.named(f"{root}//sub/./../sub/a.txt/") == f"{inside}/sub/a.txt"
    assert fence.named(f"{root}/link.txt") == f"{inside}/link.txt"
    assert fence.named(f"{root}/sub/../../root/sub") == f"{inside}/sub"
    assert fence.named(f"{root.parent}/way/sub/a.txt") == f"{inside}/sub/a.txt"
    assert fence.named(str(root)) == inside


def refused(root: Path) -> list[str]:
    outside = root.parent / "outside"
    (root / "out").symlink_to(outside)
    (root / "gone").symlink_to(root.parent / "nothing")
    (root / "round").symlink_to("round")
    (root / "locked.txt").write_text("x")
    (root / "locked.txt").chmod(0)
    (root / "closed").mkdir(mode=0)
    back = f"{root.name}/locked.txt"
    (root / "back").symlink_to(f"../outside/{MARK}/../../{back}")
    return [
        str(outside),
        f"{outside}/plain.txt",
        f"{outside}/absent.txt",
        f"{root}/../outside/plain.txt",
        f"{root}/out/plain.txt",
        f"{root}/out",
        f"{root}/out/../outside/{MARK}/../../root",
        f"{root}/gone",
        f"{root}/round",
        f"{root}/absent.txt",
        f"{root}/back",
        f"{root}ing",
        "sub/a.txt",
        "~/a.txt",
        "",
        f"{root}/a\0b",
        f"{root}/{'a' * 300}",
        f"{root}/{'a/' * 5_000}",
        f"{root}/\udcff",
    ]


def test_absent_outside_and_everything_odd_are_refused_alike(root: Path) -> None:
    fence = Fence.around([str(root)])
    for path in refused(root):
        assert fence.named(path) is None, path
    if os.geteuid() != 0:
        assert fence.named(f"{root}/locked.txt") is None
        assert fence.named(f"{root}/closed") is None
    assert Fence.around([]).named(str(root)) is None


def test_what_is_missing_has_a_place_only_inside(root: Path) -> None:
    fence = Fence.around([str(root)])
    inside = str(root.resolve())
    assert fence.place(f"{root}/new/notes.md") == f"{inside}/new/notes.md"
    assert fence.place(f"{root}/new/../../outside/plain.txt") is None
    assert fence.place(f"{root}ing/new") is None
    (root / "out").symlink_to(root.parent / "outside")
    assert fence.place(f"{root}/out/new.md") is None
    (root / "hole").symlink_to(root.parent / "nothing" / "new.md")
    assert fence.place(f"{root}/hole") is None


def test_links_that_lead_outside_are_left_out_and_say_nothing_of_it(root: Path) -> None:
    outside = root.parent / "outside"
    (root / "a.txt").write_text("inside")
    (root / "file").symlink_to(outside / "plain.txt")
    (root / "folder").symlink_to(outside)
    (root / "nothing").symlink_to(outside / "absent")
    (root / "inner").symlink_to(root / "a.txt")
    texts, skipped = read_all([root.resolve()], Fence.around([str(root)]))
    assert texts == ["inside", "inside"]
    assert reasons_of(skipped) == dict.fromkeys(("file", "folder", "nothing"), "not permitted")
    assert "outside" not in "".join(one.reason for one in skipped)


def test_ignore_files_and_repositories_are_not_taken_from_outside(root: Path) -> None:
    (root / "a.txt").write_text("inside")
    (root.parent / "outside" / "info").mkdir()
    (root.parent / "outside" / "info" / "exclude").write_text("a.txt\n")
    (root / ".git").symlink_to(root.parent / "outside")
    texts, _ = read_all([root.resolve()], Fence.around([str(root)]))
    assert texts == ["inside"]


def test_a_folder_swapped_for_a_link_after_it_was_listed_is_not_read(root: Path) -> None:
    (root / "b" / "c").mkdir(parents=True)
    (root / "b" / "1.txt").write_text("inside")
    (root / "b" / "2.txt").write_text("inside")
    (root / "b" / "c" / "3.txt").write_text("inside")
    twin = root.parent / "outside" / "b"
    (twin / "c").mkdir(parents=True)
    for name in ("1.txt", "2.txt", "c/3.txt", f"c/{MARK}.txt"):
        (twin / name).write_text(MARK)
    fence = Fence.around([str(root)])
    skipped: list[Skipped] = []
    walking = walk([root.resolve()], fence=fence, on_skip=skipped.append)
    first = next(walking)
    (root / "b").rename(root / "was")
    (root / "b").symlink_to(twin)
    found = [first, *walking]
    # The links on the way are seen neither by name nor in the listing; what was opened tells.
    assert read_file(found[0], max_bytes=1 << 20).text == MARK  # type: ignore[union-attr]
    told = [read_file(one, max_bytes=1 << 20, fence=fence) for one in found]
    assert {one.reason for one in told if isinstance(one, Skipped)} == {"not permitted"}
    assert not any(isinstance(one, Draft) for one in told)
    assert reasons_of(skipped) == {"c": "not permitted"}
    assert MARK not in " ".join([*(one.path for one in found), *(one.path for one in skipped)])


def test_a_file_swapped_for_a_link_is_not_read(root: Path) -> None:
    target = root / "a.txt"
    target.write_text("inside")
    (root / "link").symlink_to(target)
    fence = Fence.around([str(root)])
    found = list(walk([root.resolve()], fence=fence, on_skip=lambda one: None))
    assert [one.link for one in found] == [False, True]
    for name in ("a.txt", "link"):
        (root / name).unlink()
        (root / name).symlink_to(root.parent / "outside" / "plain.txt")
    told = [read_file(one, max_bytes=1 << 20, fence=fence) for one in found]
    assert [one.reason for one in told if isinstance(one, Skipped)] == ["not permitted"] * 2


def test_a_pipe_does_not_stop_the_fence(root: Path) -> None:
    os.mkfifo(root / "pipe")
    fence = Fence.around([str(root)])
    assert fence.named(f"{root}/pipe") == f"{root.resolve()}/pipe"
    texts, skipped = read_all([Path(f"{root.resolve()}/pipe")], fence)
    assert (texts, [one.reason for one in skipped]) == ([], ["is a named pipe"])


KINDS = ("file", "folder", "link", "out", "up", "loop")


@given(st.integers(0, 2**32), st.integers(5, 40))
@settings(max_examples=60, deadline=None)
def test_of_no_tree_anything_outside_is_read_or_named(seed: int, size: int) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        top = Path(scratch)
        roots = [top / "root", top / "second"]
        outside = [top / "outside", top / "outside" / MARK]
        for folder in (*roots, *outside):
            folder.mkdir(parents=True)
            (folder / "seed.txt").write_text(MARK if folder in outside else "inside")
        folders = list(roots)
        targets = [*roots, *outside, *(one / "seed.txt" for one in (*roots, *outside)), top]
        for number in range(size):
            place = chance.choice(folders) / f"n{number}"
            match chance.choice(KINDS):
                case "file":
                    place.write_text("inside")
                    targets.append(place)
                case "folder":
                    place.mkdir()
                    folders.append(place)
                    targets.append(place)
                case "link":
                    target = chance.choice(targets)
                    relative = os.path.relpath(target, place.parent)
                    place.symlink_to(relative if chance.random() < 0.5 else target)
                    targets.append(place)
                case "out":
                    place.symlink_to(top / "outside" / chance.choice(["seed.txt", MARK, "absent"]))
                case "up":
                    place.symlink_to("/".join([".."] * chance.randrange(1, 6)))
                case "loop":
                    place.symlink_to(place.name)
        fence = Fence.around(map(str, roots))
        named = [fence.named(str(chance.choice(targets))) for _ in range(8)]
        paths = [Path(one) for one in named if one is not None]
        paths += [Path(fence.roots[0])]
        texts, skipped = read_all(paths, fence)
        assert set(texts) == {"inside"}
        for one in skipped:
            assert MARK not in one.path and MARK not in one.reason
            assert one.reason == "not permitted" or "outside/" not in one.reason


def commit(folder: Path, message: str, *, bare_of: Path | None = None) -> None:
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        **{f"GIT_{who}_NAME": "A" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "a@example.org" for who in ("AUTHOR", "COMMITTER")},
        "GIT_CONFIG_GLOBAL": os.devnull,
    }
    for line in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", message]):
        subprocess.run(["git", *line], cwd=folder, env=variables, check=True, capture_output=True)


def log_of(root: Path, fence: Fence | None) -> str:
    log = read_git_log(root.resolve(), commits=10, fence=fence)
    return log.text if isinstance(log, Draft) else str(log and log.reason)


def test_a_git_log_is_read_when_all_of_it_lies_inside(root: Path) -> None:
    commit(root, "first lantern")
    assert "first lantern" in log_of(root, Fence.around([str(root)]))


@pytest.mark.parametrize(
    "way", ["link", "file", "objects", "packed-refs", "alternates", "common", "include", "empty"]
)
def test_no_git_log_of_another_repository_is_read(root: Path, way: str) -> None:
    outside = root.parent / "outside"
    commit(outside, MARK)
    theirs, ours = outside / ".git", root / ".git"
    if way in ("link", "file", "empty"):
        if way == "empty":
            commit(root.parent, MARK)
            ours.mkdir()
        elif way == "link":
            ours.symlink_to(theirs)
        else:
            ours.write_text(f"gitdir: {theirs}\n")
    else:
        commit(root, "first lantern")
    if way == "objects":
        (ours / "objects").rename(root / "was")
        (ours / "objects").symlink_to(theirs / "objects")
    elif way == "packed-refs":
        (ours / "packed-refs").symlink_to(theirs / "packed-refs")
    elif way == "alternates":
        (ours / "objects" / "info").mkdir(exist_ok=True)
        (ours / "objects" / "info" / "alternates").write_text(f"{theirs}/objects\n")
    elif way == "common":
        (ours / "commondir").write_text(f"{theirs}\n")
    elif way == "include":
        (root.parent / "outside" / "odd").write_text(f"[{MARK}\n")
        (ours / "config").write_text(f"[include]\n\tpath = {outside}/odd\n")
    if way in ("link", "file", "common"):
        assert MARK in log_of(root, None), "the way leads there without a fence"
    told = log_of(root, Fence.around([str(root)]))
    assert told in ("not permitted", "None")


def test_what_was_found_keeps_its_root(root: Path) -> None:
    (root / "a.txt").write_text("inside")
    (found,) = walk([root.resolve()], fence=Fence.around([str(root)]), on_skip=lambda one: None)
    assert isinstance(found, Found)
    assert (found.path, found.root) == (f"{root.resolve()}/a.txt", str(root.resolve()))
