"""What a daemon that comes later must hear again: the agent's handshake and its subscriptions."""

from __future__ import annotations

from typing import Any

from ifmem.shim.lines import Id, line_of

INITIALIZE, INITIALIZED = "initialize", "notifications/initialized"
_SUBSCRIBE, _UNSUBSCRIBE = "resources/subscribe", "resources/unsubscribe"


class Handshake:
    """Of a connection with a handshake; one without has nothing to repeat."""

    def __init__(self) -> None:
        self.version: str | None = None
        """Of the protocol, once the agent and the server have agreed."""
        self._initialize: dict[str, Any] | None = None
        self._initialized: dict[str, Any] | None = None
        self._subscriptions: dict[str, dict[str, Any]] = {}

    def note(self, message: dict[str, Any], agreed: str | None) -> None:
        """Keep what has to be said again; most messages have not.

        Args:
            agreed: for ``initialize``: the version that it comes to, as far as it is known.
        """
        method, params = message.get("method"), message.get("params")
        uri = params.get("uri") if isinstance(params, dict) else None
        if method == INITIALIZE:
            self._initialize, self.version = message, agreed
        elif method == INITIALIZED:
            self._initialized = message
        elif method == _SUBSCRIBE and isinstance(uri, str):
            self._subscriptions[uri] = message
        elif method == _UNSUBSCRIBE and isinstance(uri, str):
            self._subscriptions.pop(uri, None)

    def absorbs(self, method: str) -> bool:
        """Whether a message needs no daemon now, because every later one is told of it."""
        return method == INITIALIZED and self.version is not None

    def refused(self, number: Id) -> None:
        """The server has answered a request with an error: what it asked for is not repeated."""
        if self._initialize is not None and self._initialize["id"] == number:
            self._initialize = self.version = None
        self._subscriptions = {
            uri: message for uri, message in self._subscriptions.items() if message["id"] != number
        }

    def replay(self) -> tuple[bytes, frozenset[Id]]:
        """The lines for a new daemon, and the ids of the answers that nobody waits for."""
        if self._initialize is None:
            return b"", frozenset()
        requests = [self._initialize, *self._subscriptions.values()]
        numbered = [
            message | {"id": f"ifmem-shim-{place}"} for place, message in enumerate(requests)
        ]
        initialized = [] if self._initialized is None else [self._initialized]
        said = [numbered[0], *initialized, *numbered[1:]]
        return b"".join(map(line_of, said)), frozenset(message["id"] for message in numbered)
