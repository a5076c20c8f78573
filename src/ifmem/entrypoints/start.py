"""The command's very start: what agents wait for goes past the command line and its imports."""

from __future__ import annotations

import sys


def run() -> int:
    """Run one command; the exit code, as ``entrypoints.cli.main.run`` says.

    ``ifmem mcp`` and ``ifmem hook`` need the standard library only, so nothing else is imported for
    them; their help, and global options before them, are the command line's.
    """
    name, arguments = sys.argv[1:2], sys.argv[2:]
    if name == ["mcp"]:
        from ifmem.shim import stdio

        given = stdio.given(arguments)
        if given is not None:
            return stdio.serve(given)
    if name == ["hook"]:
        from ifmem.shim import hook

        return hook.main(arguments)
    from ifmem.entrypoints.cli import main

    return main.run()
