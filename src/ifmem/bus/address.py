"""What a Redis URL says: one server, or Sentinels or nodes of a Cluster to ask for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from redis.asyncio.connection import parse_url

from ifmem.errors import ConfigError
from ifmem.settings import without_password

Topology = Literal["single", "sentinel", "cluster"]
Node = tuple[str, int]
"""Host and port."""

FORMS = (
    "redis://, rediss:// or unix://, redis+sentinel://HOST:PORT,…/NAME, "
    "redis+cluster://HOST:PORT,…, with rediss+ for TLS"
)
_SENTINEL_PORT = 26379
_REDIS_PORT = 6379
_OF_SENTINELS = ("sentinel_username", "sentinel_password")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A URL, taken apart."""

    url: str
    topology: Topology
    nodes: tuple[Node, ...]
    """Sentinels, or nodes of the Cluster, or the one server; none for a Unix socket."""
    options: Mapping[str, Any]
    """What each connection to a server is given: credentials, database, TLS, a socket's path."""
    sentinel_options: Mapping[str, Any]
    """What each connection to a Sentinel is given."""
    primary: str
    """The name that the Sentinels know the primary by."""

    @property
    def tls(self) -> bool:
        """True when connections are encrypted."""
        return urlsplit(self.url).scheme.startswith("rediss")

    @property
    def shown(self) -> str:
        """The URL without its passwords."""
        return without_password(self.url)


def read_url(url: str) -> Address:
    """Take a URL apart.

    Raises:
        ConfigError: it is none that is understood; the message names the forms, and no password.
    """
    try:
        parts = urlsplit(url)
        scheme, _, topology = parts.scheme.partition("+")
        if scheme not in ("redis", "rediss", "unix") or (scheme == "unix" and topology):
            raise ValueError("unknown scheme")
        match topology:
            case "":
                return _single(url, parts)
            case "sentinel":
                return _sentinel(url, parts, scheme)
            case "cluster":
                return _cluster(url, parts, scheme)
            case _:
                raise ValueError("unknown topology")
    except ValueError as error:
        # What the parsers say may quote the password: our own reasons only.
        reason = f" ({error})" if isinstance(error, _Unusable) else ""
        raise ConfigError(
            f"{without_password(url)!r} is no Redis URL{reason}: use {FORMS}"
        ) from error


class _Unusable(ValueError):
    """The URL breaks a rule of ours."""


def _single(url: str, parts: SplitResult) -> Address:
    options = dict(parse_url(url))
    options.pop("connection_class", None)
    nodes = () if parts.scheme == "unix" else (_pop_node(options),)
    if parts.scheme == "unix" and not options.get("path"):
        raise _Unusable("it names no socket")
    return Address(
        url=url, topology="single", nodes=nodes, options=options, sentinel_options={}, primary=""
    )


def _sentinel(url: str, parts: SplitResult, scheme: str) -> Address:
    name, _, database = parts.path.strip("/").partition("/")
    if not name:
        raise _Unusable("it lacks the name that the Sentinels know the primary by")
    if database and not database.isdecimal():
        raise _Unusable("what follows the name is no database number")
    nodes, options = _nodes_and_options(parts, scheme, _SENTINEL_PORT, database)
    given = {key: options.pop(key, None) for key in _OF_SENTINELS}
    tls = {key: value for key, value in options.items() if key.startswith("ssl_")}
    credentials = {k.removeprefix("sentinel_"): v for k, v in given.items() if v is not None}
    return Address(
        url=url,
        topology="sentinel",
        nodes=nodes,
        options=options,
        sentinel_options=tls | credentials,
        primary=unquote(name),
    )


def _cluster(url: str, parts: SplitResult, scheme: str) -> Address:
    nodes, options = _nodes_and_options(parts, scheme, _REDIS_PORT, parts.path.strip("/"))
    if parts.path.strip("/") not in ("", "0") or options.pop("db", 0):
        raise _Unusable("a Cluster has database 0 only")
    return Address(
        url=url,
        topology="cluster",
        nodes=nodes,
        options=options,
        sentinel_options={},
        primary="",
    )


def _nodes_and_options(
    parts: SplitResult, scheme: str, port: int, database: str
) -> tuple[tuple[Node, ...], dict[str, Any]]:
    credentials, at, hosts = parts.netloc.rpartition("@")
    nodes = []
    for host in hosts.split(","):
        one = urlsplit(f"//{host}")
        if not one.hostname or one.username is not None:
            raise _Unusable("a host is missing")
        nodes.append((unquote(one.hostname), one.port or port))
    query = f"?{parts.query}" if parts.query else ""
    options = dict(parse_url(f"{scheme}://{credentials}{at}one/{database}{query}"))
    options.pop("connection_class", None)
    _pop_node(options)
    return tuple(nodes), options


def _pop_node(options: dict[str, Any]) -> Node:
    return options.pop("host", "localhost"), int(options.pop("port", _REDIS_PORT))
