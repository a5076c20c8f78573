"""The shim means the same home and space as every other command does."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from ifmem.errors import ConfigError
from ifmem.settings import as_flags, read_settings
from ifmem.shim.places import Place, place


def _by_settings(
    flags: dict[str, str | None], environment: dict[str, str], directory: Path
) -> Place:
    given = as_flags(list(flags.items()))
    settings, _ = read_settings(flags=given, environment=environment, directory=directory)
    return Place(settings.home_path, settings.space)


def _write(file: Path, home: str | None, space: str | None) -> None:
    said = {"home": home, "space": space}
    lines = [f'{name} = "{value}"' for name, value in said.items() if value is not None]
    file.write_text("\n".join([*lines, "[mcp]", "connections = 3", ""]), encoding="utf-8")


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("sources", list(itertools.product([False, True], repeat=4)))
def test_home_and_space_are_those_of_the_settings_whatever_says_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: tuple[bool, ...], named: bool
) -> None:
    flag, variable, project, user = sources
    desk = tmp_path / "project" / "below"
    desk.mkdir(parents=True)
    config = tmp_path / "config"
    (config / "ifmem").mkdir(parents=True)
    environment = {"XDG_CONFIG_HOME": str(config), "XDG_DATA_HOME": str(tmp_path / "data")}
    # The settings take the data directory from the process itself.
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    file = config / "ifmem" / "config.toml"
    if named:
        file = tmp_path / "mine.toml"
        environment["IFMEM_CONFIG"] = str(file)
        file.touch()
    if user:
        _write(file, "~/of-user", "of-user")
    if project:
        _write(desk.parent / ".ifmem.toml", None if user else "relative/of-project", "of-project")
    if variable:
        environment |= {"IFMEM_HOME": "" if flag else "/of/environment", "IFMEM_SPACE": "variable"}
    flags = {"home": "of-flag", "space": None if project else "flag"} if flag else {}
    found = place(
        home=flags.get("home"), space=flags.get("space"), environment=environment, directory=desk
    )
    assert found == _by_settings(flags, environment, desk)


@pytest.mark.parametrize("text", ["home = 5", "space = true", "home = [", "[home]\nat = 1"])
def test_a_file_that_says_no_name_is_refused_by_both(tmp_path: Path, text: str) -> None:
    (tmp_path / ".ifmem.toml").write_text(text, encoding="utf-8")
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    with pytest.raises(ConfigError) as told:
        place(home=None, space=None, environment=environment, directory=tmp_path)
    assert ".ifmem.toml" in told.value.message
    with pytest.raises(ConfigError):
        _by_settings({}, environment, tmp_path)


def test_a_named_file_that_is_not_there_is_refused_by_both(tmp_path: Path) -> None:
    environment = {"IFMEM_CONFIG": str(tmp_path / "absent.toml")}
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        place(home=None, space=None, environment=environment, directory=tmp_path)
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        _by_settings({}, environment, tmp_path)
