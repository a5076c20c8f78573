"""Settings: one frozen value, read once from flags, environment, project, user and defaults."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from ifmem.archive_settings import (
    ArchiveSettings,
    LibrarianEntry,
    QuotaEntry,
    SessionSettings,
    TrustSettings,
)
from ifmem.domain.document import Kind
from ifmem.domain.shard import Speciality
from ifmem.domain.space import DEFAULT_SPACE, require_space
from ifmem.engine.placement import DEFAULT_RULES, PlacementRule
from ifmem.errors import ConfigError, Invalid
from ifmem.model_settings import (
    BudgetSettings,
    LocalSettings,
    ModelSettings,
    PriceEntry,
    ProviderEntry,
)
from ifmem.places import USER_FILE, project_file, user_config_directory, user_data_directory

ENVIRONMENT_PREFIX = "IFMEM_"

Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=366 * 86_400)]
"""A year at most: what is longer, or infinite, is no duration that a timer takes."""


class RedisSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str = ""
    """External Redis >= 7 or Valkey: redis://, rediss:// or unix://; the primary that Sentinels
    watch: redis+sentinel://HOST:PORT,.../NAME; a Cluster: redis+cluster://HOST:PORT,... (rediss+
    for TLS). Empty: the embedded server."""
    idle_seconds: Seconds = 600.0
    """The embedded server stops after this long without a client."""


class BusSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    backlog: Annotated[int, msgspec.Meta(ge=100)] = 10_000
    """Entries the store may be behind; above it nothing new is taken."""
    lease_seconds: Annotated[float, msgspec.Meta(ge=1, le=3_600)] = 15.0
    """A bridge that is silent for this long may be replaced by one of another store."""
    commit_seconds: Seconds = 30.0
    """How long a writer waits for the store's commit before the outcome is unknown."""
    outage_seconds: Seconds = 15.0
    """How long a call waits for a bus that is away."""


class ShardSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    capacity: Annotated[int, msgspec.Meta(ge=8_000)] = 200_000
    """o200k tokens a new shard may hold; the least still takes any single passage."""
    limit: Annotated[int, msgspec.Meta(ge=4)] = 512
    """Shards a space may have; past it a load is refused, never trimmed."""
    live_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    """The least share of live shards with which a question for all of them is asked."""


class WorkerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    heartbeat_seconds: Seconds = 15.0
    """Time between heartbeats."""
    expiry_seconds: Positive = 60
    """A worker without a heartbeat for this long is dead."""


class DaemonSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    idle_seconds: Seconds = 3600.0
    """The daemon stops after this long without a connected client."""


class IngestSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    max_file_bytes: Positive = 32 * 1024 * 1024
    """A larger file is skipped, with the reason in the report."""
    git_commits: Annotated[int, msgspec.Meta(ge=0)] = 200
    """Recent commit messages read from a loaded git work tree; 0 reads none."""
    allow: tuple[str, ...] = ()
    """Patterns, as in .gitignore, of files to load although they look like credentials."""


class AskSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    deadline_seconds: Seconds = 10.0
    """An answer returns by then and names the shards that did not."""


class RecallSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    max_tokens: Positive = 2_000
    """The token budget of a recall that names none."""


class RetrievalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    semantic: Literal["auto", "off"] = "auto"
    """Whether the sentence encoder ranks too; auto: when the extra `semantic` is installed."""


class FindingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    window: Positive = 100_000
    """The newest findings kept on the bus; older ones are served from the store."""


class McpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    calls_per_minute: Positive = 1_200
    """Of one agent; half a minute's worth may come at once."""
    concurrent_calls: Positive = 32
    """Of one agent that are done at once; further ones are refused."""
    max_request_bytes: Annotated[int, msgspec.Meta(ge=10_000)] = 4 * 1024 * 1024
    """A larger request is refused: larger texts are loaded from files."""
    connections: Positive = 256
    """Shims, or HTTP connections, served at once."""


class ServeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8_765
    """Of `ifmem serve`, on 127.0.0.1; 0 takes a free one."""
    allow_hosts: tuple[str, ...] = ()
    """Further Host headers to take: the names by which a proxy of your own reaches this port."""
    issuer: str = ""
    """The issuer whose JWTs are taken beside this home's tokens; empty: none."""
    audience: str = ""
    """What those JWTs must be made for."""
    jwks: str = ""
    """The file with that issuer's public keys, as a JWK set; it is read again when it changes."""


class CaptureSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    retention_days: Positive = 30
    """What was captured longer ago is removed."""


class PlacementEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    speciality: Speciality
    kinds: tuple[Kind, ...] = ()
    paths: tuple[str, ...] = ()

    def rule(self) -> PlacementRule:
        """The entry as the rule that ``engine.placement`` applies."""
        return PlacementRule(self.speciality, frozenset(self.kinds), self.paths)


def _default_placement() -> tuple[PlacementEntry, ...]:
    return tuple(
        PlacementEntry(rule.speciality, tuple(sorted(rule.kinds)), rule.paths)
        for rule in DEFAULT_RULES
    )


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a person may set. TOML tables have the names of the fields."""

    home: str = ""
    """Where the store, the sockets and the logs lie. Empty: the user's data directory."""
    space: str = DEFAULT_SPACE
    role: Literal["owner", "client"] = "owner"
    """An owner has the space's store; a client has none and forwards its calls to the owner."""
    run: str = "-"
    """Tasks and findings of one run are kept apart from those of others; `-` names no run."""
    redis: RedisSettings = RedisSettings()
    bus: BusSettings = BusSettings()
    shards: ShardSettings = ShardSettings()
    worker: WorkerSettings = WorkerSettings()
    daemon: DaemonSettings = DaemonSettings()
    ingest: IngestSettings = IngestSettings()
    ask: AskSettings = AskSettings()
    recall: RecallSettings = RecallSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    roots: tuple[str, ...] = ()
    """Directories besides an agent's project whose files it may load and cite; a project's own
    file cannot set them."""
    mcp: McpSettings = McpSettings()
    serve: ServeSettings = ServeSettings()
    capture: CaptureSettings = CaptureSettings()
    findings: FindingSettings = FindingSettings()
    models: ModelSettings = ModelSettings()
    local: LocalSettings = LocalSettings()
    budget: BudgetSettings = BudgetSettings()
    providers: tuple[ProviderEntry, ...] = ()
    """Tables `[[providers]]`: servers of models, beside those built in."""
    prices: tuple[PriceEntry, ...] = ()
    """Tables `[[prices]]`: prices of your own, which win over the table."""
    sessions: SessionSettings = SessionSettings()
    archive: ArchiveSettings = ArchiveSettings()
    librarians: tuple[LibrarianEntry, ...] = ()
    """Tables `[[librarians]]`: those that are not extractive, or have a number of calls of their
    own."""
    quotas: tuple[QuotaEntry, ...] = ()
    """Tables `[[quotas]]`: how often a provider's key may be used, shared by all spaces."""
    trust: TrustSettings = TrustSettings()
    placement: tuple[PlacementEntry, ...] = msgspec.field(default_factory=_default_placement)
    """Which speciality a document belongs to; the first entry that matches wins."""

    @property
    def home_path(self) -> Path:
        """The home as an absolute path."""
        home = Path(self.home) if self.home else user_data_directory(os.environ)
        return home.expanduser().absolute()

    def placement_rules(self) -> tuple[PlacementRule, ...]:
        """The placement table as rules."""
        return tuple(entry.rule() for entry in self.placement)


class Origin(msgspec.Struct, frozen=True):
    """One setting, its value, and where it was read."""

    name: str
    value: object
    origin: str


def read_settings(
    *,
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    directory: Path,
) -> tuple[Settings, tuple[Origin, ...]]:
    """The settings and the origin of each, by precedence flag > env > project > user > default.

    Args:
        flags: dotted names with values, for those the command line gave.
        environment: variables; ``IFMEM_SHARDS__CAPACITY`` sets ``shards.capacity``, and so does
            ``IFMEM_SHARDS_CAPACITY``.
        directory: where the person stands; the nearest ``.ifmem.toml`` above is the project's.

    Raises:
        ConfigError: an unknown name or an impossible value, with the place it came from.
    """
    layers: list[tuple[str, dict[str, object]]] = [
        ("default", dict(_flat(msgspec.to_builtins(Settings()))))
    ]
    for label, path in (("user", user_file(environment)), ("project", project_file(directory))):
        if path is not None and path.is_file():
            values = _checked(str(path), _read_toml(path))
            if label == "project":
                _require_harmless(path, values)
            layers.append((f"{label} {path}", values))
    layers.append(("environment", _checked("the environment", _from_environment(environment))))
    layers.append(("flag", _checked("the command line", dict(flags))))
    merged: dict[str, Origin] = {}
    for origin, values in layers:
        merged |= {name: Origin(name, value, origin) for name, value in values.items()}
    tree = _tree({name: entry.value for name, entry in merged.items()})
    settings = msgspec.convert(tree, Settings, strict=False)
    return settings, tuple(sorted(merged.values(), key=lambda entry: entry.name))


