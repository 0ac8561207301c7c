-- Executions of groups, which wait for a child of each member; a queue that is fair to owners; attempts that know whether
-- their secrets changed.
-- Whether it is of a group.
ALTER TABLE executions ADD COLUMN is_group BIGINT NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN parent_id TEXT COLLATE "C" REFERENCES executions (id) ON DELETE CASCADE;
ALTER TABLE executions ADD COLUMN member TEXT;
-- Whether the parent's log tells how it ended.
ALTER TABLE executions ADD COLUMN told BIGINT NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX executions_by_parent ON executions (parent_id, member);
DROP INDEX executions_queued;
CREATE INDEX executions_queued ON executions (owner, target, id) WHERE state = 'queued';
CREATE INDEX executions_running ON executions (owner, target) WHERE state IN ('preparing', 'running', 'collecting');
-- A keyed digest of the secrets it was started with; null when the target has none.
ALTER TABLE attempts ADD COLUMN secrets TEXT;
