-- Whether another target of its job's route can be tried where a task does not come to run.

ALTER TABLE tasks ADD COLUMN has_next_target INTEGER NOT NULL DEFAULT 0 CHECK (has_next_target IN (0, 1));
