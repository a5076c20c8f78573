-- What the sentence encoder made of passages and findings: they go when their text goes.
-- rows: one after the other, a byte for each dimension; none for a text without words.

CREATE TABLE passage_embedding (
    passage_id INTEGER PRIMARY KEY REFERENCES passage ON DELETE CASCADE,
    encoder    TEXT    NOT NULL,
    rows       BLOB    NOT NULL
) STRICT;

CREATE TABLE finding_embedding (
    sequence INTEGER PRIMARY KEY REFERENCES finding ON DELETE CASCADE,
    encoder  TEXT    NOT NULL,
    rows     BLOB    NOT NULL
) STRICT;
