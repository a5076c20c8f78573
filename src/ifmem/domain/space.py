"""A space: an isolated memory, and the names it may have."""

from __future__ import annotations

import re

from ifmem.errors import Invalid

DEFAULT_SPACE = "default"
"""Its keys have no prefix."""
RESERVED = frozenset({"finding", "context", "worker", "librarian", "channel", "swarm", "ifmem"})
"""First segments of our own keys; a space of that name would collide with them."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")


def require_space(name: str) -> str:
    """The name itself when a space may have it, otherwise ``Invalid``."""
    if _NAME.fullmatch(name) is None or name in RESERVED:
        raise Invalid(
            f"{name[:60]!r} cannot name a space: use up to 41 lower-case letters, digits and "
            f"hyphens, and none of {', '.join(sorted(RESERVED))}",
            space=name[:60],
        )
    return name
