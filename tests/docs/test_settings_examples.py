"""Settings that pages show are settings that are read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ifmem.places import PROJECT_FILE
from ifmem.settings import read_settings

ROOT = Path(__file__).parents[2]
_TOML = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = [
    pytest.param(block, id=f"{path.relative_to(ROOT)}-{place}")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    for place, block in enumerate(_TOML.findall(path.read_text(encoding="utf-8")), 1)
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_settings_is_read_as_it_stands(example: str, tmp_path: Path) -> None:
    # What a project may not set stands in the user's own file.
    of_the_user = re.search(r"^(\[serve\]|roots)", example, re.MULTILINE) is not None
    path = tmp_path / ("config.toml" if of_the_user else PROJECT_FILE)
    path.write_text(example, encoding="utf-8")
    environment = {"IFMEM_CONFIG": str(path)} if of_the_user else {}
    _, origins = read_settings(flags={}, environment=environment, directory=tmp_path)
    label = "user " if of_the_user else "project "
    assert any(one.origin.startswith(label) for one in origins)
