//! Why a configuration was refused.

use std::path::PathBuf;

/// One line that names the file and the place, or the variable or flag, and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that `--config` names cannot be read.
    #[error("--config: cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file's text is not a valid configuration.
    #[error("{path}{}: {reason}", place(*.line, *.column))]
    File {
        /// The file.
        path: PathBuf,
        /// Line, from 1; 0 when the parser could not tell.
        line: u64,
        /// Column, from 1; 0 when the parser could not tell.
        column: u64,
        /// What is wrong.
        reason: String,
    },
    /// A directory of the configuration cannot be listed.
    #[error("{path}: cannot be listed: {source}")]
    Unlisted {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file or directory of the configuration that cannot be taken as a whole.
    #[error("{path}: {reason}")]
    Refused {
        /// Which.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A setting whose value cannot be taken, whatever its source.
    #[error("{setting}: {reason}")]
    Setting {
        /// The key in the file, the variable or the flag, as users write it.
        setting: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// The `.env` file is broken.
    #[error(".env: {0}")]
    DotEnv(String),
}

/// A place in a file as editors take it; nothing where it is not known.
fn place(line: u64, column: u64) -> String {
    if line == 0 { String::new() } else { format!(":{line}:{column}") }
}

impl ConfigError {
    /// A refusal of `setting`.
    pub fn setting(setting: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Setting { setting: setting.into(), reason: reason.into() }
    }
}
