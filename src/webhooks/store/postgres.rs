//! Deliveries in PostgreSQL. Every call is given up after a while: a database that vanished says nothing.

use async_trait::async_trait;

use super::rows::{BACKLOG, DeliveryRow, backlog, bound, delivery_columns, due, due_query, readable, replay_query, settle_query};
use super::{Backlog, Delivery, DeliveryFilter, DeliveryState, Due, DueBounds, Settlement, WebhookStore, WebhookStoreError};
use crate::database::{PostgresDatabase, in_time};
use crate::domain::{DeliveryId, ProjectId, UnixMs, UserId};

/// [`WebhookStore`] over a [`PostgresDatabase`].
#[derive(Clone, Debug)]
pub struct PostgresWebhookStore {
    database: PostgresDatabase,
}

impl PostgresWebhookStore {
    /// The deliveries of this database.
    pub fn new(database: PostgresDatabase) -> Self {
        Self { database }
    }
}

/// Rows that somebody else holds at this moment are left to them.
const CLAIM: &str = concat!(
    "UPDATE webhook_deliveries SET attempts = attempts + 1, tries = tries + 1, due_ms = $2, updated_ms = $1
     WHERE id IN (
         SELECT id FROM webhook_deliveries WHERE id = ANY($3) AND state = 'pending' AND due_ms <= $1 FOR UPDATE SKIP LOCKED
     ) RETURNING ",
    delivery_columns!()
);

const LIST: &str = concat!(
    "SELECT ",
    delivery_columns!(),
    " FROM webhook_deliveries
      WHERE ($1::text IS NULL OR user_id = $1) AND ($2::text IS NULL OR project_id = $2) AND ($3::text IS NULL OR job_id = $3)
          AND ($4::text IS NULL OR state = $4) AND ($5::text IS NULL OR id < $5)
      ORDER BY id DESC LIMIT $6"
);

#[async_trait]
impl WebhookStore for PostgresWebhookStore {
    async fn due(&self, now: UnixMs, bounds: &DueBounds) -> Result<Vec<Due>, WebhookStoreError> {
        let users: Vec<&str> = bounds.except_users.iter().map(UserId::as_str).collect();
        let look = sqlx::query_as(due_query!("host <> ALL($5)", "user_id <> ALL($6)"))
            .bind(now.0)
            .bind(bound(bounds.per_user_and_host))
            .bind(bound(bounds.per_user))
            .bind(bound(bounds.limit))
            .bind(&bounds.except_hosts)
            .bind(users)
            .fetch_all(self.database.pool());
        Ok(due(in_time(look).await?))
    }

    async fn claim(&self, ids: &[DeliveryId], now: UnixMs, until: UnixMs) -> Result<Vec<Delivery>, WebhookStoreError> {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let claim = sqlx::query_as(CLAIM).bind(now.0).bind(until.0).bind(ids).fetch_all(self.database.pool());
        let rows: Vec<DeliveryRow> = in_time(claim).await?;
        Ok(readable(rows.into_iter().map(DeliveryRow::read)))
    }

    async fn settle(&self, settlement: &Settlement, now: UnixMs) -> Result<bool, WebhookStoreError> {
        let settle = sqlx::query(settle_query!())
            .bind(settlement.id.to_string())
            .bind(settlement.attempt)
            .bind(settlement.state.as_str())
            .bind(settlement.due.0)
            .bind(settlement.http_status.map(i64::from))
            .bind(&settlement.error)
            .bind(now.0)
            .execute(self.database.pool());
        Ok(in_time(settle).await?.rows_affected() > 0)
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, WebhookStoreError> {
        let look = sqlx::query_as(concat!("SELECT ", delivery_columns!(), " FROM webhook_deliveries WHERE id = $1"))
            .bind(id.to_string())
            .fetch_optional(self.database.pool());
        let row: Option<DeliveryRow> = in_time(look).await?;
        row.map(DeliveryRow::read).transpose()
    }

    async fn list(
        &self,
        filter: &DeliveryFilter,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<Delivery>, WebhookStoreError> {
        let look = sqlx::query_as(LIST)
            .bind(filter.user.as_ref().map(UserId::as_str))
            .bind(filter.project.as_ref().map(ProjectId::as_str))
            .bind(filter.job.map(|job| job.to_string()))
            .bind(filter.state.map(DeliveryState::as_str))
            .bind(before.map(|id| id.to_string()))
            .bind(i64::from(limit))
            .fetch_all(self.database.pool());
        let rows: Vec<DeliveryRow> = in_time(look).await?;
        Ok(readable(rows.into_iter().map(DeliveryRow::read)))
    }

    async fn replay(&self, id: DeliveryId, now: UnixMs) -> Result<Option<Delivery>, WebhookStoreError> {
        let replay = sqlx::query_as(replay_query!()).bind(id.to_string()).bind(now.0).fetch_optional(self.database.pool());
        let row: Option<DeliveryRow> = in_time(replay).await?;
        row.map(DeliveryRow::read).transpose()
    }

    async fn backlog(&self) -> Result<Backlog, WebhookStoreError> {
        Ok(backlog(in_time(sqlx::query_as(BACKLOG).fetch_one(self.database.pool())).await?))
    }

    async fn lead(&self) -> Result<bool, WebhookStoreError> {
        // Whoever does the upkeep sends too.
        Ok(in_time(self.database.lead()).await?)
    }
}
