"""Which home and space an agent means: as ``settings.read_settings`` decides, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ifmem.errors import ConfigError
from ifmem.places import USER_FILE, project_file, user_config_directory, user_data_directory

DEFAULT_SPACE = "default"


class Place(NamedTuple):
    """Where a memory lies."""

    home: Path
    """Absolute."""
    space: str


def place(
    *, home: str | None, space: str | None, environment: Mapping[str, str], directory: Path
) -> Place:
    """The home and the space, by precedence flag > environment > project > user > default.

    Args:
        home, space: the flags; None where they were not given.
        directory: the project's, or below it.

    Raises:
        ConfigError: a settings file cannot be read, or says what is no name.
    """
    said: dict[str, str] = {"home": "", "space": DEFAULT_SPACE}
    for file in (_user_file(environment), project_file(directory)):
        if file is not None:
            said |= _read(file)
    for name, flag in (("home", home), ("space", space)):
        value = environment.get(f"IFMEM_{name.upper()}") if flag is None else flag
        if value is not None:
            said[name] = value
    found = Path(said["home"]) if said["home"] else user_data_directory(environment)
    return Place(found.expanduser().absolute(), said["space"])


def _user_file(environment: Mapping[str, str]) -> Path | None:
    named = environment.get("IFMEM_CONFIG")
    if named and not Path(named).exists():
        raise ConfigError(f"IFMEM_CONFIG names {named}, which does not exist: correct it")
    file = Path(named) if named else user_config_directory(environment) / USER_FILE
    return file if file.is_file() else None


def _read(file: Path) -> dict[str, str]:
    # Only where somebody has written settings: it takes longer than connecting.
    import tomllib

    try:
        told = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} cannot be read as TOML: {error}") from error
    values: dict[str, str] = {}
    for name in ("home", "space"):
        value = told.get(name, "")
        if not isinstance(value, str):
            raise ConfigError(
                f"{file}: {name} = {str(value)[:80]!r} cannot be used: write a text in quotes",
                setting=name,
            )
        if name in told:
            values[name] = value
    return values
