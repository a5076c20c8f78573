-- Tasks as the log told them: number is the order in which they were posted.

CREATE TABLE task (
    number         INTEGER PRIMARY KEY,
    task_id        TEXT    NOT NULL UNIQUE,
    run            TEXT    NOT NULL,
    state          TEXT    NOT NULL,
    priority       INTEGER NOT NULL,
    place          INTEGER NOT NULL,  -- the order of posting, as the bus counted it
    attempts       INTEGER NOT NULL,
    max_attempts   INTEGER NOT NULL,
    worker         TEXT,              -- who leased it last
    fence          TEXT,              -- of that lease
    lease_until_ms INTEGER,
    not_before_ms  INTEGER,
    asked_by       TEXT,              -- who asked for assistance
    depends_on     TEXT    NOT NULL,  -- task ids, a space between them
    finding_id     TEXT,              -- the result
    reasons        TEXT    NOT NULL,  -- one JSON object a line
    posted_at_ms   INTEGER NOT NULL,
    ended_at_ms    INTEGER,
    revision       INTEGER NOT NULL,  -- counts its steps
    event          TEXT    NOT NULL,  -- the last step
    body           TEXT    NOT NULL   -- title, data and what else the bus does not look into
) STRICT;
CREATE INDEX task_state ON task (state, number);
CREATE INDEX task_run ON task (run, state, number);
CREATE INDEX task_ended ON task (ended_at_ms) WHERE ended_at_ms IS NOT NULL;
