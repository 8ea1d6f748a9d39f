//! A film of the caller, by its task's identifier, and how it is in MiniMax's words.

use crate::api::error::{ApiError, BaseResp, ErrorKind};
use crate::api::state::ApiState;
use crate::domain::{Artifact, FileId, Job, JobId, JobKind, JobState, Principal};
use crate::jobs::store::JobFilter;

/// Jobs that are looked at together.
const PAGE: u32 = 100;

/// The job of a film of the caller.
pub(super) async fn find(state: &ApiState, principal: &Principal, task_id: &str) -> Result<Job, ApiError> {
    let not_found = |text: &dyn std::fmt::Display| {
        ApiError::new(ErrorKind::TaskNotFound, format!("no task {}", text.to_string().chars().take(64).collect::<String>()))
            .with_field("task_id")
    };
    let id: JobId = task_id.parse().map_err(|_| not_found(&task_id))?;
    let job = state.jobs.get(principal, id).await.map_err(|error| ApiError::from(error).with_field("task_id"))?;
    if job.request.kind() == JobKind::Film { Ok(job) } else { Err(not_found(&task_id)) }
}

/// The job of a film of the caller, by the film's file.
pub(super) async fn find_by_file(state: &ApiState, principal: &Principal, file: FileId) -> Result<Job, ApiError> {
    let not_found = || ApiError::new(ErrorKind::OutputNotFound, format!("no file {file}")).with_field("file_id");
    let mut before = file.end_of_its_millisecond();
    loop {
        let filter = JobFilter { kind: Some(JobKind::Film), ..JobFilter::default() };
        // The newest come first: behind those of its millisecond there are only older ones.
        let page = state.jobs.list(principal, filter, PAGE, Some(before)).await?;
        let is_last_page = page.len() < PAGE as usize;
        for job in page {
            if FileId::of(job.id) == file {
                return Ok(job);
            }
            if !file.is_of_the_time_of(job.id) {
                return Err(not_found());
            }
            before = job.id;
        }
        if is_last_page {
            return Err(not_found());
        }
    }
}

/// The film of a completed job.
pub(super) fn file(job: &Job) -> Option<&Artifact> {
    job.result.as_ref().and_then(|result| result.artifacts.first())
}

/// `Preparing` until the scheduler has seen it, `Queueing`, `Processing`, `Success` or `Fail`.
pub(super) fn status(state: &ApiState, job: &Job) -> &'static str {
    match job.state {
        JobState::Queued if state.scheduler.forecast(job.id).is_none() => "Preparing",
        JobState::Queued => "Queueing",
        JobState::Running => "Processing",
        JobState::Completed => "Success",
        JobState::Failed | JobState::Cancelled => "Fail",
    }
}

/// How it went: of a film that failed, why.
pub(super) fn base_resp(job: &Job) -> BaseResp {
    match (job.state, &job.error) {
        (JobState::Failed, Some(error)) => BaseResp::of(&ApiError::from(error.clone())),
        (JobState::Failed, None) => BaseResp::of(&ApiError::new(ErrorKind::TaskFailed, "no reason given")),
        (JobState::Cancelled, _) => BaseResp::of(&ApiError::new(ErrorKind::TaskCancelled, "the task was cancelled")),
        _ => BaseResp::success(),
    }
}
