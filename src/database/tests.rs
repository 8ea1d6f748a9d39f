//! Databases for tests, and what they must do by themselves.

#[path = "../../tests/support/postgres.rs"]
mod postgres_server;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use secrecy::SecretString;
use sqlx::Connection;
use tempfile::TempDir;

use super::*;
use crate::domain::{Clock, SystemClock, UnixMs};

/// Which database a test runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Adapter {
    Sqlite,
    Postgres,
}

/// An empty database of a test's own.
pub(crate) struct TestDatabase {
    pub(crate) database: Database,
    pub(crate) address: DatabaseAddress,
    _directory: TempDir,
}

impl TestDatabase {
    /// `None`, and a line that says so, where there is no PostgreSQL.
    pub(crate) async fn open(adapter: Adapter) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let address = match adapter {
            Adapter::Sqlite => DatabaseAddress::File(directory.path().join("jobs.db")),
            Adapter::Postgres => DatabaseAddress::Postgres(SecretString::from(postgres_server::create_database().await?)),
        };
        let database = Database::open(&address).await.unwrap();
        Some(Self { database, address, _directory: directory })
    }

    /// How many rows of `jobs` are in this state.
    pub(crate) async fn jobs(&self, state: &str) -> i64 {
        let query = "SELECT COUNT(*) FROM jobs WHERE state = $1";
        match &self.database {
            Database::Sqlite(database) => sqlx::query_scalar(query).bind(state).fetch_one(database.read()).await.unwrap(),
            Database::Postgres(database) => sqlx::query_scalar(query).bind(state).fetch_one(database.pool()).await.unwrap(),
        }
    }

    /// Does what no store does.
    pub(crate) async fn execute(&self, sql: &'static str) -> Result<(), sqlx::Error> {
        match &self.database {
            Database::Sqlite(database) => {
                let work = async move |connection: &mut sqlx::SqliteConnection| {
                    Ok::<_, WriteError>(sqlx::query(sql).execute(connection).await.map(drop))
                };
                database.write(work).await.unwrap()
            }
            Database::Postgres(database) => sqlx::query(sql).execute(database.pool()).await.map(drop),
        }
    }
}

async fn sqlite(path: &Path) -> SqliteDatabase {
    let database = SqliteDatabase::open(path).await.unwrap();
    let made = database
        .write::<_, WriteError, _>(async |connection| {
            sqlx::query("CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL UNIQUE)").execute(connection).await.unwrap();
            Ok(())
        })
        .await;
    made.unwrap();
    database
}

#[derive(Debug)]
enum Refused {
    ByRule,
    ByDatabase,
}

impl From<WriteError> for Refused {
    fn from(_: WriteError) -> Self {
        Self::ByDatabase
    }
}

async fn note(database: &SqliteDatabase, text: String, refuse: bool) -> Result<(), Refused> {
    database
        .write(async move |connection| {
            sqlx::query("INSERT INTO notes VALUES (?1)").bind(text).execute(connection).await.map_err(|_| Refused::ByDatabase)?;
            if refuse { Err(Refused::ByRule) } else { Ok(()) }
        })
        .await
}

async fn notes(database: &SqliteDatabase) -> Vec<String> {
    sqlx::query_scalar("SELECT text FROM notes ORDER BY text").fetch_all(database.read()).await.unwrap()
}

#[tokio::test]
async fn what_is_refused_undoes_itself_and_not_its_neighbours() {
    let directory = tempfile::tempdir().unwrap();
    let database = sqlite(&directory.path().join("a/b.db")).await;
    // All wait at once, so that they share transactions.
    let writes = (0..300).map(|index| note(&database, format!("{index:03}"), index % 3 == 1));
    let results = join_all(writes).await;
    for (index, result) in results.iter().enumerate() {
        assert_eq!(matches!(result, Err(Refused::ByRule)), index % 3 == 1, "{index}: {result:?}");
    }
    let expected: Vec<String> = (0..300).filter(|index| index % 3 != 1).map(|index| format!("{index:03}")).collect();
    assert_eq!(notes(&database).await, expected);
    let twice = join_all([note(&database, "x".to_owned(), false), note(&database, "x".to_owned(), false)]).await;
    assert!(twice[0].is_ok() && matches!(twice[1], Err(Refused::ByDatabase)));
    assert_eq!(database.undone(), 0, "a statement that fails is not a transaction that fails");
}

#[tokio::test]
async fn a_lost_transaction_is_told_to_all_and_the_next_one_works() {
    let directory = tempfile::tempdir().unwrap();
    let database = sqlite(&directory.path().join("jobs.db")).await;
    let end_transaction = database.write::<(), Refused, _>(async |connection| {
        // As SQLite does by itself when the disk is full.
        sqlx::query("ROLLBACK").execute(connection).await.unwrap();
        Err(Refused::ByRule)
    });
    let (before, lost) = tokio::join!(note(&database, "neighbour".to_owned(), false), end_transaction);
    assert!(matches!(lost, Err(Refused::ByDatabase)));
    assert_eq!(database.undone(), 1);
    note(&database, "later".to_owned(), false).await.unwrap();
    let stored = notes(&database).await;
    assert_eq!(stored.contains(&"neighbour".to_owned()), before.is_ok(), "acknowledged is stored");
    assert!(stored.contains(&"later".to_owned()));
}

