"""Settings: who wins, where each came from, and who is blamed for a bad one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ifmem.domain.document import Kind
from ifmem.domain.shard import Speciality
from ifmem.engine.placement import DEFAULT_RULES, speciality_of
from ifmem.errors import ConfigError
from ifmem.places import project_file
from ifmem.settings import Settings, as_flags, read_settings, user_file

CAPACITY = "shards.capacity"


class Desk:
    """A person's files, variables and directory."""

    def __init__(self, path: Path) -> None:
        self.user = path / "config.toml"
        self.project = path / "project" / ".ifmem.toml"
        self.directory = self.project.parent / "src" / "deep"
        self.directory.mkdir(parents=True)
        self.user.touch()
        self.variables = {"IFMEM_CONFIG": str(self.user), "PATH": "/bin"}

    def read(self, flags: Mapping[str, object] | None = None) -> Settings:
        return self.read_with_origins(flags)[0]

    def read_with_origins(
        self, flags: Mapping[str, object] | None = None
    ) -> tuple[Settings, dict[str, str]]:
        settings, origins = read_settings(
            flags=flags or {}, environment=self.variables, directory=self.directory
        )
        return settings, {entry.name: entry.origin for entry in origins}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_each_place_yields_to_the_one_nearer_to_the_call(desk: Desk) -> None:
    def capacity_and_origin(flags: Mapping[str, object] | None = None) -> tuple[int, str]:
        settings, origins = desk.read_with_origins(flags)
        return settings.shards.capacity, origins[CAPACITY]

    assert capacity_and_origin() == (200_000, "default")
    desk.user.write_text("[shards]\ncapacity = 10000\n")
    assert capacity_and_origin() == (10_000, f"user {desk.user}")
    desk.project.write_text("[shards]\ncapacity = 20000\n")
    assert capacity_and_origin() == (20_000, f"project {desk.project}")
    desk.variables["IFMEM_SHARDS__CAPACITY"] = "30000"
    assert capacity_and_origin() == (30_000, "environment")
    assert capacity_and_origin({CAPACITY: 40_000}) == (40_000, "flag")


def test_a_place_that_sets_one_value_of_a_table_leaves_the_others(desk: Desk) -> None:
    desk.user.write_text("[worker]\nexpiry_seconds = 30\nheartbeat_seconds = 5\n")
    desk.project.write_text("[worker]\nexpiry_seconds = 90\n")
    settings, origins = desk.read_with_origins()
    assert (settings.worker.expiry_seconds, settings.worker.heartbeat_seconds) == (90, 5.0)
    assert origins["worker.heartbeat_seconds"] == f"user {desk.user}"


def test_every_setting_has_an_origin(desk: Desk) -> None:
    _, origins = desk.read_with_origins()
    assert set(origins.values()) == {"default"}
    assert {"home", "space", "redis.url", "ingest.allow", "placement"} <= set(origins)
    assert list(origins) == sorted(origins)


@pytest.mark.parametrize("variable", ["IFMEM_REDIS_URL", "IFMEM_REDIS__URL"])
def test_a_variable_may_join_a_table_and_a_name_with_one_or_two_underscores(
    desk: Desk, variable: str
) -> None:
    desk.variables[variable] = "redis://10.0.0.7:6379/2"
    assert desk.read().redis.url == "redis://10.0.0.7:6379/2"


def test_a_list_comes_from_the_environment_with_commas(desk: Desk) -> None:
    desk.variables["IFMEM_INGEST_ALLOW"] = "*.pem,.env.example"
    assert desk.read().ingest.allow == ("*.pem", ".env.example")


def test_variables_of_others_are_left_alone(desk: Desk) -> None:
    desk.variables |= {"SHARDS_CAPACITY": "9", "IFMEM_WEIGHTS": "/models", "HOME": "/x"}
    assert desk.read() == Settings()


def test_a_project_is_found_from_below_and_the_nearest_wins(desk: Desk, tmp_path: Path) -> None:
    desk.project.write_text('space = "outer"\n')
    assert project_file(desk.directory) == desk.project
    nearer = desk.directory.parent / ".ifmem.toml"
    nearer.write_text('space = "inner"\n')
    assert desk.read().space == "inner"
    nearer.unlink()
    desk.project.unlink()
    assert desk.read().space == "default"


