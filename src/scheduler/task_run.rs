//! One task on a device, from its claim to its end.

use std::collections::HashSet;
use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use framewright_engine::ops::Interrupt;
use framewright_engine::vision::RgbPicture;
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::blame::{Verdict, judge};
use super::conclusion::{Conclusion, conclude};
use super::device_pool::Seat;
use super::dispatcher::Shared;
use super::known_models::KnownModel;
use super::{publish, publish_clip};
use crate::domain::plan::{Place, TaskRole, plan};
use crate::domain::{ErrorCode, JobError, JobRequest, ModelId, Spent, TaskId, UnixMs};
use crate::execution::film::{self, FilmTask, FirstPicture};
use crate::execution::{DeviceTask, DeviceWork, Report, TaskEvent, TaskFailure, TaskOutput};
use crate::jobs::RunningTask;
use crate::jobs::store::{Outcome, Release};
use crate::media::decode::decode_image;

/// How long a task waits that found its device busy or gone: until the plan knows better. Twice as long after each further attempt, up
/// to a bound.
const FIRST_REFUSED_PAUSE_MS: i64 = 250;
const LONGEST_REFUSED_PAUSE_MS: i64 = 30_000;
/// Tasks that were given a second chance after they ran out of memory.
#[derive(Debug, Default)]
pub(super) struct OutOfMemoryRetries(Mutex<HashSet<TaskId>>);

impl OutOfMemoryRetries {
    /// Takes the task's only second chance; `false` when it is gone.
    fn take(&self, task: TaskId) -> bool {
        self.0.lock().insert(task)
    }

    /// Called when the task has ended.
    pub(super) fn forget(&self, task: TaskId) {
        let mut tasks = self.0.lock();
        if !tasks.is_empty() {
            tasks.remove(&task);
        }
    }
}

/// Runs a claimed task on its device, stores what comes out, and writes down how it ended. A panic on the way counts as the task's
/// failure. `charged_seconds` is what the tenant's share was charged for it.
pub(super) async fn run(shared: Arc<Shared>, task: RunningTask, unload: Vec<ModelId>, seat: Seat, charged_seconds: f64) {
    let task = Arc::new(task);
    let begun = Instant::now();
    let run = TaskRun { shared: shared.clone(), task: task.clone(), model: None };
    let followed = AssertUnwindSafe(run.follow(unload, seat)).catch_unwind().await;
    let (conclusion, spent) = followed.unwrap_or_else(|_| {
        tracing::error!(job.id = %task.job.id, "Following job {} panicked", task.job.id);
        (blame(&task, "the server's own code panicked", 0, shared.clock().now()), Spent::default())
    });
    refund(&shared, &task, &conclusion, charged_seconds);
    conclude(&shared, &task, conclusion, spent, begun.elapsed()).await;
}

/// Ends a claimed task that never ran.
pub(super) async fn end_unrun(shared: Arc<Shared>, task: RunningTask, outcome: Outcome) {
    conclude(&shared, &Arc::new(task), Conclusion::End(outcome), Spent::default(), Duration::ZERO).await;
}

/// Gives a claimed task back that never ran, because it must have its worker to itself.
pub(super) async fn return_unrun(shared: Arc<Shared>, task: RunningTask, charged_seconds: f64) {
    let conclusion = Conclusion::Return(Release { alone: true, ..Release::default() });
    refund(&shared, &task, &conclusion, charged_seconds);
    conclude(&shared, &Arc::new(task), conclusion, Spent::default(), Duration::ZERO).await;
}

/// A claimed task on its device.
struct TaskRun {
    shared: Arc<Shared>,
    task: Arc<RunningTask>,
    /// Its model, once looked up.
    model: Option<Arc<KnownModel>>,
}

