//! What users write: the YAML file, the environment and a few flags, as one typed and checked value.
//!
//! Order of precedence: flag, environment, file, default. Nothing else in the server reads the environment or a configuration file:
//! it is handed its part of [`Config`]. Keys that this version cannot honour are refused, or reported in [`Config::notices`].

mod auth;
mod callbacks;
mod compute;
mod database;
mod devices;
mod egress;
mod environment;
mod error;
mod log;
mod models;
mod number;
pub mod providers;
mod refuse;
pub mod routes;
mod server;
mod storage;
pub mod tenants;
mod video;
mod watched_file;
mod yaml;

pub(crate) use yaml::parse as parse_yaml;
mod zone;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::domain::DeviceName;

pub use auth::AuthConfig;
pub use callbacks::CallbacksConfig;
pub use compute::{ComputeConfig, ComputePrecision, CpuKernels};
pub use database::{DatabaseConfig, DatabaseLocation};
pub use devices::{FakeConfig, Machine, PoolConfig, Workers};
pub use egress::EgressConfig;
pub use environment::Environment;
pub use error::ConfigError;
pub use log::{LogConfig, LogFormat};
pub use models::ModelsConfig;
pub use server::{DEFAULT_LISTEN, ServerConfig};
pub use storage::StorageConfig;
pub use video::{VideoConfig, VideoEncoder};
pub use watched_file::{FileChange, WatchedFile};

/// The largest configuration file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Jobs that may wait, unless configured.
const DEFAULT_QUEUE_LIMIT: u64 = 10_000;

/// Everything that was decided before the server starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub file: Option<PathBuf>,
    /// The database, results, unpacked models, the secret and the lock lie here unless they are told to lie elsewhere.
    pub data_dir: PathBuf,
    /// The HTTP server.
    pub server: ServerConfig,
    /// Who may call.
    pub auth: AuthConfig,
    /// What runs models.
    pub devices: Vec<DeviceName>,
    /// How many tasks run at once, however many devices there are.
    pub max_concurrent: usize,
    /// How devices run them.
    pub pool: PoolConfig,
    /// How many jobs may wait.
    pub queue_limit: u64,
    /// Results of jobs that ended longer ago are removed; without: kept for ever.
    pub retention: Option<Duration>,
    /// Where days and months begin.
    pub time_zone: TimeZone,
    /// Where `users/` and `projects/` lie: beside the file that `--config` names. Without that file there are none.
    pub tenants_directory: Option<PathBuf>,
    /// Where providers are told of.
    pub providers: providers::ProviderSource,
    /// Where routes are told of.
    pub routes: routes::RouteSource,
    /// How networks are computed.
    pub compute: ComputeConfig,
    /// Where models are, and the default one.
    pub models: ModelsConfig,
    /// What films are finished with.
    pub video: VideoConfig,
    /// Where results are kept.
    pub storage: StorageConfig,
    /// What may be called on a user's behalf.
    pub egress: EgressConfig,
    /// How callbacks speak.
    pub callbacks: CallbacksConfig,
    /// Where jobs and keys are kept.
    pub database: DatabaseConfig,
    /// Signs links; made and kept in the data directory when absent.
    pub secret_key: Option<SecretString>,
    /// What is logged and how.
    pub log: LogConfig,
    /// What was set without effect; to be logged once.
    pub notices: Vec<Notice>,
}

/// Flags that go before the file and the environment.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--device`.
    pub device: Option<String>,
}

/// A remark on the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether somebody should act on it.
    pub is_warning: bool,
    /// One line.
    pub text: String,
}

impl Notice {
    fn info(text: impl Into<String>) -> Self {
        Self { is_warning: false, text: text.into() }
    }

    fn warning(text: impl Into<String>) -> Self {
        Self { is_warning: true, text: text.into() }
    }

    fn no_effect(setting: &str) -> Self {
        Self::warning(format!("{setting}: has no effect yet in this version"))
    }
}

