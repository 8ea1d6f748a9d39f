//! Rows as both databases give them.

use super::{Backlog, Delivery, DeliveryState, Due, WebhookStoreError};
use crate::database::WriteError;
use crate::domain::{CallbackFormat, UnixMs};

impl From<sqlx::Error> for WebhookStoreError {
    fn from(error: sqlx::Error) -> Self {
        Self(Box::new(error))
    }
}

impl From<WriteError> for WebhookStoreError {
    fn from(error: WriteError) -> Self {
        Self(Box::new(error))
    }
}

/// The columns of a [`DeliveryRow`], for a statement's text.
macro_rules! delivery_columns {
    () => {
        "id, user_id, project_id, url, host, format, base_url, state, attempts, tries, due_ms, created_ms, updated_ms, delivered_ms, \
         http_status, error"
    };
}
/// The due deliveries at `$1`, at most `$2` of a user to a host, `$3` of a user and `$4` in all; `$other_hosts` and `$other_users` are
/// conditions on what is left out.
macro_rules! due_query {
    ($other_hosts:literal, $other_users:literal) => {
        concat!(
            "SELECT id, user_id, host FROM (
                 SELECT id, user_id, host, due_ms, row_number() OVER (PARTITION BY user_id ORDER BY place, due_ms, id) AS place_of_user
                 FROM (
                     SELECT id, user_id, host, due_ms, row_number() OVER (PARTITION BY user_id, host ORDER BY due_ms, id) AS place
                     FROM webhook_deliveries WHERE state = 'pending' AND due_ms <= $1 AND ",
            $other_hosts,
            " AND ",
            $other_users,
            "
                 ) AS of_hosts
                 WHERE place <= $2
             ) AS of_users
             WHERE place_of_user <= $3 ORDER BY place_of_user, due_ms, id LIMIT $4"
        )
    };
}
/// Writes down what became of the try `$2` of the delivery `$1`.
macro_rules! settle_query {
    () => {
        "UPDATE webhook_deliveries SET state = $3, due_ms = $4, http_status = $5, error = $6, updated_ms = $7,
             delivered_ms = CASE WHEN $3 = 'delivered' THEN $7 ELSE delivered_ms END
         WHERE id = $1 AND attempts = $2 AND state = 'pending'"
    };
}
/// Has the delivery `$1` sent once more from `$2` on. It counts as an attempt, so that a try under way no longer settles the delivery.
macro_rules! replay_query {
    () => {
        concat!(
            "UPDATE webhook_deliveries SET state = 'pending', attempts = attempts + 1, tries = 0, due_ms = $2, updated_ms = $2
             WHERE id = $1 RETURNING ",
            delivery_columns!()
        )
    };
}
/// How many are pending, and when the first of them is or was due.
pub(super) const BACKLOG: &str = "SELECT count(*), min(due_ms) FROM webhook_deliveries WHERE state = 'pending'";

/// The backlog from its columns.
pub(super) fn backlog((waiting, due_ms): (i64, Option<i64>)) -> Backlog {
    Backlog { waiting: u64::try_from(waiting).unwrap_or(0), earliest_due: due_ms.map(UnixMs) }
}

pub(super) use {delivery_columns, due_query, replay_query, settle_query};

/// A row of `webhook_deliveries`.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct DeliveryRow {
    id: String,
    user_id: String,
    project_id: Option<String>,
    url: String,
    host: String,
    format: String,
    base_url: Option<String>,
    state: String,
    attempts: i64,
    tries: i64,
    due_ms: i64,
    created_ms: i64,
    updated_ms: i64,
    delivered_ms: Option<i64>,
    http_status: Option<i64>,
    error: Option<String>,
}

impl DeliveryRow {
    pub(super) fn read(self) -> Result<Delivery, WebhookStoreError> {
        let unreadable = |what: &str| WebhookStoreError(format!("delivery {}: {what} cannot be read", self.id).into());
        Ok(Delivery {
            id: self.id.parse().map_err(|_| unreadable("id"))?,
            user: self.user_id.parse().map_err(|_| unreadable("user_id"))?,
            project: self.project_id.as_deref().map(str::parse).transpose().map_err(|_| unreadable("project_id"))?,
            format: CallbackFormat::ALL
                .into_iter()
                .find(|format| format.as_str() == self.format)
                .ok_or_else(|| unreadable("format"))?,
            state: DeliveryState::ALL
                .into_iter()
                .find(|state| state.as_str() == self.state)
                .ok_or_else(|| unreadable("state"))?,
            http_status: self.http_status.and_then(|status| u16::try_from(status).ok()),
            url: self.url,
            host: self.host,
            base_url: self.base_url,
            attempts: self.attempts,
            tries: self.tries,
            due: UnixMs(self.due_ms),
            created: UnixMs(self.created_ms),
            updated: UnixMs(self.updated_ms),
            delivered: self.delivered_ms.map(UnixMs),
            error: self.error,
        })
    }
}

/// What can be read; the rest is logged.
pub(super) fn readable<T>(rows: impl IntoIterator<Item = Result<T, WebhookStoreError>>) -> Vec<T> {
    let read = |row: Result<T, WebhookStoreError>| match row {
        Ok(read) => Some(read),
        Err(WebhookStoreError(error)) => {
            tracing::error!(%error, "A callback is left out: {error}");
            None
        }
    };
    rows.into_iter().filter_map(read).collect()
}

/// Due deliveries from their columns.
pub(super) fn due(rows: Vec<(String, String, String)>) -> Vec<Due> {
    let unreadable = |error: crate::domain::IdError| WebhookStoreError(error.into());
    readable(
        rows.into_iter().map(|(id, user, host)| {
            Ok(Due { id: id.parse().map_err(unreadable)?, user: user.parse().map_err(unreadable)?, host })
        }),
    )
}

/// A bound as the databases take it.
pub(super) fn bound(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