impl TaskRun {
    async fn follow(mut self, unload: Vec<ModelId>, seat: Seat) -> (Conclusion, Spent) {
        let task = self.task.clone();
        let job = &task.job;
        let device = seat.executor().name().to_owned();
        let waited_ms = job.started.map_or(0, |started| started.0 - job.created.0);
        let Some(work) = work_of(&task) else {
            let error = JobError { code: ErrorCode::Internal, message: "the task has nothing that a device can make".to_owned() };
            return (Conclusion::End(Outcome::Failed(error)), Spent::default());
        };
        if task.is_whole_job() {
            self.shared.parts.observer.job_started(work.model(), waited_ms as f64 / 1000.0);
        }
        let role = task.planned.role.as_str();
        tracing::info!(job.id = %job.id, device, waited_ms, role, "Job {} runs on {device}", job.id);

        let evaluated = self.evaluate(&seat, unload, work.clone()).await;
        if self.task.lost.is_cancelled() {
            return (Conclusion::Discard, Spent::default());
        }
        let gpu_ms = |used: Duration| i64::try_from(used.as_millis()).unwrap_or(i64::MAX);
        match evaluated {
            Ok(output) if !self.task.stop.is_cancelled() => {
                // The device goes on while this result is stored, as long as not too many results are waiting for that.
                let permit = self.shared.publishing.clone().acquire_many_owned(publish::units(&output)).await;
                let used = seat.leave();
                self.measure(&output, used);
                let identity = match &self.model {
                    Some(known) => self.shared.models.identity(work.model(), known).await,
                    None => Arc::default(),
                };
                let (outcome, spent) = match work {
                    DeviceWork::Pictures(request) => {
                        publish::publish_pictures(&self.shared, &self.task, request, output, identity).await
                    }
                    DeviceWork::Clip(request) => {
                        publish_clip::publish_clip(&self.shared, &self.task, request, output, identity).await
                    }
                };
                drop(permit);
                (Conclusion::End(outcome), Spent { gpu_ms: gpu_ms(used), ..spent })
            }
            Ok(_) => (Conclusion::End(Outcome::Cancelled), Spent { gpu_ms: gpu_ms(seat.leave()), ..Spent::default() }),
            Err(ending) => {
                let conclusion = self.judge(ending, &seat);
                (conclusion, Spent { gpu_ms: gpu_ms(seat.leave()), ..Spent::default() })
            }
        }
    }

