//! What a scheduler works with, and its bounds and habits.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use framewright_engine::ops::{DeviceFacts, KernelPath, Precision};

use super::fleet::Shares;
use crate::domain::JobObserver;
use crate::execution::film::FilmTools;
use crate::execution::{Executor, RemoteExecution};
use crate::jobs::{JobRunner, StoreClock};
use crate::models::ModelCatalog;
use crate::storage::ArtifactStorage;

/// What a scheduler works with.
#[derive(Clone)]
pub struct SchedulerParts {
    /// The queue.
    pub runner: JobRunner,
    /// The devices.
    pub executors: Vec<Arc<dyn Executor>>,
    /// Who fulfils what providers are asked for; without: nobody, and such tasks wait.
    pub remote: Option<Arc<dyn RemoteExecution>>,
    /// Where models lie.
    pub models: ModelCatalog,
    /// Where pictures go.
    pub storage: ArtifactStorage,
    /// Who is told of measurements.
    pub observer: Arc<dyn JobObserver>,
    /// What tenants are granted.
    pub shares: Arc<dyn Shares + Send + Sync>,
    /// How many tasks run at once, however many devices there are.
    pub max_concurrent: usize,
    /// Where tasks keep their checkpoints: `<data-dir>/work`.
    pub work_directory: PathBuf,
    /// Bounds and habits.
    pub options: SchedulerOptions,
}

/// Bounds and habits of a scheduler.
#[derive(Clone, Debug)]
pub struct SchedulerOptions {
    /// How many tasks may share evaluations on a device.
    pub max_batch_tasks: u32,
    /// How many rows one evaluation may have.
    pub max_batch_rows: u32,
    /// Bytes that loaded models and their work may take on each CUDA device (`max_vram_gb`).
    pub max_vram_bytes: Option<u64>,
    /// Bytes that loaded models and their work may take in the machine's memory (`max_ram_gb`), a model once on however many devices.
    pub max_ram_bytes: Option<u64>,
    /// Where devices keep packed weights; without: nowhere, and nothing is to be removed.
    pub packed_directory: Option<PathBuf>,
    /// Bytes that packed weights may take on the disk (`max_size_gb`).
    pub max_packed_bytes: Option<u64>,
    /// Models that nobody used for this long are unloaded; zero: as soon as their device has nothing to do.
    pub idle_unload: Option<Duration>,
    /// Results older than this are removed.
    pub retention: Option<Duration>,
    /// How long a claim holds without being renewed.
    pub lease: Duration,
    /// Other servers may stand on the same store: what they change is looked for, and only what their ended leases leave is taken over.
    /// Without others, whatever runs at start is left over.
    pub has_peers: bool,
    /// How the devices compute, for predictions of memory.
    pub numerics: DeviceFacts,
    /// What films are finished with.
    pub films: FilmTools,
    /// The clock that the upkeep keeps on the store's time.
    pub clock: Option<Arc<StoreClock>>,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self {
            max_batch_tasks: 8,
            max_batch_rows: 32,
            max_vram_bytes: None,
            max_ram_bytes: None,
            packed_directory: None,
            max_packed_bytes: None,
            idle_unload: None,
            retention: None,
            lease: Duration::from_secs(15),
            has_peers: false,
            numerics: DeviceFacts { kernels: Some(KernelPath::Gemm), precision: Precision::F32 },
            films: FilmTools::default(),
            clock: None,
        }
    }
}
