//! The running parts of a server, built in the order in which they need each other.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ServeError;
use super::compute;
use super::data_directory::DataDirectory;
use crate::api::init_image::InitImageDecoder;
use crate::api::{ApiSettings, ApiState, LinkSigner, TokenVerifier};
use crate::config::Config;
use crate::domain::{Clock, SystemClock};
use crate::execution::DeviceWorker;
use crate::jobs::{Database, JobService, JobServiceOptions, SqliteJobStore};
use crate::models::ModelCatalog;
use crate::scheduler::{Scheduler, SchedulerParts};
use crate::storage::ArtifactStorage;
use crate::telemetry::Metrics;
use crate::tenants::KeyService;

/// Everything that runs.
#[derive(Debug)]
pub(super) struct Parts {
    /// What the routes reach.
    pub(super) api: ApiState,
    /// What runs jobs.
    pub(super) scheduler: Scheduler,
    /// Closed last.
    pub(super) database: Database,
}

impl Parts {
    pub(super) async fn build(config: &Config, data_directory: &DataDirectory) -> Result<Self, ServeError> {
        let secret_key = match &config.secret_key {
            Some(secret_key) => secret_key.clone(),
            None => data_directory.secret_key()?,
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"))?);
        let base_path = &config.storage.base_path;
        let storage =
            ArtifactStorage::local(base_path).map_err(|source| ServeError::Storage { path: base_path.clone(), source })?;
        let models = ModelCatalog::open_with_demo(config.models.search_directories.clone(), &config.data_dir)
            .map_err(|source| ServeError::BundledModel { path: config.data_dir.clone(), source })?;
        let database = Database::open(&config.database.path).await?;
        let store = Arc::new(SqliteJobStore::new(database.clone()));
        let jobs = JobService::new(store, storage.clone(), clock.clone(), JobServiceOptions::default());

        let devices = config.devices.clone();
        let executors = DeviceWorker::open_all(&devices, &compute::executor_options(config))?;
        let device_names = executors.iter().map(|executor| executor.name().to_owned()).collect();
        let scheduler = Scheduler::start(SchedulerParts {
            runner: jobs.runner(),
            executors,
            models: models.clone(),
            storage: storage.clone(),
            observer: metrics.clone(),
            max_concurrent: config.max_concurrent,
        })
        .await?;

        let settings = ApiSettings {
            public_url: config.server.public_url.clone(),
            auth_enabled: config.auth.enabled,
            master_key: config.auth.master_key.clone(),
            max_body_bytes: ApiSettings::DEFAULT_MAX_BODY_BYTES,
            cors_origins: config.server.cors_origins.clone(),
            loopback: config.server.listen.ip().is_loopback(),
            version: env!("CARGO_PKG_VERSION"),
            devices: device_names,
            default_image_model: config.models.default_image.clone(),
        };
        let api = ApiState {
            jobs,
            models,
            keys: KeyService::new(database.clone(), clock.clone()),
            storage,
            links: LinkSigner::new(&secret_key),
            tokens: TokenVerifier::new(&secret_key),
            metrics,
            settings: Arc::new(settings),
            clock,
            init_images: InitImageDecoder::default(),
            background: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        };
        Ok(Self { api, scheduler, database })
    }
}
