-- Callbacks: where jobs tell what became of them, and what is to be told. The rows of `webhook_deliveries` are written here, by triggers, so
-- that they are part of whatever transaction changes a job. A migration that makes `jobs` anew must make these triggers anew.

CREATE TABLE webhook_callbacks (
    job_id   TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    url      TEXT NOT NULL,
    host     TEXT NOT NULL,
    format   TEXT NOT NULL, -- in whose words
    events   TEXT NOT NULL, -- what is told, such as ,completed,failed,
    base_url TEXT           -- beginning of links to results
);

CREATE TABLE webhook_deliveries (
    id           TEXT   COLLATE "C" NOT NULL PRIMARY KEY, -- of job and event: msg_<32 hex digits>_completed
    job_id       TEXT   COLLATE "C" NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    user_id      TEXT   COLLATE "C" NOT NULL,
    project_id   TEXT   COLLATE "C",
    url          TEXT   NOT NULL,
    host         TEXT   NOT NULL,
    format       TEXT   NOT NULL,
    base_url     TEXT,
    state        TEXT   NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts     BIGINT NOT NULL DEFAULT 0, -- fencing token: rises with every claim
    tries        BIGINT NOT NULL DEFAULT 0, -- since it was last sent by hand
    due_ms       BIGINT NOT NULL,
    created_ms   BIGINT NOT NULL, -- when the job changed
    updated_ms   BIGINT NOT NULL,
    delivered_ms BIGINT,
    http_status  BIGINT, -- of the last answer
    error        TEXT    -- of the last try
);

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_ms) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_of_job ON webhook_deliveries (job_id);
CREATE INDEX webhook_deliveries_of_user ON webhook_deliveries (user_id, id);

CREATE FUNCTION webhook_job_changed() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    word TEXT := CASE NEW.state WHEN 'running' THEN 'started' ELSE NEW.state END;
BEGIN
    -- A job that runs once more has begun only once.
    INSERT INTO webhook_deliveries (id, job_id, user_id, project_id, url, host, format, base_url, due_ms, created_ms, updated_ms)
        SELECT 'msg_' || substr(NEW.id, 5) || '_' || word, NEW.id, NEW.user_id, NEW.project_id, url, host, format, base_url,
            NEW.updated_ms, NEW.updated_ms, NEW.updated_ms
        FROM webhook_callbacks
        WHERE job_id = NEW.id AND strpos(events, ',' || word || ',') > 0
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER webhook_job_changed AFTER UPDATE OF state ON jobs
FOR EACH ROW WHEN (OLD.state <> NEW.state AND NEW.state <> 'queued') EXECUTE FUNCTION webhook_job_changed();

CREATE FUNCTION webhook_job_accepted() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO webhook_deliveries (id, job_id, user_id, project_id, url, host, format, base_url, due_ms, created_ms, updated_ms)
        SELECT 'msg_' || substr(id, 5) || '_accepted', id, user_id, project_id, NEW.url, NEW.host, NEW.format, NEW.base_url,
            created_ms, created_ms, created_ms
        FROM jobs WHERE id = NEW.job_id
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE TRIGGER webhook_job_accepted AFTER INSERT ON webhook_callbacks
FOR EACH ROW WHEN (strpos(NEW.events, ',accepted,') > 0) EXECUTE FUNCTION webhook_job_accepted();

-- A job that tries another one again calls back where that one did.
CREATE FUNCTION webhook_job_again() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO webhook_callbacks (job_id, url, host, format, events, base_url)
        SELECT NEW.id, url, host, format, events, base_url FROM webhook_callbacks WHERE job_id = NEW.retry_of;
    RETURN NULL;
END
$$;

CREATE TRIGGER webhook_job_again AFTER INSERT ON jobs
FOR EACH ROW WHEN (NEW.retry_of IS NOT NULL) EXECUTE FUNCTION webhook_job_again();
