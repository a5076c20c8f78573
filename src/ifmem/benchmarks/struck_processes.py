"""Processes that a chaos schedule kills and pauses, each started again when it was killed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from ifmem import clock
from ifmem.benchmarks.chaos import Blow, ChaosEvent
from ifmem.errors import Failed

CommandOf = Callable[[int], Sequence[str]]
"""The command line of the process with this index, the same at each start."""


class StruckProcesses:
    """One process for each index; a killed one is replaced at once by another of that index."""

    def __init__(self, command_of: CommandOf) -> None:
        self._command_of = command_of
        self._running: dict[int, asyncio.subprocess.Process] = {}

    async def start(self, index: int) -> None:
        """Start the process of this index."""
        self._running[index] = await asyncio.create_subprocess_exec(*self._command_of(index))

    async def strike(self, event: ChaosEvent) -> None:
        """Do to a process what the event says."""
        process = self._running[event.index]
        match event.blow:
            case Blow.KILL:
                process.kill()
                await process.wait()
                await self.start(event.index)
            case Blow.PAUSE:
                process.send_signal(signal.SIGSTOP)
            case Blow.RESUME:
                process.send_signal(signal.SIGCONT)

    async def play(self, events: Sequence[ChaosEvent]) -> None:
        """Strike at the times of the events, counted from now."""
        began = clock.monotonic()
        for event in events:
            ahead = began + event.at_seconds - clock.monotonic()
            if ahead > 0:
                await asyncio.sleep(ahead)
            await self.strike(event)

    async def ended(self, *, within_seconds: float) -> None:
        """Wait until each has left by itself.

        Raises:
            Failed: one has not, or not with status 0.
        """
        try:
            async with asyncio.timeout(within_seconds):
                for index, process in self._running.items():
                    if await process.wait():
                        raise Failed(f"process {index} ended with status {process.returncode}")
        except TimeoutError as error:
            raise Failed(f"a process has not ended after {within_seconds:.0f} s") from error

    async def end(self) -> None:
        """Kill those that still run; a paused one too."""
        for process in self._running.values():
            if process.returncode is None:
                process.kill()
            await process.wait()


@asynccontextmanager
async def struck_processes(count: int, command_of: CommandOf) -> AsyncIterator[StruckProcesses]:
    """So many processes, started; none of them is left on the way out."""
    processes = StruckProcesses(command_of)
    try:
        for index in range(count):
            await processes.start(index)
        yield processes
    finally:
        await processes.end()
