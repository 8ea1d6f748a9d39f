//! What every handler can reach.

use std::sync::Arc;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use super::a1111::A1111Memory;
use super::init_image::InitImageDecoder;
use super::linked_file::LinkedFiles;
use super::links::LinkSigner;
use super::tokens::TokenVerifier;
use crate::domain::{Clock, InstalledNetworks, ModelId, ModelKind};
use crate::execution::remote::RemoteExecutor;
use crate::jobs::JobService;
use crate::ledger::Ledger;
use crate::models::ModelCatalog;
use crate::net::egress::Egress;
use crate::routes::Routes;
use crate::scheduler::Scheduler;
use crate::storage::ArtifactStorage;
use crate::telemetry::Metrics;
use crate::tenants::{KeyService, Tenants};
use crate::webhooks::Webhooks;

/// The services behind the routes and the settings that rule them. Cheap to clone; made once, by whoever starts the server.
#[derive(Clone, Debug)]
pub struct ApiState {
    /// The only door to jobs.
    pub jobs: JobService,
    /// Devices, models on them, and how long the queue is.
    pub scheduler: Scheduler,
    /// What users and projects may do.
    pub tenants: Tenants,
    /// Installed models.
    pub models: ModelCatalog,
    /// Whoever speaks with providers.
    pub remote: RemoteExecutor,
    /// What providers were asked for, and what it cost.
    pub ledger: Arc<dyn Ledger>,
    /// Names that stand for several models.
    pub routes: Routes,
    /// Stored API keys.
    pub keys: KeyService,
    /// Stored pictures.
    pub storage: ArtifactStorage,
    /// Signs and checks links to pictures; made from `SECRET_KEY`.
    pub links: LinkSigner,
    /// Checks HS256 tokens; made from `SECRET_KEY`.
    pub tokens: TokenVerifier,
    /// Callbacks: their log and their secrets.
    pub webhooks: Webhooks,
    /// Counted here, shown at `/metrics`.
    pub metrics: Arc<Metrics>,
    /// What the configuration says about the API.
    pub settings: Arc<ApiSettings>,
    /// Where "now" comes from.
    pub clock: Arc<dyn Clock>,
    /// The way to whatever users name by a link.
    pub egress: Egress,
    /// Fetches files that users link to, a few at a time.
    pub linked_files: LinkedFiles,
    /// Decodes pictures that users send or link to, a few at a time.
    pub init_images: InitImageDecoder,
    /// What A1111's surface remembers of its callers.
    pub a1111: A1111Memory,
    /// Work that outlives its request (a cancellation on behalf of a client that hung up); wait for it before the database closes.
    pub background: TaskTracker,
    /// Cancelled when the server stops: every open event stream then ends.
    pub shutdown: CancellationToken,
}

impl ApiSettings {
    /// The configured model of requests of a kind that name none.
    pub fn default_model(&self, kind: ModelKind) -> Option<&ModelId> {
        match kind {
            ModelKind::Image => self.default_image_model.as_ref(),
            ModelKind::Video => self.default_video_model.as_ref(),
        }
    }
}

/// The API's share of the configuration.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Beginning of links; absent: `http://` and the request's host.
    pub public_url: Option<Url>,
    /// Whether a key is needed. Only ever off on loopback.
    pub auth_enabled: bool,
    /// The administrator's key from the environment.
    pub master_key: Option<SecretString>,
    /// Longest request body.
    pub max_body_bytes: usize,
    /// Origins of pages that may call the API from a browser; `*` means all, empty means none.
    pub cors_origins: Vec<String>,
    /// Whether the server listens on loopback only; `/metrics` then needs no key.
    pub loopback: bool,
    /// The server's version.
    pub version: &'static str,
    /// The model of picture requests that name none; absent: the only one installed.
    pub default_image_model: Option<ModelId>,
    /// The model of film requests that name none; absent: the only one installed.
    pub default_video_model: Option<ModelId>,
    /// The networks that this server has beside its models.
    pub networks: InstalledNetworks,
    /// Names of the devices that jobs run on, for `/api/v1/health`.
    pub devices: Vec<String>,
}

impl ApiSettings {
    /// Longest request body unless told otherwise: room for a large picture in base64.
    pub const DEFAULT_MAX_BODY_BYTES: usize = 32 << 20;
}
