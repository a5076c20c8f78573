-- Questions to the archive: here before anybody works on them, until answered or too old.

CREATE TABLE archive_query (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    query_id    TEXT    NOT NULL UNIQUE,
    asked_at    TEXT    NOT NULL,
    sender      TEXT    NOT NULL,
    question    TEXT    NOT NULL,
    hint        INTEGER,           -- a librarian's number
    params      TEXT    NOT NULL,  -- filters, model, limits, as JSON
    state       TEXT    NOT NULL CHECK (state IN ('waiting', 'leased', 'kept', 'answered', 'expired', 'failed')),
    attempts    INTEGER NOT NULL DEFAULT 0,
    librarian   INTEGER,           -- who has or had it
    holder      TEXT,              -- the process
    fence       INTEGER NOT NULL DEFAULT 0,
    lease_until TEXT,
    not_before  TEXT,              -- of a kept one: when quotas reset
    expires_at  TEXT    NOT NULL,
    reason      TEXT,              -- why it failed, or is kept
    answered_at TEXT,
    response    TEXT               -- as JSON
) STRICT;
CREATE INDEX archive_query_open ON archive_query (number) WHERE state IN ('waiting', 'leased', 'kept');
CREATE INDEX archive_query_ended ON archive_query (answered_at) WHERE answered_at IS NOT NULL;
