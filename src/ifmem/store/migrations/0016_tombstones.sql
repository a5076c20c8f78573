-- What was forgotten and must not come back: known by a keyed digest, so that the mark tells nothing.

CREATE TABLE tombstone (
    mark         TEXT PRIMARY KEY,  -- HMAC of kind and name
    kind         TEXT NOT NULL,     -- finding, content, source, passage, session
    forgotten_at TEXT NOT NULL,
    forgotten_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;
