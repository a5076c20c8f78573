"""The rest of a space, when all of it is to be forgotten: tasks, messages, questions, sessions."""

from __future__ import annotations

import sqlite3

from ifmem.runtime.forgetting_rows import Told
from ifmem.runtime.space import Space
from ifmem.store import audit, forgettable, tasks

_REASON = "everything in this space is being forgotten: try again in a moment"


async def empty(space: Space, told: Told) -> tuple[int, int]:
    """Remove what is no document and no finding; how many tasks and messages there were.

    The bus takes nothing new meanwhile: what comes between its emptying and the store's would stay.

    Raises:
        Unavailable: the bus does not answer; some may be gone, and it may be repeated.
    """
    await space.bus.log.refuse(space.lease, _REASON)
    try:
        await space.caught_up(await space.bus.log.barrier())

        def work(connection: sqlite3.Connection) -> tuple[int, int, int]:
            counts = forgettable.work_counts(connection)
            place = tasks.last_place(connection)
            forgettable.delete_work(connection)
            forgettable.set_due(connection, True)
            _note(connection, told)
            return *counts, place

        gone, messages, place = await space.write(work)
        await space.bus.tasks.restore([], counts={}, last_place=place)
        await space.bus.erasing.drop_messages()
        await space.bus.erasing.drop_dead_letters(lambda value: True)
    finally:
        await space.bus.log.refuse(space.lease, "")
    return gone, messages


def _note(connection: sqlite3.Connection, told: Told) -> None:
    audit.note(
        connection,
        entry=f"forget:everything:{told.at}",
        at=told.at,
        type=audit.WRITE,
        severity=audit.WARNING,
        action="forget",
        actor=told.by,
        subject="everything",
        reason="the whole space",
    )
