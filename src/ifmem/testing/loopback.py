"""An HTTP server on loopback for a vendor's protocol, which can be told to fail in known ways.

A fake overrides ``answer``; everything else (connections, streams, faults, the log) is here:

    class Vendor(LoopbackServer):
        def answer(self, request: Request) -> Reply | Stream:
            return Reply({"hello": request.body["name"]})

    with Vendor() as vendor:
        vendor.fail_next(Answer(529, {"error": "overloaded"}), CutStream(after=3))
        ...                            # clients speak to vendor.url; vendor.requests has what came

Each connection has a thread of its own, so ``answer`` may run in several at once. The events of a
stream are taken from their iterable one by one as they are sent: what a generator does between
two of them happens between two writes.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import msgspec

from ifmem import clock as system_clock
from ifmem.testing.exchanges import (
    Answer,
    CutStream,
    Event,
    Fault,
    HangUp,
    Hold,
    Malformed,
    Reply,
    Request,
    Stream,
)

__all__ = [
    "Answer",
    "CutStream",
    "Event",
    "Fault",
    "HangUp",
    "Hold",
    "LoopbackServer",
    "Malformed",
    "Reply",
    "Request",
    "Stream",
]

_POLL_SECONDS = 0.02


class LoopbackServer:
    """A server on a free port of 127.0.0.1 while its ``with`` block lasts.

    Args:
        clock: the moment, aware; given to fakes whose caches have lifetimes.
        keep: how many of the newest requests ``requests`` has.
    """

    def __init__(
        self, *, clock: Callable[[], datetime] = system_clock.now, keep: int = 1_000
    ) -> None:
        self.clock = clock
        self._log: deque[Request] = deque(maxlen=keep)
        self._faults: list[tuple[str, Fault]] = []
        self._lock = threading.Lock()
        self._broken: list[BaseException] = []
        self._closing = threading.Event()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def answer(self, request: Request) -> Reply | Stream:
        """The answer to a request that no fault took; for fakes to override."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://127.0.0.1:{self._running.server_address[1]}"

    @property
    def requests(self) -> list[Request]:
        """What came, oldest first; also what was answered by a fault."""
        with self._lock:
            return list(self._log)

    @property
    def open_connections(self) -> int:
        """Connections of clients that are open now."""
        return len(self._running.connections)

    def fail_next(self, *faults: Fault, on: str = "") -> None:
        """The next requests, one for each fault, meet it; those whose path lacks ``on`` do not."""
        with self._lock:
            self._faults.extend((on, fault) for fault in faults)

    def __enter__(self) -> Self:
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name=type(self).__name__
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all connections and threads; an error inside ``answer`` is raised here."""
        self._closing.set()
        self._running.shutdown()
        self._running.end_connections()
        self._running.server_close()
        if self._thread is not None:
            self._thread.join()
        if self._broken and error is None:
            raise self._broken[0]

    @property
    def _running(self) -> _Server:
        if self._server is None:
            raise RuntimeError("the server runs inside its `with` block only")
        return self._server

    def _arrived(self, request: Request) -> Fault | None:
        with self._lock:
            self._log.append(request)
            for position, (on, fault) in enumerate(self._faults):
                if on in request.path:
                    del self._faults[position]
                    return fault
        return None


class _Server(ThreadingMixIn, HTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, fake: LoopbackServer) -> None:
        self.fake = fake
        self.connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Conversation)

    def server_bind(self) -> None:
        # Without HTTPServer's own, which asks the resolver for the host's name.
        super(HTTPServer, self).server_bind()
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    def opened(self, connection: socket.socket) -> None:
        with self._connections_lock:
            self.connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._connections_lock:
            self.connections.discard(connection)

    def end_connections(self) -> None:
        with self._connections_lock:
            for connection in self.connections:
                _shut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: what matters is raised when the server ends."""


class _Conversation(BaseHTTPRequestHandler):
    """One connection: request after request until either side closes."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            pass  # the client had gone
        finally:
            self.server.closed(self.connection)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the log is ``LoopbackServer.requests``."""

    def _serve(self) -> None:
        fake = self.server.fake
        try:
            request = self._read()
            fault = fake._arrived(request)
            if isinstance(fault, HangUp):
                self._break_off()
                return
            if isinstance(fault, Answer):
                self._send_whole(Reply(fault.body, fault.status, fault.headers), None)
                return
            answer = fake.answer(request)
            if isinstance(fault, Hold) and fault.after == 0 and not self._hold(fault):
                return
            if isinstance(answer, Reply):
                self._send_whole(answer, fault)
            else:
                self._send_stream(answer, fault)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception as error:
            fake._broken.append(error)
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _read(self) -> Request:
        parts = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            body = msgspec.json.decode(raw) if raw else None
        except msgspec.DecodeError:
            body = None
        return Request(
            method=self.command,
            path=parts.path,
            query=dict(parse_qsl(parts.query)),
            headers=_lower(self.headers),
            raw=raw,
            body=body,
        )

    def _send_whole(self, reply: Reply, fault: Fault | None) -> None:
        if isinstance(fault, Malformed):
            body = fault.text.encode()
        elif isinstance(reply.body, bytes):
            body = reply.body
        else:
            body = msgspec.json.encode(reply.body)
        if reply.begin is not None:
            reply.begin()
        self._send_head(reply.status, "application/json", reply.headers, len(body))
        self.wfile.write(body)

    def _send_stream(self, stream: Stream, fault: Fault | None) -> None:
        self._send_head(200, "text/event-stream; charset=utf-8", stream.headers, None)
        events = iter(stream.events)
        for number in itertools.count():
            if isinstance(fault, CutStream) and number == fault.after:
                break
            if isinstance(fault, Hold) and number == fault.after > 0 and not self._hold(fault):
                return
            event = next(events, None)
            if event is None:
                break
            if isinstance(fault, Malformed) and number == fault.event:
                event = Event(fault.text, event.name)
            data = event.encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        if isinstance(fault, CutStream) and not fault.cleanly:
            self._break_off()
            return
        self.wfile.write(b"0\r\n\r\n")

    def _send_head(
        self, status: int, kind: str, headers: Mapping[str, str], length: int | None
    ) -> None:
        self.send_response_only(status)
        self.send_header("content-type", kind)
        if length is None:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _hold(self, fault: Hold) -> bool:
        """Wait for the release; False when there is nobody left to answer."""
        fault.reached.set()
        while not fault.release.is_set() and not self.server.fake._closing.is_set():
            readable, _, _ = select.select([self.connection], [], [], _POLL_SECONDS)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                if not self.server.fake._closing.is_set():
                    fault.abandoned.set()
                self.close_connection = True
                return False
        return not self.server.fake._closing.is_set()

    def _break_off(self) -> None:
        self.close_connection = True
        _shut(self.connection)


def _lower(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it was closed already
        connection.shutdown(socket.SHUT_RDWR)
