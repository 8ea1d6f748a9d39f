-- The tables of migrations/sqlite, column for column. Identifiers compare byte by byte (COLLATE "C"), as in the program.
-- Times are milliseconds since the Unix epoch, UTC, bound by the program; nothing here reads a clock.

CREATE TABLE jobs (
    id                  TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    user_id             TEXT   COLLATE "C" NOT NULL,
    project_id          TEXT   COLLATE "C",
    retry_of            TEXT   COLLATE "C",
    kind                TEXT   NOT NULL CHECK (kind IN ('image')),
    model_id            TEXT   NOT NULL,
    state               TEXT   NOT NULL CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    request             TEXT   NOT NULL, -- JSON, immutable
    priority            BIGINT NOT NULL, -- higher goes first
    progress_step       BIGINT NOT NULL DEFAULT 0,
    progress_steps      BIGINT NOT NULL DEFAULT 0,
    result              TEXT,            -- JSON, when completed
    error               TEXT,            -- JSON, when failed
    reservations        TEXT   NOT NULL, -- JSON: what was taken from the quotas
    spent               TEXT,            -- JSON, when terminal: what the quotas were charged with
    idempotency_key     TEXT   COLLATE "C",
    request_sha256      BYTEA  NOT NULL,
    cancel_requested_ms BIGINT,
    created_ms          BIGINT NOT NULL,
    started_ms          BIGINT,
    finished_ms         BIGINT,
    updated_ms          BIGINT NOT NULL,
    UNIQUE (user_id, idempotency_key)
);

CREATE INDEX jobs_of_user ON jobs (user_id, id);
CREATE INDEX jobs_of_project ON jobs (project_id, id) WHERE project_id IS NOT NULL;
CREATE INDEX jobs_by_state ON jobs (state);
CREATE INDEX jobs_ended ON jobs (finished_ms) WHERE finished_ms IS NOT NULL;

-- A terminal job stays so, whatever a later version of the program tries.
CREATE FUNCTION refuse_to_revive() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a terminal job cannot change its state';
END
$$;

CREATE TRIGGER jobs_terminal_state_stays
BEFORE UPDATE OF state ON jobs
FOR EACH ROW
WHEN (OLD.state IN ('completed', 'failed', 'cancelled') AND NEW.state <> OLD.state)
EXECUTE FUNCTION refuse_to_revive();

-- What a device runs. An image job has one task.
CREATE TABLE tasks (
    id             TEXT    COLLATE "C" NOT NULL PRIMARY KEY,
    key_sha256     BYTEA   NOT NULL, -- of the task's inputs
    job_id         TEXT    COLLATE "C" NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    user_id        TEXT    COLLATE "C" NOT NULL,
    project_id     TEXT    COLLATE "C",
    model_id       TEXT    NOT NULL,
    rows           BIGINT  NOT NULL, -- of an evaluation
    width          BIGINT  NOT NULL, -- pixels
    height         BIGINT  NOT NULL, -- pixels
    state          TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    priority       BIGINT  NOT NULL,
    work           DOUBLE PRECISION NOT NULL, -- evaluations x megapixels, for estimates
    attempt        BIGINT  NOT NULL DEFAULT 0, -- fencing token: rises with every claim
    failures       BIGINT  NOT NULL DEFAULT 0, -- attempts that are the task's own fault
    alone          BOOLEAN NOT NULL DEFAULT FALSE, -- shall not share a worker
    lease_owner    TEXT    COLLATE "C",
    lease_until_ms BIGINT,
    queued_ms      BIGINT  NOT NULL, -- when it last joined the queue
    run_after_ms   BIGINT,           -- a retry's pause
    created_ms     BIGINT  NOT NULL,
    updated_ms     BIGINT  NOT NULL,
    UNIQUE (job_id, key_sha256)
);

CREATE INDEX tasks_waiting ON tasks (queued_ms, id) WHERE state = 'queued';
CREATE INDEX tasks_leases ON tasks (lease_until_ms) WHERE state = 'running';

CREATE TABLE quota_counters (
    holder          TEXT   COLLATE "C" NOT NULL, -- user:anna, project:film
    meter           TEXT   COLLATE "C" NOT NULL,
    window_start_ms BIGINT NOT NULL, -- 0 for a counter without a window
    used            BIGINT NOT NULL,
    PRIMARY KEY (holder, meter, window_start_ms)
);

CREATE TABLE api_keys (
    id         TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    prefix     TEXT   NOT NULL,
    key_sha256 BYTEA  NOT NULL UNIQUE,
    user_id    TEXT   COLLATE "C" NOT NULL,
    scope      TEXT   NOT NULL CHECK (scope IN ('user', 'project', 'admin')),
    project_id TEXT   COLLATE "C",
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    revoked_ms BIGINT
);
