//! Deliveries in SQLite.

use async_trait::async_trait;

use super::rows::{BACKLOG, DeliveryRow, backlog, bound, delivery_columns, due, due_query, readable, replay_query, settle_query};
use super::{Backlog, Delivery, DeliveryFilter, DeliveryState, Due, DueBounds, Settlement, WebhookStore, WebhookStoreError};
use crate::database::SqliteDatabase;
use crate::domain::{DeliveryId, ProjectId, UnixMs, UserId};

/// [`WebhookStore`] over a [`SqliteDatabase`].
#[derive(Clone, Debug)]
pub struct SqliteWebhookStore {
    database: SqliteDatabase,
}

impl SqliteWebhookStore {
    /// The deliveries of this database.
    pub fn new(database: SqliteDatabase) -> Self {
        Self { database }
    }
}

const DUE: &str = due_query!("host NOT IN (SELECT value FROM json_each($5))", "user_id NOT IN (SELECT value FROM json_each($6))");

const CLAIM: &str = concat!(
    "UPDATE webhook_deliveries SET attempts = attempts + 1, tries = tries + 1, due_ms = ?2, updated_ms = ?1
     WHERE id IN (SELECT value FROM json_each(?3)) AND state = 'pending' AND due_ms <= ?1 RETURNING ",
    delivery_columns!()
);

const LIST: &str = concat!(
    "SELECT ",
    delivery_columns!(),
    " FROM webhook_deliveries
      WHERE (?1 IS NULL OR user_id = ?1) AND (?2 IS NULL OR project_id = ?2) AND (?3 IS NULL OR job_id = ?3)
          AND (?4 IS NULL OR state = ?4) AND (?5 IS NULL OR id < ?5)
      ORDER BY id DESC LIMIT ?6"
);

#[async_trait]
impl WebhookStore for SqliteWebhookStore {
    async fn due(&self, now: UnixMs, bounds: &DueBounds) -> Result<Vec<Due>, WebhookStoreError> {
        let list = |names: Vec<&str>| serde_json::to_string(&names).map_err(|error| WebhookStoreError(error.into()));
        let rows = sqlx::query_as(DUE)
            .bind(now.0)
            .bind(bound(bounds.per_user_and_host))
            .bind(bound(bounds.per_user))
            .bind(bound(bounds.limit))
            .bind(list(bounds.except_hosts.iter().map(String::as_str).collect())?)
            .bind(list(bounds.except_users.iter().map(UserId::as_str).collect())?)
            .fetch_all(self.database.read())
            .await?;
        Ok(due(rows))
    }

    async fn claim(&self, ids: &[DeliveryId], now: UnixMs, until: UnixMs) -> Result<Vec<Delivery>, WebhookStoreError> {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let ids = serde_json::to_string(&ids).map_err(|error| WebhookStoreError(error.into()))?;
        self.database
            .write(async move |connection| {
                let rows: Vec<DeliveryRow> =
                    sqlx::query_as(CLAIM).bind(now.0).bind(until.0).bind(ids).fetch_all(connection).await?;
                Ok(readable(rows.into_iter().map(DeliveryRow::read)))
            })
            .await
    }

    async fn settle(&self, settlement: &Settlement, now: UnixMs) -> Result<bool, WebhookStoreError> {
        let settlement = settlement.clone();
        self.database
            .write(async move |connection| {
                let written = sqlx::query(settle_query!())
                    .bind(settlement.id.to_string())
                    .bind(settlement.attempt)
                    .bind(settlement.state.as_str())
                    .bind(settlement.due.0)
                    .bind(settlement.http_status.map(i64::from))
                    .bind(settlement.error)
                    .bind(now.0)
                    .execute(connection)
                    .await?;
                Ok(written.rows_affected() > 0)
            })
            .await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, WebhookStoreError> {
        let row: Option<DeliveryRow> =
            sqlx::query_as(concat!("SELECT ", delivery_columns!(), " FROM webhook_deliveries WHERE id = ?1"))
                .bind(id.to_string())
                .fetch_optional(self.database.read())
                .await?;
        row.map(DeliveryRow::read).transpose()
    }

    async fn list(
        &self,
        filter: &DeliveryFilter,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<Delivery>, WebhookStoreError> {
        let rows: Vec<DeliveryRow> = sqlx::query_as(LIST)
            .bind(filter.user.as_ref().map(UserId::as_str))
            .bind(filter.project.as_ref().map(ProjectId::as_str))
            .bind(filter.job.map(|job| job.to_string()))
            .bind(filter.state.map(DeliveryState::as_str))
            .bind(before.map(|id| id.to_string()))
            .bind(limit)
            .fetch_all(self.database.read())
            .await?;
        Ok(readable(rows.into_iter().map(DeliveryRow::read)))
    }

    async fn replay(&self, id: DeliveryId, now: UnixMs) -> Result<Option<Delivery>, WebhookStoreError> {
        self.database
            .write(async move |connection| {
                let row: Option<DeliveryRow> =
                    sqlx::query_as(replay_query!()).bind(id.to_string()).bind(now.0).fetch_optional(connection).await?;
                row.map(DeliveryRow::read).transpose()
            })
            .await
    }

    async fn backlog(&self) -> Result<Backlog, WebhookStoreError> {
        Ok(backlog(sqlx::query_as(BACKLOG).fetch_one(self.database.read()).await?))
    }

    async fn lead(&self) -> Result<bool, WebhookStoreError> {
        // One server has the file.
        Ok(true)
    }
}
