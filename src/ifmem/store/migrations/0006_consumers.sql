-- How far each named consumer of the findings has come.

CREATE TABLE consumer (
    name   TEXT    PRIMARY KEY,
    cursor INTEGER NOT NULL,  -- everything up to this sequence is acknowledged
    at     TEXT    NOT NULL   -- when it was last acknowledged
) STRICT, WITHOUT ROWID;
