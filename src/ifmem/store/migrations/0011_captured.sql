-- Who had a document stored: its user, or the hook of an agent that read it.

ALTER TABLE document ADD COLUMN trust TEXT NOT NULL DEFAULT 'user';
CREATE INDEX document_captured ON document (loaded_at) WHERE trust = 'captured';
