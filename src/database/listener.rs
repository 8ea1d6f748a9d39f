//! Hears what the servers of a PostgreSQL database call to each other.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::Notify;

use super::postgres::{ACQUIRE_TIMEOUT, in_time};

/// On which the servers wake each other.
pub(super) const CHANNEL: &str = "framewright_queue";

/// First and longest pause between attempts to listen again.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// After a silence of this length the connection is asked whether it is there: it would wait for ever for a machine that vanished.
const QUIET: Duration = Duration::from_secs(20);

/// What listens, in a task of its own: whoever waits for news may stop waiting without disturbing an attempt to connect.
pub(super) struct Listener {
    pub(super) options: PgConnectOptions,
    /// Whose own calls are no news.
    pub(super) instance: String,
    /// Told of every call, and of every time when calls may have been missed.
    pub(super) changed: Arc<Notify>,
}

impl Listener {
    /// Listens until the task is aborted.
    pub(super) async fn run(self) {
        let mut pause = RECONNECT.0;
        loop {
            let Err(error) = self.hear(&mut pause).await;
            tracing::warn!(error = %error, "Cannot listen to the other servers: {error}; trying again in {pause:?}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RECONNECT.1);
        }
    }

    /// Listens until the connection fails.
    async fn hear(&self, pause: &mut Duration) -> Result<Infallible, sqlx::Error> {
        let mut listener = in_time(self.connect()).await?;
        *pause = RECONNECT.0;
        // Nobody knows what was called before.
        self.changed.notify_one();
        loop {
            match tokio::time::timeout(QUIET, listener.try_recv()).await {
                Ok(received) => match received? {
                    Some(notification) if notification.payload() == self.instance => {}
                    // Without a notification: not connected for a while, and now again.
                    Some(_) | None => self.changed.notify_one(),
                },
                Err(_) => in_time(async { sqlx::query("SELECT 1").execute(&mut listener).await.map(drop) }).await?,
            }
        }
    }

    async fn connect(&self) -> Result<PgListener, sqlx::Error> {
        // A pool of its own: listening takes no connection away from statements.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(self.options.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.ignore_pool_close_event(true);
        listener.listen(CHANNEL).await?;
        Ok(listener)
    }
}
