"""Over HTTP: nobody without a token, each as who the token says, and nobody in another's way."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.exceptions import MCPError

sys.path.insert(0, str(Path(__file__).parent))
from http_host import MODES, PATIENCE_S, URI, Host, body, client, hosted, post, who

from ifmem import clock
from ifmem.client import launch
from ifmem.client.reconnecting import ReconnectingCalls
from ifmem.errors import IfMemError, Unavailable
from ifmem.mcp_server import admission
from ifmem.settings import McpSettings, RetrievalSettings, ServeSettings, Settings
from ifmem.wire.shapes import Hello

SESSION = "mcp-session-id"
FORGED = "ifm_" + "forged-" * 6 + "x"
"""Of the right shape, and nobody's."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    made = Settings(
        home=str(tmp_path_factory.mktemp("http") / "home"),
        retrieval=RetrievalSettings(semantic="off"),
        mcp=McpSettings(
            calls_per_minute=100_000, concurrent_calls=4, connections=24, max_request_bytes=64_000
        ),
        serve=ServeSettings(allow_hosts=("memory.example.org",)),
    )
    yield made
    asyncio.run(launch.stop(made))


@pytest.fixture(scope="module")
def host(settings: Settings) -> Iterator[Host]:
    with hosted(settings) as made:
        yield made


@pytest.fixture(scope="module")
def ada(host: Host) -> str:
    return host.token("ada", "acme", roots=("/srv/docs",), quarantine=True)


def audited(settings: Settings) -> list[tuple[str, str, str]]:
    """Actor, action and reason of every refusal in the audit of the first space."""
    store = settings.home_path / "spaces" / "default" / "store.sqlite"
    with closing(sqlite3.connect(store)) as connection:
        return connection.execute("SELECT actor, action, reason FROM audit ORDER BY row").fetchall()


@pytest.mark.parametrize("mode", MODES)
def test_a_token_says_who_calls_where_and_what_they_may(host: Host, ada: str, mode: str) -> None:
    assert who(host, ada, mode) == {
        "agent": "ada",
        "space": "acme",
        "roots": ["/srv/docs"],
        "scopes": ["read", "write"],
        "trust": "quarantined",
        "directory": None,
    }


def test_nobody_comes_in_without_a_token_that_is_taken_and_all_are_told_the_same(
    host: Host, settings: Settings
) -> None:
    expired = host.token("expired", expires_seconds=1e-6)
    revoked = host.token("revoked")
    host.revoke("revoked")
    given = [None, FORGED, "ifm_short", "x" * 5_000, expired, revoked]
    answers = [post(host, token, body("tools/list")) for token in given]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    header = answers[0].headers["WWW-Authenticate"]
    metadata = host.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
    assert header.startswith("Bearer ")
    assert f'resource_metadata="{metadata}"' in header
    rows = set(audited(settings))
    assert {
        ("-", "http", "no token"),
        ("-", "token", "unknown token"),
        ("expired", "token", "expired token"),
        ("revoked", "token", "revoked token"),
    } <= rows


def test_a_token_is_not_taken_from_the_query_a_cookie_or_another_scheme(
    host: Host, ada: str
) -> None:
    listed = json.dumps(body("tools/list")).encode()
    with httpx2.Client(timeout=PATIENCE_S) as web:
        for path, headers in (
            (f"{host.url}?access_token={ada}&token={ada}", {}),
            (host.url, {"Cookie": f"Authorization=Bearer {ada}; access_token={ada}"}),
            (host.url, {"Authorization": f"Basic {ada}"}),
            (host.url, {"Authorization": ada}),
        ):
            given = {"Content-Type": "application/json", "Accept": "application/json", **headers}
            assert web.post(path, content=listed, headers=given).status_code == 401


def test_no_token_is_kept_in_clear_anywhere_in_the_home(host: Host, settings: Settings) -> None:
    token = host.token("secretive")
    assert who(host, token)["agent"] == "secretive"
    post(host, token + "x", body("tools/list"))
    secret = token.removeprefix("ifm_").encode()
    files = [path for path in settings.home_path.rglob("*") if path.is_file()]
    assert any(path.name == "grants.db" for path in files)
    assert [path for path in files if secret in path.read_bytes()] == []


def test_what_is_there_is_told_to_everybody_and_nothing_more(host: Host) -> None:
    base = host.url.removesuffix("/mcp")
    with httpx2.Client(timeout=PATIENCE_S) as web:
        health = web.get(f"{base}/healthz")
        metadata = web.get(f"{base}/.well-known/oauth-protected-resource/mcp")
        assert (health.status_code, health.json()) == (200, {"status": "ok"})
        assert metadata.status_code == 200
        assert metadata.json()["resource"] == host.url
        assert metadata.json()["bearer_methods_supported"] == ["header"]
        assert web.get(f"{base}/").status_code == 404
        assert web.get(f"{base}/docs").status_code == 404


