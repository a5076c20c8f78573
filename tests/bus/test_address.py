"""URLs of a server, of Sentinels and of a Cluster: taken apart, compared, shown without secrets."""

from __future__ import annotations

import pytest

from ifmem.bus.address import read_url
from ifmem.bus.client import open_client
from ifmem.bus.interruptible import TlsConnection
from ifmem.errors import ConfigError
from ifmem.settings import server_of, without_password

FAKE = "-".join(("not", "a", "secret"))


def test_sentinels_are_named_with_the_primary_and_a_database() -> None:
    address = read_url(f"redis+sentinel://me:{FAKE}@a:1,b,[::1]:3/team/2?health_check_interval=5")
    assert (address.topology, address.primary, address.tls) == ("sentinel", "team", False)
    assert address.nodes == (("a", 1), ("b", 26379), ("::1", 3))
    assert address.options == {
        "username": "me",
        "password": FAKE,
        "db": 2,
        "health_check_interval": 5,
    }
    assert address.sentinel_options == {}


def test_sentinels_may_want_a_password_of_their_own_and_the_same_encryption() -> None:
    address = read_url(
        f"rediss+sentinel://a/team?sentinel_username=s&sentinel_password={FAKE}&ssl_ca_certs=/ca"
    )
    assert address.tls
    assert address.options == {"ssl_ca_certs": "/ca"}
    assert address.sentinel_options == {
        "username": "s",
        "password": FAKE,
        "ssl_ca_certs": "/ca",
    }


def test_a_cluster_is_named_by_some_of_its_nodes() -> None:
    address = read_url("redis+cluster://a:1,b/0")
    assert (address.topology, address.nodes) == ("cluster", (("a", 1), ("b", 6379)))
    assert address.options == {}


def test_one_server_is_named_by_host_or_socket() -> None:
    host, unix = read_url(f"redis://:{FAKE}@h:7/3"), read_url("unix:///run/a%20b@c/s?db=1")
    assert (host.topology, host.nodes) == ("single", (("h", 7),))
    assert host.options == {"password": FAKE, "db": 3}
    assert (unix.topology, unix.nodes, unix.options) == (
        "single",
        (),
        {"path": "/run/a b@c/s", "db": 1},
    )


@pytest.mark.parametrize(
    "url", ["rediss://h", "rediss+sentinel://h/team", "rediss+cluster://h", "rediss+cluster://h,i"]
)
def test_a_url_that_asks_for_encryption_never_gets_a_plain_connection(url: str) -> None:
    pool = open_client(read_url(url), False, None).connection_pool
    assert issubclass(pool.connection_class, TlsConnection)


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "redis+other://h",
        "unix+cluster:///s",
        "unix://",
        "redis://h:port",
        "redis+sentinel://h",
        "redis+sentinel://h/",
        "redis+sentinel://h/team/x",
        "redis+sentinel:///team",
        "redis+sentinel://a,,b/team",
        "redis+cluster://h/1",
        "redis+cluster://h?db=1",
        "redis+cluster://h/name",
        "redis+cluster://h:99999",
        "redis://[h",
        "redis://h?socket_timeout=soon",
    ],
)
def test_what_is_no_url_of_ours_is_refused_with_the_forms(url: str) -> None:
    with pytest.raises(ConfigError, match=r"redis\+sentinel://HOST:PORT,…/NAME"):
        read_url(url)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://me:{FAKE}/x@h:port",
        f"redis+sentinel://:{FAKE}@h",
        f"redis+cluster://:{FAKE}@h/1",
        f"redis://h:port?password={FAKE}",
        f"redis+sentinel://h?sentinel_password={FAKE}",
    ],
)
def test_a_refusal_does_not_show_the_password(url: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        read_url(url)
    assert FAKE not in refusal.value.message


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis+sentinel://me:{FAKE}@a:1,b:2/team", "redis+sentinel://me@a:1,b:2/team"),
        (f"redis+cluster://:{FAKE}@a:1,b:2", "redis+cluster://a:1,b:2"),
        (f"redis://h?password={FAKE}&db=1", "redis://h?db=1"),
        (f"redis://h/1?sentinel_password={FAKE}", "redis://h/1"),
        (f"unix://me:{FAKE}@/run/s", "unix://me@/run/s"),
        (f"unix:///run/a:b@c/s?password={FAKE}", "unix:///run/a:b@c/s"),
    ],
)
def test_no_password_of_a_url_is_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_a_server_is_the_same_whoever_asks_and_in_whichever_order() -> None:
    assert server_of(f"redis+sentinel://me:{FAKE}@b,a/team") == server_of(
        "redis+sentinel://a,b/team"
    )
    assert server_of(f"redis://h/?username=me&password={FAKE}") == server_of("redis://h")
    assert server_of("redis+sentinel://a/team") != server_of("redis+sentinel://a/other")
    assert server_of("redis+sentinel://a,b/team") != server_of("redis+sentinel://a,c/team")
    assert server_of("redis://h?db=1") != server_of("redis://h?db=2")
    assert server_of("unix:///a@x/s") != server_of("unix:///b@x/s")