    /// Prepares the task and follows the device's events to their end.
    async fn evaluate(&mut self, seat: &Seat, unload: Vec<ModelId>, work: DeviceWork) -> Result<TaskOutput, Ending> {
        let interrupt = Interrupt::default();
        let model = work.model().clone();
        let known = self.shared.models.find(&model).await;
        let known = known.map_err(|error| TaskFailure::new(ErrorCode::ModelUnavailable, error))?;
        let model_directory = known.directory.clone();
        self.model = Some(known.clone());
        let task = DeviceTask {
            id: self.task.fence.task,
            init_image: self.first_picture().await?,
            mask: self.mask().await?,
            model_directory,
            model_fingerprint: known.fingerprint(),
            unload,
            work_directory: self.shared.work_directories.of(self.task.fence.task),
            interrupt: interrupt.clone(),
            previews: self.task.previews.clone(),
            work,
        };
        let mut events = seat.executor().start(task).map_err(|error| {
            tracing::debug!(job.id = %self.task.job.id, %error, "Job {} was not taken: {error}", self.task.job.id);
            Ending::Refused
        })?;
        // The weights are hashed, the first time, while the device works.
        let mut hashing = std::pin::pin!(self.shared.models.identity(&model, &known).fuse());
        let mut told_to_stop = std::pin::pin!(self.told_to_stop().fuse());
        let (mut is_hashed, mut is_told) = (false, false);
        loop {
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(TaskEvent::Report(report)) => self.take_report(report, &model, seat.executor().name()),
                    Some(TaskEvent::Ended(ended)) => return ended.map_err(Ending::from),
                    None => return Err(Ending::Refused),
                },
                () = &mut told_to_stop, if !is_told => {
                    is_told = true;
                    interrupt.cancel();
                }
                _ = &mut hashing, if !is_hashed => is_hashed = true,
            }
        }
    }

    /// Completes when the task shall not go on, for whatever reason.
    async fn told_to_stop(&self) {
        tokio::select! {
            () = self.task.stop.cancelled() => {}
            () = self.task.lost.cancelled() => {}
            () = self.shared.preempt.cancelled() => {}
        }
    }

    fn take_report(&self, report: Report, model: &ModelId, device: &str) {
        let (parts, job) = (&self.shared.parts, &self.task.job);
        match report {
            Report::ModelLoaded { seconds } => {
                tracing::info!(model.id = %model, device, seconds, "Loaded model {model}");
                parts.observer.model_loaded(model, seconds);
                self.shared.models.speeds().observe_load(model, seconds);
            }
            Report::Evaluated { progress, seconds, tasks: _ } => {
                parts.observer.step_done(device, seconds);
                parts.runner.publish_progress(&self.task, progress);
            }
            Report::Preview { index, progress, png } => parts.runner.publish_preview(job.id, index, progress, png),
        }
    }

    /// The picture that the task begins with: one that came with the request, a keyframe, or the last frame of the clip before.
    async fn first_picture(&self) -> Result<Option<Arc<RgbPicture>>, TaskFailure> {
        let task = &*self.task;
        match (task.request(), task.planned.role) {
            (JobRequest::Image(request), _) => match &request.init_image {
                Some(key) => self.read_picture("initial picture", key).await.map(Some),
                None => Ok(None),
            },
            (JobRequest::Film(film), role @ TaskRole::Clip { .. }) => {
                let plan = plan(&task.job.request);
                let parts = FilmTask { film, plan: &plan, position: task.position, finished: &task.finished };
                match film::first_picture(&parts, role) {
                    Some(FirstPicture::LastFrameOf(key)) => self.read_last_frame(&key).await.map(Some),
                    Some(FirstPicture::Picture(key)) => self.read_picture("initial picture", &key).await.map(Some),
                    None => Err(TaskFailure::new(ErrorCode::Internal, "the clip has no picture to begin with")),
                }
            }
            _ => Ok(None),
        }
    }

    /// The mask of the picture that the task begins with.
    async fn mask(&self) -> Result<Option<Arc<RgbPicture>>, TaskFailure> {
        match self.task.request().image().and_then(|request| request.mask.as_deref()) {
            Some(key) => self.read_picture("mask", key).await.map(Some),
            None => Ok(None),
        }
    }

    /// The last frame of a stored clip, as it left the decoder.
    async fn read_last_frame(&self, key: &str) -> Result<Arc<RgbPicture>, TaskFailure> {
        let unreadable = |error: &dyn std::fmt::Display| {
            tracing::error!(job.id = %self.task.job.id, %error, "Cannot read the last frame of {key}: {error}");
            TaskFailure::new(ErrorCode::StorageFailed, "the clip before cannot be read back from the storage")
        };
        let path = self.shared.parts.storage.local_path(key).map_err(|error| unreadable(&error))?;
        let read = tokio::task::spawn_blocking(move || film::last_frame(&path)).await.map_err(|error| unreadable(&error))?;
        read.map(Arc::new).map_err(|error| unreadable(&error))
    }

    /// A picture out of the storage; `what` it is to the task.
    async fn read_picture(&self, what: &str, key: &str) -> Result<Arc<RgbPicture>, TaskFailure> {
        let unreadable = |error: &(dyn Error + 'static)| {
            tracing::error!(job.id = %self.task.job.id, error, "Cannot read the {what} {key}: {error}");
            TaskFailure::new(ErrorCode::StorageFailed, format!("the {what} cannot be read back from the storage"))
        };
        let bytes = self.shared.parts.storage.get(key).await.map_err(|error| unreadable(&error))?;
        let decoded = tokio::task::spawn_blocking(move || decode_image(&bytes))
            .await
            .map_err(|error| unreadable(&error))?
            .map_err(|error| unreadable(&error))?;
        Ok(Arc::new(RgbPicture { width: decoded.width as usize, height: decoded.height as usize, bytes: decoded.rgb }))
    }

    /// Takes the speed of a run that did all of its work in this attempt.
    fn measure(&self, output: &TaskOutput, used: Duration) {
        let seconds = used.as_secs_f64() - output.facts.timings.load_seconds;
        if output.facts.resumed_steps == 0
            && let Place::Device { batch, .. } = &self.task.planned.place
        {
            self.shared.models.speeds().observe_work(batch, self.task.planned.work, seconds);
        }
    }

    /// What follows from an attempt without pictures.
    fn judge(&self, ending: Ending, seat: &Seat) -> Conclusion {
        let (task, now) = (&*self.task, self.shared.clock().now());
        let uncharged = Release { alone: task.alone, ..Release::default() };
        if task.stop.is_cancelled() {
            return Conclusion::End(Outcome::Cancelled);
        }
        match ending {
            Ending::Refused => {
                let run_after = Some(UnixMs(now.0.saturating_add(refused_pause_ms(task.fence.attempt))));
                Conclusion::Return(Release { run_after, ..uncharged })
            }
            Ending::Failed(TaskFailure::Cancelled) => Conclusion::Return(uncharged),
            // Its end may have been the server's doing.
            Ending::Failed(TaskFailure::WorkerLost { .. }) if self.shared.preempt.is_cancelled() => Conclusion::Return(uncharged),
            Ending::Failed(TaskFailure::WorkerLost { reason, companions }) => blame(task, &reason, companions, now),
            Ending::Failed(TaskFailure::Failed(error)) if error.code == ErrorCode::OutOfMemory => {
                if !self.shared.oom_retries.take(task.fence.task) {
                    return Conclusion::End(Outcome::Failed(self.without_paths(error)));
                }
                tracing::warn!(job.id = %task.job.id, "Job {} ran out of memory; it runs again with the device to itself", task.job.id);
                seat.clear_device();
                Conclusion::Return(Release { alone: true, ..Release::default() })
            }
            Ending::Failed(TaskFailure::Failed(error)) => Conclusion::End(Outcome::Failed(self.without_paths(error))),
        }
    }

    /// A device's words name files; where on this machine they lie is for the log alone.
    fn without_paths(&self, mut error: JobError) -> JobError {
        let directories = [
            (self.model.as_ref().map(|known| known.directory.clone()), "the model's directory"),
            (Some(self.shared.work_directories.of(self.task.fence.task)), "the task's directory"),
        ];
        for (directory, name) in directories {
            error.message = replaced(&self.task, error.message, directory, name);
        }
        error
    }
}

