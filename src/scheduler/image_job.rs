//! One image task from its claim to its end.

use std::error::Error;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use framewright_engine::ops::Interrupt;
use framewright_engine::vision::RgbPicture;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::dispatcher::{DeviceSlot, Shared};
use crate::domain::{ErrorCode, Job, JobError, JobResult, JobState, ModelId, Progress};
use crate::execution::results::{Attempt, encode_pictures, manifest, store_pictures};
use crate::execution::{ImageOutput, ImageTask, Report, TaskEvent, TaskFailure};
use crate::jobs::runner::RunningTask;
use crate::jobs::store::{Outcome, StoreError};
use crate::media::decode::decode_image;
use crate::models::{ModelCatalog, ModelIdentity};
use crate::storage::StorageError;

/// How often progress is written to the store.
const RECORD_INTERVAL: Duration = Duration::from_secs(1);

/// Pauses between attempts to write down how a job ended, when the database fails.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// A claimed image task.
#[derive(Debug)]
pub(super) struct ImageJob {
    shared: Arc<Shared>,
    task: RunningTask,
    progress: Progress,
    recorded: Instant,
    /// Where the model's files lie, once looked up.
    model_directory: PathBuf,
    /// The model's hashes, taken while the device works.
    identity: Option<JoinHandle<ModelIdentity>>,
}

impl ImageJob {
    pub(super) fn new(shared: Arc<Shared>, task: RunningTask) -> Self {
        let (progress, recorded) = (Progress::default(), Instant::now());
        Self { shared, task, progress, recorded, model_directory: PathBuf::new(), identity: None }
    }

    fn attempt(&self) -> Attempt {
        Attempt::new(&self.task.job, self.task.fence.attempt)
    }

    /// Runs the task on the device, stores what comes out, and writes down how it ended.
    pub(super) async fn run(mut self, slot: DeviceSlot) {
        let begun = Instant::now();
        let job = &self.task.job;
        let waited_ms = job.started.map_or(0, |started| started.0 - job.created.0);
        let device = slot.executor().name().to_owned();
        self.shared.parts.observer.job_started(&job.request.model, waited_ms as f64 / 1000.0);
        tracing::info!(job.id = %job.id, device, waited_ms, "Job {} runs on {device}", job.id);

        let outcome = match self.evaluate(&slot).await {
            Ok(output) => {
                // The device goes on while this result is stored, as long as not too many results are waiting for that.
                let permit = self.shared.publishing.clone().acquire_owned().await;
                drop(slot);
                let outcome = self.publish(output).await;
                drop(permit);
                outcome
            }
            Err(failure) => {
                drop(slot);
                match failure {
                    TaskFailure::Failed(error) => Some(Outcome::Failed(self.without_paths(error))),
                    TaskFailure::Cancelled if self.task.stop.is_cancelled() => Some(Outcome::Cancelled),
                    TaskFailure::Cancelled => None,
                }
            }
        };
        self.conclude(outcome, begun.elapsed()).await;
    }

