-- Every write, refusal, grant and decision, each row sealed with the one before it.

ALTER TABLE audit ADD COLUMN type     TEXT NOT NULL DEFAULT 'refusal';  -- write, refusal, grant, decision
ALTER TABLE audit ADD COLUMN severity TEXT NOT NULL DEFAULT 'warning';  -- info, warning, critical
ALTER TABLE audit ADD COLUMN task_id  TEXT;
ALTER TABLE audit ADD COLUMN seal     TEXT;  -- HMAC; NULL in rows older than the chain, until they are sealed
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_actor ON audit (actor, at);
CREATE INDEX audit_action ON audit (action, at);
CREATE INDEX audit_task ON audit (task_id, at) WHERE task_id IS NOT NULL;
-- Most rows are writes that need nobody's attention: a list of them is the list of all.
CREATE INDEX audit_type ON audit (type, at) WHERE type <> 'write';
CREATE INDEX audit_severity ON audit (severity, at) WHERE severity <> 'info';