fn replaced(task: &RunningTask, message: String, directory: Option<PathBuf>, name: &str) -> String {
    let directory = directory.map(|directory| directory.display().to_string()).filter(|directory| !directory.is_empty());
    match directory {
        Some(directory) if message.contains(&directory) => {
            tracing::warn!(job.id = %task.job.id, "Job {} failed: {message}", task.job.id);
            message.replace(&format!("{directory}/"), "").replace(&directory, name)
        }
        _ => message,
    }
}

/// What a device has to do for a task.
fn work_of(task: &RunningTask) -> Option<DeviceWork> {
    match (task.request(), task.planned.role) {
        (JobRequest::Image(request), _) => Some(DeviceWork::Pictures(request.clone())),
        (JobRequest::Film(film), TaskRole::Keyframe { scene }) => film.keyframe(scene).map(DeviceWork::Pictures),
        (JobRequest::Film(film), TaskRole::Clip { scene, clip }) => Some(DeviceWork::Clip(film.clip(scene, clip))),
        _ => None,
    }
}

/// Why an attempt gave no pictures.
enum Ending {
    /// The device did not take it, or went without a word.
    Refused,
    /// The device said so.
    Failed(TaskFailure),
}

impl From<TaskFailure> for Ending {
    fn from(failure: TaskFailure) -> Self {
        Self::Failed(failure)
    }
}

/// Who pays for the death of a worker: the executor tells every task how many others were on it, so each is judged where it is followed.
pub(super) fn blame(task: &RunningTask, reason: &str, companions: u32, now: UnixMs) -> Conclusion {
    match judge(task.failures, companions, reason, now) {
        Verdict::Fail(error) => Conclusion::End(Outcome::Failed(error)),
        Verdict::Again(release) => Conclusion::Return(release),
    }
}

fn refused_pause_ms(attempt: i64) -> i64 {
    let doublings = attempt.saturating_sub(1).clamp(0, 16);
    (FIRST_REFUSED_PAUSE_MS << doublings).min(LONGEST_REFUSED_PAUSE_MS)
}

/// Gives the tenant's share back what a task was charged that runs again through no fault of its own: it is charged again then.
fn refund(shared: &Shared, task: &RunningTask, conclusion: &Conclusion, charged_seconds: f64) {
    if matches!(conclusion, Conclusion::Return(release) if !release.charged) {
        shared.waiting.lock().view.refund(&task.waiting(), charged_seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_again_and_again_waits_longer_and_longer() {
        let pauses = [i64::MIN, 1, 2, 3, 8, 9, i64::MAX].map(refused_pause_ms);
        assert_eq!(pauses, [250, 250, 500, 1_000, 30_000, 30_000, 30_000]);
    }
}
