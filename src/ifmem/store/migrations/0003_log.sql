-- What the log between the bus and the store needs: runs of findings, and the audit.

ALTER TABLE finding ADD COLUMN run TEXT;  -- the session it was found in
CREATE INDEX finding_run ON finding (run) WHERE run IS NOT NULL;

-- What was refused, and by whom it was tried. entry is the log's, so that a replay adds nothing.
CREATE TABLE audit (
    row     INTEGER PRIMARY KEY AUTOINCREMENT,
    entry   TEXT    NOT NULL UNIQUE,
    at      TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    actor   TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    reason  TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_subject ON audit (subject);
