"""HTTP connections, bounded: those that nobody needs make room for those that come."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from ifmem import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

_KEY = "connection"


class BoundedConnection(H11Protocol):
    """A connection of uvicorn's that is given up when too many are open.

    uvicorn would answer 503 to everybody once as many connections are open as it may serve, so
    whoever opens connections and says nothing keeps all others out. Here one of those goes instead:
    first the oldest that never showed a token which was taken, then the oldest that is idle; when
    each of them serves somebody, the new one goes.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._most, self.limit_concurrency = self.limit_concurrency, None
        self.app_state = {**self.app_state, _KEY: self}
        self.serving = 0
        """Requests of authenticated callers that run on it."""
        self.is_known = False
        """Whether an authenticated caller has used it."""
        self.last_used = clock.monotonic()

    def connection_made(  # type: ignore[override]
        self, transport: asyncio.Transport
    ) -> None:
        """Count it, and end another when there are too many."""
        super().connection_made(transport)
        if self._most is not None and len(self.connections) > self._most:
            _least_needed(self).transport.abort()


@contextmanager
def serving(scope: MutableMapping[str, Any]) -> Iterator[None]:
    """While a request of an authenticated caller runs, its connection is needed."""
    connection = scope.get("state", {}).get(_KEY)
    if connection is None:
        yield
        return
    connection.serving += 1
    connection.is_known = True
    try:
        yield
    finally:
        connection.serving -= 1
        connection.last_used = clock.monotonic()


def _least_needed(newest: BoundedConnection) -> BoundedConnection:
    others = [
        one
        for one in newest.connections
        if isinstance(one, BoundedConnection)
        and one is not newest
        and not one.serving
        and not one.transport.is_closing()
    ]
    return min(others, key=lambda one: (one.is_known, one.last_used), default=newest)
