//! Flags that every subcommand takes.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, ConfigError, Environment, Flags};

/// `--config` and `--data-dir`.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct CommonOptions {
    /// The configuration file (YAML); without it every setting has its default
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Where the database, results and unpacked models lie [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
}

impl CommonOptions {
    /// These flags, ready for more.
    pub(super) fn flags(&self) -> Flags {
        Flags { config: self.config.clone(), data_dir: self.data_dir.clone(), ..Flags::default() }
    }

    /// The configuration under these flags alone.
    pub(super) fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.flags(), Environment::read()?)
    }
}
