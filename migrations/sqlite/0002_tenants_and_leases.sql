-- Projects, quotas, delayed retries, and all that a decision about a waiting task needs in the task's own row.

ALTER TABLE jobs ADD COLUMN project_id TEXT;
ALTER TABLE jobs ADD COLUMN retry_of TEXT;
ALTER TABLE jobs ADD COLUMN reservations TEXT NOT NULL DEFAULT '[]'; -- JSON: what was taken from the quotas
ALTER TABLE jobs ADD COLUMN spent TEXT; -- JSON, when terminal: what the quotas were charged with

CREATE INDEX jobs_of_project ON jobs (project_id, id) WHERE project_id IS NOT NULL;
CREATE INDEX jobs_ended ON jobs (finished_ms) WHERE finished_ms IS NOT NULL;

ALTER TABLE tasks ADD COLUMN user_id TEXT NOT NULL DEFAULT '';
ALTER TABLE tasks ADD COLUMN project_id TEXT;
ALTER TABLE tasks ADD COLUMN rows INTEGER NOT NULL DEFAULT 1; -- of an evaluation
ALTER TABLE tasks ADD COLUMN width INTEGER NOT NULL DEFAULT 0; -- pixels
ALTER TABLE tasks ADD COLUMN height INTEGER NOT NULL DEFAULT 0; -- pixels
ALTER TABLE tasks ADD COLUMN queued_ms INTEGER NOT NULL DEFAULT 0; -- when it last joined the queue
ALTER TABLE tasks ADD COLUMN run_after_ms INTEGER; -- a retry's pause
ALTER TABLE tasks ADD COLUMN alone INTEGER NOT NULL DEFAULT 0 CHECK (alone IN (0, 1)); -- shall not share a worker

UPDATE tasks SET
    queued_ms = created_ms,
    user_id = (SELECT jobs.user_id FROM jobs WHERE jobs.id = tasks.job_id);

-- A request that is no JSON fails its job when it is claimed; it must not fail the migration.
UPDATE tasks SET
    width = COALESCE(jobs.request ->> '$.width', 0),
    height = COALESCE(jobs.request ->> '$.height', 0),
    rows = COALESCE(jobs.request ->> '$.num_images', 1) * CASE WHEN jobs.request ->> '$.guidance_scale' > 1.0 THEN 2 ELSE 1 END
FROM jobs
WHERE jobs.id = tasks.job_id AND tasks.state IN ('queued', 'running') AND json_valid(jobs.request);

DROP INDEX tasks_ready;
DROP INDEX tasks_unfinished;
CREATE INDEX tasks_waiting ON tasks (queued_ms, id) WHERE state = 'queued';

CREATE TABLE quota_counters (
    holder          TEXT    NOT NULL, -- user:anna, project:film
    meter           TEXT    NOT NULL,
    window_start_ms INTEGER NOT NULL, -- 0 for a counter without a window
    used            INTEGER NOT NULL,
    PRIMARY KEY (holder, meter, window_start_ms)
) STRICT, WITHOUT ROWID;

ALTER TABLE api_keys ADD COLUMN scope TEXT NOT NULL DEFAULT 'user' CHECK (scope IN ('user', 'project', 'admin'));
ALTER TABLE api_keys ADD COLUMN project_id TEXT;
ALTER TABLE api_keys ADD COLUMN expires_ms INTEGER;
UPDATE api_keys SET scope = 'admin' WHERE admin = 1;
ALTER TABLE api_keys DROP COLUMN admin;
