-- What runs may ask a person, too, and more than once: an execution has one approval from before its start, and any number
-- of questions from its run.
ALTER TABLE approvals DROP CONSTRAINT approvals_execution_id_key;
-- What the run calls its question; null for the approval from before the start.
ALTER TABLE approvals ADD COLUMN run_key TEXT;
-- Whether a lasting answer is taken.
ALTER TABLE approvals ADD COLUMN may_always BIGINT NOT NULL DEFAULT 1;
-- What was answered to the run.
ALTER TABLE approvals ADD COLUMN decision TEXT;
-- When the run heard of it.
ALTER TABLE approvals ADD COLUMN told_at BIGINT;
CREATE UNIQUE INDEX approvals_by_execution ON approvals (execution_id) WHERE run_key IS NULL;
CREATE UNIQUE INDEX approvals_by_run ON approvals (execution_id, run_key);
