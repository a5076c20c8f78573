"""Coming to the daemon: connect to its socket for agents, and start it where none listens."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ifmem.errors import Failed, IfMemError, NotPermitted, Unavailable, from_wire
from ifmem.shim.places import Place, place
from ifmem.sockets import MCP_SOCKET, socket_path

if TYPE_CHECKING:
    import subprocess

PROTOCOL = 1
"""Of the line that says who connects; ``mcp_server.listening`` says the same."""
_GREET_S = 60.0
"""A daemon that has yet to import what speaks MCP answers after a second or two."""
_LOOK_S = 0.02
_TRIES = 3


class Identity(NamedTuple):
    """Whom the shim speaks for, as its command line says."""

    root: Path
    """Absolute: the agent's project."""
    agent: str
    home: str | None = None
    space: str | None = None


class Link(NamedTuple):
    """A connection that the daemon has taken."""

    socket: socket.socket
    limit: int
    """Bytes of the longest line it takes."""
    begun: bytes
    """What it has sent beyond its greeting."""


class _HungUpError(Exception):
    """What accepted us ended before it greeted: its successor is started."""


class Binding:
    """Makes connections to the daemon of one home, and starts it where none runs."""

    def __init__(self, identity: Identity, environment: Mapping[str, str], version: str) -> None:
        self._identity = identity
        self._environment = environment
        self._version = version
        self._starting = threading.Lock()
        self._starter: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def connect(self) -> Link:
        """A connection; waits for a daemon that has to be started.

        Raises:
            IfMemError: why there is none, and what to do about it.
        """
        identity = self._identity
        where = place(
            home=identity.home,
            space=identity.space,
            environment=self._environment,
            directory=identity.root,
        )
        for _ in range(_TRIES):
            try:
                return self._greeted(where) or self._started(where)
            except _HungUpError:
                continue
        raise Unavailable(
            f"the daemon of {where.home} hangs up: its log is {where.home / 'daemon.log'}",
            home=str(where.home),
        )

    def close(self) -> None:
        """End the command that starts a daemon, if it still runs; the daemon itself goes on."""
        with self._starting:
            self._is_closed = True
            if self._starter is not None and self._starter.poll() is None:
                self._starter.kill()
                self._starter.wait()

    def _greeted(self, where: Place) -> Link | None:
        """A connection that the daemon has taken; None where none listens."""
        path = socket_path(where.home, MCP_SOCKET)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_GREET_S)
            connection.connect(os.fspath(path))
            return self._greet(connection, where)
        except PermissionError as error:
            connection.close()
            raise NotPermitted(
                f"the daemon's socket {path} is not yours to use: name another --home"
            ) from error
        except TimeoutError as error:
            connection.close()
            raise Unavailable(
                f"the daemon of {where.home} does not answer: its log is "
                f"{where.home / 'daemon.log'}; `ifmem down` ends it",
                home=str(where.home),
            ) from error
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            connection.close()
            return None
        except OSError as error:
            connection.close()
            raise _HungUpError from error
        except BaseException:
            connection.close()
            raise

    def _greet(self, connection: socket.socket, where: Place) -> Link:
        said = {
            "protocol": PROTOCOL,
            "version": self._version,
            "space": where.space,
            "root": str(self._identity.root),
            "agent": self._identity.agent,
        }
        # Who is refused before having said anything still hears why.
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(json.dumps(said).encode() + b"\n")
        begun = b""
        while b"\n" not in begun:
            chunk = connection.recv(65_536)
            if not chunk:
                raise _HungUpError
            begun += chunk
        line, _, begun = begun.partition(b"\n")
        told = _read(line)
        if told.get("ready") is True and told.get("version") == self._version:
            connection.settimeout(None)
            return Link(connection, int(told["max_request_bytes"]), begun)
        raise _refusal(told)

    def _started(self, where: Place) -> Link:
        # Not needed where a daemon runs, and an agent waits for what is imported above.
        from subprocess import TimeoutExpired

        starter = self._start(where)
        while True:
            try:
                out, _ = starter.communicate(timeout=_LOOK_S)
                break
            except TimeoutExpired:
                # It listens a moment before the command that starts it has said so.
                with contextlib.suppress(_HungUpError):
                    link = self._greeted(where)
                    if link is not None:
                        threading.Thread(target=starter.communicate, daemon=True).start()
                        return link
        if starter.returncode != 0:
            raise _why(out, starter.returncode)
        link = self._greeted(where)
        if link is None:
            raise Unavailable(
                f"the daemon of {where.home} runs and serves no agents: run `ifmem down`, then "
                "repeat",
                home=str(where.home),
            )
        return link

    def _start(self, where: Place) -> subprocess.Popen[bytes]:
        import subprocess

        # -P: no module lying in the project can be imported by mistake.
        up = [sys.executable, "-P", "-m", "ifmem", "up", "--json", "--quiet"]
        root = self._identity.root
        with self._starting:
            if self._is_closed:
                raise Unavailable("the agent has ended: nothing is started for it")
            self._starter = subprocess.Popen(
                [*up, "--home", str(where.home), "--space", where.space],
                # Its own words come here and not on our standard output, which is the agent's.
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(self._environment),
                cwd=root if root.is_dir() else "/",
            )
            return self._starter


def _read(line: bytes) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except ValueError:
        told = None
    return told if isinstance(told, dict) else {}


def _refusal(told: dict[str, Any]) -> IfMemError:
    refused = told.get("error")
    wire = refused.get("data") if isinstance(refused, dict) else None
    if isinstance(wire, dict):
        return from_wire(wire)
    return Unavailable(
        "the daemon of this home is of another version than this ifmem: run `ifmem down`, then "
        "repeat"
    )


def _why(out: bytes, code: int) -> IfMemError:
    """What `ifmem up` said, which is one line of JSON."""
    told = _read(out.splitlines()[-1]) if out.strip() else {}
    if "message" in told:
        return from_wire(told)
    return Failed(f"`ifmem up` ended with {code}: run it yourself to see why", exit_code=code)
