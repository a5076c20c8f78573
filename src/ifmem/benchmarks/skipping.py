"""Which parts of a benchmark are left out."""

from __future__ import annotations

from collections.abc import Collection

from ifmem.errors import Invalid


def require_parts(skip: Collection[str], parts: Collection[str]) -> None:
    """Say so when a part is to be left out that does not exist.

    Raises:
        Invalid: it names those that do.
    """
    for name in skip:
        if name not in parts:
            raise Invalid(f"there is no part {name!r} to leave out: choose of {', '.join(parts)}")
