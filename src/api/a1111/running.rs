//! The job that a caller means who names none, and how far it is in the web UI's terms.

use serde::Serialize;
use utoipa::ToSchema;

use super::answer::timestamp;
use super::remembered::Run;
use crate::api::error::ApiError;
use crate::api::state::ApiState;
use crate::domain::{Job, JobKind, JobState, Principal, Progress, UnixMs};
use crate::jobs::store::JobFilter;

/// The caller's newest job for pictures that runs, whatever surface it came by; else its newest one that waits.
pub(super) async fn current_job(state: &ApiState, principal: &Principal) -> Result<Option<Job>, ApiError> {
    for wanted in [JobState::Running, JobState::Queued] {
        let filter = JobFilter {
            // An administrator's own too, although it may see everybody's.
            user: Some(principal.user.clone()),
            project: principal.project.clone(),
            kind: Some(JobKind::Image),
            states: vec![wanted],
            ..JobFilter::default()
        };
        if let Some(job) = state.jobs.list(principal, filter, 1, None).await?.pop() {
            return Ok(Some(job));
        }
    }
    Ok(None)
}

/// The web UI's state.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::api) struct ProgressState {
    /// Always false: a skipped task is cancelled and gone.
    skipped: bool,
    /// Always false: an interrupted task is cancelled and gone.
    interrupted: bool,
    /// Always false.
    stopping_generation: bool,
    /// What is done; empty when nothing is.
    job: String,
    /// Batches of the task; 0 when there is none.
    pub(super) job_count: u32,
    /// When it was asked for: `20260102030405`, UTC; `0` when nothing was.
    job_timestamp: String,
    /// The batch that is made, from 0.
    job_no: u32,
    /// Steps done of it.
    sampling_step: u32,
    /// Steps in all.
    sampling_steps: u32,
}

impl ProgressState {
    /// Of nobody's work.
    pub(super) fn idle() -> Self {
        Self::new(String::new(), 0, "0".to_owned(), (0, 0), 0)
    }

    fn new(job: String, job_count: u32, job_timestamp: String, (job_no, sampling_step): (u32, u32), sampling_steps: u32) -> Self {
        Self {
            skipped: false,
            interrupted: false,
            stopping_generation: false,
            job,
            job_count,
            job_timestamp,
            job_no,
            sampling_step,
            sampling_steps,
        }
    }

    /// Of a job.
    pub(super) fn of(job: &Job, run: &Run) -> Self {
        let steps = job.request.image().map_or(0, |request| request.num_inference_steps);
        let (batch, step) = batch_and_step(job.progress, run.batches, steps);
        let name = if run.batches > 1 { format!("Batch {} out of {}", batch + 1, run.batches) } else { run.job.to_owned() };
        Self::new(name, run.batches, timestamp(job.created), (batch, step), steps)
    }
}

/// The batch that is made, from 0, and the steps done of it: a job counts evaluations over all of its pictures.
fn batch_and_step(progress: Progress, batches: u32, steps: u32) -> (u32, u32) {
    let (done, all) = (u64::from(progress.step), u64::from(progress.steps.max(1)));
    // In batches · all parts.
    let done = done.min(all) * u64::from(batches);
    let batch = (done / all).min(u64::from(batches.saturating_sub(1)));
    let step = (done - batch * all) * u64::from(steps) / all;
    (batch as u32, step as u32)
}

/// Seconds that a job that is `fraction` done will still take, from those that it has taken.
pub(super) fn remaining_seconds(job: &Job, fraction: f64, now: UnixMs) -> Option<f64> {
    let elapsed = (now.0 - job.started?.0).max(0) as f64 / 1000.0;
    (fraction > 0.0).then(|| elapsed / fraction - elapsed)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing_done((0, 20), 1, 20, (0, 0))]
    #[case::half((10, 20), 1, 20, (0, 10))]
    #[case::all((20, 20), 1, 20, (0, 20))]
    #[case::second_batch((30, 40), 2, 20, (1, 10))]
    #[case::two_evaluations_a_step((19, 39), 1, 20, (0, 9))]
    #[case::not_begun((0, 0), 3, 20, (0, 0))]
    #[case::too_much((50, 40), 2, 20, (1, 20))]
    #[case::most((u32::MAX, u32::MAX), u32::MAX, u32::MAX, (u32::MAX - 1, u32::MAX))]
    fn evaluations_are_batches_and_steps(
        #[case] (step, steps): (u32, u32),
        #[case] batches: u32,
        #[case] sampling_steps: u32,
        #[case] expected: (u32, u32),
    ) {
        assert_eq!(batch_and_step(Progress { step, steps }, batches, sampling_steps), expected);
    }
}
