"""What a bridge must do about the bus it finds: go on, count a new epoch, or rebuild."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Recovery(StrEnum):
    """What is done before a space is served."""

    RESUME = "resume"
    """Everything is there: draining goes on."""
    NEW_EPOCH = "new epoch"
    """Another server process, with everything there: new fences must not repeat old ones."""
    REBUILD = "rebuild"
    """Something acknowledged is missing: the keys are written anew from the store."""


@dataclass(frozen=True, slots=True)
class StorePosition:
    """What the store knows of the bus it was last connected to."""

    epoch: int
    """0 before the first connection."""
    drained: str
    """The last entry committed."""
    run_id: str
    """The identity of that server's process."""


def recover(
    store: StorePosition,
    *,
    bus_epoch: int | None,
    bus_drained: str,
    run_id: str,
    holds_drained: bool,
    sequence: int,
    stored_sequence: int,
) -> Recovery:
    """Decide from both sides' positions.

    Args:
        store: the store's side.
        bus_epoch: None when the bus has no position at all.
        bus_drained: the position on the bus.
        run_id: the identity of the server's process now.
        holds_drained: the log still holds the entry that the store committed last: the bridge
            ended between the commit and telling the bus.
        sequence: the last one the bus gave out.
        stored_sequence: the highest in the store.
    """
    if bus_epoch != store.epoch or sequence < stored_sequence:
        return Recovery.REBUILD
    if bus_drained != store.drained and not holds_drained:
        return Recovery.REBUILD
    return Recovery.RESUME if run_id == store.run_id else Recovery.NEW_EPOCH
