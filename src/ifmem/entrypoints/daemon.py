"""The daemon process: owns the home, serves it, and says when it is ready."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import gc
import logging
import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from ifmem.errors import IfMemError, NotPermitted, to_wire
from ifmem.settings import Settings

LOCK = "daemon.lock"
# Loading runs in threads beside the searches: short turns keep a search from waiting for one.
_SWITCH_SECONDS = 0.0005
_LOCK_LOOKS, _LOCK_LOOK_SECONDS = 50, 0.02


def main() -> int:
    """Serve until told to stop; the exit code of what went wrong otherwise."""
    parser = argparse.ArgumentParser(prog="ifmem-daemon")
    # The settings come on stdin: a password in the bus's URL must not show in the process list.
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--adopt", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    sys.setswitchinterval(_SWITCH_SECONDS)
    _import_all()
    settings = msgspec.json.decode(sys.stdin.buffer.read(), type=Settings)
    try:
        _own(settings.home_path)
        asyncio.run(_run(settings, arguments.ready_fd, adopt=arguments.adopt))
    except IfMemError as error:
        logging.getLogger(__name__).error("%s", error.message)
        _say(arguments.ready_fd, to_wire(error))
        return error.exit_code
    return 0


def _import_all() -> None:
    """Import what serves; what was imported stays for ever, and is never searched for garbage."""
    gc.disable()
    import ifmem.assembly  # noqa: F401

    gc.freeze()
    gc.enable()


async def _run(settings: Settings, ready_fd: int, *, adopt: bool) -> None:
    from ifmem.assembly import serve

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)

    def ready(socket: Path) -> None:
        _say(ready_fd, {"ready": True, "socket": str(socket), "pid": os.getpid()})

    await serve(settings, stopping, ready, adopt=adopt)


def _own(home: Path) -> None:
    """Take the lock that makes this process the home's one daemon; the kernel drops it at its end.

    Somebody who only looks whether the home is owned holds the lock for a moment, so one refusal
    is not an answer.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(home / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(_LOCK_LOOKS):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_LOOK_SECONDS)
    raise NotPermitted(
        f"{home} is owned by another daemon: `ifmem down` ends it, or name another --home",
        home=str(home),
    )


def _say(ready_fd: int, line: object) -> None:
    """One line to whoever started us; nothing when they have gone."""
    try:
        os.write(ready_fd, msgspec.json.encode(line) + b"\n")
        os.close(ready_fd)
    except OSError:
        pass


if __name__ == "__main__":
    sys.exit(main())
