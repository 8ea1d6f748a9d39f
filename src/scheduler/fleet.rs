//! The devices as decisions see them: plain data.

use crate::domain::{BatchKey, ModelId, ProjectId, TaskId, UnixMs, UserId};

/// A model in a device's memory.
#[derive(Clone, Debug, PartialEq)]
pub struct ResidentModel {
    /// Which.
    pub model: ModelId,
    /// What its weights take.
    pub weights_bytes: u64,
    /// When a task last used it.
    pub last_used: UnixMs,
    /// Somebody wants it to stay.
    pub pinned: bool,
}

/// A task on a device.
#[derive(Clone, Debug, PartialEq)]
pub struct RunningTaskView {
    /// Which.
    pub task: TaskId,
    /// Whose.
    pub user: UserId,
    /// For which project.
    pub project: Option<ProjectId>,
    /// Who may join it.
    pub batch: BatchKey,
    /// Its rows.
    pub rows: u32,
    /// Nobody may join it.
    pub alone: bool,
    /// When it is expected to end, where that is known.
    pub expected_end: Option<UnixMs>,
}

/// A device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceView {
    /// Its place in the list of devices.
    pub index: usize,
    /// It is healthy, and not draining.
    pub accepts: bool,
    /// How many tasks may share its evaluations (1: no batching).
    pub max_batch_tasks: u32,
    /// How many rows one evaluation may have.
    pub max_batch_rows: u32,
    /// Bytes that models and their work may take on it; `None` where that is not known.
    pub memory_bytes: Option<u64>,
    /// Its memory is the machine's: all such devices together may take that much, and a model that several have takes it once.
    pub shares_memory: bool,
    /// What is loaded.
    pub resident: Vec<ResidentModel>,
    /// What runs: all of one batch key.
    pub running: Vec<RunningTaskView>,
}

/// All devices and the rules that hold for them together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fleet {
    /// By index.
    pub devices: Vec<DeviceView>,
    /// How many tasks may run at once on all devices.
    pub max_concurrent: usize,
}

/// What is known of models without loading them.
pub trait ModelFacts {
    /// Bytes of the model's weights on a device.
    fn weights_bytes(&self, model: &ModelId) -> Option<u64>;
    /// Bytes that an evaluation of `rows` rows works in, at the least (tiled where that helps).
    fn activation_bytes(&self, batch: &BatchKey, rows: u32) -> Option<u64>;
    /// Seconds that a unit of work takes, as measured.
    fn seconds_per_work(&self, batch: &BatchKey) -> Option<f64>;
    /// Seconds that loading takes, as measured.
    fn load_seconds(&self, model: &ModelId) -> Option<f64>;
}

/// What the configuration grants tenants.
pub trait Shares {
    /// A user's weight among the users of a project (or of none); 1 unless configured.
    fn user_weight(&self, user: &UserId) -> f64;
    /// A project's weight among projects; 1 unless configured, and for `None`, everything outside projects.
    fn project_weight(&self, project: Option<&ProjectId>) -> f64;
    /// How many tasks of the user may run at once.
    fn user_concurrency(&self, user: &UserId) -> Option<u32>;
    /// How many tasks of the project may run at once.
    fn project_concurrency(&self, project: &ProjectId) -> Option<u32>;
}
