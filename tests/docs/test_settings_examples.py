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
    (tmp_path / PROJECT_FILE).write_text(example, encoding="utf-8")
    _, origins = read_settings(flags={}, environment={}, directory=tmp_path)
    assert any(one.origin.startswith("project ") for one in origins)
