"""Draw ``docs/images/demo.svg`` from a run of the demo, as a terminal shows it."""

from __future__ import annotations

import io
import os
import pty
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
PICTURE = Path("docs/images/demo.svg")
COLUMNS = 110
COMMAND = ("ifmem", "demo")


def printed(command: tuple[str, ...]) -> str:
    """What a command writes to a terminal on its standard output, styles included.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    reads, writes = pty.openpty()
    program = (sys.executable, "-m", *command)
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    process = subprocess.Popen(
        program, stdout=writes, stderr=subprocess.DEVNULL, env=environment, cwd=ROOT
    )
    os.close(writes)
    heard = io.BytesIO()
    while True:
        try:
            data = os.read(reads, 65_536)
        except OSError:
            # How Linux says that the other end of a terminal was closed.
            break
        if not data:
            break
        heard.write(data)
    os.close(reads)
    if code := process.wait():
        raise subprocess.CalledProcessError(code, command)
    return heard.getvalue().decode().replace("\r\n", "\n")


def anonymous(text: str) -> str:
    """The text without the machine it was printed on: its library's place and its name."""
    library = sysconfig.get_path("stdlib")
    return text.replace(library, Path(library).name).replace(f"{socket.gethostname()}-", "host-")


def drawn(text: str) -> str:
    """The text as a picture; the same text gives the same picture."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(text.rstrip("\n")))
    return console.export_svg(title=" ".join(COMMAND), unique_id="demo")


def main() -> None:
    """Run the demo and write the picture."""
    (ROOT / PICTURE).parent.mkdir(parents=True, exist_ok=True)
    (ROOT / PICTURE).write_text(drawn(anonymous(printed(COMMAND))), encoding="utf-8")


if __name__ == "__main__":
    main()
