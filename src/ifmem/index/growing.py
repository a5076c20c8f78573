"""An array that grows by doubling: one writer appends while readers look at what was there."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item", bound=np.generic)

_ROOM = 1024


class Growing(Generic[Item]):
    """One value for each number; numbers never set have ``absent``."""

    def __init__(self, absent: Item, values: NDArray[Item] | None = None) -> None:
        self._absent = absent
        self._values: NDArray[Item] = np.full(_ROOM, absent)
        if values is not None and len(values):
            self._values = values

    def put(self, at: int, value: Item | int | bool) -> None:
        """Set the value of a number."""
        while at >= len(self._values):
            more = np.full(max(len(self._values), _ROOM), self._absent)
            self._values = np.concatenate((self._values, more))
        self._values[at] = value

    def cut(self, size: int) -> NDArray[Item]:
        """The values of the numbers below ``size``, absent where none was set."""
        values = self._values
        if size > len(values):
            # Not grown in place: this is called by readers.
            values = np.concatenate((values, np.full(size - len(values), self._absent)))
        return values[:size]