#[tokio::test]
async fn the_file_is_durable_private_and_closed_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let database = sqlite(&path).await;
    let setting = async |sql: &'static str| {
        let read = async move |connection: &mut sqlx::SqliteConnection| {
            Ok::<_, WriteError>(sqlx::query_scalar::<_, i64>(sql).fetch_one(connection).await.unwrap())
        };
        database.write(read).await.unwrap()
    };
    assert_eq!(setting("PRAGMA synchronous").await, 2, "FULL");
    assert_eq!(setting("PRAGMA foreign_keys").await, 1);
    for file in ["jobs.db", "jobs.db-wal", "jobs.db-shm"] {
        let mode = std::fs::metadata(directory.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    database.close().await;
    assert!(matches!(note(&database, "late".to_owned(), false).await, Err(Refused::ByDatabase)));
    assert_eq!(notes(&sqlite(&path).await).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_database_of_the_first_release_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::migrate!("migrations/sqlite").run_to(1, &mut connection).await.unwrap();
    let request = r#"{"width": 64, "height": 96, "num_images": 3, "guidance_scale": 2.0}"#;
    for (id, request) in [("1", request), ("2", "no JSON")] {
        sqlx::query(
            "INSERT INTO jobs (id, user_id, kind, model_id, state, request, priority, request_sha256, created_ms, updated_ms)
                 VALUES ('job' || ?1, 'ann', 'image', 'm', 'queued', ?2, 0, x'00', 7, 7);
             INSERT INTO tasks (id, key_sha256, job_id, model_id, state, priority, work, created_ms, updated_ms)
                 VALUES ('task' || ?1, x'00', 'job' || ?1, 'm', 'queued', 0, 1.0, 7, 7);
             INSERT INTO api_keys (id, prefix, key_sha256, user_id, admin, created_ms)
                 VALUES ('key' || ?1, 'fw_', CAST(?1 AS BLOB), 'ann', ?1 - 1, 7)",
        )
        .bind(id)
        .bind(request)
        .execute(&mut connection)
        .await
        .unwrap();
    }
    connection.close().await.unwrap();
    let database = SqliteDatabase::open(&path).await.unwrap();
    let tasks: Vec<(String, i64, i64, i64, i64)> =
        sqlx::query_as("SELECT user_id, queued_ms, width, height, rows FROM tasks ORDER BY id")
            .fetch_all(database.read())
            .await
            .unwrap();
    assert_eq!(tasks, [("ann".to_owned(), 7, 64, 96, 6), ("ann".to_owned(), 7, 0, 0, 1)]);
    let scopes: Vec<String> =
        sqlx::query_scalar("SELECT scope FROM api_keys ORDER BY id").fetch_all(database.read()).await.unwrap();
    assert_eq!(scopes, ["user", "admin"]);
}

/// Kills the server that the other tests use, so it runs apart from them: `scripts/postgres.sh run cargo test -p framewright --lib
/// a_killed_server -- --ignored`.
#[tokio::test]
#[ignore = "kills the test server"]
#[expect(clippy::disallowed_methods, reason = "the environment says where the server's files are")]
async fn a_killed_server_is_found_again() {
    let Some((first, second)) = two_servers().await else { return };
    let cluster = std::env::var("FRAMEWRIGHT_TEST_POSTGRES_CLUSTER").unwrap();
    let script = |verb: &str| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres.sh");
        assert!(std::process::Command::new(path).args([verb, &cluster]).status().unwrap().success());
    };
    assert!(first.lead().await.unwrap());
    first.changed_elsewhere().await;
    script("kill");
    assert!(first.lead().await.is_err(), "who cannot ask does not lead");
    let mut wait = Box::pin(first.changed_elsewhere());
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut wait).await.is_err());
    script("start");
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, i32>("SELECT 1").fetch_one(first.pool()).await.unwrap(), 1);
    assert!(second.lead().await.unwrap(), "the right ended with the session");
    assert!(!first.lead().await.unwrap());
    let mut connection = second.pool().acquire().await.unwrap();
    second.notify(&mut connection).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), first.changed_elsewhere()).await.unwrap();
}

#[tokio::test]
async fn errors_name_the_database_and_not_the_password() {
    let message = |error: DatabaseError| error.to_string();
    let url = |text: &str| DatabaseAddress::Postgres(SecretString::from(text.to_owned()));
    let wrong = message(Database::open(url("postgres://u:secret@[bad/db")).await.unwrap_err());
    assert!(wrong.contains("postgres://user:password@") && !wrong.contains("secret"), "{wrong}");
    let missing = message(Database::open(Path::new("/proc/no/jobs.db")).await.unwrap_err());
    assert!(missing.starts_with("cannot create /proc/no"), "{missing}");
}

