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

CREATE INDEX finding_superseded ON finding (superseded_at) WHERE superseded_at IS NOT NULL;
UPDATE finding SET superseded_by = newer.sequence, superseded_at = newer.said_at
FROM (
    SELECT sequence, said_at, json_extract(body, '$.supersedes') AS older
    FROM finding WHERE json_extract(body, '$.supersedes') IS NOT NULL
) AS newer
WHERE newer.older = finding.finding_id AND newer.sequence > finding.sequence;

-- The current findings of each topic. value is NULL where only words are said.
CREATE TABLE stated (
    sequence INTEGER PRIMARY KEY REFERENCES finding ON DELETE CASCADE,
    topic    TEXT NOT NULL,  -- folded
    unit     TEXT NOT NULL,  -- folded; empty for none
    value    REAL,
    to_judge INTEGER NOT NULL DEFAULT 0  -- 1 while a model has still to compare it
) STRICT;
CREATE INDEX stated_topic ON stated (topic, unit, value);
CREATE INDEX stated_to_judge ON stated (sequence) WHERE to_judge = 1;
INSERT INTO stated (sequence, topic, unit, value)
SELECT sequence, lower(trim(topic)), lower(trim(ifnull(json_extract(body, '$.unit'), ''))),
    CAST(json_extract(body, '$.value') AS REAL)
FROM finding
WHERE topic IS NOT NULL AND superseded_at IS NULL
    AND ifnull(json_extract(body, '$.speech_act'), 'inform') = 'inform';

-- What a claim says, as 64 bits of a digest, to notice that it is said again.
CREATE TABLE claim_mark (
    sequence INTEGER PRIMARY KEY REFERENCES finding ON DELETE CASCADE,
    mark     INTEGER NOT NULL
) STRICT;
CREATE INDEX claim_mark_of ON claim_mark (mark, sequence);

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
    kind       TEXT NOT NULL,  -- conflict, low_confidence, single_source, duplicate; or the
                               -- speech act of an agent: escalate, request, hold
    subject    TEXT NOT NULL,  -- the conflict's or finding's id
    rationale  TEXT NOT NULL,
    task_id    TEXT,
    opened_at  TEXT NOT NULL,
    outcome    TEXT,
    closed_at  TEXT,
    closed_by  TEXT,
    reason     TEXT,
    told       INTEGER NOT NULL DEFAULT 1,  -- 0 while its author has still to be asked
    UNIQUE (kind, subject)
) STRICT;
CREATE INDEX inbox_open ON inbox_item (number) WHERE outcome IS NULL;
CREATE INDEX inbox_open_kind ON inbox_item (kind, number) WHERE outcome IS NULL;
CREATE INDEX inbox_subject ON inbox_item (subject);
CREATE INDEX inbox_untold ON inbox_item (number) WHERE told = 0;

-- The tasks that an open item blocks, and that a decided one blocked.
CREATE TABLE inbox_task (
    item_id TEXT NOT NULL REFERENCES inbox_item (item_id) ON DELETE CASCADE,
    task_id TEXT NOT NULL,
    told    INTEGER NOT NULL DEFAULT 0,  -- the bus: 0 nothing yet, 1 to block it, 2 to free it
    PRIMARY KEY (item_id, task_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX inbox_task_of ON inbox_task (task_id);
CREATE INDEX inbox_task_due ON inbox_task (item_id) WHERE told < 2;

-- An item about a finding goes with it; one about a conflict is decided when too few sides are left.
CREATE TRIGGER inbox_item_of_forgotten AFTER DELETE ON finding BEGIN
    DELETE FROM inbox_item WHERE subject = OLD.finding_id AND kind <> 'conflict';
END;
-- A conflict of which every side is forgotten tells nothing of what it was about.
CREATE TRIGGER conflict_of_forgotten AFTER DELETE ON conflict_side
WHEN NOT EXISTS (SELECT 1 FROM conflict_side WHERE conflict_id = OLD.conflict_id) BEGIN
    UPDATE conflict SET topic = '', unit = '', reason = NULL WHERE conflict_id = OLD.conflict_id;
    UPDATE inbox_item SET reason = NULL WHERE item_id = OLD.conflict_id;
END;
