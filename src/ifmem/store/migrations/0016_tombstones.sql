-- What was forgotten and must not come back: known by a keyed digest, so that the mark tells nothing.

CREATE TABLE tombstone (
    mark         TEXT PRIMARY KEY,  -- HMAC of kind and name
    kind         TEXT NOT NULL,     -- finding, content, source, passage, session
    forgotten_at TEXT NOT NULL,
    forgotten_by TEXT NOT NULL,
    because      TEXT               -- the mark of what was named, if that was something else: lifted with it
) STRICT, WITHOUT ROWID;
CREATE INDEX tombstone_kind ON tombstone (kind, forgotten_at);
CREATE INDEX tombstone_because ON tombstone (because) WHERE because IS NOT NULL;
CREATE INDEX forgotten_at ON forgotten (forgotten_at, id);
