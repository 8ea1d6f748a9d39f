-- What was asked of providers, and what it costs. A row outlives its job: money was spent.

CREATE TABLE provider_calls (
    id               TEXT   NOT NULL PRIMARY KEY, -- UUIDv7
    task_id          TEXT   NOT NULL,
    job_id           TEXT   NOT NULL,
    user_id          TEXT   NOT NULL,
    project_id       TEXT,
    provider_id      TEXT   NOT NULL,
    model            TEXT   NOT NULL, -- as the provider calls it
    key_id           TEXT   NOT NULL, -- the key's name, never the key
    our_id           TEXT   NOT NULL, -- by which some providers know the call again
    remote_id        TEXT,            -- the provider's, once it is known
    state            TEXT   NOT NULL CHECK (state IN ('sending', 'running', 'finished', 'failed', 'unknown', 'cancelled')),
    estimated_micros BIGINT NOT NULL, -- millionths of the currency
    settled_micros   BIGINT,          -- when ended
    failure_class    TEXT,
    failure_message  TEXT,
    created_ms       BIGINT NOT NULL,
    updated_ms       BIGINT NOT NULL,
    ended_ms         BIGINT,
    CHECK ((ended_ms IS NULL) = (state IN ('sending', 'running'))),
    CHECK ((settled_micros IS NULL) = (ended_ms IS NULL))
);

CREATE INDEX provider_calls_of_task ON provider_calls (task_id, id);
CREATE INDEX provider_calls_by_time ON provider_calls (created_ms);
CREATE INDEX provider_calls_of_user ON provider_calls (user_id, id);
CREATE INDEX provider_calls_of_job ON provider_calls (job_id);

-- What has ended stays as it ended: it is settled once.
CREATE FUNCTION refuse_change_of_ended_call() RETURNS trigger AS $$
BEGIN
    RAISE EXCEPTION 'an ended call cannot change';
END;
$$ LANGUAGE plpgsql;

CREATE TRIGGER provider_calls_end_once
BEFORE UPDATE ON provider_calls
FOR EACH ROW WHEN (OLD.ended_ms IS NOT NULL)
EXECUTE FUNCTION refuse_change_of_ended_call();
