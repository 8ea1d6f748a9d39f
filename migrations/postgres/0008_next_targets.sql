-- Whether another target of its job's route can be tried where a task does not come to run.

ALTER TABLE tasks ADD COLUMN has_next_target BOOLEAN NOT NULL DEFAULT FALSE;
