//! A PostgreSQL database that several servers share, and what it tells one of them of the others.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::error::DatabaseError;
use crate::domain::UnixMs;

/// Connections for statements. Two more are kept aside: one that listens, one that holds the leadership.
const CONNECTIONS: u32 = 16;
/// How long a statement waits for a connection, also while the server restarts.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// First and longest pause between attempts to listen again.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// On which the servers wake each other.
const CHANNEL: &str = "framewright_queue";

/// What the sessions set for themselves: a server whose machine vanished loses its locks within a minute instead of after hours, and
/// a transaction waits for a row at most as long as for a connection.
const SESSION: [(&str, &str); 5] = [
    ("tcp_keepalives_idle", "20"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
    ("idle_in_transaction_session_timeout", "30s"),
    ("lock_timeout", "5s"),
];

/// One PostgreSQL database. Cheap to clone.
#[derive(Clone)]
pub struct PostgresDatabase {
    shared: Arc<Shared>,
}

struct Shared {
    pool: PgPool,
    /// Tells this server's wake-ups from the others'.
    instance: String,
    /// Connected when it is first asked for.
    listener: Mutex<Option<PgListener>>,
    /// The session that holds the lock of the upkeep; the lock ends with it.
    leadership: Mutex<Option<PgConnection>>,
}

// The options of the connections hold the password.
impl std::fmt::Debug for PostgresDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresDatabase").field("instance", &self.shared.instance).finish_non_exhaustive()
    }
}

impl PostgresDatabase {
    /// Connects and brings the tables up to date. Several servers may do so at once: one migrates, the others wait for it.
    pub async fn open(url: &SecretString) -> Result<Self, DatabaseError> {
        let options = PgConnectOptions::from_str(url.expose_secret())
            .map_err(|_| DatabaseError::Url)?
            .application_name("framewright")
            .options(SESSION)
            .disable_statement_logging();
        let name = format!("{} at {}:{}", options.get_database().unwrap_or("(default)"), options.get_host(), options.get_port());
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(|source| DatabaseError::Open { name: name.clone(), source })?;
        sqlx::migrate!("migrations/postgres").run(&pool).await.map_err(|source| DatabaseError::Migrate { name, source })?;
        let shared = Shared {
            pool,
            instance: Uuid::now_v7().simple().to_string(),
            listener: Mutex::new(None),
            leadership: Mutex::new(None),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Connections for statements.
    pub fn pool(&self) -> &PgPool {
        &self.shared.pool
    }

    /// Wakes the other servers when the transaction that `connection` is in commits.
    pub async fn notify(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(&self.shared.instance).execute(connection).await?;
        Ok(())
    }

    /// Completes when another server has called [`Self::notify`], or may have while this one did not listen. Losing the server is no
    /// error here: this listens again as soon as it can.
    pub async fn changed_elsewhere(&self) {
        let mut pause = RECONNECT.0;
        // One listener, whoever asks.
        let mut listener = self.shared.listener.lock().await;
        loop {
            let received = match &mut *listener {
                Some(connected) => connected.try_recv().await,
                None => match self.listen().await {
                    Ok(connected) => {
                        *listener = Some(connected);
                        return;
                    }
                    Err(error) => Err(error),
                },
            };
            match received {
                Ok(Some(notification)) if notification.payload() == self.shared.instance => {}
                // Not connected for a while; it is again.
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(error = %error, "Cannot listen to the other servers: {error}; trying again in {pause:?}");
                    *listener = None;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RECONNECT.1);
                }
            }
        }
    }

    async fn listen(&self) -> Result<PgListener, sqlx::Error> {
        // A pool of its own: listening takes no connection away from statements.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(PgConnectOptions::clone(&self.shared.pool.connect_options()));
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.ignore_pool_close_event(true);
        listener.listen(CHANNEL).await?;
        Ok(listener)
    }

    /// Milliseconds to add to this machine's clock, which says `local_now`, to get the database's.
    pub async fn clock_offset_ms(&self, local_now: UnixMs) -> Result<i64, sqlx::Error> {
        let called = Instant::now();
        let mut connection = self.shared.pool.acquire().await?;
        let asked = called.elapsed();
        // The one statement that reads a clock.
        let database_now: i64 = sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
            .fetch_one(&mut *connection)
            .await?;
        let answered = called.elapsed();
        // The database looked at its clock somewhere between question and answer.
        let local_then = local_now.0 + i64::try_from(((asked + answered) / 2).as_millis()).unwrap_or(0);
        Ok(database_now - local_then)
    }

    /// Takes the right to do the upkeep, unless another server has it; asks again whether it is still there if this one does. It ends
    /// with the session that holds it.
    pub async fn lead(&self) -> Result<bool, sqlx::Error> {
        let mut leadership = self.shared.leadership.lock().await;
        if let Some(session) = &mut *leadership {
            if session.ping().await.is_ok() {
                return Ok(true);
            }
            *leadership = None;
        }
        let mut session = self.shared.pool.connect_options().connect().await?;
        let leads =
            sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended('framewright upkeep ' || current_schema(), 0))")
                .fetch_one(&mut session)
                .await?;
        if leads {
            *leadership = Some(session);
        } else {
            session.close().await?;
        }
        Ok(leads)
    }

    /// Waits for running statements and hangs up.
    pub async fn close(&self) {
        if let Some(session) = self.shared.leadership.lock().await.take() {
            session.close().await.ok();
        }
        // Whoever listens still, does so until it is dropped.
        if let Ok(mut listener) = self.shared.listener.try_lock() {
            *listener = None;
        }
        self.shared.pool.close().await;
    }
}
