//! Things that can run a task: commands in, events out.
//!
//! An [`Executor`] is the asynchronous side of a device. The device itself (its memory, its models, its tasks between two evaluations)
//! is `framewright_device_worker`'s, and lives in a process of its own ([`process`]) or on a thread of this one ([`thread`]); both run
//! the same loop and behave alike. A device never sees HTTP, the database or the storage; the server never sees a tensor.

pub mod fake;
pub mod film;
pub mod options;
pub mod process;
pub mod remote;
mod remote_work;
pub mod results;
mod tasks;
#[cfg(test)]
mod tasks_tests;
pub mod thread;
mod translate;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use framewright_device_worker::PictureFile;
use framewright_engine::ops::Interrupt;
use framewright_engine::vision::RgbPicture;
use tokio::sync::{mpsc, watch};

use crate::domain::film::ClipRequest;
use crate::domain::{BatchKey, DeviceName, ErrorCode, ImageRequest, JobError, ModelId, PreviewDemand, Progress, TaskId};

pub use fake::{FakeControl, FakeFailure};
pub use options::{DeviceError, ExecutorOptions, WorkerKind};
pub use process::ProcessExecutor;
pub use remote_work::{AbandonedCall, RemoteEnding, RemoteExecution, RemoteWork, TaskHold, WaitingWork};
pub use thread::ThreadExecutor;

/// Opens an executor for each device of a list; the second of a name is called `name#2`. Worker processes start in the background, and
/// must be opened within a runtime; threads are waited for.
pub fn open_executors(names: &[DeviceName], options: &ExecutorOptions) -> Result<Vec<Arc<dyn Executor>>, DeviceError> {
    let open = |(index, &device): (usize, &DeviceName)| {
        let earlier = names[..index].iter().filter(|other| **other == device).count();
        let name = if earlier == 0 { device.to_string() } else { format!("{device}#{}", earlier + 1) };
        Ok(match options.workers {
            WorkerKind::Process => Arc::new(ProcessExecutor::open(&name, device, options)?) as Arc<dyn Executor>,
            WorkerKind::Thread => Arc::new(ThreadExecutor::open(&name, device, options)?),
        })
    };
    names.iter().enumerate().map(open).collect()
}

/// A device, as the server sees it. Several tasks of one batch key may run on it at once: a task that is started while others run joins
/// them between two steps.
#[async_trait]
pub trait Executor: Send + Sync + fmt::Debug {
    /// Its name: `cpu`, `cuda:0`, `fake`, `cpu#2`.
    fn name(&self) -> &str;
    /// How it is, now and whenever that changes.
    fn status(&self) -> watch::Receiver<ExecutorStatus>;
    /// Starts a task; its events follow, [`TaskEvent::Ended`] last, whatever happens to the worker.
    fn start(&self, task: DeviceTask) -> Result<mpsc::Receiver<TaskEvent>, ExecutorUnavailable>;
    /// Loads a model from a directory whose files have this fingerprint before anybody needs it, or does nothing when it is loaded.
    async fn load(&self, model: &ModelId, directory: &Path, fingerprint: u64) -> Result<(), TaskFailure>;
    /// Gives back a model's memory; a model in use is refused.
    async fn unload(&self, model: &ModelId) -> Result<(), TaskFailure>;
    /// Ends the worker: waits for none of its tasks.
    async fn shut_down(&self);
}

/// Whether an executor can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecutorHealth {
    /// Its worker is starting for the first time.
    Starting,
    /// It takes tasks.
    Ready,
    /// Its worker died, and is started again after a pause.
    Restarting {
        /// Why it died.
        reason: String,
        /// Deaths in a row.
        deaths: u32,
    },
    /// It was shut down.
    Stopped,
}

/// How an executor is.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutorStatus {
    /// Whether it can be used.
    pub health: ExecutorHealth,
    /// What it is: `cpu (avx512, f32)`; empty until the worker has said so.
    pub description: String,
    /// Models in its memory, and what their weights take.
    pub loaded: Vec<LoadedModel>,
    /// Memory of the device, where it is known.
    pub memory: Option<DeviceMemory>,
    /// Busy share of the last second, 0…1, where it is known.
    pub utilization: Option<f64>,
    /// How often its worker was started again.
    pub restarts: u64,
}

impl ExecutorStatus {
    /// Nothing is known yet.
    pub(crate) const fn starting() -> Self {
        Self {
            health: ExecutorHealth::Starting,
            description: String::new(),
            loaded: Vec::new(),
            memory: None,
            utilization: None,
            restarts: 0,
        }
    }
}

/// A model in a device's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedModel {
    /// Which.
    pub model: ModelId,
    /// What its weights take.
    pub weights_bytes: u64,
}

/// A device's memory, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// In all.
    pub total_bytes: u64,
    /// Free now, as far as this process may take it.
    pub free_bytes: u64,
}

/// An executor that does not take tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecutorUnavailable {
    /// It has as many tasks as it takes, or one with which the new one cannot share evaluations.
    #[error("the device is busy")]
    Busy,
    /// Its worker is not there.
    #[error("the device worker is not running")]
    Gone,
}

