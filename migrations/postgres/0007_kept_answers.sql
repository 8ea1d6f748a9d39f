-- What a provider answered to a call that it fulfilled at once: where the results are, as JSON. It is written down before they are fetched.

ALTER TABLE provider_calls ADD COLUMN answer TEXT;

-- Once nobody fetches them any more it is removed, of a call that has ended too. Nothing else of that changes.
DROP TRIGGER provider_calls_end_once ON provider_calls;

CREATE TRIGGER provider_calls_end_once
BEFORE UPDATE OF id, task_id, job_id, user_id, project_id, provider_id, model, key_id, our_id, remote_id, state, estimated_micros,
    settled_micros, failure_class, failure_message, created_ms, updated_ms, ended_ms, tended_until_ms ON provider_calls
FOR EACH ROW WHEN (OLD.ended_ms IS NOT NULL)
EXECUTE FUNCTION refuse_change_of_ended_call();

CREATE TRIGGER provider_calls_answer_once
BEFORE UPDATE OF answer ON provider_calls
FOR EACH ROW WHEN (OLD.ended_ms IS NOT NULL AND NEW.answer IS NOT NULL)
EXECUTE FUNCTION refuse_change_of_ended_call();
