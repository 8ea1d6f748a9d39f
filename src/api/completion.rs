//! Waiting for a job on behalf of a client that waits for its answer.

use tokio::sync::broadcast::error::RecvError;
use tokio_util::task::TaskTracker;

use crate::api::error::{ApiError, ErrorKind};
use crate::api::state::ApiState;
use crate::domain::{Job, JobError, JobEvent, JobEventKind, JobId, JobResult, JobState, Principal, Progress};
use crate::jobs::{JobEvents, JobService, JobServiceError, Previews};

/// Cancels a job when dropped: its client hung up, and nobody else can get at the result.
#[derive(Debug)]
pub(super) struct CancelOnDrop {
    job: Option<(JobService, Principal, JobId, TaskTracker)>,
}

impl CancelOnDrop {
    /// A guard of `id`.
    pub(super) fn new(state: &ApiState, principal: &Principal, id: JobId) -> Self {
        Self { job: Some((state.jobs.clone(), principal.clone(), id, state.background.clone())) }
    }

    /// A guard that does nothing: for a job that its client can ask for again.
    pub(super) const fn disarmed() -> Self {
        Self { job: None }
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let Some((jobs, principal, id, background)) = self.job.take() else { return };
        // Dropped outside a runtime there is nobody left to cancel for.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        background.spawn_on(
            async move {
                match jobs.cancel(&principal, id).await {
                    Ok(_) => tracing::info!(job.id = %id, "Cancelled task {id}: its client hung up"),
                    Err(JobServiceError::AlreadyEnded { .. }) => {}
                    Err(error) => {
                        tracing::warn!(job.id = %id, error = &error as &dyn std::error::Error, "Task {id} could not be cancelled");
                    }
                }
            },
            &runtime,
        );
    }
}

/// What a waiting client may be told.
#[derive(Debug)]
pub(super) enum Happening {
    /// A preview of one of the pictures.
    Preview {
        /// Progress at that moment.
        progress: Progress,
        /// PNG bytes.
        png: bytes::Bytes,
    },
    /// How far the job is.
    Progress(Progress),
    /// The job has completed.
    Completed {
        /// The job.
        job: Box<Job>,
        /// Its result.
        result: JobResult,
    },
}

/// A job that is being waited for. Dropping it before the end cancels the job.
#[derive(Debug)]
pub(super) struct Waiting {
    state: ApiState,
    principal: Principal,
    id: JobId,
    /// The job when it was last read; taken when looked at.
    read: Option<Job>,
    /// Whether the job was running when it was last read.
    is_running: bool,
    events: JobEvents,
    guard: CancelOnDrop,
}

impl Waiting {
    /// Begins to wait. Without `cancel_on_drop` the job goes on when the client hangs up.
    pub(super) async fn begin(
        state: ApiState,
        principal: Principal,
        id: JobId,
        cancel_on_drop: bool,
        previews: Previews,
    ) -> Result<Self, ApiError> {
        let guard = if cancel_on_drop { CancelOnDrop::new(&state, &principal, id) } else { CancelOnDrop::disarmed() };
        let (job, events) = state.jobs.watch(&principal, id, previews).await?;
        Ok(Self { state, principal, id, read: Some(job), is_running: false, events, guard })
    }

    /// The services.
    pub(super) const fn state(&self) -> &ApiState {
        &self.state
    }

    /// The next preview or step, or the end. A job that did not complete is an error.
    pub(super) async fn next(&mut self) -> Result<Happening, ApiError> {
        loop {
            if let Some(job) = self.read.take() {
                self.is_running = job.state == JobState::Running;
                if let Some(end) = ended(job) {
                    self.guard = CancelOnDrop::disarmed();
                    return end;
                }
            }
            // What runs when the server stops may still end in time, or goes back to the queue; what waits stays there.
            let received = tokio::select! {
                received = self.events.recv() => received,
                () = self.state.shutdown.cancelled(), if !self.is_running => {
                    // It may have begun a moment ago: the store knows before the event is here.
                    let job = self.state.jobs.get(&self.principal, self.id).await?;
                    if job.state == JobState::Queued {
                        return Err(stopping());
                    }
                    self.read = Some(job);
                    continue;
                }
            };
            match received {
                Ok(event) if event.job != self.id => {}
                Ok(JobEvent { kind: JobEventKind::Preview { progress, png, .. }, .. }) => {
                    return Ok(Happening::Preview { progress, png });
                }
                Ok(JobEvent { kind: JobEventKind::Progress(progress), .. }) => return Ok(Happening::Progress(progress)),
                Ok(JobEvent { kind: JobEventKind::Task(_), .. }) => {}
                Ok(JobEvent { kind: JobEventKind::State { .. }, .. }) | Err(RecvError::Lagged(_)) => {
                    self.read = Some(self.state.jobs.get(&self.principal, self.id).await?);
                }
                Err(RecvError::Closed) => {
                    let job = self.state.jobs.get(&self.principal, self.id).await?;
                    return ended(job).unwrap_or_else(|| Err(stopping()));
                }
            }
        }
    }

    /// Waits for the end.
    pub(super) async fn completed(&mut self) -> Result<(Job, JobResult), ApiError> {
        loop {
            if let Happening::Completed { job, result } = self.next().await? {
                return Ok((*job, result));
            }
        }
    }
}

fn stopping() -> ApiError {
    ApiError::new(ErrorKind::Unavailable, "the server is shutting down").with_retry_after(10)
}

/// How a job ended; `None` while it has not.
fn ended(mut job: Job) -> Option<Result<Happening, ApiError>> {
    match job.state {
        JobState::Queued | JobState::Running => None,
        JobState::Cancelled => Some(Err(ApiError::new(ErrorKind::TaskCancelled, format!("task {} was cancelled", job.id)))),
        JobState::Failed => Some(Err(job
            .error
            .map_or_else(|| ApiError::internal("a failed job has no error"), |error: JobError| ApiError::from(error)))),
        JobState::Completed => Some(match job.result.take() {
            Some(result) => Ok(Happening::Completed { job: Box::new(job), result }),
            None => Err(ApiError::internal("a completed job has no result")),
        }),
    }
}
