-- Sessions, and what of theirs is archived.

CREATE TABLE session (
    session_id TEXT    PRIMARY KEY,
    agent      TEXT    NOT NULL,  -- who stored the first of it
    started_at TEXT    NOT NULL,
    last_at    TEXT    NOT NULL,  -- when something was stored in it last
    ended_at   TEXT,
    ended_by   TEXT,              -- NULL: nobody, it was idle for too long
    cleared_at TEXT               -- when its tasks were cancelled and its caches expired
) STRICT, WITHOUT ROWID;
CREATE INDEX session_open ON session (last_at) WHERE ended_at IS NULL;
CREATE INDEX session_started ON session (started_at, session_id);
CREATE INDEX session_uncleared ON session (ended_at)
    WHERE ended_at IS NOT NULL AND cleared_at IS NULL;

INSERT INTO session (session_id, agent, started_at, last_at)
SELECT run, min(author), min(said_at), max(said_at) FROM finding
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
INSERT INTO document_session SELECT source, '-' FROM document;

-- The archive: where the parts of archived documents lie.
INSERT INTO shard (number, speciality, capacity) VALUES (0, 'archive', 4611686018427387904);

-- What the archived findings are together, kept by whatever archives or removes one.
CREATE TABLE archived_findings (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    findings INTEGER NOT NULL,
    tokens   INTEGER NOT NULL
) STRICT;
INSERT INTO archived_findings VALUES (1, 0, 0);
CREATE TRIGGER finding_stored_archived AFTER INSERT ON finding WHEN NEW.archived = 1 BEGIN
    UPDATE archived_findings SET findings = findings + 1, tokens = tokens + NEW.tokens;
END;
CREATE TRIGGER finding_now_archived AFTER UPDATE OF archived ON finding
    WHEN NEW.archived <> OLD.archived
BEGIN
    UPDATE archived_findings SET findings = findings + NEW.archived - OLD.archived,
        tokens = tokens + NEW.archived * NEW.tokens - OLD.archived * OLD.tokens;
END;
CREATE TRIGGER archived_finding_removed AFTER DELETE ON finding WHEN OLD.archived = 1 BEGIN
    UPDATE archived_findings SET findings = findings - 1, tokens = tokens - OLD.tokens;
END;
