-- The account of model calls. Money is whole pico-dollars (10^-12 US dollar).

-- A call: written with its bound before it is made, settled after it. What it cost can be computed
-- anew from its row alone.
CREATE TABLE model_call (
    row             INTEGER PRIMARY KEY AUTOINCREMENT,
    call_id         TEXT    NOT NULL UNIQUE,
    at              TEXT    NOT NULL,  -- when it was begun; its UTC day is the day it is charged to
    state           TEXT    NOT NULL CHECK (state IN ('intent', 'settled', 'failed', 'unknown')),
    purpose         TEXT    NOT NULL,
    model           TEXT    NOT NULL,
    question_id     TEXT,
    shard           INTEGER,
    generation      INTEGER,
    prompt_name     TEXT    NOT NULL,
    prompt_version  INTEGER NOT NULL,
    prefix_sha256   TEXT    NOT NULL,
    prefix_tokens   INTEGER NOT NULL,
    question_tokens INTEGER NOT NULL,
    prompt_o200k    INTEGER NOT NULL,
    bound           INTEGER NOT NULL,
    price           TEXT    NOT NULL,  -- rates, steps, source and date as they held then, as JSON
    uncached          INTEGER NOT NULL,
    cache_write_5m    INTEGER NOT NULL,
    cache_write_1h    INTEGER NOT NULL,
    cache_write_other INTEGER NOT NULL,
    cache_read        INTEGER NOT NULL,
    output            INTEGER NOT NULL,
    reasoning         INTEGER NOT NULL,
    cost                INTEGER NOT NULL,
    storage_token_hours INTEGER NOT NULL,
    reported_model  TEXT    NOT NULL,
    first_token_ms  REAL,
    total_ms        REAL,
    request_id      TEXT,
    error           TEXT,
    settled_at      TEXT
) STRICT;
CREATE INDEX model_call_at ON model_call (at);
CREATE INDEX model_call_open ON model_call (state) WHERE state = 'intent';

-- What was spent of each limit. known: costs of settled calls; held: bounds of those whose cost is
-- not known. Every change of a call's state changes its purses in the same transaction, so a limit
-- is checked without a sum.
CREATE TABLE purse (
    kind  TEXT    NOT NULL,  -- question, day, background
    name  TEXT    NOT NULL,  -- the question's id, or the UTC day
    known INTEGER NOT NULL,
    held  INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- What each question would have cost without this memory.
CREATE TABLE asked_question (
    row              INTEGER PRIMARY KEY AUTOINCREMENT,
    question_id      TEXT    NOT NULL UNIQUE,
    at               TEXT    NOT NULL,
    question_tokens  INTEGER NOT NULL,
    asked_tokens     INTEGER NOT NULL,
    corpus_tokens    INTEGER NOT NULL,
    retrieved_tokens INTEGER NOT NULL,
    model            TEXT    NOT NULL,
    cached_answer    INTEGER NOT NULL
) STRICT;
CREATE INDEX asked_question_at ON asked_question (at);