@pytest.mark.parametrize(
    "name", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:80", ""]
)
@pytest.mark.parametrize("path", ["/mcp", "/healthz", "/.well-known/oauth-protected-resource/mcp"])
def test_another_host_gets_nowhere_with_or_without_a_token(
    host: Host, ada: str, name: str, path: str
) -> None:
    with httpx2.Client(timeout=PATIENCE_S) as web:
        url = host.url.removesuffix("/mcp") + path
        for headers in ({}, {"Authorization": f"Bearer {ada}"}):
            answer = web.get(url, headers={"Host": name, **headers})
            assert answer.status_code == 421


def test_a_page_of_another_origin_is_refused_and_ones_own_is_not(host: Host, ada: str) -> None:
    port = urlsplit(host.url).port
    for origin in ("https://evil.example", "null", f"http://localhost.evil.example:{port}"):
        assert post(host, ada, body("tools/list"), Origin=origin).status_code == 403
    own = f"http://localhost:{port}"
    assert post(host, ada, body("tools/list"), Origin=own).status_code == 200
    proxied = {"Host": "memory.example.org", "Origin": "https://memory.example.org"}
    assert post(host, ada, body("tools/list"), **proxied).status_code == 200


def test_a_body_that_is_too_large_is_refused_before_it_is_read(host: Host, ada: str) -> None:
    large = b'{"jsonrpc": "2.0", "id": 1, "method": "' + b"x" * 10_000_000 + b'"}'
    assert post(host, ada, large).status_code == 413
    assert post(host, None, large).status_code == 401
    assert post(host, ada, body("tools/list")).status_code == 200


@pytest.mark.parametrize(
    ("sent", "headers", "status"),
    [
        (b"{", {"MCP_Protocol_Version": "2026-07-28"}, 400),
        (b"{", {}, 400),
        (b"[]", {"MCP_Protocol_Version": "2026-07-28"}, 400),
        (b"\xff\xfe", {"MCP_Protocol_Version": "2026-07-28"}, 400),
        (b"[" * 30_000, {"MCP_Protocol_Version": "2026-07-28"}, 400),
        (body("tools/list"), {"MCP_Protocol_Version": "1999-01-01"}, 400),
        (body("tools/list"), {"Content_Type": "text/plain"}, 400),
        (body("no/such"), {}, 404),
        (body("tools/list"), {"Accept": "text/html"}, 406),
        (body("tools/list"), {"Mcp_Session_Id": "no-such-session"}, 200),
    ],
)
def test_what_is_no_request_is_the_protocols_own_error_and_the_next_one_works(
    host: Host, ada: str, sent: Any, headers: dict[str, str], status: int
) -> None:
    assert post(host, ada, sent, **headers).status_code == status
    assert post(host, ada, body("tools/list")).status_code == 200


def test_what_is_no_http_is_refused_and_the_next_request_works(host: Host, ada: str) -> None:
    for sent in (b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"A" * 200_000 + b"\r\n\r\n"):
        with closing(_connected(host)) as connection:
            _send_what_is_taken(connection, sent)
            assert b" 400 " in connection.makefile("rb").readline() or sent.startswith(b"A")
    assert post(host, ada, body("tools/list")).status_code == 200


def test_a_session_of_one_token_is_none_for_another(host: Host, ada: str) -> None:
    other = host.token("mallory")
    opened = host.initialize(ada)
    assert opened.status_code == 200
    session = {"Mcp_Session_Id": opened.headers["mcp-session-id"]}
    ping = b'{"jsonrpc": "2.0", "id": 2, "method": "ping"}'
    assert post(host, ada, ping, **session).status_code == 200
    assert post(host, other, ping, **session).status_code == 404
    with httpx2.Client(timeout=PATIENCE_S) as web:
        given = {"Authorization": f"Bearer {other}", "Mcp-Session-Id": session["Mcp_Session_Id"]}
        assert web.delete(host.url, headers=given).status_code == 404
        assert (
            web.get(host.url, headers={**given, "Accept": "text/event-stream"}).status_code == 404
        )
    assert post(host, ada, ping, **session).status_code == 200


