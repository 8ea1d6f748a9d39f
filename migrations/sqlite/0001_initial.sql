-- Times are milliseconds since the Unix epoch, UTC, bound by the program; nothing here reads a clock.
-- Identifiers are UUIDv7 texts: they sort by the time they were made.

CREATE TABLE jobs (
    id                  TEXT    NOT NULL PRIMARY KEY,
    user_id             TEXT    NOT NULL,
    kind                TEXT    NOT NULL CHECK (kind IN ('image')),
    model_id            TEXT    NOT NULL,
    state               TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    request             TEXT    NOT NULL, -- JSON, immutable
    priority            INTEGER NOT NULL, -- higher goes first
    progress_step       INTEGER NOT NULL DEFAULT 0,
    progress_steps      INTEGER NOT NULL DEFAULT 0,
    result              TEXT,             -- JSON, when completed
    error               TEXT,             -- JSON, when failed
    idempotency_key     TEXT,
    request_sha256      BLOB    NOT NULL,
    cancel_requested_ms INTEGER,
    created_ms          INTEGER NOT NULL,
    started_ms          INTEGER,
    finished_ms         INTEGER,
    updated_ms          INTEGER NOT NULL,
    UNIQUE (user_id, idempotency_key)
) STRICT;

CREATE INDEX jobs_of_user ON jobs (user_id, id);
CREATE INDEX jobs_by_state ON jobs (state);

-- A terminal job stays so, whatever a later version of the program tries.
CREATE TRIGGER jobs_terminal_state_stays
BEFORE UPDATE OF state ON jobs
WHEN OLD.state IN ('completed', 'failed', 'cancelled') AND NEW.state <> OLD.state
BEGIN
    SELECT RAISE(ABORT, 'a terminal job cannot change its state');
END;

-- What a device runs. An image job has one task.
CREATE TABLE tasks (
    id             TEXT    NOT NULL PRIMARY KEY,
    key_sha256     BLOB    NOT NULL, -- of the task's inputs
    job_id         TEXT    NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    model_id       TEXT    NOT NULL,
    state          TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    priority       INTEGER NOT NULL,
    work           REAL    NOT NULL, -- evaluations x megapixels, for estimates
    attempt        INTEGER NOT NULL DEFAULT 0, -- fencing token: rises with every claim
    failures       INTEGER NOT NULL DEFAULT 0, -- attempts that are the task's own fault
    lease_owner    TEXT,
    lease_until_ms INTEGER,
    created_ms     INTEGER NOT NULL,
    updated_ms     INTEGER NOT NULL,
    UNIQUE (job_id, key_sha256)
) STRICT;

CREATE INDEX tasks_ready ON tasks (priority DESC, created_ms, id) WHERE state = 'queued';
CREATE INDEX tasks_leases ON tasks (lease_until_ms) WHERE state = 'running';
CREATE INDEX tasks_unfinished ON tasks (model_id, work) WHERE state IN ('queued', 'running');

CREATE TABLE api_keys (
    id         TEXT    NOT NULL PRIMARY KEY,
    prefix     TEXT    NOT NULL,
    key_sha256 BLOB    NOT NULL UNIQUE,
    user_id    TEXT    NOT NULL,
    admin      INTEGER NOT NULL CHECK (admin IN (0, 1)),
    created_ms INTEGER NOT NULL,
    revoked_ms INTEGER
) STRICT;