def test_the_user_may_name_another_file(desk: Desk) -> None:
    assert user_file({}).name == "config.toml"
    assert user_file(desk.variables) == desk.user


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("[shards]\ncapacity = 7999\n", "shards.capacity"),
        ('[shards]\ncapacity = "many"\n', "shards.capacity"),
        ("[shards]\ncapcity = 10000\n", "shards.capcity"),
        ("shards = 5\n", "shards"),
        ("[worker]\nexpiry_seconds = 0\n", "worker.expiry_seconds"),
        ("[ask]\ndeadline_seconds = -1.0\n", "ask.deadline_seconds"),
        ("[ask]\ndeadline_seconds = nan\n", "ask.deadline_seconds"),
        ("[ask]\ndeadline_seconds = inf\n", "ask.deadline_seconds"),
        ('space = "No Such"\n', "space"),
        ('[[placement]]\nspeciality = "cooking"\n', "placement"),
        ('[[placement]]\nspeciality = "files-git"\nkinds = ["poem"]\n', "placement"),
    ],
)
def test_a_bad_value_in_a_file_names_the_file_and_the_setting(
    desk: Desk, text: str, setting: str
) -> None:
    desk.project.write_text(text)
    with pytest.raises(ConfigError) as caught:
        desk.read()
    assert str(desk.project) in caught.value.message
    assert setting in caught.value.message
    assert caught.value.facts["setting"] == setting


def test_a_bad_value_in_the_environment_or_a_flag_names_its_place(desk: Desk) -> None:
    with pytest.raises(ConfigError, match=r"the command line: shards\.limit = '3'"):
        desk.read({"shards.limit": 3})
    desk.variables["IFMEM_SHARDS_LIMIT"] = "four"
    with pytest.raises(ConfigError, match=r"the environment: shards\.limit = 'four'"):
        desk.read()


def test_a_bad_value_is_refused_even_where_a_better_one_would_win(desk: Desk) -> None:
    desk.user.write_text("[shards]\ncapacity = 1\n")
    with pytest.raises(ConfigError, match=r"config\.toml: shards\.capacity = '1'"):
        desk.read({CAPACITY: 40_000})


def test_a_file_that_is_no_toml_is_named(desk: Desk) -> None:
    for damage in (b"[shards\n", b'space = "\xff"\n'):
        desk.project.write_bytes(damage)
        with pytest.raises(ConfigError, match="cannot be read as TOML") as caught:
            desk.read()
        assert str(desk.project) in caught.value.message


def test_without_a_table_documents_are_placed_by_the_default_rules(desk: Desk) -> None:
    settings = desk.read()
    assert [rule.speciality for rule in settings.placement_rules()] == [
        rule.speciality for rule in DEFAULT_RULES
    ]
    assert settings.placement_rules() == DEFAULT_RULES


def test_a_placement_table_in_toml_replaces_the_default_in_its_order(desk: Desk) -> None:
    desk.project.write_text(
        """
        [[placement]]
        speciality = "coordination-decision"
        paths = ["meetings/", "*.minutes.md"]

        [[placement]]
        speciality = "testing-validation"
        kinds = ["prose", "code"]
        """
    )
    rules = desk.read().placement_rules()
    assert len(rules) == 2
    assert speciality_of(Kind.PROSE, "p/meetings/may.md", rules) is Speciality.COORDINATION_DECISION
    assert speciality_of(Kind.PROSE, "p/may.minutes.md", rules) is Speciality.COORDINATION_DECISION
    assert speciality_of(Kind.CODE, "p/main.py", rules) is Speciality.TESTING_VALIDATION


def test_a_home_is_absolute_and_knows_the_tilde(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert desk.read({"home": "~/memory"}).home_path == tmp_path / "memory"
    assert desk.read().home_path.is_absolute()


def test_flags_that_were_not_given_set_nothing() -> None:
    assert as_flags([("space", None), ("home", ""), ("shards.limit", 0)]) == {
        "home": "",
        "shards.limit": 0,
    }
