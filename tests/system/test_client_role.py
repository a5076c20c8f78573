"""Two homes on one server: one owner of a space, refused seconds, and clients without a store."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
import redis

from ifmem import Memory
from ifmem.settings import read_settings

LEASE_S = 2
PATIENCE_S = 60
GUIDE = "# Harbour\n\nThe harbour light turns once in eleven seconds.\n"


@pytest.fixture
def owner(install: Callable[..., Any]) -> Any:
    """An owner on its own embedded server, with a lease that lapses soon."""
    owner = install("owner", bus_lease_seconds=str(LEASE_S))
    owner("up")
    return owner


@pytest.fixture
def url(owner: Any) -> str:
    return str(owner.status()["redis"]["url"])


@pytest.fixture
def client(install: Callable[..., Any], owner: Any, url: str) -> Any:
    client = install("client", role="client", redis_url=url, bus_outage_seconds="5")
    client("up", "--role", "client", "--redis", url)
    return client


@pytest.fixture
def kill(
    eventually: Callable[..., Any], watch_end: Callable[[int], Callable[[], bool]], url: str
) -> Callable[[Any], None]:
    """Ends an owner's daemon as a crash would, and waits until its lease has lapsed."""

    def end(owner: Any) -> None:
        pid = owner.daemon_pid()
        gone = watch_end(pid)
        os.kill(pid, signal.SIGKILL)
        assert gone()
        with redis.Redis.from_url(url, decode_responses=True) as plain:

            def has_lapsed() -> bool:
                seconds, micros = plain.time()
                until = int(plain.hget("ifmem:1:bridge", "until") or 0)
                return until < seconds * 1000 + micros // 1000

            eventually(has_lapsed)

    return end


def test_a_second_owner_is_refused_with_the_name_of_the_first(
    install: Callable[..., Any], owner: Any, url: str
) -> None:
    second = install("second", redis_url=url)
    told = second("up", code=5).told()
    assert f"-{owner.daemon_pid()}, which is alive" in told
    assert "--role client" in told
    assert "which is alive" in second("up", "--adopt", code=5).told()
    owner("remember", "The first owner is not disturbed.")


def test_keys_of_an_owner_that_ended_are_taken_over_when_told_only(
    install: Callable[..., Any], owner: Any, url: str, kill: Callable[[Any], None]
) -> None:
    owner("remember", "The old owner said this.")
    kill(owner)
    heir = install("heir", redis_url=url)
    assert "--adopt" in heir("up", code=5).told()
    heir("up", "--adopt")
    # What it shows is its own store from now on, and the old owner stays out.
    assert heir("findings", "--json").lines == []
    heir("remember", "The heir says this.")
    assert "which is alive" in owner("up", "--redis", url, code=5).told()


def test_a_client_does_everything_through_the_owner(owner: Any, client: Any) -> None:
    guide = client.write("guide.md", GUIDE)
    owner("load", guide)
    told = client("remember", "The keeper is Amalia Brandt.", "--cite", "guide.md:3", "--json").json
    assert told["outcome"] == "stored"
    (line,) = client("findings", "--json").lines
    assert line["finding_id"] == told["finding_id"]
    assert line["worker_id"].endswith(f"-{client.daemon_pid()}")
    assert line["trust"] == "agent"
    assert line["citations"][0]["quote"] == "The harbour light turns once in eleven seconds."
    assert [one["finding_id"] for one in owner("findings", "--json").lines] == [line["finding_id"]]
    answer = client("ask", "harbour light seconds", "--json").json
    assert answer["citations"][0]["source"] == str(guide)
    assert client("recall", "harbour light", "--json").json["passages"]
    client("forget", told["finding_id"])
    assert owner("findings", "--json").lines == []
    ours, theirs = client.status(), owner.status()
    assert ours["daemon_pid"] != theirs["daemon_pid"]
    assert ours["store"] == theirs["store"]
    assert not (client.home / "spaces").exists()


def test_errors_of_the_owner_reach_the_agents_of_a_client_as_themselves(
    owner: Any, client: Any
) -> None:
    here = client("forget", "00000000-0000-4000-8000-000000000000", "--json", code=3)
    there = owner("forget", "00000000-0000-4000-8000-000000000000", "--json", code=3)
    assert here.json == there.json
    assert client("remember", "", code=2).told() == owner("remember", "", code=2).told()


def test_files_of_a_clients_host_are_refused_with_the_name_of_the_owner(
    owner: Any, client: Any
) -> None:
    client.write("notes.md", GUIDE)
    told = client("load", "notes.md", code=5).told()
    assert f"-{owner.daemon_pid()}" in told
    assert "load_text" in told
    assert client("ask", "Anything?", "--over", "notes.md", code=5).told() == told
    # The owner could read it, and must not do so for somebody who may be on another host.
    assert "not loaded" in client("remember", "A claim.", "--cite", "notes.md:1", code=2).told()
    assert client.sources() == []


def test_a_client_says_that_its_owner_is_gone_and_works_again_once_it_is_back(
    owner: Any, client: Any, kill: Callable[[Any], None]
) -> None:
    client("remember", "Before.")
    pid = client.daemon_pid()
    kill(owner)
    told = client("remember", "Meanwhile.", code=4).told()
    assert "no owner of space 'default' is running" in told
    assert "ifmem up" in told
    owner("up")
    client("remember", "After.")
    assert client.daemon_pid() == pid
    claims = [line["claim"] for line in client("findings", "--json").lines]
    assert claims == ["Before.", "After."]


def test_a_follower_of_a_client_goes_on_when_its_owner_is_back(
    owner: Any, client: Any, kill: Callable[[Any], None]
) -> None:
    settings, _ = read_settings(
        flags={"home": str(client.home)},
        environment={"IFMEM_CONFIG": str(client.directory / "config.toml")},
        directory=client.directory,
    )
    owner("remember", "Before.")
    with (
        Memory.open_sync(settings=settings) as memory,
        closing(memory.follow(since="0")) as lines,
        ThreadPoolExecutor(1) as beside,
    ):
        assert next(lines).finding["claim"] == "Before."
        following = beside.submit(next, lines)
        kill(owner)
        assert "no owner" in client("status", code=4).told()
        assert not following.done()
        owner("up")
        owner("remember", "After.")
        assert following.result(PATIENCE_S).finding["claim"] == "After."


def test_a_call_that_no_owner_begins_is_never_done(
    owner: Any,
    client: Any,
    eventually: Callable[..., Any],
    finish: Callable[..., Any],
) -> None:
    pid = owner.daemon_pid()
    # It lives, but does not get to anything; its lease lapses meanwhile.
    os.kill(pid, signal.SIGSTOP)
    try:
        told = client("remember", "Nobody hears this.", code=4).told()
    finally:
        os.kill(pid, signal.SIGCONT)
    # The server may have handed it to the stopped process, which then finds it too late.
    assert "was not begun" in told or "may or may not have happened" in told
    eventually(lambda: finish(client.start("status")).code == 0)
    client("remember", "Everybody hears this.")
    claims = [line["claim"] for line in client("findings", "--json").lines]
    assert claims == ["Everybody hears this."]


def test_a_client_needs_the_owners_redis_and_no_store(
    install: Callable[..., Any], owner: Any, url: str
) -> None:
    lost = install("lost", role="client")
    assert "--redis" in lost("up", code=2).told()
    assert "no store" in install("c", role="client", redis_url=url)("up", "--adopt", code=1).told()
    assert "owns a store" in owner("up", "--role", "client", "--redis", url, code=1).told()
    assert "role" in lost("up", "--role", "butler", code=2).told()
