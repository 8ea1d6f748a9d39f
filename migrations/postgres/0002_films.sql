-- Films: jobs of several tasks, which have a place in their job's plan and results of their own.

ALTER TABLE jobs DROP CONSTRAINT jobs_kind_check;
ALTER TABLE jobs ADD CONSTRAINT jobs_kind_check CHECK (kind IN ('image', 'film'));

ALTER TABLE tasks ADD COLUMN position BIGINT NOT NULL DEFAULT 0; -- in the job's plan
ALTER TABLE tasks ADD COLUMN is_host BOOLEAN NOT NULL DEFAULT FALSE; -- runs on the server's own processor
ALTER TABLE tasks ADD COLUMN result TEXT; -- JSON, when completed; a job of one task has it in its own row
ALTER TABLE tasks ADD COLUMN spent TEXT; -- JSON, when it has ended: what it took

-- Two tasks of a film may have the same inputs, and so the same key.
ALTER TABLE tasks DROP CONSTRAINT tasks_job_id_key_sha256_key;
ALTER TABLE tasks ADD CONSTRAINT tasks_job_id_position_key UNIQUE (job_id, position);
