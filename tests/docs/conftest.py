"""Makes the scripts under ``tools``, and the reader of pages beside this file, importable."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / "tools"), str(Path(__file__).parent)]