def test_a_session_is_not_inherited_by_the_next_token_of_the_same_name(host: Host) -> None:
    first = host.token("rotated", "one")
    session = {"Mcp_Session_Id": host.initialize(first).headers[SESSION]}
    ping = b'{"jsonrpc": "2.0", "id": 2, "method": "ping"}'
    assert post(host, first, ping, **session).status_code == 200
    host.revoke("rotated")
    assert post(host, first, ping, **session).status_code == 401
    second = host.token("rotated", "two")
    assert post(host, second, ping, **session).status_code == 404
    assert who(host, second, "legacy")["space"] == "two"


def test_one_agent_cannot_take_all_sessions(host: Host, ada: str) -> None:
    hoarder = host.token("hoarder")
    opened = [host.initialize(hoarder) for _ in range(66)]
    assert [one.status_code for one in opened] == [200] * 64 + [429] * 2
    assert opened[-1].json()["retry_after_seconds"] == 1
    assert host.initialize(ada).status_code == 200
    given = {"Authorization": f"Bearer {hoarder}", "Mcp-Session-Id": opened[0].headers[SESSION]}
    assert httpx2.delete(host.url, headers=given, verify=False).status_code == 200
    assert host.initialize(hoarder).status_code == 200
    assert post(host, hoarder, body("tools/list")).status_code == 200


def test_nobody_is_refused_for_a_daemon_that_cannot_be_reached(settings: Settings) -> None:
    with hosted(settings, _Away(settings)) as other:
        answer = post(other, FORGED, body("tools/list"))
        assert (answer.status_code, answer.json()["error"]) == (503, "Unavailable")
        assert answer.headers["Retry-After"] == "1"
        assert post(other, None, body("tools/list")).status_code == 401


class _Away(ReconnectingCalls):
    async def call(self, method: str, params: Any, **rest: Any) -> Any:
        raise Unavailable("the daemon is not there: start it")


def test_a_body_that_never_comes_ends_its_request(
    host: Host, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "BODY_SECONDS", 0.2)
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: {urlsplit(host.url).netloc}\r\n"
        f"Authorization: Bearer {ada}\r\nContent-Type: application/json\r\n"
        "Accept: application/json, text/event-stream\r\nContent-Length: 100\r\n\r\n{"
    )
    with closing(_connected(host)) as connection:
        connection.sendall(head.encode())
        assert b" 408 " in connection.makefile("rb").readline()


def test_a_call_that_is_not_permitted_is_audited_as_its_callers(
    host: Host, settings: Settings
) -> None:
    token = host.token("overreaching")

    async def run() -> None:
        async with client(host, token, "2026-07-28") as connected:
            assert (await connected.call_tool("refuse", {})).is_error

    asyncio.run(run())
    assert ("overreaching", "mcp refuse", "this needs the scope admin") in audited(settings)


@pytest.fixture
def strict(settings: Settings) -> Iterator[Host]:
    """Ten calls at once, and the next after three seconds."""
    few = McpSettings(calls_per_minute=20)
    with hosted(msgspec.structs.replace(settings, mcp=few)) as made:
        yield made


def test_a_hundred_calls_without_a_token_use_up_nobodys_limit(strict: Host) -> None:
    token = strict.token("patient")
    for number in range(100):
        bad = None if number % 2 else FORGED[:-3] + f"{number:03}"
        assert post(strict, bad, body("tools/list")).status_code == 401
    codes = [post(strict, token, body("tools/list")).status_code for _ in range(10)]
    assert codes == [200] * 10


def test_calls_beyond_the_limit_are_refused_with_when_and_others_go_on(
    strict: Host, ada: str
) -> None:
    greedy = strict.token("greedy")
    answers: list[dict[str, Any]] = []
    # However slow this machine is, a call takes less than the three seconds that give another.
    while not answers or "error" not in answers[-1]:
        answers.append(post(strict, greedy, body("tools/list")).json())
    assert len(answers) > 10
    error = answers[-1]["error"]
    assert error["code"] == -32_009
    assert 0 < error["data"]["retry_after_seconds"] <= 3
    assert "20 calls a minute" in error["message"]
    assert post(strict, ada, body("tools/list")).json()["result"]


@pytest.mark.parametrize("mode", MODES)
def test_calls_at_once_are_bounded_for_each_agent(host: Host, ada: str, mode: str) -> None:
    busy = host.token(f"busy-{mode}")

    async def run() -> None:
        async with client(host, busy, mode) as connected, asyncio.TaskGroup() as group:
            held = [group.create_task(connected.call_tool("hold", {})) for _ in range(4)]
            for _ in held:
                assert await asyncio.to_thread(host.tools.begun.acquire, timeout=PATIENCE_S)
            with pytest.raises(MCPError, match="4 calls of yours run at once"):
                await connected.call_tool("who", {})
            assert (await asyncio.to_thread(who, host, ada))["agent"] == "ada"
            host.do(_let_go(host))
        assert not any(one.result().is_error for one in held)

    asyncio.run(run())
    assert who(host, busy, mode)["agent"] == f"busy-{mode}"


