-- What findings cite, state and supersede; where they disagree; what waits for a person.

CREATE TABLE citation (
    sequence INTEGER NOT NULL REFERENCES finding ON DELETE CASCADE,
    ordinal  INTEGER NOT NULL,
    source   TEXT    NOT NULL,  -- a path, URL, chat:<id> or finding:<uuid>
    PRIMARY KEY (sequence, ordinal)
) STRICT, WITHOUT ROWID;
CREATE INDEX citation_source ON citation (source);
INSERT INTO citation (sequence, ordinal, source)
SELECT f.sequence, j.key, CASE j.type WHEN 'text' THEN j.value ELSE json_extract(j.value, '$.source') END
FROM finding f, json_each(f.body, '$.citations') j
WHERE j.type IN ('text', 'object');

ALTER TABLE finding ADD COLUMN superseded_by INTEGER;  -- the sequence of the newer finding
ALTER TABLE finding ADD COLUMN superseded_at TEXT;     -- when that one was said

-- The current findings of each topic. value is NULL where only words are said.
CREATE TABLE stated (
    sequence INTEGER PRIMARY KEY REFERENCES finding ON DELETE CASCADE,
    topic    TEXT NOT NULL,  -- folded
    unit     TEXT NOT NULL,  -- folded; empty for none
    value    REAL
) STRICT;
CREATE INDEX stated_topic ON stated (topic, unit, value);

CREATE TABLE conflict (
    conflict_id TEXT PRIMARY KEY,
    kind        TEXT NOT NULL CHECK (kind IN ('value', 'text')),
    topic       TEXT NOT NULL,
    unit        TEXT NOT NULL,
    opened_at   TEXT NOT NULL,
    rationale   TEXT NOT NULL,
    outcome     TEXT,  -- kept, both, dismissed; NULL while it is open
    resolved_at TEXT,
    resolved_by TEXT,
    reason      TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX conflict_open ON conflict (topic, unit) WHERE outcome IS NULL;

CREATE TABLE conflict_side (
    conflict_id TEXT NOT NULL REFERENCES conflict ON DELETE CASCADE,
    finding_id  TEXT NOT NULL REFERENCES finding (finding_id) ON DELETE CASCADE,
    kept        INTEGER,  -- after a resolution
    PRIMARY KEY (conflict_id, finding_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX conflict_side_of ON conflict_side (finding_id);

CREATE TABLE inbox_item (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    item_id    TEXT NOT NULL UNIQUE,
    kind       TEXT NOT NULL,  -- conflict, low_confidence, single_source, duplicate
    subject    TEXT NOT NULL,  -- the conflict's or finding's id
    rationale  TEXT NOT NULL,
    task_id    TEXT,
    opened_at  TEXT NOT NULL,
    outcome    TEXT,
    closed_at  TEXT,
    closed_by  TEXT,
    reason     TEXT,
    UNIQUE (kind, subject)
) STRICT;
CREATE INDEX inbox_open ON inbox_item (number) WHERE outcome IS NULL;

-- The tasks that an open item blocks.
CREATE TABLE inbox_task (
    item_id TEXT NOT NULL REFERENCES inbox_item (item_id) ON DELETE CASCADE,
    task_id TEXT NOT NULL,
    PRIMARY KEY (item_id, task_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX inbox_task_of ON inbox_task (task_id);
