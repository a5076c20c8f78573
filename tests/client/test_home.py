"""The home directory, its locks, and where its sockets lie."""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ifmem.client.home import held, is_held, prepare_home
from ifmem.errors import NotPermitted, Unavailable
from ifmem.sockets import MAX_SOCKET_BYTES, socket_path

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")


def test_a_new_home_is_its_owners_alone(tmp_path: Path) -> None:
    home = tmp_path / "data" / "ifmem"
    prepare_home(home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_home_is_prepared_again_without_harm(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    prepare_home(tmp_path)
    assert (tmp_path / "kept").read_text() == "kept"


@pytest.mark.parametrize("below", [".", "deeper"])
def test_a_home_that_is_a_file_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotPermitted, match="is a file"):
        prepare_home(tmp_path / "file" / below)


@as_root
def test_a_home_of_another_user_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    os.chown(home, 12345, 12345)
    with pytest.raises(NotPermitted, match="12345"):
        prepare_home(home)


def test_a_home_in_which_anybody_may_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(NotPermitted, match="chmod 700"):
        prepare_home(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_home_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(NotPermitted, match="cannot be written"):
        prepare_home(tmp_path)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a place nobody can write in")
def test_a_home_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(NotPermitted, match="cannot be made"):
        prepare_home(Path("/proc/self/ifmem"))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_lock_is_seen_while_somebody_holds_it(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    assert not is_held(lock)
    with _locked(lock):
        assert is_held(lock)
    assert not is_held(lock)


def test_waiting_for_a_lock_ends(tmp_path: Path) -> None:
    async def wait() -> None:
        async with held(tmp_path / "a.lock", within=0.05):
            pytest.fail("it was held by somebody else")

    with _locked(tmp_path / "a.lock"), pytest.raises(Unavailable, match=r"a\.lock"):
        asyncio.run(wait())


def test_a_lock_excludes_others_until_it_is_left(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"

    async def hold() -> bool:
        async with held(lock, within=1):
            return is_held(lock)

    assert asyncio.run(hold())
    assert not is_held(lock)


def test_a_socket_lies_in_its_home_when_the_path_fits(tmp_path: Path) -> None:
    home = Path("/" + "h" * (MAX_SOCKET_BYTES - len("/" + "/d.sock")))
    assert socket_path(home, "d.sock") == home / "d.sock"


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's, as a test's own need not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        yield Path(directory)


def test_the_socket_of_a_deep_home_lies_in_a_private_short_place(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    deep, other = short / ("d" * 120), short / ("e" * 120)
    path = socket_path(deep, "d.sock")
    assert path == socket_path(deep, "d.sock")
    assert path != socket_path(other, "d.sock")
    assert path.name.endswith("-d.sock")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@as_root
def test_a_short_place_that_somebody_else_made_is_refused(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    planted = short / f"ifmem-{os.geteuid()}"
    planted.mkdir()
    os.chown(planted, 12345, 12345)
    with pytest.raises(NotPermitted, match="shorter path"):
        socket_path(short / ("d" * 120), "d.sock")


def test_a_short_place_that_is_a_link_is_refused(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    (short / "elsewhere").mkdir()
    (short / f"ifmem-{os.geteuid()}").symlink_to(short / "elsewhere")
    with pytest.raises(NotPermitted):
        socket_path(short / ("d" * 120), "d.sock")
