-- Lists that are read by page numbers are counted: what they are chosen by lies in the indexes that they go through, beside their order.

DROP INDEX jobs_of_user;
CREATE INDEX jobs_of_user ON jobs (user_id, id, state, model_id);
DROP INDEX jobs_of_project;
CREATE INDEX jobs_of_project ON jobs (project_id, id, user_id, state, model_id) WHERE project_id IS NOT NULL;