async def _let_go(host: Host) -> None:
    assert host.tools.let_go is not None
    host.tools.let_go.set()
    host.tools.let_go = None


def test_a_stream_is_no_running_call_and_ends_when_its_token_is_revoked(host: Host) -> None:
    listener, other = host.token("listener"), host.token("other-listener")

    async def run() -> None:
        async with (
            client(host, listener, "2026-07-28") as first,
            client(host, other, "2026-07-28") as second,
            ExitStackAsync() as streams,
        ):
            mine = [
                await streams.enter(first.listen(resource_subscriptions=[URI])) for _ in range(6)
            ]
            theirs = await streams.enter(second.listen(resource_subscriptions=[URI]))
            await first.call_tool("change", {})
            async with asyncio.timeout(PATIENCE_S):
                for stream in (*mine, theirs):
                    assert (await anext(aiter(stream))).uri == URI
                await asyncio.to_thread(host.revoke, "listener")
                for stream in mine:
                    with pytest.raises(SubscriptionLost):
                        await anext(aiter(stream))
                await second.call_tool("change", {})
                assert (await anext(aiter(theirs))).uri == URI

    asyncio.run(run())


class ExitStackAsync:
    """An ``AsyncExitStack`` whose streams may already be lost when it ends."""

    def __init__(self) -> None:
        from contextlib import AsyncExitStack

        self._stack = AsyncExitStack()

    async def __aenter__(self) -> ExitStackAsync:
        return self

    async def enter(self, context: Any) -> Any:
        return await self._stack.enter_async_context(context)

    async def __aexit__(self, *ending: Any) -> None:
        await self._stack.aclose()


def test_streams_of_one_agent_are_bounded(host: Host, ada: str) -> None:
    token = host.token("many-streams")

    async def run() -> None:
        async with client(host, token, "2026-07-28") as connected, ExitStackAsync() as streams:
            for _ in range(16):
                await streams.enter(connected.listen(resource_subscriptions=[URI]))
            with pytest.raises(MCPError, match="16 streams"):
                await streams.enter(connected.listen(resource_subscriptions=[URI]))
            assert (await asyncio.to_thread(who, host, ada))["agent"] == "ada"

    asyncio.run(run())


@pytest.mark.parametrize("beginning", [b"", b"POST /mcp HTTP/1.1\r\nHost: "])
def test_many_connections_that_say_nothing_keep_nobody_out(
    host: Host, ada: str, beginning: bytes
) -> None:
    with ExitStack() as open_ones:
        connections = [open_ones.enter_context(closing(_connected(host))) for _ in range(224)]
        for connection in connections:
            _send_what_is_taken(connection, beginning)
        for _ in range(5):
            assert post(host, ada, body("tools/list")).status_code == 200
        assert all(_is_ended(connection) for connection in connections[:200])


def test_a_connection_that_serves_somebody_is_not_the_one_that_goes(host: Host, ada: str) -> None:
    token = host.token("in-the-midst")

    async def run() -> None:
        async with client(host, token, "2026-07-28") as connected, asyncio.TaskGroup() as group:
            held = group.create_task(connected.call_tool("hold", {}))
            assert await asyncio.to_thread(host.tools.begun.acquire, timeout=PATIENCE_S)
            with ExitStack() as open_ones:
                # Twice as many as may be open, each of somebody who is known and now idle.
                for _ in range(48):
                    _use(open_ones.enter_context(closing(_connected(host))), host, ada)
                host.do(_let_go(host))
                assert (await held).structured_content["agent"] == "in-the-midst"

    asyncio.run(run())


def test_a_daemon_that_dies_during_a_call_is_told_and_the_next_call_finds_another(
    host: Host,
) -> None:
    token = host.token("survivor")
    before = host.call("hello", None, Hello).pid

    async def run() -> None:
        async with client(host, token, "2026-07-28") as connected, asyncio.TaskGroup() as group:
            claiming = group.create_task(connected.call_tool("claim", {}))
            assert await asyncio.to_thread(host.tools.begun.acquire, timeout=PATIENCE_S)
            os.kill(before, signal.SIGKILL)
            result = await claiming
            assert result.is_error
            assert result.structured_content["error"] == "OutcomeUnknown"
            assert (await connected.call_tool("who", {})).structured_content["agent"] == "survivor"

    asyncio.run(run())
    assert host.call("hello", None, Hello).pid != before


