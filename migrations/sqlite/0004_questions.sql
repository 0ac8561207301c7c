-- What runs may ask a person, too, and more than once: an execution has one approval from before its start, and any number
-- of questions from its run.
CREATE TABLE approvals_new (
    id TEXT NOT NULL PRIMARY KEY,
    execution_id TEXT NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    task_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    plan_digest TEXT NOT NULL,
    target TEXT NOT NULL,
    intent TEXT NOT NULL,
    question TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    decided_by TEXT,
    decided_at BIGINT,
    reason TEXT,
    -- what the run calls its question; null for the approval from before the start
    run_key TEXT,
    -- whether a lasting answer is taken
    may_always BIGINT NOT NULL DEFAULT 1,
    -- what was answered to the run
    decision TEXT,
    -- when the run heard of it
    told_at BIGINT
);
INSERT INTO approvals_new (id, execution_id, task_id, owner, plan_digest, target, intent, question, state, created_at,
    expires_at, decided_by, decided_at, reason)
SELECT id, execution_id, task_id, owner, plan_digest, target, intent, question, state, created_at,
    expires_at, decided_by, decided_at, reason FROM approvals;
DROP TABLE approvals;
ALTER TABLE approvals_new RENAME TO approvals;
CREATE INDEX approvals_by_state ON approvals (state, expires_at);
CREATE UNIQUE INDEX approvals_by_execution ON approvals (execution_id) WHERE run_key IS NULL;
CREATE UNIQUE INDEX approvals_by_run ON approvals (execution_id, run_key);
