//! Deliveries that survive the process: one trait, one file per database. The rows are written by the database (`migrations`), in the
//! transactions in which jobs change, and go with their jobs.

mod postgres;
mod rows;
mod sqlite;

#[cfg(test)]
mod conformance;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::database::Database;
use crate::domain::{CallbackFormat, DeliveryId, JobId, ProjectId, UnixMs, UserId};

pub use postgres::PostgresWebhookStore;
pub use sqlite::SqliteWebhookStore;

/// The deliveries of a database.
pub fn open(database: &Database) -> Arc<dyn WebhookStore> {
    match database {
        Database::Sqlite(database) => Arc::new(SqliteWebhookStore::new(database.clone())),
        Database::Postgres(database) => Arc::new(PostgresWebhookStore::new(database.clone())),
    }
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// It is to be sent, or to be sent again.
    Pending,
    /// The receiver took it.
    Delivered,
    /// It was given up.
    Failed,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// The word that the API and the database use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// Something to be told, and what became of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What is told; also the message's `webhook-id`.
    pub id: DeliveryId,
    /// Whose job it is.
    pub user: UserId,
    /// For which project.
    pub project: Option<ProjectId>,
    /// Where it goes; it may hold a secret.
    pub url: String,
    /// The host of that.
    pub host: String,
    /// In whose words.
    pub format: CallbackFormat,
    /// Beginning of links to results.
    pub base_url: Option<String>,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was sent in all; the claim's fencing token.
    pub attempts: i64,
    /// How often since it was last sent by hand.
    pub tries: i64,
    /// When it is sent next, if it is pending.
    pub due: UnixMs,
    /// When the job changed.
    pub created: UnixMs,
    /// When anything was last tried.
    pub updated: UnixMs,
    /// When the receiver took it.
    pub delivered: Option<UnixMs>,
    /// The status of the last answer.
    pub http_status: Option<u16>,
    /// Why the last try failed.
    pub error: Option<String>,
}

impl fmt::Debug for Delivery {
    /// Without the link's path and query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Delivery({:?} to {}, {:?}, {} attempts, due {})", self.id, self.host, self.state, self.attempts, self.due)
    }
}

/// A delivery whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The delivery.
    pub id: DeliveryId,
    /// Whose job it tells of.
    pub user: UserId,
    /// The host that it goes to.
    pub host: String,
}

/// What is to be sent, or sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many deliveries.
    pub waiting: u64,
    /// When the first of them is or was to be sent, if any waits. One that is being sent is to be sent again when its claim ends.
    pub earliest_due: Option<UnixMs>,
}

/// How many due deliveries are looked for, and of whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueBounds {
    /// At most so many of one user to one host.
    pub per_user_and_host: usize,
    /// At most so many of one user.
    pub per_user: usize,
    /// At most so many in all.
    pub limit: usize,
    /// None to these hosts.
    pub except_hosts: Vec<String>,
    /// None of these users.
    pub except_users: Vec<UserId>,
}

/// What became of a try.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The delivery.
    pub id: DeliveryId,
    /// Which try: [`Delivery::attempts`] as claimed.
    pub attempt: i64,
    /// Where it stands now.
    pub state: DeliveryState,
    /// When it is sent next.
    pub due: UnixMs,
    /// The status of the answer.
    pub http_status: Option<u16>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Which deliveries a list shows.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Only of this user's jobs.
    pub user: Option<UserId>,
    /// Only of this project's jobs.
    pub project: Option<ProjectId>,
    /// Only of this job.
    pub job: Option<JobId>,
    /// Only those that stand so.
    pub state: Option<DeliveryState>,
}

/// Why the store failed; the same call may succeed later.
#[derive(Debug, thiserror::Error)]
#[error("the store of callbacks failed")]
pub struct WebhookStoreError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Deliveries.
#[async_trait]
pub trait WebhookStore: Send + Sync + fmt::Debug {
    /// Those that are due, within bounds: first each user's first, then the second ones; a user's in turns of its hosts, the oldest first.
    async fn due(&self, now: UnixMs, bounds: &DueBounds) -> Result<Vec<Due>, WebhookStoreError>;

    /// Takes those of `ids` that are still due, and gives them. Each counts as a try; unless it is settled, it is due again at `until`.
    async fn claim(&self, ids: &[DeliveryId], now: UnixMs, until: UnixMs) -> Result<Vec<Delivery>, WebhookStoreError>;

    /// Writes down what became of a claimed delivery; `false` when it was claimed again meanwhile, or is gone, and nothing was written.
    async fn settle(&self, settlement: &Settlement, now: UnixMs) -> Result<bool, WebhookStoreError>;

    /// A delivery.
    async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, WebhookStoreError>;

    /// Those that `filter` lets through, the newest jobs first, after `before` in that order if given. Rows that cannot be read are logged
    /// and left out.
    async fn list(
        &self,
        filter: &DeliveryFilter,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<Delivery>, WebhookStoreError>;

    /// Has a delivery sent once more, whatever became of it, with all tries before it again.
    async fn replay(&self, id: DeliveryId, now: UnixMs) -> Result<Option<Delivery>, WebhookStoreError>;

    /// All that is pending, due or not.
    async fn backlog(&self) -> Result<Backlog, WebhookStoreError>;

    /// Whether this server is the one that sends, where several share the store.
    async fn lead(&self) -> Result<bool, WebhookStoreError>;
}
