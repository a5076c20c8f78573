"""Walking: which files are found, in which order, and what is left out with a reason."""

from __future__ import annotations

import inspect
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from ifmem.domain.document import Skipped
from ifmem.errors import NotFound
from ifmem.ingest.walk import walk

CREDENTIALS = "holds credentials; load it with [ingest] allow"


def tree(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")


def walked(
    *paths: Path, allow: Sequence[str] = (), base: Path | None = None
) -> tuple[list[str], dict[str, str]]:
    """The paths found and the reasons of those skipped, relative to ``base``."""
    skipped: list[Skipped] = []
    found = [one.path for one in walk(paths, allow=allow, on_skip=skipped.append)]
    start = str(base or paths[0])
    reasons = {os.path.relpath(one.path, start): one.reason for one in skipped}
    assert len(reasons) == len(skipped), "a path was reported twice"
    return [os.path.relpath(path, start) for path in found], reasons


def test_files_come_sorted_by_the_parts_of_their_path(tmp_path: Path) -> None:
    tree(tmp_path, "b.py", "a/z.py", "a.py", "a/b/c.py", "a-b/x.py", "B.py")
    assert walked(tmp_path)[0] == ["B.py", "a/b/c.py", "a/z.py", "a-b/x.py", "a.py", "b.py"]


def test_what_was_found_carries_the_state_of_the_file(tmp_path: Path) -> None:
    tree(tmp_path, "a.py")
    (found,) = walk([tmp_path], on_skip=pytest.fail)
    status = (tmp_path / "a.py").stat()
    assert (found.size, found.mtime_ns, found.inode) == (5, status.st_mtime_ns, status.st_ino)
    assert found.root == str(tmp_path.resolve())
    assert not found.link


def test_the_order_and_overlap_of_arguments_change_nothing(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.py", "a/b/2.py", "c/3.py", "a/node_modules/x.js", "a/fine/.env")
    whole = walked(tmp_path)
    parts = [tmp_path / "c" / "3.py", tmp_path / "a" / "b", tmp_path, tmp_path / "a"]
    assert walked(*parts, base=tmp_path) == whole
    assert walked(*reversed(parts), base=tmp_path) == whole
    assert whole[0] == ["a/1.py", "a/b/2.py", "c/3.py"]


def test_one_file_named_by_two_spellings_is_found_once(tmp_path: Path) -> None:
    tree(tmp_path, "real/a.py")
    (tmp_path / "other").symlink_to(tmp_path / "real")
    found, _ = walked(
        tmp_path / "real",
        tmp_path / "other",
        tmp_path / "real" / ".." / "other" / "a.py",
        base=tmp_path,
    )
    assert found == ["real/a.py"]


def test_a_missing_path_is_said_before_anything_is_yielded(tmp_path: Path) -> None:
    tree(tmp_path, "a.py")
    with pytest.raises(NotFound, match=r"nowhere does not exist"):
        walk([tmp_path, tmp_path / "nowhere"], on_skip=pytest.fail)
    with pytest.raises(NotFound, match="does not exist"):
        walk([Path("nul\0byte")], on_skip=pytest.fail)


def test_an_empty_tree_gives_nothing_and_no_reasons(tmp_path: Path) -> None:
    assert walked(tmp_path) == ([], {})


def test_nested_ignore_files_and_the_repository_exclude_are_followed(tmp_path: Path) -> None:
    tree(tmp_path, "a.log", "keep.log", "build/x.py", "sub/b.log", "sub/c.tmp", "sub/build", "e.x")
    (tmp_path / ".git" / "info").mkdir(parents=True)
    (tmp_path / ".git" / "info" / "exclude").write_text("*.x\n")
    (tmp_path / ".gitignore").write_text("*.log\n!keep.log\nbuild/\n")
    (tmp_path / "sub" / ".gitignore").write_text("!b.log\n*.tmp\n")
    found, reasons = walked(tmp_path)
    assert found == [".gitignore", "keep.log", "sub/.gitignore", "sub/b.log", "sub/build"]
    ignored = "ignored by .gitignore"
    assert reasons.pop(".git") == "is a version control folder"
    assert reasons == dict.fromkeys(("a.log", "build", "e.x", "sub/c.tmp"), ignored)


def test_the_ignore_files_above_a_named_folder_rule_it_from_the_top_of_its_repository(
    tmp_path: Path,
) -> None:
    tree(tmp_path, "repo/sub/a.log", "repo/sub/a.py", "repo/sub/a.tmp")
    (tmp_path / ".gitignore").write_text("*.py\n")
    (tmp_path / "repo" / ".git").mkdir()
    (tmp_path / "repo" / ".gitignore").write_text("/sub/*.log\n")
    (tmp_path / ".ifmemignore").write_text("*.tmp\n")
    found, reasons = walked(tmp_path / "repo" / "sub")
    assert found == ["a.py"]
    assert reasons == {"a.log": "ignored by .gitignore", "a.tmp": "ignored by .ifmemignore"}


def test_without_a_repository_only_the_named_tree_has_a_say(tmp_path: Path) -> None:
    tree(tmp_path, "project/a.py", "project/b.log")
    (tmp_path / ".gitignore").write_text("*.py\n")
    (tmp_path / "project" / ".gitignore").write_text("*.log\n")
    assert walked(tmp_path / "project")[0] == [".gitignore", "a.py"]


def test_an_inner_repository_is_not_ruled_by_the_outer_one(tmp_path: Path) -> None:
    tree(tmp_path, "inner/a.log", "b.log")
    (tmp_path / ".gitignore").write_text("*.log\n")
    (tmp_path / "inner" / ".git").mkdir()
    assert walked(tmp_path)[0] == [".gitignore", "inner/a.log"]


def test_our_own_ignore_file_has_the_last_word_both_ways(tmp_path: Path) -> None:
    tree(tmp_path, "a.log", "b.log", "c.py", "private/d.py")
    (tmp_path / ".gitignore").write_text("*.log\n")
    (tmp_path / ".ifmemignore").write_text("!a.log\nc.py\nprivate/\n")
    found, reasons = walked(tmp_path)
    assert found == [".gitignore", ".ifmemignore", "a.log"]
    assert reasons["c.py"] == reasons["private"] == "ignored by .ifmemignore"
    assert reasons["b.log"] == "ignored by .gitignore"


def test_a_named_file_is_read_though_git_ignores_it_but_not_against_our_own_file(
    tmp_path: Path,
) -> None:
    tree(tmp_path, "build/a.log", "build/b.log", "private/c.py")
    (tmp_path / ".gitignore").write_text("build/\n*.log\n")
    (tmp_path / ".ifmemignore").write_text("private/\n")
    named = [tmp_path / "build" / "a.log", tmp_path / "private" / "c.py", tmp_path / "private"]
    found, reasons = walked(tmp_path, *named)
    assert found == [".gitignore", ".ifmemignore", "build/a.log"]
    assert reasons["private/c.py"] == reasons["private"] == "ignored by .ifmemignore"


def test_a_named_folder_is_walked_whatever_it_is(tmp_path: Path) -> None:
    tree(tmp_path, "node_modules/x/a.js", "build/b.py", "c.py")
    (tmp_path / ".gitignore").write_text("build\n")
    named = [tmp_path / "node_modules", tmp_path / "build"]
    found, reasons = walked(tmp_path, *named)
    assert found == [".gitignore", "build/b.py", "c.py", "node_modules/x/a.js"]
    assert reasons == {}


def test_stores_dependencies_and_caches_are_one_entry_each(tmp_path: Path) -> None:
    names = (".git", ".hg", ".svn", "node_modules", "__pycache__", ".tox", ".mypy_cache")
    tree(tmp_path, "a.py", "env/pyvenv.cfg", "env/lib/x.py", "target/CACHEDIR.TAG", "target/o.txt")
    tree(tmp_path, *(f"{name}/inside/x.txt" for name in names))
    found, reasons = walked(tmp_path)
    assert found == ["a.py"]
    assert set(reasons) == {*names, "env", "target"}
    assert reasons["env"] == reasons["node_modules"] == "holds installed dependencies"
    assert reasons["target"] == reasons["__pycache__"] == "is a cache"


@pytest.mark.parametrize(
    "name",
    [
        *(".env", ".env.local", ".envrc", "prod.env", ".netrc", "id_rsa", "id_ed25519", "tls.pem"),
        *("Server.KEY", "store.p12", "a.jks", "vault.kdbx", ".git-credentials", "k.tfstate"),
        *(".docker/config.json", ".kube/config"),
    ],
)
def test_a_file_that_holds_credentials_is_skipped(tmp_path: Path, name: str) -> None:
    tree(tmp_path, name, "fine.py")
    assert walked(tmp_path) == (["fine.py"], {name: CREDENTIALS})
    assert walked(tmp_path / name, base=tmp_path) == ([], {name: CREDENTIALS})


def test_examples_and_public_halves_are_no_credentials(tmp_path: Path) -> None:
    names = [".env.example", ".env.sample", "environment.py", "id_rsa.pub", "key.py", "monkey"]
    tree(tmp_path, *names)
    assert walked(tmp_path) == (names, {})


def test_a_credential_file_is_read_when_it_is_allowed(tmp_path: Path) -> None:
    tree(tmp_path, ".env", "deploy/ca.pem", "deploy/tls.pem", "x/deploy/ca.pem", ".ssh/config")
    tree(tmp_path, ".ssh/id_rsa")
    (tmp_path / ".gitignore").write_text(".env\n")
    allow = [".env", "deploy/ca.pem", ".ssh/config"]
    found, reasons = walked(tmp_path, allow=allow)
    assert found == [".env", ".gitignore", ".ssh/config", "deploy/ca.pem", "x/deploy/ca.pem"]
    assert reasons == {"deploy/tls.pem": CREDENTIALS, ".ssh/id_rsa": CREDENTIALS}


def test_a_folder_of_credentials_is_one_entry_and_stays_closed_when_named(tmp_path: Path) -> None:
    tree(tmp_path, ".ssh/config", ".ssh/notes", "a.py")
    assert walked(tmp_path) == (["a.py"], {".ssh": CREDENTIALS})
    assert walked(tmp_path / ".ssh")[0] == []


def test_links_cannot_lead_out_in_circles_or_to_credentials(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    tree(tmp_path, "inside/a/b.py", "inside/.env", "inside/.git/x", "outside/c.py", "inside/own.py")
    (inside / ".ifmemignore").write_text("own.py\n")
    links = {
        "up": inside,
        "a/self": inside / "a",
        "to-folder": outside,
        "to-file": outside / "c.py",
        "to-env": inside / ".env",
        "to-own": inside / "own.py",
        "to-nothing": inside / "gone",
        "loop": inside / "loop",
    }
    for name, target in links.items():
        (inside / name).symlink_to(target)
    found, reasons = walked(inside)
    assert found == [".ifmemignore", "a/b.py"]
    assert set(links) <= set(reasons)
    assert "links to folders are not followed" in reasons["up"]
    assert "outside what was given" in reasons["to-file"]
    assert reasons["to-env"] == CREDENTIALS
    assert reasons["to-own"] == "ignored by .ifmemignore"
    assert reasons["to-nothing"] == "is a link to nothing"
    assert reasons["loop"] == "is a link that leads back to itself"


def test_a_link_to_a_file_inside_is_read_where_it_stands(tmp_path: Path) -> None:
    tree(tmp_path, "AGENTS.md")
    (tmp_path / "CLAUDE.md").symlink_to("AGENTS.md")
    agents, claude = walk([tmp_path], on_skip=pytest.fail)
    assert (agents.link, claude.link) == (False, True)
    assert claude.path.endswith("CLAUDE.md")
    assert (claude.size, claude.inode) == (agents.size, agents.inode)


def test_a_link_that_is_named_is_read_wherever_it_leads(tmp_path: Path) -> None:
    tree(tmp_path, "outside/c.py", "inside/.env", "inside/x")
    (tmp_path / "inside" / "c").symlink_to(tmp_path / "outside" / "c.py")
    (tmp_path / "inside" / "d").symlink_to(".env")
    named = [tmp_path / "inside" / "c", tmp_path / "inside" / "d"]
    assert walked(*named, base=tmp_path) == (["inside/c"], {"inside/d": CREDENTIALS})


def test_special_files_are_skipped_with_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "linked").symlink_to("pipe")
    # A socket's path may be no longer than 107 bytes, so it is bound by its short name.
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("sock")
        found, reasons = walked(tmp_path)
    assert found == []
    assert reasons["pipe"] == reasons["linked"] == "is a named pipe"
    assert reasons["sock"] == "is a socket"
    assert walked(tmp_path / "pipe", base=tmp_path) == ([], {"pipe": "is a named pipe"})


def test_a_name_that_is_not_utf8_is_skipped_and_can_be_printed(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    try:
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    skipped: list[Skipped] = []
    assert list(walk([tmp_path], on_skip=skipped.append)) == []
    assert skipped[0].path.endswith("caf\\xe9.txt")
    assert "not valid UTF-8" in skipped[0].reason


def test_a_tree_deeper_than_pythons_stack_is_walked(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    tree(tmp_path, "d/" * 400 + "f")
    request.addfinalizer(partial(sys.setrecursionlimit, sys.getrecursionlimit()))
    sys.setrecursionlimit(len(inspect.stack()) + 200)
    found = list(walk([tmp_path], on_skip=pytest.fail))
    assert len(found) == 1


def test_a_path_longer_than_the_system_takes_is_skipped(tmp_path: Path) -> None:
    here, opened = os.open(tmp_path, os.O_RDONLY), []
    for _ in range(20):
        os.mkdir("d" * 240, dir_fd=here)
        opened.append(here)
        here = os.open("d" * 240, os.O_RDONLY, dir_fd=here)
    os.close(here)
    assert list(walked(tmp_path)[1].values()) == ["its path is too long for this system"]
    for folder in reversed(opened):
        os.rmdir("d" * 240, dir_fd=folder)
        os.close(folder)


# Everything is imported before the rights are dropped: the other user need not reach our code.
AS_NOBODY = """
import os, sys
from pathlib import Path
from ifmem.ingest.files import read_file
from ifmem.ingest.walk import walk
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
skipped = []
found = list(walk([Path(sys.argv[1])], on_skip=skipped.append))
results = [*skipped, *(read_file(one, max_bytes=1000) for one in found)]
print("\\n".join(f"{os.path.basename(one.path)}: {one.reason}" for one in results))
"""


def test_what_another_user_may_not_read_is_skipped_with_the_reason(tmp_path: Path) -> None:
    tree(tmp_path, "closed/a.py", "secret.py")
    (tmp_path / "closed").chmod(0)
    (tmp_path / "secret.py").chmod(0)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.owner() == tmp_path.owner() and parent.name.startswith(
            ("pytest", "popen", "test_")
        ):
            parent.chmod(0o755)
    try:
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "closed: not readable: permission denied",
        "secret.py: not readable: permission denied",
    ]
