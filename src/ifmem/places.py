"""Where a person's files lie: the data directory, the user's and the project's settings.

Of the standard library only: the shim of an agent looks here before anything else is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

PROJECT_FILE = ".ifmem.toml"
USER_FILE = "config.toml"
SPOOL = "captured.jsonl"
"""In the home: what hooks saw while no daemon ran."""


def user_data_directory(environment: Mapping[str, str]) -> Path:
    """Where programs of this user keep data: XDG's directory, or macOS's."""
    return _user_directory(environment, "XDG_DATA_HOME", ".local/share")


def user_config_directory(environment: Mapping[str, str]) -> Path:
    """Where programs of this user keep settings."""
    return _user_directory(environment, "XDG_CONFIG_HOME", ".config")


def project_file(directory: Path) -> Path | None:
    """The nearest ``.ifmem.toml`` at or above a directory."""
    for folder in (directory, *directory.parents):
        if (folder / PROJECT_FILE).is_file():
            return folder / PROJECT_FILE
    return None


def _user_directory(environment: Mapping[str, str], variable: str, fallback: str) -> Path:
    named = environment.get(variable, "").strip()
    if named and Path(named).is_absolute():
        return Path(named) / "ifmem"
    if sys.platform == "darwin":
        return Path("~/Library/Application Support/ifmem").expanduser()
    return Path("~").expanduser() / fallback / "ifmem"