/// Hands bytes on between a client and the test server, until it is told to hand on nothing any more of what is connected: then it is
/// silent, as a machine is that has lost its power.
async fn gateway(server: &str) -> (String, tokio::sync::watch::Sender<u32>) {
    let mut url = url::Url::parse(server).unwrap();
    let to = (url.host_str().unwrap().to_owned(), url.port().unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
    let (cut, is_cut) = tokio::sync::watch::channel(0);
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.clone().spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = tokio::net::TcpStream::connect(&to).await.unwrap();
            let mut is_cut = is_cut.clone();
            is_cut.mark_unchanged();
            tasks.spawn(async move {
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    _ = is_cut.changed() => std::future::pending().await,
                }
            });
        }
    });
    (url.into(), cut)
}

#[tokio::test]
async fn who_vanished_without_a_word_is_not_waited_for() {
    let Some(server) = postgres_server::create_database().await else { return };
    let (url, cut) = gateway(&server).await;
    let database = PostgresDatabase::open(&SecretString::from(url)).await.unwrap();
    assert!(database.lead().await.unwrap());
    database.changed_elsewhere().await;
    let peer = PostgresDatabase::open(&SecretString::from(server)).await.unwrap();
    assert!(!peer.lead().await.unwrap());
    let select = async || in_time(sqlx::query_scalar::<_, i32>("SELECT 1").fetch_one(database.pool())).await;
    // Every place of the pool is taken by a call that is never answered.
    let sleeping = join_all((0..20).map(|_| in_time(sqlx::query("SELECT pg_sleep(600)").execute(database.pool()))));
    let silence = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cut.send_modify(|times| *times += 1);
        // Nothing is under way that real time could bring to an end, so time passes at once.
        tokio::time::pause();
    };
    let (given_up, ()) = tokio::join!(sleeping, silence);
    assert!(given_up.iter().all(Result::is_err));
    tokio::time::sleep(Duration::from_mins(1)).await;
    tokio::time::resume();
    assert_eq!(select().await.unwrap(), 1, "new connections were made for those that are silent");
    // The old session holds the right until the server gives it up; asking for it does not hang.
    assert!(!database.lead().await.unwrap());
    let heard = tokio::time::timeout(Duration::from_secs(20), database.changed_elsewhere()).await;
    assert!(heard.is_ok(), "what was called meanwhile may have been missed");
    let mut connection = peer.pool().acquire().await.unwrap();
    peer.notify(&mut connection).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), database.changed_elsewhere()).await.unwrap();
}

async fn two_servers() -> Option<(PostgresDatabase, PostgresDatabase)> {
    let url = SecretString::from(postgres_server::create_database().await?);
    // At once: one migrates, the other waits.
    let (first, second) = tokio::join!(PostgresDatabase::open(&url), PostgresDatabase::open(&url));
    Some((first.unwrap(), second.unwrap()))
}

#[tokio::test]
async fn servers_wake_each_other_and_not_themselves() {
    let Some((first, second)) = two_servers().await else { return };
    first.changed_elsewhere().await; // listens from here on
    let notify = async |database: &PostgresDatabase| {
        let mut connection = database.pool().acquire().await.unwrap();
        database.notify(&mut connection).await.unwrap();
    };
    notify(&first).await;
    let mut wait = Box::pin(first.changed_elsewhere());
    let own = tokio::time::timeout(Duration::from_millis(300), &mut wait).await;
    assert!(own.is_err(), "its own change is no news");
    notify(&second).await;
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
}

#[tokio::test]
async fn one_server_leads_and_another_follows_it() {
    let Some((first, second)) = two_servers().await else { return };
    assert!(first.lead().await.unwrap());
    assert!(!second.lead().await.unwrap());
    assert!(first.lead().await.unwrap(), "it still does");
    first.close().await;
    assert!(second.lead().await.unwrap());
}

#[tokio::test]
async fn the_clocks_difference_is_found() {
    let Some((database, _)) = two_servers().await else { return };
    let now = SystemClock.now();
    let behind = UnixMs(now.0 - 3_600_000);
    assert!(database.clock_offset_ms(now).await.unwrap().abs() < 1_000);
    assert!((database.clock_offset_ms(behind).await.unwrap() - 3_600_000).abs() < 1_000);
}

/// Run by hand: `cargo test -p framewright --lib grouping_commits -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn grouping_commits_pays() {
    let directory = tempfile::tempdir().unwrap();
    let database = Arc::new(sqlite(&directory.path().join("jobs.db")).await);
    let mut rates = Vec::new();
    for at_once in [1, 64] {
        let started = Instant::now();
        let writers = (0..at_once).map(async |writer| {
            for index in 0..1000 / at_once {
                note(&database, format!("{at_once} {writer} {index}"), false).await.unwrap();
            }
        });
        join_all(writers).await;
        rates.push(1000.0 / started.elapsed().as_secs_f64());
    }
    println!("writes a second: {:.0} one by one, {:.0} with 64 waiting", rates[0], rates[1]);
}