/// A task for a device: everything it needs, and nothing to look up.
#[derive(Clone, Debug)]
pub struct DeviceTask {
    /// Which task.
    pub id: TaskId,
    /// What to make.
    pub work: DeviceWork,
    /// The model's files.
    pub model_directory: PathBuf,
    /// A number that changes when any of them does: see [`files_fingerprint`](crate::models::files_fingerprint).
    pub model_fingerprint: u64,
    /// Models to give back first.
    pub unload: Vec<ModelId>,
    /// The picture that a request begins with; a clip must have one.
    pub init_image: Option<Arc<RgbPicture>>,
    /// Where that picture is repainted: where this is bright.
    pub mask: Option<Arc<RgbPicture>>,
    /// A directory of the task's own, which the device makes: step-machine checkpoints and finished pictures lie there, and a later
    /// attempt goes on from them.
    pub work_directory: PathBuf,
    /// Stops the task.
    pub interrupt: Interrupt,
    /// Whether anybody wants previews.
    pub previews: PreviewDemand,
}

/// What a device makes.
#[derive(Clone, Debug, PartialEq)]
pub enum DeviceWork {
    /// Pictures.
    Pictures(ImageRequest),
    /// Frames.
    Clip(ClipRequest),
}

impl DeviceWork {
    /// The model that makes it.
    pub const fn model(&self) -> &ModelId {
        match self {
            Self::Pictures(request) => &request.model,
            Self::Clip(request) => &request.model,
        }
    }

    /// Tasks with equal keys may run together.
    pub fn batch_key(&self) -> BatchKey {
        match self {
            Self::Pictures(request) => BatchKey::of(request),
            Self::Clip(ClipRequest { model, settings, .. }) => {
                BatchKey { model: model.clone(), width: settings.width, height: settings.height }
            }
        }
    }

    /// How many pictures come of it: all of a request's, or all frames of a clip.
    pub const fn pictures(&self) -> u32 {
        match self {
            Self::Pictures(request) => request.num_images,
            Self::Clip(request) => request.settings.num_frames,
        }
    }
}

impl From<ImageRequest> for DeviceWork {
    fn from(request: ImageRequest) -> Self {
        Self::Pictures(request)
    }
}

/// What a device says while it runs a task.
#[derive(Clone, Debug)]
pub enum Report {
    /// The model was not loaded, and now is.
    ModelLoaded {
        /// How long that took.
        seconds: f64,
    },
    /// A model evaluation was done.
    Evaluated {
        /// Over all pictures.
        progress: Progress,
        /// How long the evaluation took.
        seconds: f64,
        /// Tasks that shared it.
        tasks: u32,
    },
    /// A small PNG of a picture as now predicted.
    Preview {
        /// Which picture.
        index: u32,
        /// Over all pictures.
        progress: Progress,
        /// PNG bytes.
        png: bytes::Bytes,
    },
}

/// What an executor says of a task. Reports may be lost when nobody takes them in time; the end never is.
#[derive(Debug)]
pub enum TaskEvent {
    /// On the way.
    Report(Report),
    /// The last event.
    Ended(Result<TaskOutput, TaskFailure>),
}

/// Finished pictures, or the frames of a clip.
#[derive(Clone, Debug)]
pub struct TaskOutput {
    /// In order.
    pub pictures: Vec<FinishedPicture>,
    /// How they were made.
    pub facts: RunFacts,
}

/// A picture as it came from a device.
#[derive(Clone, Debug)]
pub enum FinishedPicture {
    /// In memory.
    Pixels(RgbPicture),
    /// In a file of the task's work directory: RGB bytes, rows from the top.
    File {
        /// The file.
        path: PathBuf,
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
}

impl FinishedPicture {
    /// The pixels. Blocks on the file.
    pub fn read(self) -> std::io::Result<RgbPicture> {
        match self {
            Self::Pixels(picture) => Ok(picture),
            Self::File { path, width, height } => PictureFile { path, width, height }.read(),
        }
    }
}

/// How pictures were made.
#[derive(Clone, Debug, Default)]
pub struct RunFacts {
    /// `cpu (avx512, f32)`.
    pub device: String,
    /// `f32`, `bf16`, `f16`.
    pub precision: String,
    /// The sampler that ran.
    pub sampler: String,
    /// Where the noise came from.
    pub noise: String,
    /// What took how long.
    pub timings: Timings,
    /// Evaluations that an earlier attempt had done already.
    pub resumed_steps: u32,
    /// The most tasks that shared an evaluation with it, itself included.
    pub batched_with: u32,
    /// What the user should know: truncated prompts, resized pictures.
    pub warnings: Vec<String>,
}

/// Wall time by phase, seconds, over all pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// Reading and packing weights; 0 when the model was loaded already.
    pub load_seconds: f64,
    /// Prompts and initial pictures.
    pub encode_seconds: f64,
    /// Model evaluations and sampler steps.
    pub denoise_seconds: f64,
    /// Latents to pixels.
    pub decode_seconds: f64,
}

impl Timings {
    /// Everything but loading: what the same request would take again.
    pub fn work_seconds(&self) -> f64 {
        self.encode_seconds + self.denoise_seconds + self.decode_seconds
    }
}

/// Why a task gave no pictures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskFailure {
    /// It was interrupted.
    #[error("cancelled")]
    Cancelled,
    /// The worker died, hung or spoke nonsense while the task was on it.
    #[error("the device worker was lost: {reason}")]
    WorkerLost {
        /// What happened to it.
        reason: String,
        /// How many other tasks were on it.
        companions: u32,
    },
    /// It failed.
    #[error("{}", .0.message)]
    Failed(JobError),
}

impl TaskFailure {
    /// A failure of a class.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Failed(JobError { code, message: message.into() })
    }
}
