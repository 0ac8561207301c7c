-- Chats with agents: an order among those of one owner for one target, the conversation that each is part of, and when
-- something was last heard.
ALTER TABLE executions ADD COLUMN priority BIGINT NOT NULL DEFAULT 0;
-- As its caller calls it.
ALTER TABLE executions ADD COLUMN session TEXT;
-- When something was last added to the log.
ALTER TABLE executions ADD COLUMN logged_at BIGINT;
DROP INDEX executions_queued;
CREATE INDEX executions_queued ON executions (owner, target, priority DESC, id) WHERE state = 'queued';
