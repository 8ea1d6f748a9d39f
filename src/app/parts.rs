//! The running parts of a server, built in the order in which they need each other.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::data_directory::DataDirectory;
use super::shares::TenantShares;
use super::{ServeError, compute, provider_file, remarks, stores, tenant_files, watched_files};
use crate::api::callback::CallbackOutputs;
use crate::api::init_image::InitImageDecoder;
use crate::api::linked_file::LinkedFiles;
use crate::api::{A1111Memory, ApiSettings, ApiState, LinkSigner, TokenVerifier};
use crate::config::Config;
use crate::config::tenants::TenantFiles;
use crate::database::Database;
use crate::domain::Clock;
use crate::execution::film::FilmTools;
use crate::execution::open_executors;
use crate::execution::remote::CallbackAddresses;
use crate::jobs::{self, JobService, JobServiceOptions, StoreClock};
use crate::ledger;
use crate::models::ModelCatalog;
use crate::net::egress::{Egress, EgressPolicy};
use crate::routes::Routes;
use crate::scheduler::{Scheduler, SchedulerParts};
use crate::storage::ArtifactStorage;
use crate::telemetry::Metrics;
use crate::tenants::{self, KeyService, Tenants};
use crate::webhooks::{self, WebhookParts, WebhookSecrets, Webhooks};

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
    pub(super) async fn build(config: &Config, films: FilmTools, data_directory: &DataDirectory) -> Result<Self, ServeError> {
        let secret_key = match &config.secret_key {
            Some(secret_key) => secret_key.clone(),
            None => data_directory.secret_key()?,
        };
        // Broken files are found before anything is opened.
        let (tenant_files, policies) = TenantFiles::open(config.tenants_directory.as_deref())?;
        let (provider_file, providers) = config.providers.clone().watch()?;
        let (route_file, routes) = config.routes.clone().watch()?;
        let networks = films.installed();
        let egress = Egress::new(EgressPolicy::new(config.egress.allow.clone()).closed_to(config.egress.deny.clone()))?;
        let linked_files = LinkedFiles::new(egress.clone());
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"))?);
        let base_path = &config.storage.base_path;
        let storage =
            ArtifactStorage::local(base_path).map_err(|source| ServeError::Storage { path: base_path.clone(), source })?;
        let models = ModelCatalog::open_with_demo(config.models.search_directories.clone(), &config.data_dir)
            .map_err(|source| ServeError::BundledModel { path: config.data_dir.clone(), source })?;

        let database = stores::open(&config.database.location).await?;
        let store = jobs::store::open(&database);
        let store_clock = Arc::new(StoreClock::default());
        // Before anything is written: every time in the database is the database's.
        store_clock.synchronise(&*store).await?;
        let clock: Arc<dyn Clock> = store_clock.clone();
        let service_options = JobServiceOptions { queue_limit: config.queue_limit };
        let jobs = JobService::new(store.clone(), storage.clone(), clock.clone(), service_options);
        let keys = KeyService::new(tenants::store::open(&database), clock.clone());
        let tenants = Tenants::new(policies, config.time_zone.clone(), clock.clone());

        let executors = open_executors(&config.devices, &compute::executor_options(config))?;
        let device_names = executors.iter().map(|executor| executor.name().to_owned()).collect();
        let ledger = ledger::open(&database);
        let routes = Routes::new(routes);
        let (egress_of_results, observer) = (egress.clone(), metrics.clone());
        let callbacks = config.server.public_url.as_ref().and_then(|base| CallbackAddresses::new(base, &secret_key));
        let remote = provider_file::open(
            &providers,
            ledger.clone(),
            storage.clone(),
            egress_of_results,
            clock.clone(),
            observer,
            callbacks,
        )?;
        let scheduler = Scheduler::start(SchedulerParts {
            runner: jobs.runner(),
            executors,
            remote: Some(Arc::new(remote.clone())),
            models: models.clone(),
            storage: storage.clone(),
            observer: metrics.clone(),
            shares: Arc::new(TenantShares(tenants.clone())),
            max_concurrent: config.max_concurrent,
            work_directory: config.data_dir.join("work"),
            options: compute::scheduler_options(config, films, store_clock),
        })
        .await?;

        let links = LinkSigner::new(&secret_key);
        let webhooks = Webhooks::start(WebhookParts {
            store: webhooks::store::open(&database),
            jobs: store,
            egress: egress.clone(),
            secrets: WebhookSecrets::new(&secret_key),
            clock: clock.clone(),
            observer: metrics.clone(),
            outputs: Arc::new(CallbackOutputs::new(links.clone())),
            minimax_words: config.callbacks.minimax_status,
        });
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
            default_video_model: config.models.default_video.clone(),
            networks,
        };
        let api = ApiState {
            jobs,
            scheduler: scheduler.clone(),
            tenants: tenants.clone(),
            models,
            remote: remote.clone(),
            ledger: ledger.clone(),
            routes: routes.clone(),
            keys,
            storage,
            links,
            tokens: TokenVerifier::new(&secret_key),
            webhooks,
            metrics,
            settings: Arc::new(settings),
            clock,
            egress,
            init_images: InitImageDecoder::new(linked_files.clone()),
            linked_files,
            a1111: A1111Memory::default(),
            background: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        };
        let reweigh = {
            let scheduler = scheduler.clone();
            move || scheduler.reweigh()
        };
        api.background.spawn(tenant_files::follow(tenant_files, tenants, reweigh, api.shutdown.clone()));
        let remark = {
            let (routes, remote, models) = (routes.clone(), remote.clone(), api.models.clone());
            move || remarks::log(&remarks::of_routes(&routes.all(), &remote, &models))
        };
        remark();
        let remark_on_routes = remark.clone();
        let take_providers = move |settings| {
            remote.replace(&settings).map_err(|error| error.to_string())?;
            remarks::log(&remote.remarks());
            remark();
            Ok(())
        };
        let take_routes = move |settings| {
            routes.replace(settings);
            remark_on_routes();
            Ok(())
        };
        let shutdown = || api.shutdown.clone();
        api.background.spawn(watched_files::follow(provider_file, "providers.yaml", take_providers, shutdown()));
        api.background.spawn(watched_files::follow(route_file, "routes.yaml", take_routes, shutdown()));
        Ok(Self { api, scheduler, database })
    }
}
