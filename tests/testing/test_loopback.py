"""The server under the vendors' fakes, and the ways in which it can be told to fail."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator

import pytest

from ifmem.testing.loopback import (
    Answer,
    CutStream,
    Event,
    Fault,
    HangUp,
    Hold,
    LoopbackServer,
    Malformed,
    Reply,
    Request,
    Stream,
)

PATIENCE_S = 30.0


class Echo(LoopbackServer):
    def answer(self, request: Request) -> Reply | Stream:
        if request.path == "/stream":
            return Stream((Event({"n": n}, "count") for n in range(4)), {"x-kind": "stream"})
        if request.path == "/broken":
            raise RuntimeError("the fake is wrong")
        if request.path == "/headers":
            return Reply({}, 418, {"x-kind": "whole"})
        return Reply({"method": request.method, "query": request.query, "body": request.body})


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as server:
        yield server


@pytest.fixture
def client(echo: Echo) -> Iterator[http.client.HTTPConnection]:
    host, port = echo.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
    yield connection
    connection.close()


def said(client: http.client.HTTPConnection, path: str, body: object = None) -> bytes:
    data = None if body is None else json.dumps(body)
    client.request("POST", path, data)
    with client.getresponse() as response:
        return response.read()


def test_requests_are_answered_and_kept(echo: Echo, client: http.client.HTTPConnection) -> None:
    first = json.loads(said(client, "/here?a=1", {"deep": [1, "ü"]}))
    assert first == {"method": "POST", "query": {"a": "1"}, "body": {"deep": [1, "ü"]}}
    said(client, "/there")
    assert [request.path for request in echo.requests] == ["/here", "/there"]
    assert echo.requests[0].headers["host"].startswith("127.0.0.1:")
    assert echo.requests[1].body is None


def test_one_connection_serves_request_after_request(
    echo: Echo, client: http.client.HTTPConnection
) -> None:
    for _ in range(3):
        said(client, "/stream")
    assert echo.open_connections == 1


def test_a_megabyte_comes_through_whole(echo: Echo, client: http.client.HTTPConnection) -> None:
    said(client, "/large", {"text": "x" * 1_000_000})
    assert len(echo.requests[0].body["text"]) == 1_000_000


def test_headers_and_status_are_the_fakes(echo: Echo, client: http.client.HTTPConnection) -> None:
    client.request("GET", "/headers")
    with client.getresponse() as response:
        assert (response.status, response.headers["x-kind"]) == (418, "whole")
        response.read()
    client.request("GET", "/stream")
    with client.getresponse() as response:
        assert response.headers["x-kind"] == "stream"
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.read().startswith(b'event: count\ndata: {"n":0}\n\nevent: count\n')


def test_an_answer_may_be_something_else_once(
    echo: Echo, client: http.client.HTTPConnection
) -> None:
    echo.fail_next(Answer(429, {"error": "slow"}, {"retry-after": "7"}))
    client.request("GET", "/here")
    with client.getresponse() as response:
        assert (response.status, response.headers["retry-after"]) == (429, "7")
        assert response.read() == b'{"error":"slow"}'
    assert b"method" in said(client, "/here")


def test_a_fault_waits_for_the_path_it_is_meant_for(
    echo: Echo, client: http.client.HTTPConnection
) -> None:
    echo.fail_next(Answer(500, {}), on="/there")
    assert b"method" in said(client, "/here")
    assert said(client, "/there") == b"{}"


@pytest.mark.parametrize("path", ["/here", "/stream"])
def test_hanging_up_ends_the_connection_without_a_byte(
    echo: Echo, client: http.client.HTTPConnection, path: str
) -> None:
    echo.fail_next(HangUp())
    with pytest.raises(http.client.RemoteDisconnected):
        said(client, path)


def test_a_cut_stream_breaks_off_after_so_many_events(
    echo: Echo, client: http.client.HTTPConnection
) -> None:
    echo.fail_next(CutStream(after=2))
    with pytest.raises(http.client.IncompleteRead) as broken:
        said(client, "/stream")
    assert broken.value.partial.count(b"event:") == 2
    client.close()
    echo.fail_next(CutStream(after=2, cleanly=True))
    assert said(client, "/stream").count(b"event:") == 2


def test_one_event_or_a_whole_answer_may_be_malformed(
    echo: Echo, client: http.client.HTTPConnection
) -> None:
    echo.fail_next(Malformed(), Malformed(event=2))
    assert said(client, "/here") == b'{"cut'
    events = said(client, "/stream").split(b"\n\n")
    assert [event.rpartition(b"data: ")[2] for event in events[1:4]] == [
        b'{"n":1}',
        b'{"cut',
        b'{"n":3}',
    ]


@pytest.mark.parametrize(("path", "after"), [("/here", 0), ("/stream", 0), ("/stream", 2)])
def test_an_answer_can_be_held_until_it_is_released(
    echo: Echo, client: http.client.HTTPConnection, path: str, after: int
) -> None:
    hold = Hold(after=after)
    echo.fail_next(hold)
    came: list[bytes] = []
    thread = threading.Thread(target=lambda: came.append(said(client, path)))
    thread.start()
    assert hold.reached.wait(PATIENCE_S)
    assert not came
    hold.release.set()
    thread.join(PATIENCE_S)
    assert came and not hold.abandoned.is_set()


def test_a_client_that_leaves_while_it_is_held_is_noticed(
    echo: Echo, client: http.client.HTTPConnection
) -> None:
    hold = Hold()
    echo.fail_next(hold)
    client.request("GET", "/here")
    assert hold.reached.wait(PATIENCE_S)
    client.close()
    assert hold.abandoned.wait(PATIENCE_S)


def test_the_end_releases_what_is_held_and_leaves_no_thread() -> None:
    before = threading.active_count()
    hold = Hold()
    with Echo() as server:
        server.fail_next(hold)
        host, port = server.url.removeprefix("http://").split(":")
        client = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
        client.request("GET", "/here")
        assert hold.reached.wait(PATIENCE_S)
    with pytest.raises(http.client.RemoteDisconnected):
        client.getresponse()
    client.close()
    assert not hold.abandoned.is_set()
    assert threading.active_count() == before
    with pytest.raises(ConnectionRefusedError):
        client.request("GET", "/here")


def test_an_error_of_the_fake_itself_is_raised_at_the_end() -> None:
    with pytest.raises(RuntimeError, match="the fake is wrong"), Echo() as server:
        host, port = server.url.removeprefix("http://").split(":")
        client = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
        with pytest.raises(http.client.RemoteDisconnected):
            said(client, "/broken")
        client.close()


def test_what_happens_between_two_events_happens_between_two_writes() -> None:
    sent: list[int] = []

    class Counting(LoopbackServer):
        def answer(self, request: Request) -> Stream:
            def events() -> Iterator[Event]:
                for n in range(5):
                    sent.append(n)
                    yield Event({"n": n})

            return Stream(events())

    with Counting() as server:
        hold: Fault = Hold(after=2)
        assert isinstance(hold, Hold)
        server.fail_next(hold)
        host, port = server.url.removeprefix("http://").split(":")
        client = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)
        client.request("GET", "/")
        assert hold.reached.wait(PATIENCE_S)
        assert sent == [0, 1]
        hold.release.set()
        client.getresponse().read()
        client.close()
    assert sent == [0, 1, 2, 3, 4]
