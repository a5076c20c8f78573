"""Threads for calls that block for as long as a model computes.

Not those of a pool: the interpreter waits for a pool's threads before anything can tell them to
stop, and a cold prefix takes minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

T = TypeVar("T")


def call_in(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Call something in the event loop, from any thread; not when nobody waits there any more."""
    # A loop that was closed raises.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)


class Threads:
    """One thread for each piece of work, until all are joined."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []

    def run(
        self,
        work: Callable[[], T],
        *,
        afterwards: Callable[[], None] = lambda: None,
        at_last: Callable[[], None] = lambda: None,
    ) -> asyncio.Future[T]:
        """The result of work done in a thread.

        Args:
            afterwards: also done there, once the result was told; must not raise.
            at_last: done in the event loop when the thread has nothing more to do, whatever
                became of the work or of who waited for it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def tell(result: T) -> None:
            if not future.done():
                future.set_result(result)

        def fail(error: BaseException) -> None:
            if not future.done():
                future.set_exception(error)

        def body() -> None:
            try:
                result = work()
            except BaseException as error:
                call_in(loop, partial(fail, error))
            else:
                call_in(loop, partial(tell, result))
                afterwards()
            finally:
                call_in(loop, at_last)

        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=body, name="ifmem-local-model", daemon=True)
        self._threads.append(thread)
        thread.start()
        return future

    @property
    def busy(self) -> bool:
        """Whether some work is not done."""
        return any(thread.is_alive() for thread in self._threads)

    def join(self, timeout: float | None = None) -> None:
        """Wait until all work is done but that of the caller; so many seconds for each at most."""
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout)
