-- Findings that wait for somebody to release them. They lie apart from the others, so that nothing
-- which reads, searches or counts findings can come upon one; both tables share one sequence.
CREATE TABLE quarantined (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    finding_id  TEXT    NOT NULL UNIQUE,
    author      TEXT    NOT NULL,
    task_id     TEXT,
    topic       TEXT,
    said_at     TEXT    NOT NULL,
    tokens      INTEGER NOT NULL,
    body        TEXT    NOT NULL,
    run         TEXT,
    released_as TEXT,  -- the finding that says it again; chosen before that one is published
    released_at TEXT   -- when that one was stored
) STRICT;
CREATE INDEX quarantined_waiting ON quarantined (sequence) WHERE released_at IS NULL;

INSERT INTO quarantined (sequence, finding_id, author, task_id, topic, said_at, tokens, body, run)
SELECT sequence, finding_id, author, task_id, topic, said_at, tokens, body, run FROM finding
WHERE json_extract(body, '$.trust') = 'quarantined';
DELETE FROM finding WHERE finding_id IN (SELECT finding_id FROM quarantined);
