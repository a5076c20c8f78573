"""The grants of a home: which tokens are taken, kept as the tokens' SHA-256."""

from __future__ import annotations

import json
import os
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any

from ifmem import clock
from ifmem.domain.finding import Trust
from ifmem.domain.grant import Grant, Scope
from ifmem.errors import Failed, IfMemError, NotPermitted
from ifmem.store.database import BUSY_TIMEOUT_MS

_VERSION = 1
_SCHEMA = """
CREATE TABLE grants (
    name       TEXT PRIMARY KEY,  -- the agent; one token each
    sha256     TEXT NOT NULL UNIQUE,  -- of the token, in hex; the token itself is nowhere
    space      TEXT NOT NULL,
    scopes     TEXT NOT NULL,  -- a JSON list
    roots      TEXT NOT NULL,  -- a JSON list of absolute directories
    trust      TEXT NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT
) STRICT
"""


class GrantTable:
    """``grants.db`` of one home, readable by its owner only; used by one thread at a time.

    What a method has written is on disk when it returns.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the table.

        Raises:
            Failed: the file is damaged, or was made by a newer ifmem.
            NotPermitted: it cannot be written.
        """
        self._path = path
        try:
            # Made before SQLite makes it: nobody else can have opened it while it was readable.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            path.chmod(0o600)
            self._connection = _opened(path)
        except (OSError, sqlite3.Error) as error:
            raise _translated(error, path) from error

    def all(self) -> dict[str, Grant]:
        """Every grant by the SHA-256 of its token."""
        rows = self._execute("SELECT * FROM grants ORDER BY name")
        return {row["sha256"]: _grant(row) for row in rows}

    def put(self, sha256: str, grant: Grant) -> None:
        """Keep a grant; one of the same name that was there is gone."""
        self._execute(
            "INSERT OR REPLACE INTO grants VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                grant.name,
                sha256,
                grant.space,
                json.dumps(sorted(grant.scopes)),
                json.dumps(grant.roots),
                grant.trust,
                clock.stamp(grant.created_at),
                _stamp(grant.expires_at),
                _stamp(grant.revoked_at),
            ),
        )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _execute(self, statement: str, values: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise _translated(error, self._path) from error


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise Failed(
                f"{path} has schema {version}; this ifmem knows up to {_VERSION}: update ifmem, "
                "or use another --home",
                schema=version,
                known=_VERSION,
            )
        connection.row_factory = sqlite3.Row
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        if version < _VERSION:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{_SCHEMA};\nPRAGMA user_version = {_VERSION};\nCOMMIT;"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _grant(row: sqlite3.Row) -> Grant:
    return Grant(
        name=row["name"],
        space=row["space"],
        scopes=frozenset(Scope(one) for one in json.loads(row["scopes"])),
        roots=tuple(json.loads(row["roots"])),
        trust=Trust(row["trust"]),
        created_at=datetime.fromisoformat(row["created_at"]),
        expires_at=_moment(row["expires_at"]),
        revoked_at=_moment(row["revoked_at"]),
    )


def _moment(text: Any) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _stamp(moment: datetime | None) -> str | None:
    return None if moment is None else clock.stamp(moment)


def _translated(error: Exception, path: Path) -> IfMemError:
    text = str(error)
    if isinstance(error, OSError) or "readonly" in text or "unable to open" in text:
        return NotPermitted(f"{path} cannot be written: check its owner, or use another --home")
    if "malformed" in text or "not a database" in text:
        return Failed(
            f"{path} is damaged: move it away and create the tokens again; "
            "no token of it is taken until then"
        )
    return Failed(f"the tokens in {path} cannot be used: {text}")
