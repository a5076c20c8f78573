"""What is told while no daemon is there is what the server itself says."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from ifmem.shim.manifest import FILE, Manifest

ROOT = Path(__file__).parents[2]


def test_the_shipped_manifest_is_what_the_server_says() -> None:
    done = subprocess.run(
        [sys.executable, "tools/manifest.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"run `python tools/manifest.py`: {done.stderr[-500:]}"


def test_the_manifest_has_the_package_s_version_and_each_list_that_all_memories_share() -> None:
    assert Manifest.read().version == metadata.version("ifmem")
    told = json.loads(FILE.read_bytes())
    lists = {"tools/list", "resources/templates/list", "prompts/list"}
    for version, answers in told["handshake"].items():
        assert set(answers) == {"initialize", *lists}, version
    for version, answers in told["modern"].items():
        assert set(answers) == {"server/discover", *lists}, version
