-- Films: jobs of several tasks, which have a place in their job's plan and results of their own.

-- The column's own CHECK goes with it.
ALTER TABLE jobs DROP COLUMN kind;
ALTER TABLE jobs ADD COLUMN kind TEXT NOT NULL DEFAULT 'image' CHECK (kind IN ('image', 'film'));

-- Two tasks of a film may have the same inputs, and so the same key: the table is made anew without UNIQUE (job_id, key_sha256).
CREATE TABLE tasks_of_films (
    id             TEXT    NOT NULL PRIMARY KEY,
    key_sha256     BLOB    NOT NULL, -- of the task's inputs
    job_id         TEXT    NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position       INTEGER NOT NULL DEFAULT 0, -- in the job's plan
    user_id        TEXT    NOT NULL,
    project_id     TEXT,
    model_id       TEXT    NOT NULL,
    is_host        INTEGER NOT NULL DEFAULT 0 CHECK (is_host IN (0, 1)), -- runs on the server's own processor
    rows           INTEGER NOT NULL, -- of an evaluation
    width          INTEGER NOT NULL, -- pixels
    height         INTEGER NOT NULL, -- pixels
    state          TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    priority       INTEGER NOT NULL,
    work           REAL    NOT NULL, -- evaluations x megapixels, for estimates
    attempt        INTEGER NOT NULL DEFAULT 0, -- fencing token: rises with every claim
    failures       INTEGER NOT NULL DEFAULT 0, -- attempts that are the task's own fault
    alone          INTEGER NOT NULL DEFAULT 0 CHECK (alone IN (0, 1)), -- shall not share a worker
    lease_owner    TEXT,
    lease_until_ms INTEGER,
    queued_ms      INTEGER NOT NULL, -- when it last joined the queue
    run_after_ms   INTEGER,          -- a retry's pause
    result         TEXT,             -- JSON, when completed; a job of one task has it in its own row
    spent          TEXT,             -- JSON, when it has ended: what it took
    created_ms     INTEGER NOT NULL, -- when the job was accepted
    updated_ms     INTEGER NOT NULL,
    UNIQUE (job_id, position)
) STRICT;

INSERT INTO tasks_of_films (id, key_sha256, job_id, user_id, project_id, model_id, rows, width, height, state, priority, work, attempt,
        failures, alone, lease_owner, lease_until_ms, queued_ms, run_after_ms, created_ms, updated_ms)
    SELECT id, key_sha256, job_id, user_id, project_id, model_id, rows, width, height, state, priority, work, attempt,
        failures, alone, lease_owner, lease_until_ms, queued_ms, run_after_ms, created_ms, updated_ms
    FROM tasks;

DROP TABLE tasks;
ALTER TABLE tasks_of_films RENAME TO tasks;

CREATE INDEX tasks_waiting ON tasks (queued_ms, id) WHERE state = 'queued';
CREATE INDEX tasks_leases ON tasks (lease_until_ms) WHERE state = 'running';
