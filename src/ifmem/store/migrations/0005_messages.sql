-- Messages between agents, who is not done with them, and who follows which topic.
-- A message stays until its time is over, acknowledged or not: its id is known as long.

CREATE TABLE message (
    message_id TEXT    NOT NULL UNIQUE,
    sequence   INTEGER NOT NULL,
    sent_ms    INTEGER NOT NULL,  -- since 1970, by the server's clock
    expires_ms INTEGER NOT NULL,
    body       TEXT    NOT NULL   -- the message as JSON
) STRICT;
CREATE INDEX message_expires ON message (expires_ms);
CREATE INDEX message_order ON message (sequence, message_id);

CREATE TABLE recipient (
    message_id TEXT NOT NULL REFERENCES message (message_id) ON DELETE CASCADE,
    agent      TEXT NOT NULL,
    ended      TEXT,              -- acknowledged, expired; NULL while it waits
    PRIMARY KEY (message_id, agent)
) STRICT, WITHOUT ROWID;

CREATE TABLE topic_follower (
    topic   TEXT    NOT NULL,
    agent   TEXT    NOT NULL,
    follows INTEGER NOT NULL,     -- 0 for one that left
    PRIMARY KEY (topic, agent)
) STRICT, WITHOUT ROWID;
