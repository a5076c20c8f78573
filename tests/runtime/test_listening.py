"""The daemon's socket: a caller that does not read is waited for, and others are not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from ifmem.runtime.listening import Emitter, Listener
from ifmem.wire.calls import Request


def test_events_without_end_wait_for_a_caller_that_does_not_read(tmp_path: Path) -> None:
    emitted = 0
    stuck = asyncio.Event()

    async def handle(request: Request, emit: Emitter) -> Any:
        nonlocal emitted
        if request.method == "other":
            return {"emitted": emitted}
        for number in range(2_000):
            emitted += 1
            emit({"number": number, "filler": "x" * 10_000})
            waiting = asyncio.ensure_future(emit.drained())
            await asyncio.sleep(0)
            if not waiting.done():
                stuck.set()
            await waiting
        return {}

    async def story() -> None:
        listener = Listener(handle)
        server = await listener.listen(tmp_path / "socket")
        async with server, asyncio.timeout(30):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "socket"))
            other_reader, other = await asyncio.open_unix_connection(str(tmp_path / "socket"))
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b'{"id":1,"method":"endless","space":"default"}\n')
            await stuck.wait()
            other.write(b'{"id":1,"method":"other","space":"default"}\n')
            answer = json.loads(await other_reader.readline())
            assert answer["result"]["emitted"] < 200
            reader._transport.resume_reading()  # type: ignore[attr-defined]
            for number in range(2_000):
                assert json.loads(await reader.readline())["event"]["number"] == number
            assert json.loads(await reader.readline())["result"] == {}
            writer.close()
            other.close()
        await listener.close()

    asyncio.run(story())
