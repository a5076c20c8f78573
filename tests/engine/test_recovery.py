"""What a bridge does about the bus it finds."""

from __future__ import annotations

import pytest

from ifmem.engine.recovery import Recovery, StorePosition, recover

KEPT = StorePosition(epoch=4, drained="100-0", run_id="server-a")


def decided(
    *,
    epoch: int | None = 4,
    drained: str = "100-0",
    run_id: str = "server-a",
    holds: bool = False,
    sequence: int = 50,
    stored: int = 50,
) -> Recovery:
    return recover(
        KEPT,
        bus_epoch=epoch,
        bus_drained=drained,
        run_id=run_id,
        holds_drained=holds,
        sequence=sequence,
        stored_sequence=stored,
    )


def test_a_bus_as_it_was_left_is_gone_on_with() -> None:
    assert decided() is Recovery.RESUME


def test_a_bridge_that_ended_between_commit_and_telling_the_bus_goes_on() -> None:
    assert decided(drained="90-0", holds=True) is Recovery.RESUME


def test_findings_that_are_not_committed_yet_are_no_reason_to_rebuild() -> None:
    assert decided(sequence=70) is Recovery.RESUME


def test_a_restarted_server_that_lost_nothing_gets_a_new_epoch_and_keeps_its_leases() -> None:
    assert decided(run_id="server-b") is Recovery.NEW_EPOCH
    assert decided(run_id="server-b", drained="90-0", holds=True) is Recovery.NEW_EPOCH


@pytest.mark.parametrize(
    "what",
    [
        {"epoch": None, "drained": "0-0", "sequence": 0},
        {"epoch": 3},
        {"drained": "90-0"},
        {"drained": "110-0"},
        {"sequence": 49},
    ],
    ids=["empty", "older epoch", "commit forgotten", "store from a backup", "numbers go back"],
)
@pytest.mark.parametrize("run_id", ["server-a", "server-b"])
def test_a_bus_that_lacks_something_is_rebuilt(what: dict[str, object], run_id: str) -> None:
    assert decided(run_id=run_id, **what) is Recovery.REBUILD  # type: ignore[arg-type]


def test_a_store_that_never_had_a_bus_builds_one() -> None:
    fresh = StorePosition(epoch=0, drained="0-0", run_id="")
    found = recover(
        fresh,
        bus_epoch=None,
        bus_drained="0-0",
        run_id="server-a",
        holds_drained=False,
        sequence=0,
        stored_sequence=0,
    )
    assert found is Recovery.REBUILD