/// The file's top level.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConfigFile {
    gpu_pool: devices::GpuPoolSection,
    model_cache: models::ModelCacheSection,
    video: video::VideoSection,
    storage: storage::StorageSection,
    server: server::ServerSection,
    auth: auth::AuthSection,
    database: database::DatabaseSection,
    defaults: models::DefaultsSection,
    models_dir: Option<PathBuf>,
    egress: egress::EgressSection,
    callbacks: CallbacksConfig,
    retention_days: Option<number::Whole<1, 36_500>>,
    queue_limit: Option<number::Whole<1, 10_000_000>>,
    time_zone: zone::Zone,
    log: log::LogSection,
}

impl Config {
    /// Reads the file that `flags` name, if any, and puts environment and flags over it. Creates nothing.
    pub fn load(flags: &Flags, environment: Environment) -> Result<Self, ConfigError> {
        let file = match &flags.config {
            Some(path) => yaml::parse(path, &read_bounded(path)?)?,
            None => ConfigFile::default(),
        };
        Self::resolve(file, flags, environment, Machine::detect())
    }

    fn resolve(file: ConfigFile, flags: &Flags, environment: Environment, machine: Machine) -> Result<Self, ConfigError> {
        let mut notices = environment.notices;
        let tenants_directory = flags.config.as_deref().map(directory_of);
        let data_dir = flags.data_dir.clone().unwrap_or_else(|| PathBuf::from("data"));
        if data_dir.as_os_str().is_empty() {
            return Err(ConfigError::setting("--data-dir", "is empty"));
        }
        let egress = file.egress.resolve(&mut notices);
        if environment.secret_key.as_ref().is_some_and(|key| key.expose_secret().len() < 16) {
            notices.push(Notice::warning(
                "SECRET_KEY: shorter than 16 characters; links and tokens, an administrator's too, can be forged by guessing it",
            ));
        }
        let server = file.server.resolve(flags.listen.as_deref())?;
        let executable = std::env::current_exe().ok();
        let places = models::Places {
            data_dir: &data_dir,
            data_dir_was_named: flags.data_dir.is_some(),
            cache_home: environment.cache_home.as_deref(),
            executable: executable.as_deref(),
        };
        let models = models::resolve(file.models_dir, file.defaults, &file.model_cache, &places, &mut notices)?;
        let pool = file.gpu_pool.resolve(flags.device.as_deref(), environment.device.as_deref(), machine)?;
        Ok(Self {
            file: flags.config.clone(),
            auth: file.auth.resolve(environment.master_key, server.listen)?,
            devices: pool.devices,
            max_concurrent: pool.max_concurrent,
            pool: pool.pool,
            queue_limit: file.queue_limit.map_or(DEFAULT_QUEUE_LIMIT, |limit| limit.0),
            retention: file.retention_days.map(|days| Duration::from_secs(days.0 * 24 * 60 * 60)),
            time_zone: file.time_zone.0,
            routes: routes::RouteSource::new(tenants_directory.as_deref()),
            providers: providers::ProviderSource::new(tenants_directory.as_deref(), environment.variables),
            tenants_directory,
            compute: compute::resolve(environment.precision.as_deref(), environment.cpu_kernels.as_deref())?,
            models,
            video: file.video.resolve()?,
            storage: file.storage.resolve(&data_dir),
            egress,
            callbacks: file.callbacks,
            database: file.database.resolve(environment.database_url.as_ref(), &data_dir)?,
            secret_key: environment.secret_key,
            log: file.log.resolve(environment.log),
            server,
            data_dir,
            notices,
        })
    }
}

/// The directory that a file lies in.
fn directory_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn read_bounded(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_FILE_BYTES {
        return Err(ConfigError::setting("--config", format!("{} has {length} bytes; at most {MAX_FILE_BYTES}", path.display())));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

#[cfg(test)]
mod tests;