    /// Prepares the task and follows the device's events to their end.
    async fn evaluate(&mut self, slot: &DeviceSlot) -> Result<ImageOutput, TaskFailure> {
        let interrupt = Interrupt::default();
        let request = self.task.job.request.clone();
        self.model_directory = self.find_model(&request.model).await?;
        let task = ImageTask {
            model_directory: self.model_directory.clone(),
            init_image: match &request.init_image {
                Some(key) => Some(self.read_init_image(key).await?),
                None => None,
            },
            request,
            interrupt: interrupt.clone(),
            previews: self.task.previews.clone(),
        };
        let mut events =
            slot.executor().start(task).map_err(|error| TaskFailure::new(ErrorCode::DeviceFailed, error.to_string()))?;
        let (models, model) = (self.shared.parts.models.clone(), self.task.job.request.model.clone());
        self.identity = Some(tokio::task::spawn_blocking(move || identity_or_none(&models, &model)));
        let stop = self.task.stop.clone();
        let preempt = self.shared.preempt.clone();
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(TaskEvent::Report(report)) => self.take_report(report, slot.executor().name(), &interrupt).await,
                    Some(TaskEvent::Ended(ended)) => return ended,
                    None => return Err(TaskFailure::new(ErrorCode::DeviceFailed, "the device worker has ended")),
                },
                () = stop.cancelled(), if !interrupt.is_cancelled() => interrupt.cancel(),
                () = preempt.cancelled(), if !interrupt.is_cancelled() => interrupt.cancel(),
            }
        }
    }

    async fn find_model(&self, model: &ModelId) -> Result<PathBuf, TaskFailure> {
        let (models, model) = (self.shared.parts.models.clone(), model.clone());
        // The catalogue looks at the disk.
        let found = tokio::task::spawn_blocking(move || models.directory(&model)).await;
        let unavailable = |error: String| TaskFailure::new(ErrorCode::ModelUnavailable, error);
        found.map_err(|error| unavailable(error.to_string()))?.map_err(|error| unavailable(error.to_string()))
    }

    /// A device's words name files; where on this machine they lie is for the log alone.
    fn without_paths(&self, mut error: JobError) -> JobError {
        let directory = self.model_directory.display().to_string();
        if !directory.is_empty() && error.message.contains(&directory) {
            tracing::warn!(job.id = %self.task.job.id, "Job {} failed: {}", self.task.job.id, error.message);
            error.message = error.message.replace(&format!("{directory}/"), "").replace(&directory, "the model's directory");
        }
        error
    }

    async fn take_report(&mut self, report: Report, device: &str, interrupt: &Interrupt) {
        let parts = &self.shared.parts;
        let job = &self.task.job;
        match report {
            Report::ModelLoaded { seconds } => {
                tracing::info!(model.id = %job.request.model, device, seconds, "Loaded model {}", job.request.model);
                parts.observer.model_loaded(&job.request.model, seconds);
            }
            Report::Evaluated { progress, seconds } => {
                self.progress = progress;
                parts.observer.step_done(device, seconds);
                parts.runner.publish_progress(job.id, progress);
                if self.recorded.elapsed() >= RECORD_INTERVAL {
                    self.recorded = Instant::now();
                    match parts.runner.record_progress(&self.task.fence, progress).await {
                        Ok(false) => {}
                        // Whoever asked may have gone before the token was told.
                        Ok(true) => self.task.stop.cancel(),
                        // Somebody else has the task: what this device makes of it will not be wanted.
                        Err(StoreError::LeaseLost) => interrupt.cancel(),
                        Err(error) => {
                            tracing::warn!(job.id = %job.id, error = &error as &dyn Error, "Cannot record progress: {error}");
                        }
                    }
                }
            }
            Report::Preview { index, progress, png } => parts.runner.publish_preview(job.id, index, progress, png),
        }
    }

    async fn read_init_image(&self, key: &str) -> Result<Arc<RgbPicture>, TaskFailure> {
        let unreadable = |error: &(dyn Error + 'static)| {
            tracing::error!(job.id = %self.task.job.id, error, "Cannot read the initial picture {key}: {error}");
            TaskFailure::new(ErrorCode::StorageFailed, "the initial picture cannot be read back from the storage")
        };
        let bytes = self.shared.parts.storage.get(key).await.map_err(|error| unreadable(&error))?;
        let decoded = tokio::task::spawn_blocking(move || decode_image(&bytes))
            .await
            .map_err(|error| unreadable(&error))?
            .map_err(|error| unreadable(&error))?;
        Ok(Arc::new(RgbPicture { width: decoded.width as usize, height: decoded.height as usize, bytes: decoded.rgb }))
    }

    /// Encodes and stores the pictures. `None` when the job shall be run again instead.
    async fn publish(&mut self, output: ImageOutput) -> Option<Outcome> {
        if self.task.stop.is_cancelled() {
            return Some(Outcome::Cancelled);
        }
        let job = &self.task.job;
        self.progress.step = self.progress.steps;
        self.shared.parts.runner.observe_speed(job, output.facts.timings.work_seconds());
        let failed = |code, message: &str, error: &(dyn Error + 'static)| {
            tracing::error!(job.id = %job.id, error, "Job {}: {message}: {error}", job.id);
            Some(Outcome::Failed(JobError { code, message: message.to_owned() }))
        };
        let created = self.shared.parts.runner.clock().now();
        let identity = match self.identity.take() {
            Some(hashing) => hashing.await.unwrap_or_default(),
            None => ModelIdentity::default(),
        };
        let request = job.request.clone();
        let encoded = tokio::task::spawn_blocking(move || {
            let document = manifest(&request, request.seed, &identity, &output.facts, created);
            encode_pictures(&output, &request, &identity, created).map(|pictures| (pictures, document))
        })
        .await;
        let (pictures, manifest) = match encoded {
            Ok(Ok(encoded)) => encoded,
            Ok(Err(error)) => return failed(ErrorCode::Internal, "the picture could not be encoded", &error),
            Err(error) => return failed(ErrorCode::Internal, "the picture could not be encoded", &error),
        };
        match store_pictures(&self.shared.parts.storage, &self.attempt(), pictures).await {
            Ok(artifacts) => Some(Outcome::Completed(JobResult { artifacts, manifest })),
            Err(error @ (StorageError::Failed(_) | StorageError::NotFound(_) | StorageError::InvalidKey(_))) => {
                failed(ErrorCode::StorageFailed, "the picture could not be stored", &error)
            }
        }
    }

    /// Writes down how the job ended, however long the database needs; `None` gives it back to the queue.
    async fn conclude(&self, outcome: Option<Outcome>, ran: Duration) {
        let (runner, fence) = (&self.shared.parts.runner, &self.task.fence);
        let concluded = match &outcome {
            Some(outcome) => self.persist(|| runner.finish(fence, outcome, self.progress)).await,
            None => self.persist(|| runner.release(fence)).await,
        };
        match concluded {
            Ok(job) => self.report_end(&job, ran),
            Err(error) => {
                tracing::error!(job.id = %fence.job, error = &error as &dyn Error, "Cannot write down the end of job {}: {error}", fence.job);
                // Somebody else has the task. After any other error it is the next start that finds out, and cleans up.
                if let (Some(Outcome::Completed(_)), StoreError::LeaseLost) = (&outcome, &error) {
                    self.attempt().delete_pictures(&self.shared.parts.storage).await;
                }
            }
        }
    }

    fn report_end(&self, job: &Job, ran: Duration) {
        let seconds = ran.as_secs_f64();
        match job.state {
            JobState::Queued => tracing::info!(job.id = %job.id, "Gave job {} back to the queue", job.id),
            state => {
                self.shared.parts.observer.job_finished(&job.request.model, state, seconds);
                let error = job.error.as_ref().map(|error| error.message.as_str());
                tracing::info!(job.id = %job.id, state = state.as_str(), seconds, error, "Job {} {}", job.id, state.as_str());
            }
        }
    }

    /// Repeats a write until the database takes it, the task turns out to be lost, or the server must end (its next start then finds
    /// the job running, and runs it again).
    async fn persist<F>(&self, write: impl Fn() -> F) -> Result<Job, StoreError>
    where
        F: Future<Output = Result<Job, StoreError>>,
    {
        let mut pause = FIRST_RETRY;
        let mut unanswered = None;
        loop {
            match (write().await, unanswered.take()) {
                // The write before this one may be what ended it.
                (Err(StoreError::LeaseLost), Some(earlier)) => return Err(earlier),
                (Err(error @ StoreError::Unavailable(_)), _) => {
                    tracing::warn!(job.id = %self.task.fence.job, error = &error as &dyn Error, "The database does not answer: {error}");
                    tokio::select! {
                        () = self.shared.preempt.cancelled() => return Err(error),
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_RETRY),
                    }
                    unanswered = Some(error);
                }
                (concluded, _) => return concluded,
            }
        }
    }
}

/// The model's hashes; a picture without them is better than none.
fn identity_or_none(models: &ModelCatalog, model: &ModelId) -> ModelIdentity {
    models.identity(model).unwrap_or_else(|error| {
        tracing::warn!(model.id = %model, %error, "Cannot hash model {model}: {error}");
        ModelIdentity::default()
    })
}
