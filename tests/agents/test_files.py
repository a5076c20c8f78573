"""An agent's file on the disk: replaced in one step, with a copy beside it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ifmem.agents import files
from ifmem.agents.files import Change
from ifmem.errors import Failed

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_the_copy_is_what_was_there_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(b'{"a": 1}\r\n')
    backup = files.write(Change(path, files.read(path), '{"a": 2}\r\n'), NOON)
    assert backup == tmp_path / "settings.json.ifmem-20261123T120000Z.bak"
    assert backup.read_bytes() == b'{"a": 1}\r\n'
    assert path.read_bytes() == b'{"a": 2}\r\n'
    assert sorted(tmp_path.iterdir()) == [path, backup]


def test_a_second_copy_of_one_second_has_a_name_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("1")
    first = files.write(Change(path, "1", "2"), NOON)
    second = files.write(Change(path, "2", "3"), NOON)
    assert first is not None and second is not None and first != second
    assert (first.read_text(), second.read_text(), path.read_text()) == ("1", "2", "3")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_the_mode_stays(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "f"
    path.write_text("1")
    path.chmod(mode)
    backup = files.write(Change(path, "1", "2"), NOON)
    assert backup is not None
    assert [one.stat().st_mode & 0o777 for one in (path, backup)] == [mode, mode]


def test_a_new_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    path, other = tmp_path / "new" / "f", tmp_path / "other"
    assert files.write(Change(path, None, "1"), NOON) is None
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


def test_a_link_stays_a_link_and_its_file_is_edited(tmp_path: Path) -> None:
    kept, link = tmp_path / "dotfiles" / "config", tmp_path / "config"
    kept.parent.mkdir()
    kept.write_text("1")
    link.symlink_to(kept)
    backup = files.write(Change(link, files.read(link), "2"), NOON)
    assert link.is_symlink() and kept.read_text() == "2"
    assert backup is not None and backup.parent == kept.parent


def test_a_file_that_somebody_changed_meanwhile_is_left_to_them(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("theirs")
    with pytest.raises(Failed, match="run the same again"):
        files.write(Change(path, "as read", "ours"), NOON)
    assert [one.read_text() for one in tmp_path.iterdir()] == ["theirs"]


def test_a_file_that_was_made_for_the_entry_is_removed_with_it(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("ours")
    backup = files.write(Change(path, "ours", None), NOON)
    assert backup is not None and list(tmp_path.iterdir()) == [backup]


def test_a_place_that_cannot_be_written_is_told_and_nothing_is_left_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Failed, match="cannot be written"):
        files.write(Change(tmp_path / "file" / "f", None, "1"), NOON)
    (tmp_path / "taken").mkdir()
    with pytest.raises(Failed, match="cannot be"):
        files.write(Change(tmp_path / "taken", None, "1"), NOON)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "taken"]


def test_a_text_that_is_none_leaves_the_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "f"
    # As of a home whose path is no UTF-8.
    with pytest.raises(Failed, match="cannot be written"):
        files.write(Change(path, None, "\udcff"), NOON)
    assert list(tmp_path.iterdir()) == []


def test_a_diff_of_a_long_file_shows_the_lines_around_the_change_by_their_numbers() -> None:
    lines = [f"line {number}\n" for number in range(1, 20_001)]
    changed = [*lines[:10_000], "ours\n", *lines[10_000:]]
    diff = Change(Path("/f"), "".join(lines), "".join(changed)).diff
    assert diff.splitlines() == [
        *("--- /f", "+++ /f", "@@ -9998,6 +9998,7 @@"),
        *(f" line {number}" for number in (9_998, 9_999, 10_000)),
        "+ours",
        *(f" line {number}" for number in (10_001, 10_002, 10_003)),
    ]


def test_a_diff_shows_no_credential_of_the_lines_around() -> None:
    token = "ghp_" + "x1Y2" * 9
    before = f'{{\n  "env": {{"TOKEN": "{token}"}}\n}}\n'
    diff = Change(Path("/f"), before, before.replace("}\n}", '},\n  "ours": 1\n}')).diff
    assert "ours" in diff and token not in diff


def test_a_missing_end_of_line_is_shown() -> None:
    diff = Change(Path(os.devnull), "a", None).diff
    assert diff.endswith("-a\n\\ No newline at end of file\n")
