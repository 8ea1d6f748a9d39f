-- Calls that are open though their task has ended are looked for again and again: there are few of them among many. Whoever looks after one
-- has it until then.

ALTER TABLE provider_calls ADD COLUMN tended_until_ms BIGINT;

CREATE INDEX provider_calls_open ON provider_calls (id) WHERE ended_ms IS NULL;
