//! How attempts at tasks come out, and that it is written down.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::dispatcher::Shared;
use super::route_stage;
use crate::domain::{Job, JobState, Spent};
use crate::execution::results::Attempt;
use crate::jobs::RunningTask;
use crate::jobs::store::{Outcome, Release, StoreError};

/// Pauses between attempts to write down how a task ended, when the database fails.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// Attempts before a job's last one whose pictures are looked for when it has ended.
const ATTEMPTS_CLEANED: i64 = 16;

/// How an attempt came out.
pub(super) enum Conclusion {
    /// The job ends.
    End(Outcome),
    /// The task goes back to the queue.
    Return(Release),
    /// The task is somebody else's.
    Discard,
}

/// Writes down how an attempt came out, however long the database needs. Whether the task has ended, and that is written.
pub(super) async fn conclude(
    shared: &Arc<Shared>,
    task: &Arc<RunningTask>,
    conclusion: Conclusion,
    spent: Spent,
    ran: Duration,
) -> bool {
    let (runner, fence) = (&shared.parts.runner, &task.fence);
    let concluded = match &conclusion {
        Conclusion::End(outcome) => persist(shared, task, || runner.finish(task, outcome, spent)).await,
        Conclusion::Return(release) => persist(shared, task, || runner.release(task, release)).await,
        Conclusion::Discard => {
            runner.forget(task);
            Err(StoreError::LeaseLost)
        }
    };
    match concluded {
        Ok(job) => {
            report_end(shared, task, &job, ran);
            route_stage::report(shared, task, &job, &conclusion);
            let is_over = matches!(conclusion, Conclusion::End(_)) || job.state.is_terminal();
            if is_over {
                shared.oom_retries.forget(fence.task);
                shared.work_directories.remove_soon(fence.task);
                // Whoever gave an attempt back may have died before it removed what that attempt had stored.
                for earlier in (fence.attempt - ATTEMPTS_CLEANED).max(1)..fence.attempt {
                    Attempt::new(&job, task.position, earlier).delete_files(&shared.parts.storage).await;
                }
            }
            is_over
        }
        Err(StoreError::LeaseLost) => {
            give_up_lost(shared, task).await;
            false
        }
        Err(error) => {
            tracing::error!(job.id = %fence.job, error = &error as &dyn Error, "Cannot write down the end of job {}: {error}", fence.job);
            // It runs again when its lease has ended, and what it stored is removed.
            runner.give_up(task);
            false
        }
    }
}

/// Cleans up after a task that is no longer this runner's: its job has ended with it, or somebody else has it.
async fn give_up_lost(shared: &Arc<Shared>, task: &Arc<RunningTask>) {
    let (runner, fence) = (&shared.parts.runner, &task.fence);
    Attempt::new(&task.job, task.position, fence.attempt).delete_files(&shared.parts.storage).await;
    // A job that is not there has ended, and has been removed since.
    let is_over = runner.store().jobs_of(&[fence.job]).await.map(|jobs| jobs.iter().all(|job| job.state.is_terminal()));
    match is_over {
        Ok(true) => {
            tracing::info!(job.id = %fence.job, position = task.position, "Task {} of job {} stopped: the job has ended", task.position, fence.job);
            shared.oom_retries.forget(fence.task);
            shared.work_directories.remove_soon(fence.task);
        }
        Ok(false) => {
            tracing::error!(job.id = %fence.job, "Cannot write down the end of job {}: {}", fence.job, StoreError::LeaseLost);
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn Error, "Cannot look what became of job {}: {error}", fence.job);
        }
    }
    if let Err(error) = runner.follow_elsewhere().await {
        tracing::warn!(error = &error as &dyn Error, "Cannot look what became of job {}: {error}", fence.job);
    }
}

fn report_end(shared: &Shared, task: &RunningTask, job: &Job, ran: Duration) {
    let (seconds, model) = (ran.as_secs_f64(), task.request().model());
    match job.state {
        JobState::Queued => {
            shared.parts.observer.job_returned(model);
            tracing::info!(job.id = %job.id, "Gave job {} back to the queue", job.id);
        }
        JobState::Running => {
            let (role, position) = (task.planned.role.as_str(), task.position);
            tracing::info!(job.id = %job.id, role, position, seconds, "Task {position} of job {} ended", job.id);
        }
        state => {
            shared.parts.observer.job_finished(model, state, seconds);
            let error = job.error.as_ref().map(|error| error.message.as_str());
            tracing::info!(job.id = %job.id, state = state.as_str(), seconds, error, "Job {} {}", job.id, state.as_str());
        }
    }
}

/// Repeats a write until the database takes it, the task turns out to be lost, or the server must end (the next start then finds the job
/// running, and runs it again).
async fn persist<F>(shared: &Shared, task: &RunningTask, write: impl Fn() -> F) -> Result<Job, StoreError>
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
                tracing::warn!(job.id = %task.fence.job, error = &error as &dyn Error, "The database does not answer: {error}");
                tokio::select! {
                    () = shared.preempt.cancelled() => return Err(error),
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_RETRY),
                }
                unanswered = Some(error);
            }
            (concluded, _) => return concluded,
        }
    }
}
