-- The first schema. Times are milliseconds since 1970, ids and digests are text, flags are 0 or 1.
-- The same tables, columns and indexes exist in the other dialect's file of this name.

CREATE TABLE tasks (
    id TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    client TEXT NOT NULL,
    spec TEXT NOT NULL,
    target TEXT NOT NULL,
    idempotency_key TEXT,
    request_digest TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- when something last happened to the task; retention goes by it, and updating it locks the task
    active_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX tasks_by_key ON tasks (owner, idempotency_key);
CREATE INDEX tasks_by_owner ON tasks (owner, id);
CREATE INDEX tasks_by_activity ON tasks (active_at);

CREATE TABLE executions (
    id TEXT NOT NULL PRIMARY KEY,
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    owner TEXT NOT NULL,
    state TEXT NOT NULL,
    target TEXT NOT NULL,
    intent TEXT NOT NULL,
    plan TEXT NOT NULL,
    plan_digest TEXT NOT NULL,
    idempotency_key TEXT,
    request_digest TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    ended_at BIGINT,
    cancel_requested_at BIGINT,
    cancel_reason TEXT,
    cancel_by TEXT,
    log_size BIGINT NOT NULL DEFAULT 0,
    -- the fence: each lease has the next one, and what an older one writes is refused
    epoch BIGINT NOT NULL DEFAULT 0,
    worker TEXT,
    -- null when nobody holds the lease
    lease_until BIGINT,
    outcome TEXT
);
CREATE UNIQUE INDEX executions_by_key ON executions (owner, idempotency_key);
CREATE INDEX executions_by_task ON executions (task_id, id);
CREATE INDEX executions_by_owner ON executions (owner, id);
CREATE INDEX executions_queued ON executions (id) WHERE state = 'queued';
CREATE INDEX executions_driven ON executions (lease_until) WHERE state IN ('preparing', 'running', 'collecting');

-- Which copy of some content is in use. While an artifact has the digest, the copy can't go: the reference sees to it.
CREATE TABLE blobs (
    digest TEXT NOT NULL PRIMARY KEY,
    copy TEXT NOT NULL
);

-- Copies that are to be deleted. What was written here is never in use again, so deleting twice or late does no harm.
CREATE TABLE blobs_going (
    digest TEXT NOT NULL,
    copy TEXT NOT NULL,
    PRIMARY KEY (digest, copy)
);

CREATE TABLE artifacts (
    id TEXT NOT NULL PRIMARY KEY,
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    execution_id TEXT REFERENCES executions (id) ON DELETE CASCADE,
    owner TEXT NOT NULL,
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    size BIGINT NOT NULL,
    digest TEXT NOT NULL REFERENCES blobs (digest),
    media_type TEXT NOT NULL,
    listing TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX artifacts_inputs ON artifacts (task_id, name) WHERE role = 'input';
CREATE INDEX artifacts_by_task ON artifacts (task_id);
CREATE INDEX artifacts_by_execution ON artifacts (execution_id);
CREATE INDEX artifacts_by_digest ON artifacts (digest);

CREATE TABLE uploads (
    id TEXT NOT NULL PRIMARY KEY,
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    digest TEXT,
    received BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE UNIQUE INDEX uploads_in_parts ON uploads (task_id, name) WHERE kind = 'parts';
CREATE INDEX uploads_by_task ON uploads (task_id);
CREATE INDEX uploads_by_expiry ON uploads (expires_at);

-- What arrived of an upload in parts; any replica takes the next part.
CREATE TABLE upload_parts (
    upload_id TEXT NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    start BIGINT NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (upload_id, start)
);

CREATE TABLE steps (
    execution_id TEXT NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    idx BIGINT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    exit_code BIGINT,
    started_at BIGINT,
    ended_at BIGINT,
    PRIMARY KEY (execution_id, idx)
);

CREATE TABLE attempts (
    id TEXT NOT NULL PRIMARY KEY,
    execution_id TEXT NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    step_idx BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    handle TEXT,
    -- how many bytes of the executor's output are in the log, and the last of them
    raw_offset BIGINT NOT NULL DEFAULT 0,
    last_byte BIGINT,
    started_at BIGINT NOT NULL,
    ended BIGINT NOT NULL DEFAULT 0,
    ended_at BIGINT
);
CREATE INDEX attempts_by_step ON attempts (execution_id, step_idx);

CREATE TABLE log_chunks (
    execution_id TEXT NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    start BIGINT NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (execution_id, start)
);

CREATE TABLE approvals (
    id TEXT NOT NULL PRIMARY KEY,
    execution_id TEXT NOT NULL UNIQUE REFERENCES executions (id) ON DELETE CASCADE,
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
    reason TEXT
);
CREATE INDEX approvals_by_state ON approvals (state, expires_at);

-- lasting answers; they outlive the execution they were given for
CREATE TABLE grants (
    owner TEXT NOT NULL,
    plan_digest TEXT NOT NULL,
    target TEXT NOT NULL,
    intent TEXT NOT NULL,
    granted_by TEXT NOT NULL,
    granted_at BIGINT NOT NULL,
    PRIMARY KEY (owner, plan_digest)
);

CREATE TABLE facts (
    target TEXT NOT NULL PRIMARY KEY,
    connection TEXT NOT NULL,
    facts TEXT NOT NULL,
    learned_at BIGINT NOT NULL
);

CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    last_used_at BIGINT
);
