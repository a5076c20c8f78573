-- Sessions, and what of theirs is archived.

CREATE TABLE session (
    session_id TEXT    PRIMARY KEY,
    agent      TEXT    NOT NULL,  -- who stored the first of it
    started_at TEXT    NOT NULL,
    last_at    TEXT    NOT NULL,  -- when something was stored in it last
    ended_at   TEXT,
    ended_by   TEXT,
    findings   INTEGER NOT NULL DEFAULT 0,
    documents  INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX session_open ON session (last_at) WHERE ended_at IS NULL;
CREATE INDEX session_started ON session (started_at, session_id);

INSERT INTO session (session_id, agent, started_at, last_at, findings)
SELECT run, min(author), min(said_at), max(said_at), count(*) FROM finding
WHERE run IS NOT NULL AND run <> '-' GROUP BY run;

ALTER TABLE finding ADD COLUMN archived INTEGER NOT NULL DEFAULT 0;
CREATE INDEX finding_archived ON finding (sequence) WHERE archived = 1;

-- Those who loaded a document: '-' for who names no session. It is archived when all have ended.
CREATE TABLE document_session (
    source     TEXT NOT NULL REFERENCES document ON DELETE CASCADE,
    session_id TEXT NOT NULL,
    PRIMARY KEY (source, session_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX document_session_of ON document_session (session_id);

-- The archive: where the parts of archived documents lie.
INSERT INTO shard (number, speciality, capacity) VALUES (0, 'archive', 4611686018427387904);
