//! A PostgreSQL database that several servers share, and what it tells one of them of the others.

use std::io;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tokio::sync::{Mutex, Notify};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use uuid::Uuid;

use super::error::DatabaseError;
use super::listener::{CHANNEL, Listener};
use crate::domain::UnixMs;

/// Connections for statements. Two more are kept aside: one that listens, one that holds the leadership.
const CONNECTIONS: u32 = 16;
/// How long a statement waits for a connection, also while the server restarts.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take that only tells why others failed.
const REASON_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a call may take: longer than it waits for a connection and for a row, much shorter than TCP waits for a machine that vanished.
const LONGEST_CALL: Duration = Duration::from_secs(20);
/// How long a session may take to say that it is there.
const LONGEST_PING: Duration = Duration::from_secs(3);
/// A connection that was used this recently is taken to be there still.
const FRESH: Duration = Duration::from_millis(250);

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
    /// Completes a wait for the other servers.
    changed: Arc<Notify>,
    /// The task that listens, from when it is first asked for.
    listening: OnceLock<AbortOnDropHandle<()>>,
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
            .test_before_acquire(false)
            .before_acquire(|connection, metadata| {
                Box::pin(async move { if metadata.idle_for < FRESH { Ok(true) } else { ping(connection).await.map(|()| true) } })
            })
            // The pool asks too, but waits for as long as the answer takes: a call that was given up would keep its place until then.
            .after_release(|connection, _| Box::pin(async move { ping(connection).await.map(|()| true) }))
            .connect_with(options.clone());
        let pool = match pool.await {
            Ok(pool) => pool,
            Err(error) => {
                // A pool tries for a while and then says no more than that it waited.
                let reason = tokio::time::timeout(REASON_TIMEOUT, PgConnection::connect_with(&options)).await;
                let source = reason.ok().and_then(Result::err).unwrap_or(error);
                return Err(DatabaseError::Open { name, source });
            }
        };
        sqlx::migrate!("migrations/postgres").run(&pool).await.map_err(|source| DatabaseError::Migrate { name, source })?;
        let shared = Shared {
            pool,
            instance: Uuid::now_v7().simple().to_string(),
            changed: Arc::default(),
            listening: OnceLock::new(),
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
    /// error here: this listens again as soon as it can. Meant for one who waits.
    pub async fn changed_elsewhere(&self) {
        self.shared.listening.get_or_init(|| {
            let options = PgConnectOptions::clone(&self.shared.pool.connect_options());
            let listener = Listener { options, instance: self.shared.instance.clone(), changed: self.shared.changed.clone() };
            AbortOnDropHandle::new(TaskTracker::new().spawn(listener.run()))
        });
        self.shared.changed.notified().await;
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
            if ping(session).await.is_ok() {
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

    /// Waits for running statements and hangs up; who does not answer is not waited for.
    pub async fn close(&self) {
        if let Some(listening) = self.shared.listening.get() {
            listening.abort();
        }
        let hang_up = async {
            if let Some(session) = self.shared.leadership.lock().await.take() {
                session.close().await.ok();
            }
            self.shared.pool.close().await;
            Ok::<(), sqlx::Error>(())
        };
        in_time(hang_up).await.ok();
    }
}

/// Waits for `call`, but no longer than any may take: a machine that vanished does not even say that its connections have ended. What
/// became of a call that was given up is unknown.
pub async fn in_time<T, E: From<sqlx::Error>>(call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    tokio::time::timeout(LONGEST_CALL, call).await.unwrap_or_else(|_| Err(silent(LONGEST_CALL).into()))
}

async fn ping(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    tokio::time::timeout(LONGEST_PING, connection.ping()).await.unwrap_or_else(|_| Err(silent(LONGEST_PING)))
}

fn silent(waited: Duration) -> sqlx::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("the database has not answered for {waited:?}")).into()
}
