"""What was observed of the models' tokenisers."""

from __future__ import annotations

import sqlite3

from ifmem.engine.shard_budgets import Factor


def all_factors(connection: sqlite3.Connection) -> dict[tuple[str, str], Factor]:
    """The factor of each model and speciality that was observed."""
    return {
        (model, speciality): Factor(factor, samples)
        for model, speciality, factor, samples in connection.execute(
            "SELECT model, speciality, factor, samples FROM calibration"
        )
    }


def keep(connection: sqlite3.Connection, model: str, speciality: str, factor: Factor) -> None:
    """Write a factor over the one before."""
    connection.execute(
        "INSERT OR REPLACE INTO calibration VALUES (?, ?, ?, ?)",
        (model, speciality, factor.value, factor.samples),
    )
