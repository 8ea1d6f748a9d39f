//! `database:` and `DATABASE_URL` — where jobs and keys are kept.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::ConfigError;

/// Where jobs and keys are kept.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// The SQLite file.
    pub path: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DatabaseSection {
    /// May carry a password, so it is never shown.
    url: Option<SecretString>,
}

impl DatabaseSection {
    /// `DATABASE_URL` goes before the file.
    pub(super) fn resolve(self, variable: Option<&SecretString>, data_dir: &Path) -> Result<DatabaseConfig, ConfigError> {
        let path = match (variable, &self.url) {
            (Some(url), _) => sqlite_path("DATABASE_URL", url)?,
            (None, Some(url)) => sqlite_path("database.url", url)?,
            (None, None) => data_dir.join("framewright.db"),
        };
        Ok(DatabaseConfig { path })
    }
}

fn sqlite_path(setting: &str, url: &SecretString) -> Result<PathBuf, ConfigError> {
    let url = url.expose_secret();
    if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        return Err(ConfigError::setting(setting, "PostgreSQL is not supported by this build yet; remove it to use SQLite"));
    }
    let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).unwrap_or_default();
    if path.is_empty() || path.contains('?') || path == ":memory:" {
        return Err(ConfigError::setting(setting, "must be sqlite:<file>, such as sqlite:///var/lib/framewright/framewright.db"));
    }
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sqlite_files_are_taken_and_urls_are_not_repeated() {
        let resolve =
            |url: &str| DatabaseSection::default().resolve(Some(&SecretString::from(url.to_owned())), Path::new("data"));
        assert_eq!(resolve("sqlite:///var/a.db").unwrap().path, Path::new("/var/a.db"));
        assert_eq!(resolve("sqlite:a.db").unwrap().path, Path::new("a.db"));
        for url in [
            "postgres://u:secret@host/db",
            "postgresql://u:secret@host/db",
            "mysql://u:secret@host/db",
            "sqlite:",
            "sqlite::memory:",
        ] {
            let message = resolve(url).unwrap_err().to_string();
            assert!(message.starts_with("DATABASE_URL: ") && !message.contains("secret"), "{message}");
        }
        assert_eq!(DatabaseSection::default().resolve(None, Path::new("data")).unwrap().path, Path::new("data/framewright.db"));
    }
}
