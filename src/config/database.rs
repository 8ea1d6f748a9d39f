//! `database:` and `DATABASE_URL` — where jobs and keys are kept.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::ConfigError;
use super::number::Whole;

/// How long a server's hold on a task lasts without a sign of life, unless configured.
const DEFAULT_LEASE_SECONDS: u64 = 15;

/// Where jobs and keys are kept.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// Which database.
    pub location: DatabaseLocation,
    /// How long a server's hold on a task lasts without a sign of life: after this, another server may run the task.
    pub lease: Duration,
}

/// A database.
#[derive(Clone)]
pub enum DatabaseLocation {
    /// An SQLite file: one server.
    Sqlite(PathBuf),
    /// A PostgreSQL server, by its URL, which may carry a password: any number of framewright servers.
    Postgres(SecretString),
}

impl fmt::Display for DatabaseLocation {
    /// The file, or the PostgreSQL server and database without user, password and options.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) => match Url::parse(url.expose_secret()) {
                Ok(url) => {
                    write!(f, "postgres://{}", url.host_str().unwrap_or_default())?;
                    url.port().map_or(Ok(()), |port| write!(f, ":{port}"))?;
                    f.write_str(url.path())
                }
                Err(_) => f.write_str("postgres://…"),
            },
        }
    }
}

impl fmt::Debug for DatabaseLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DatabaseSection {
    /// May carry a password, so it is never shown.
    url: Option<SecretString>,
    lease_seconds: Option<Whole<1, 600>>,
}

impl DatabaseSection {
    /// `DATABASE_URL` goes before the file.
    pub(super) fn resolve(self, variable: Option<&SecretString>, data_dir: &Path) -> Result<DatabaseConfig, ConfigError> {
        let location = match (variable, &self.url) {
            (Some(url), _) => location("DATABASE_URL", url)?,
            (None, Some(url)) => location("database.url", url)?,
            (None, None) => DatabaseLocation::Sqlite(data_dir.join("framewright.db")),
        };
        let lease_seconds = self.lease_seconds.map_or(DEFAULT_LEASE_SECONDS, |seconds| seconds.0);
        Ok(DatabaseConfig { location, lease: Duration::from_secs(lease_seconds) })
    }
}

/// Errors never repeat the URL: it may carry a password.
fn location(setting: &str, text: &SecretString) -> Result<DatabaseLocation, ConfigError> {
    let refused = |reason: &str| Err(ConfigError::setting(setting, reason));
    let url = text.expose_secret().trim();
    if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        let names_a_database = Url::parse(url).is_ok_and(|url| !url.cannot_be_a_base() && url.path().len() > 1);
        return if names_a_database {
            Ok(DatabaseLocation::Postgres(SecretString::from(url)))
        } else {
            refused("must be postgres://<user>:<password>@<host>:<port>/<database>; special characters as %XX")
        };
    }
    let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).unwrap_or_default();
    if path.is_empty() || path.contains('?') || path == ":memory:" {
        return refused(
            "must be sqlite:<file>, such as sqlite:///var/lib/framewright/framewright.db, or postgres://<user>:<password>@<host>/<database>",
        );
    }
    Ok(DatabaseLocation::Sqlite(PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(url: &str) -> Result<DatabaseConfig, ConfigError> {
        DatabaseSection::default().resolve(Some(&SecretString::from(url.to_owned())), Path::new("data"))
    }

    #[test]
    fn both_databases_are_taken_and_shown_without_secrets() {
        for (url, shown) in [
            ("sqlite:///var/a.db", "/var/a.db"),
            ("sqlite:a.db", "a.db"),
            ("postgres://u:secret@host/jobs", "postgres://host/jobs"),
            ("postgresql://u:secret@host:5433/jobs?sslmode=require&password=secret", "postgres://host:5433/jobs"),
            ("postgres:///jobs?host=/var/run/postgresql", "postgres:///jobs"),
        ] {
            let config = resolve(url).unwrap();
            assert_eq!(config.location.to_string(), shown);
            assert!(!format!("{config:?}").contains("secret"), "{config:?}");
            assert_eq!(config.lease, Duration::from_secs(15));
        }
        let kept = resolve("postgres://u:secret@host/jobs").unwrap().location;
        assert!(matches!(kept, DatabaseLocation::Postgres(url) if url.expose_secret() == "postgres://u:secret@host/jobs"));
        let default = DatabaseSection::default().resolve(None, Path::new("data")).unwrap();
        assert_eq!(default.location.to_string(), "data/framewright.db");
    }

    #[test]
    fn refusals_do_not_repeat_the_url() {
        for url in [
            "mysql://u:secret@host/db",
            "sqlite:",
            "sqlite::memory:",
            "sqlite:a.db?password=secret",
            "postgres://u:secret@host",
            "postgres://u:secret@host/",
            "postgres:secret",
            "postgres://u:se cret@ho st:port/db",
        ] {
            let message = resolve(url).unwrap_err().to_string();
            assert!(message.starts_with("DATABASE_URL: ") && !message.contains("cret"), "{message}");
        }
    }
}