def test_a_call_that_is_given_up_ends_at_the_daemon_too(host: Host) -> None:
    token = host.token("impatient")

    async def give_up() -> None:
        async with client(host, token, "2026-07-28") as connected, asyncio.TaskGroup() as group:
            claiming = group.create_task(connected.call_tool("claim", {}))
            assert await asyncio.to_thread(host.tools.begun.acquire, timeout=PATIENCE_S)
            claiming.cancel()

    asyncio.run(give_up())
    # A claim that still waited would take the task from whoever comes now.
    posted = host.call("task_post", _task("for somebody else"), dict)
    claimed = host.call("task_claim", _claim("patient"), dict)
    assert [one["task_id"] for one in claimed["items"]] == [posted["task_id"]]


def _task(title: str) -> Any:
    from ifmem.wire.calls import TaskPostCall

    return TaskPostCall(title=title)


def _claim(worker: str) -> Any:
    from ifmem.wire.calls import TaskClaimCall

    return TaskClaimCall(worker=worker, wait_seconds=20)


def test_jwts_of_the_issuer_come_in_beside_the_tokens_and_no_others(
    settings: Settings, ada: str, tmp_path: Path
) -> None:
    ours, strangers = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    public = jwt.algorithms.ECAlgorithm.to_jwk(ours.public_key(), as_dict=True)
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [{**public, "kid": "ours"}]}))
    issuer, audience = "https://login.example.org", "https://memory.example.org/mcp"
    serve = ServeSettings(issuer=issuer, audience=audience, jwks=str(tmp_path / "keys.json"))
    now = clock.now()

    def signed(key: Any = ours, algorithm: str = "ES256", kid: str = "ours", **changed: Any) -> str:
        claims = {
            "iss": issuer,
            "aud": audience,
            "client_id": "carol",
            "scope": "read",
            "nbf": now - timedelta(minutes=1),
            "exp": now + timedelta(minutes=5),
            **changed,
        }
        return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})

    with hosted(msgspec.structs.replace(settings, serve=serve)) as other:
        for mode in MODES:
            said = who(other, signed(), mode)
            assert (said["agent"], said["space"], said["scopes"]) == ("carol", "default", ["read"])
            assert said["roots"] == []
        assert who(other, ada)["agent"] == "ada"
        for refused in (
            signed(exp=now - timedelta(minutes=1)),
            signed(aud="https://other.example.org"),
            signed(iss="https://other.example.org"),
            signed(nbf=now + timedelta(minutes=5)),
            signed(strangers),
            signed(kid="unknown"),
            signed(None, "none"),
        ):
            assert post(other, refused, body("tools/list")).status_code == 401
        nothing = post(other, signed(scope="openid"), body("tools/list"))
        assert nothing.status_code == 403
        assert 'error="insufficient_scope"' in nothing.headers["WWW-Authenticate"]
        assert audience.removesuffix("/mcp") in nothing.headers["WWW-Authenticate"]
        path = "/.well-known/oauth-protected-resource/mcp"
        metadata = httpx2.get(other.url.removesuffix("/mcp") + path, verify=False).json()
        assert metadata["resource"] == audience
        assert metadata["authorization_servers"] == [issuer]
    assert ("-", "token", "JWT: expired") in audited(settings)


def test_a_port_that_is_taken_is_named(host: Host) -> None:
    from ifmem.mcp_server import http

    with pytest.raises(IfMemError, match="--port 0"):
        http.listening(urlsplit(host.url).port or 0)


def _connected(host: Host) -> socket.socket:
    place = urlsplit(host.url)
    return socket.create_connection((place.hostname, place.port), timeout=PATIENCE_S)


def _use(connection: socket.socket, host: Host, token: str) -> None:
    """Make one call on a connection, and leave it open."""
    request = json.dumps(body("tools/list"))
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: {urlsplit(host.url).netloc}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n"
        f"Mcp-Method: tools/list\r\nContent-Length: {len(request)}\r\n\r\n"
    )
    connection.sendall((head + request).encode())
    assert b" 200 " in connection.makefile("rb").readline()


def _is_ended(connection: socket.socket) -> bool:
    """Whether the other side hangs up, waiting for it."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def _send_what_is_taken(connection: socket.socket, sent: bytes) -> None:
    """The other side may have hung up on it already."""
    try:
        connection.sendall(sent)
    except OSError:
        return
