//! The statements: both databases read the same text.

/// The columns of a [`super::rows::CallRow`].
macro_rules! call_columns {
    () => {
        "id, task_id, job_id, user_id, project_id, provider_id, model, key_id, our_id, remote_id, answer, state, estimated_micros, \
         settled_micros, failure_class, failure_message, created_ms, updated_ms, ended_ms"
    };
}
pub(super) use call_columns;

/// What a [`super::CallFilter`] means: parameters 1 to 5. A parameter that is NULL has no type of its own, so it is given one.
macro_rules! filter {
    () => {
        "(CAST($1 AS TEXT) IS NULL OR user_id = $1) AND (CAST($2 AS TEXT) IS NULL OR project_id = $2) \
         AND (CAST($3 AS TEXT) IS NULL OR provider_id = $3) AND (CAST($4 AS TEXT) IS NULL OR job_id = $4) \
         AND (CAST($5 AS TEXT) IS NULL OR state = $5)"
    };
}

/// Writes down a call, if its task is held by the claim `$12` of `$13`, where one is given. `$locked` has the task's row stay as it is.
macro_rules! begin {
    ($locked:literal) => {
        concat!(
            "WITH held AS (SELECT id FROM tasks WHERE id = $2 AND state = 'running' AND attempt = $12 AND lease_owner = $13",
            $locked,
            ") INSERT INTO provider_calls \
             (id, task_id, job_id, user_id, project_id, provider_id, model, key_id, our_id, state, estimated_micros, created_ms, \
              updated_ms) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, 'sending', $10, $11, $11 \
             WHERE CAST($12 AS BIGINT) IS NULL OR EXISTS (SELECT 1 FROM held) ON CONFLICT (id) DO NOTHING"
        )
    };
}
pub(super) use begin;

pub(super) const IS_THERE: &str = "SELECT EXISTS (SELECT 1 FROM provider_calls WHERE id = $1)";

pub(super) const TAKEN: &str =
    "UPDATE provider_calls SET state = 'running', remote_id = $2, updated_ms = $3 WHERE id = $1 AND ended_ms IS NULL";

pub(super) const ANSWERED: &str =
    "UPDATE provider_calls SET state = 'running', answer = $2, updated_ms = $3 WHERE id = $1 AND ended_ms IS NULL";

/// What came with the answer is needed by whoever takes up a task whose results are still to be fetched, and by nobody else.
pub(super) const END: &str = "UPDATE provider_calls \
    SET state = $2, answer = CASE WHEN $2 = 'finished' THEN answer END, settled_micros = $3, failure_class = $4, failure_message = $5, updated_ms = $6, ended_ms = $6 \
    WHERE id = $1 AND ended_ms IS NULL";

/// Takes abandoned calls, for adapters whose databases spell the list of providers (`$1`) in this way. `$2`: those begun before are taken
/// whatever their provider, `$3`: those not answered only if begun before, `$4` the time, `$5` until when they are taken, `$6` how many.
/// Who waited for another taker finds the condition broken.
macro_rules! take_abandoned {
    ($provider_is_wanted:literal) => {
        concat!(
            "UPDATE provider_calls SET tended_until_ms = $5 WHERE id IN (SELECT id FROM provider_calls AS found \
             WHERE ended_ms IS NULL AND (tended_until_ms IS NULL OR tended_until_ms <= $4) AND (",
            $provider_is_wanted,
            " OR created_ms < $2) AND (state = 'running' OR created_ms < $3) \
             AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.id = found.task_id AND tasks.state IN ('queued', 'running')) \
             ORDER BY id LIMIT $6) AND ended_ms IS NULL AND (tended_until_ms IS NULL OR tended_until_ms <= $4) RETURNING ",
            call_columns!()
        )
    };
}
pub(super) use take_abandoned;

pub(super) const LAST_OF_TASK: &str =
    concat!("SELECT ", call_columns!(), " FROM provider_calls WHERE task_id = $1 AND provider_id = $2 ORDER BY id DESC LIMIT 1");

pub(super) const PAGE: &str = concat!(
    "SELECT ",
    call_columns!(),
    " FROM provider_calls WHERE ",
    filter!(),
    " AND (CAST($6 AS TEXT) IS NULL OR id < $6) ORDER BY id DESC LIMIT $7"
);

pub(super) const SUMS: &str = concat!(
    "SELECT user_id, project_id, provider_id, model, CAST(COUNT(*) AS BIGINT) AS calls, \
     CAST(SUM(CASE WHEN state IN ('failed', 'unknown', 'cancelled') THEN 1 ELSE 0 END) AS BIGINT) AS failed, \
     CAST(SUM(COALESCE(settled_micros, estimated_micros)) AS BIGINT) AS micros FROM provider_calls WHERE ",
    filter!(),
    " AND created_ms >= $6 AND created_ms < $7 GROUP BY user_id, project_id, provider_id, model \
     ORDER BY user_id, project_id, provider_id, model"
);