def without_password(url: str) -> str:
    """A URL with its passwords left out, those among its options as well."""
    scheme, separator, rest = url.partition("://")
    credentials, server = _split_credentials(rest)
    user = credentials.partition(":")[0]
    shown = _without_options(server, "password")
    return f"{scheme}{separator}{user}@{shown}" if user else f"{scheme}{separator}{shown}"


def server_of(url: str) -> str:
    """What a URL names, whoever asks: without user and password, its hosts in order."""
    scheme, _, rest = url.partition("://")
    server = _without_options(_split_credentials(rest)[1], "password", "username")
    hosts, slash, path = server.partition("/")
    return f"{scheme}://{','.join(sorted(hosts.split(',')))}{slash}{path}".rstrip("/")


def _split_credentials(rest: str) -> tuple[str, str]:
    # Up to the last @, so that no part of a password that should have been quoted is shown. The
    # path of a socket may have an @ of its own.
    if rest.startswith("/"):
        return "", rest
    credentials, _, server = rest.rpartition("@")
    return credentials, server


def _without_options(server: str, *left_out: str) -> str:
    place, _, options = server.partition("?")
    kept = [
        option
        for option in options.split("&")
        if option and not any(name in option.partition("=")[0].lower() for name in left_out)
    ]
    return f"{place}?{'&'.join(kept)}" if kept else place


def user_file(environment: Mapping[str, str]) -> Path:
    """The user's TOML; ``IFMEM_CONFIG`` names another.

    Raises:
        ConfigError: the named one is not there.
    """
    named = environment.get("IFMEM_CONFIG")
    if named:
        if not Path(named).exists():
            raise ConfigError(f"IFMEM_CONFIG names {named}, which does not exist: correct it")
        return Path(named)
    return user_config_directory(environment) / USER_FILE


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return dict(_flat(tomllib.loads(path.read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    known = {name.replace(".", "__").upper(): name for name in _names()}
    known |= {name.replace(".", "_").upper(): name for name in _names()}
    values: dict[str, object] = {}
    for variable, text in environment.items():
        name = known.get(variable.removeprefix(ENVIRONMENT_PREFIX))
        # Other IFMEM_ variables belong to other parts (weights, tests) and are not settings.
        if variable.startswith(ENVIRONMENT_PREFIX) and name is not None:
            values[name] = text.split(",") if isinstance(_default(name), (list, tuple)) else text
    return values


def _checked(place: str, values: dict[str, object]) -> dict[str, object]:
    """The values when each alone makes valid settings; blames the place otherwise."""
    for name, value in values.items():
        try:
            require_space(msgspec.convert(_tree({name: value}), Settings, strict=False).space)
        except (msgspec.ValidationError, Invalid) as error:
            raise ConfigError(
                f"{place}: {name} = {str(value)[:80]!r} cannot be used: {error}", setting=name
            ) from error
    return values


def _require_harmless(path: Path, values: Mapping[str, object]) -> None:
    """Whoever wrote a project must not widen what its agents may read, or who may log in."""
    for name in values:
        if name == "roots" or name.startswith("serve."):
            raise ConfigError(
                f"{path}: {name} can only be set by you, not by a project: move it to your own "
                "config.toml",
                setting=name,
            )


def _names() -> list[str]:
    return [name for name, _ in _flat(msgspec.to_builtins(Settings()))]


def _default(name: str) -> object:
    return dict(_flat(msgspec.to_builtins(Settings())))[name]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _tree(flat: Mapping[str, object]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *tables, last = name.split(".")
        place = tree
        for table in tables:
            place = place.setdefault(table, {})
        place[last] = value
    return tree


def as_flags(pairs: Sequence[tuple[str, object | None]]) -> dict[str, object]:
    """The flags that were given: those whose value is not None."""
    return {name: value for name, value in pairs if value is not None}
