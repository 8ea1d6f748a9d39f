//! The one writer of a SQLite file: a thread that commits the work of everybody who waits at once.
//!
//! A commit waits for the disk, and with `synchronous=FULL` nothing may be acknowledged before it has. What arrives meanwhile is put
//! into the next transaction together, so the disk is waited for once a group, not once a write. Within the transaction every piece of
//! work has a savepoint: one that is refused undoes itself and not its neighbours. All are answered after the commit.
//!
//! A statement costs a round trip to the connection's thread, which is as dear as the statement; so the savepoint of one piece of work
//! is released in the same round trip that opens the next one's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use futures_util::future::LocalBoxFuture;
use parking_lot::Mutex;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

/// Pieces of work in a transaction at most: what one that waits behind a group may have to wait for.
const MOST_IN_A_GROUP: usize = 256;
/// Pieces of work that may wait before those who bring more have to.
const MOST_WAITING: usize = 1024;

/// Why a piece of work was not committed, although it was not refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// The transaction that it was part of failed; nothing of it is stored.
    #[error("the transaction failed: {0}")]
    NotCommitted(#[source] Arc<sqlx::Error>),
    /// The database has been closed.
    #[error("the database is closed")]
    Closed,
}

/// A piece of work that waits for the writer.
trait Entry: Send {
    /// Does the work; `false` when it was refused and must be undone.
    fn apply<'a>(&'a mut self, connection: &'a mut SqliteConnection) -> LocalBoxFuture<'a, bool>;
    /// Tells whoever waits what became of it.
    fn answer(self: Box<Self>, committed: Result<(), WriteError>);
}

struct Work<W, T, E> {
    todo: Option<W>,
    result: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
}

impl<W, T, E> Entry for Work<W, T, E>
where
    W: AsyncFnOnce(&mut SqliteConnection) -> Result<T, E> + Send,
    T: Send,
    E: From<WriteError> + Send,
{
    fn apply<'a>(&'a mut self, connection: &'a mut SqliteConnection) -> LocalBoxFuture<'a, bool> {
        Box::pin(async move {
            let Some(work) = self.todo.take() else { return false };
            let result = work(connection).await;
            let done = result.is_ok();
            self.result = Some(result);
            done
        })
    }

    fn answer(self: Box<Self>, committed: Result<(), WriteError>) {
        let result = match (committed, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(WriteError::Closed.into()),
            (Err(error), _) => Err(error.into()),
        };
        // Who has gone away does not want to know; the work is done all the same.
        self.answer.send(result).ok();
    }
}

/// The way to the writer's thread. The thread ends when this is closed or dropped.
pub(super) struct Writer {
    entries: Mutex<Option<mpsc::Sender<Box<dyn Entry>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    undone: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the thread. A connection whose transaction failed is replaced by another with the same options.
    pub(super) fn start(connection: SqliteConnection, options: SqliteConnectOptions) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        let undone = Arc::new(AtomicU64::new(0));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let group = Group { connection: Some(connection), options, undone: undone.clone() };
        let thread = std::thread::Builder::new()
            .name("database-writer".to_owned())
            .spawn(move || runtime.block_on(group.serve(receiver)))?;
        Ok(Self { entries: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)), undone })
    }

    /// How many transactions were lost so far, with everything that work in them had counted on.
    pub(super) fn undone(&self) -> u64 {
        self.undone.load(Ordering::Acquire)
    }

    /// Does `work` in a transaction, and returns when it is on the disk. An error undoes all that the work has written.
    pub(super) async fn write<T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: AsyncFnOnce(&mut SqliteConnection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<WriteError> + Send + 'static,
    {
        let entries = self.entries.lock().clone().ok_or(WriteError::Closed)?;
        let (answer, result) = oneshot::channel();
        let entry = Work { todo: Some(work), result: None, answer };
        entries.send(Box::new(entry)).await.map_err(|_| WriteError::Closed)?;
        drop(entries);
        result.await.map_err(|_| WriteError::Closed)?
    }

    /// Takes no more work, and waits until what was taken is done.
    pub(super) async fn close(&self) {
        drop(self.entries.lock().take());
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // A thread that panicked has already said so.
            tokio::task::spawn_blocking(move || thread.join().ok()).await.ok();
        }
    }
}

/// The thread's side.
struct Group {
    connection: Option<SqliteConnection>,
    options: SqliteConnectOptions,
    undone: Arc<AtomicU64>,
}

impl Group {
    async fn serve(mut self, mut waiting: mpsc::Receiver<Box<dyn Entry>>) {
        let mut applied = Vec::with_capacity(MOST_IN_A_GROUP);
        while let Some(first) = waiting.recv().await {
            let committed = match self.commit(first, &mut waiting, &mut applied).await {
                Ok(()) => Ok(()),
                Err(error) => {
                    tracing::error!(error = %error, "A transaction with {} writes has failed: {error}", applied.len());
                    // Whatever state the connection is in, the next group begins with a clean one.
                    if let Some(connection) = self.connection.take() {
                        connection.close().await.ok();
                    }
                    self.undone.fetch_add(1, Ordering::Release);
                    Err(WriteError::NotCommitted(Arc::new(error)))
                }
            };
            for entry in applied.drain(..) {
                entry.answer(committed.clone());
            }
        }
        if let Some(connection) = self.connection.take() {
            connection.close().await.ok();
        }
    }

    /// One transaction with `first` and what else waits. What was tried is left in `applied`, whatever becomes of it.
    async fn commit(
        &mut self,
        first: Box<dyn Entry>,
        waiting: &mut mpsc::Receiver<Box<dyn Entry>>,
        applied: &mut Vec<Box<dyn Entry>>,
    ) -> Result<(), sqlx::Error> {
        // In `applied` before anything can fail: whoever waits is told.
        applied.push(first);
        if self.connection.is_none() {
            self.connection = Some(self.options.connect().await?);
        }
        let Some(connection) = &mut self.connection else { return Err(sqlx::Error::WorkerCrashed) };
        // IMMEDIATE: a transaction that reads before it writes would fail at the upgrade when another process wrote in between.
        sqlx::query("BEGIN IMMEDIATE; SAVEPOINT piece").execute(&mut *connection).await?;
        let mut current = 0;
        loop {
            let done = applied[current].apply(connection).await;
            if !done {
                sqlx::query("ROLLBACK TO piece").execute(&mut *connection).await?;
            }
            if applied.len() == MOST_IN_A_GROUP {
                break;
            }
            let Ok(entry) = waiting.try_recv() else { break };
            applied.push(entry);
            current += 1;
            // After a rollback the savepoint is still open, and serves the next piece of work.
            if done {
                sqlx::query("RELEASE piece; SAVEPOINT piece").execute(&mut *connection).await?;
            }
        }
        sqlx::query("COMMIT").execute(&mut *connection).await?;
        Ok(())
    }
}
