//! Which store a trial's servers share.

use std::fmt;

use super::postgres::{Postgres, TrialDatabase};

/// A store.
#[derive(Debug)]
pub(crate) enum Store {
    /// A file in the data directory of the only server.
    Sqlite,
    /// A database of its own in the cluster of the tests.
    Postgres(Postgres, TrialDatabase),
}

impl Store {
    /// A new, empty database on PostgreSQL, if there is one to test with.
    pub(crate) fn postgres(trial: &str) -> Option<Self> {
        let postgres = Postgres::from_environment();
        if postgres.is_none() {
            super::trial::skip(trial, "no PostgreSQL to test with; run under scripts/postgres.sh run");
        }
        postgres.map(|postgres| {
            let database = postgres.fresh_database();
            Self::Postgres(postgres, database)
        })
    }

    /// What goes into the servers' environment.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        match self {
            Self::Sqlite => Vec::new(),
            Self::Postgres(_, database) => vec![("DATABASE_URL".to_owned(), database.url().to_owned())],
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres(..) => "PostgreSQL",
        })
    }
}
