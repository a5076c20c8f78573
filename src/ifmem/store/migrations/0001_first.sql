-- The first schema: what is loaded, where it lies, what agents found.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A bounded context. tokens and parts are kept by the same transaction as each part.
CREATE TABLE shard (
    number        INTEGER PRIMARY KEY,
    speciality    TEXT    NOT NULL,
    capacity      INTEGER NOT NULL,
    tokens        INTEGER NOT NULL DEFAULT 0 CHECK (tokens BETWEEN 0 AND capacity),
    parts         INTEGER NOT NULL DEFAULT 0,
    generation    INTEGER NOT NULL DEFAULT 0,
    next_position INTEGER NOT NULL DEFAULT 0
) STRICT;

-- One text, however many paths lead to it.
CREATE TABLE content (
    content_id   INTEGER PRIMARY KEY,
    sha256       TEXT    NOT NULL,  -- of the bytes as read
    format       TEXT    NOT NULL,  -- the reader that made the text
    kind         TEXT    NOT NULL,
    conversation TEXT,              -- its group (a word that SQL keeps for itself)
    title        TEXT    NOT NULL,  -- the path below its root, as ranking sees it
    size         INTEGER NOT NULL,  -- bytes
    tokens       INTEGER NOT NULL,  -- o200k
    masked       INTEGER NOT NULL,  -- credentials masked in the text
    UNIQUE (sha256, format)
) STRICT;

-- A path, URL or chat that leads to a content.
CREATE TABLE document (
    source     TEXT    PRIMARY KEY,
    content_id INTEGER NOT NULL REFERENCES content,
    root       TEXT    NOT NULL,  -- the directory it was loaded from
    size       INTEGER NOT NULL,
    mtime_ns   INTEGER NOT NULL,
    inode      INTEGER NOT NULL,
    loaded_at  TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX document_content ON document (content_id);

-- The whole of a content, or as much of it as fits one shard.
CREATE TABLE part (
    part_id    INTEGER PRIMARY KEY,
    content_id INTEGER NOT NULL REFERENCES content ON DELETE CASCADE,
    ordinal    INTEGER NOT NULL,
    shard      INTEGER NOT NULL REFERENCES shard,
    position   INTEGER NOT NULL,  -- grows within the shard: appending never moves what is there
    tokens     INTEGER NOT NULL,
    bytes      INTEGER NOT NULL,  -- of the text as UTF-8
    UNIQUE (content_id, ordinal)
) STRICT;
CREATE INDEX part_shard ON part (shard, position);

-- Where the last document of a directory went: the next one is placed beside it.
CREATE TABLE neighbourhood (
    directory  TEXT    NOT NULL,
    speciality TEXT    NOT NULL,
    shard      INTEGER NOT NULL REFERENCES shard,
    PRIMARY KEY (directory, speciality)
) STRICT, WITHOUT ROWID;

-- The passages of a content cover its text: joined by ordinal they give it back.
-- Ids are never used again and a passage's text never changes under its id, so an index that
-- was written to disk is brought up to date by comparing ids.
CREATE TABLE passage (
    passage_id INTEGER PRIMARY KEY AUTOINCREMENT,
    content_id INTEGER NOT NULL REFERENCES content ON DELETE CASCADE,
    part_id    INTEGER NOT NULL REFERENCES part ON DELETE CASCADE,
    ordinal    INTEGER NOT NULL,
    first_line INTEGER NOT NULL,
    last_line  INTEGER NOT NULL,
    tokens     INTEGER NOT NULL,
    header     TEXT    NOT NULL,
    speaker    TEXT,
    said_at    TEXT,
    locator    TEXT,
    text       TEXT    NOT NULL,
    UNIQUE (content_id, ordinal)
) STRICT;
CREATE INDEX passage_part ON passage (part_id);

-- The durable log of findings: sequence is the cursor that consumers keep.
CREATE TABLE finding (
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
    finding_id TEXT    NOT NULL UNIQUE,
    author     TEXT    NOT NULL,
    task_id    TEXT,
    topic      TEXT,
    said_at    TEXT    NOT NULL,
    tokens     INTEGER NOT NULL,
    body       TEXT    NOT NULL   -- the finding as JSON
) STRICT;
CREATE INDEX finding_task ON finding (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX finding_author ON finding (author);

-- What was removed on request stays removed when a log or a file offers it again.
CREATE TABLE forgotten (
    id           TEXT PRIMARY KEY,
    forgotten_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
