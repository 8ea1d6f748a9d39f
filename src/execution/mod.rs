//! Things that can run a task: commands in, events out.
//!
//! An [`Executor`] is the asynchronous side of a device. Today's only kind is [`DeviceWorker`], an OS thread that owns an
//! [`ImageDevice`]: the device's memory, its loaded model, and nothing of the server. A device never sees HTTP, the database or the
//! storage; the server never sees a tensor.

pub mod device;
pub mod fake;
pub mod host_memory;
pub mod results;
pub mod sdxl;
pub mod worker;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use framewright_engine::ops::Interrupt;
use framewright_engine::vision::RgbPicture;
use tokio::sync::mpsc;

use crate::domain::{ErrorCode, ImageRequest, JobError, PreviewDemand, Progress};

pub use device::{DeviceError, ExecutorOptions, ImageDevice};
pub use fake::{FakeControl, FakeFailure};
pub use worker::DeviceWorker;

/// Something that runs one task at a time.
pub trait Executor: Send + Sync + fmt::Debug {
    /// Its name: `cpu`, `cuda:0`, `fake`.
    fn name(&self) -> &str;
    /// Starts a task; its events follow, [`TaskEvent::Ended`] last. The channel closing without it means that the executor died.
    fn start(&self, task: ImageTask) -> Result<mpsc::Receiver<TaskEvent>, ExecutorUnavailable>;
}

/// An executor that does not take tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecutorUnavailable {
    /// It has a task already.
    #[error("the device is busy")]
    Busy,
    /// Its thread has ended.
    #[error("the device worker has ended")]
    Gone,
}

/// A task for a device: everything it needs, and nothing to look up.
#[derive(Clone, Debug)]
pub struct ImageTask {
    /// What to make.
    pub request: ImageRequest,
    /// The model's files.
    pub model_directory: PathBuf,
    /// The picture that `request.init_image` names.
    pub init_image: Option<Arc<RgbPicture>>,
    /// Stops the task.
    pub interrupt: Interrupt,
    /// Whether anybody wants previews.
    pub previews: PreviewDemand,
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
    Ended(Result<ImageOutput, TaskFailure>),
}

/// Finished pictures.
#[derive(Clone, Debug)]
pub struct ImageOutput {
    /// In order.
    pub pictures: Vec<RgbPicture>,
    /// How they were made.
    pub facts: RunFacts,
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

impl From<framewright_engine::Error> for TaskFailure {
    fn from(error: framewright_engine::Error) -> Self {
        use framewright_engine::Error;
        let code = match &error {
            Error::Cancelled => return Self::Cancelled,
            Error::Request { .. } => ErrorCode::InvalidRequest,
            Error::File { .. } | Error::Malformed { .. } | Error::Checkpoint { .. } => ErrorCode::ModelUnavailable,
            Error::Device(_) | Error::Candle(_) if error.to_string().to_lowercase().contains("out of memory") => {
                ErrorCode::OutOfMemory
            }
            Error::Device(_) | Error::Candle(_) => ErrorCode::DeviceFailed,
        };
        Self::new(code, error.to_string())
    }
}
