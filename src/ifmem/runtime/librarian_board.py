"""What a space shows of its librarians, remembered so that only changes are written."""

from __future__ import annotations

from dataclasses import dataclass, field

from ifmem.bus.state import LibrarianState


@dataclass
class LibrarianBoard:
    """What was shown last."""

    offline: dict[int, str] = field(default_factory=dict)
    """Why a librarian cannot be asked at all, such as a key that is not set, by its number; whoever
    finds out writes it here and removes it again."""
    shown: dict[int, LibrarianState] = field(default_factory=dict)
    """On the bus."""
    noted: dict[str, str] = field(default_factory=dict)
    """The day of calls of each pool whose beginning is in the audit."""
