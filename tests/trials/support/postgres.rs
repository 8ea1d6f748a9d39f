//! The PostgreSQL cluster that `scripts/postgres.sh run` made for the tests.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::trial;

/// A cluster that may be killed.
#[derive(Clone, Debug)]
pub(crate) struct Postgres {
    url: String,
    cluster: String,
}

/// A database that is dropped when this is.
#[derive(Debug)]
pub(crate) struct TrialDatabase {
    postgres: Postgres,
    name: String,
    url: String,
}

impl Postgres {
    /// The cluster of `scripts/postgres.sh run`; none outside of it.
    pub(crate) fn from_environment() -> Option<Self> {
        let url = trial::variable("FRAMEWRIGHT_TEST_POSTGRES")?;
        Some(Self { url, cluster: trial::variable("FRAMEWRIGHT_TEST_POSTGRES_CLUSTER")? })
    }

    pub(crate) fn fresh_database(&self) -> TrialDatabase {
        let name = format!("trial_{}", uuid::Uuid::now_v7().simple());
        self.execute(&format!("CREATE DATABASE {name}"));
        let mut url = url::Url::parse(&self.url).expect("FRAMEWRIGHT_TEST_POSTGRES is a URL");
        url.set_path(&name);
        TrialDatabase { postgres: self.clone(), name, url: url.into() }
    }

    /// Kills every process of the cluster at once.
    pub(crate) fn kill(&self) {
        self.script("kill");
    }

    /// Starts the cluster again, unless it runs, and waits until it takes connections.
    pub(crate) fn start(&self) {
        if self.try_execute("SELECT 1").is_err() {
            self.script("start");
        }
        trial::wait_for("PostgreSQL takes connections again", Duration::from_mins(1), || self.try_execute("SELECT 1").ok());
    }

    fn script(&self, word: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/postgres.sh");
        let status = Command::new(script).args([word, &self.cluster]).status().expect("scripts/postgres.sh can be run");
        assert!(status.success(), "scripts/postgres.sh {word}: {status}");
    }

    fn execute(&self, sql: &str) {
        self.try_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    fn try_execute(&self, sql: &str) -> Result<(), sqlx::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut connection = PgConnection::connect(&self.url).await?;
            sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
            connection.close().await
        })
    }
}

impl TrialDatabase {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for TrialDatabase {
    fn drop(&mut self) {
        // It is lost with its cluster anyway.
        let _ = self.postgres.try_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}
