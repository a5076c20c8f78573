-- What providers last reported of the shards' prefixes, so that a restart does not forget it.

CREATE TABLE hotness (
    model         TEXT NOT NULL,
    prefix_sha256 TEXT NOT NULL,
    reported_at   TEXT NOT NULL,  -- when it was written here; the newest of a shard comes last
    report        TEXT NOT NULL,  -- engine.hotness.Hotness as JSON
    PRIMARY KEY (model, prefix_sha256)
) STRICT, WITHOUT ROWID;
