//! Tasks that need no device: scenes and films are made on the server's own processor, a few at a time, beside what the devices do.

use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use framewright_engine::ops::Interrupt;
use futures_util::FutureExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::conclusion::{Conclusion, conclude};
use super::dispatcher::Shared;
use super::task_run::blame;
use crate::domain::plan::{Place, plan};
use crate::domain::{ErrorCode, JobError, Progress, Spent, TaskId};
use crate::execution::film::{self, FilmError, FilmTask, HostProgress};
use crate::execution::results::Attempt;
use crate::jobs::RunningTask;
use crate::jobs::store::{Outcome, Release, StoreError};

/// Most tasks at once: an encoder uses several threads itself. Of those that networks finish there is one, since these take gigabytes; the
/// other place is for what takes little.
const MOST_TOGETHER: usize = 2;
/// The pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_millis(500);
/// How long nothing happens at most before the queue is looked at again.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Claims and runs until the scheduler stops.
pub(super) async fn run_until_stopped(shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(MOST_TOGETHER));
    let place_alone = Arc::new(Semaphore::new(1));
    while !shared.stop.is_cancelled() {
        // Registered before the queue is looked at, so that what arrives meanwhile wakes the wait.
        let mut arrived = std::pin::pin!(shared.host_work.notified());
        arrived.as_mut().enable();
        let place = tokio::select! {
            () = shared.stop.cancelled() => return,
            place = places.clone().acquire_owned() => place,
        };
        let Ok(place) = place else { return };
        let one_alone_runs = place_alone.available_permits() == 0;
        match claim_first(&shared, one_alone_runs).await {
            Ok(Some(task)) => {
                // There is one: only this loop takes it, and has not chosen such a task without it.
                let alone = is_alone(&task).then(|| place_alone.clone().try_acquire_owned());
                let running = shared.clone();
                shared.tasks.spawn(async move {
                    let was_alone = alone.is_some();
                    run(running.clone(), task).await;
                    drop((place, alone));
                    if was_alone {
                        // Another one may have waited for it.
                        running.host_work.notify_one();
                    }
                });
            }
            Ok(None) => {
                drop(place);
                let pause = until_next_due(&shared, one_alone_runs);
                tokio::select! {
                    () = shared.stop.cancelled() => {}
                    () = arrived => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
            Err(error) => {
                drop(place);
                tracing::error!(error = &error as &dyn Error, "Cannot claim tasks: {error}; trying again soon");
                tokio::select! {
                    () = shared.stop.cancelled() => {}
                    () = tokio::time::sleep(STORE_PAUSE) => {}
                }
            }
        }
    }
}

fn until_next_due(shared: &Shared, one_alone_runs: bool) -> Duration {
    let now = shared.clock().now();
    let waiting = shared.waiting.lock();
    if waiting.host.first(now, |task| !(task.alone && one_alone_runs)).is_some() {
        return Duration::ZERO;
    }
    let due = waiting.host.next_due(now);
    due.map_or(LONGEST_WAIT, |due| Duration::from_millis(u64::try_from(due.0 - now.0).unwrap_or(0).max(1)).min(LONGEST_WAIT))
}

/// Whether no other such task may run beside this one.
fn is_alone(task: &RunningTask) -> bool {
    task.alone || task.planned.place == Place::Host { alone: true }
}

/// Claims the task whose turn it is; `None` when nothing is due, or somebody else was faster.
async fn claim_first(shared: &Shared, one_alone_runs: bool) -> Result<Option<RunningTask>, StoreError> {
    let first: Option<(TaskId, _)> = {
        let waiting = shared.waiting.lock();
        waiting.host.first(shared.clock().now(), |task| !(task.alone && one_alone_runs)).map(|task| (task.task, task.job))
    };
    let Some(first) = first else { return Ok(None) };
    let claimed = shared.parts.runner.claim(&[first], shared.parts.options.lease).await?;
    shared.waiting.lock().host.remove(first.0);
    Ok(claimed.into_iter().next())
}

/// Runs a claimed task and writes down how it ended. A panic on the way counts as the task's failure.
async fn run(shared: Arc<Shared>, task: RunningTask) {
    let task = Arc::new(task);
    let begun = Instant::now();
    let made = AssertUnwindSafe(make(&shared, &task)).catch_unwind().await;
    let (conclusion, spent) = made.unwrap_or_else(|_| {
        tracing::error!(job.id = %task.job.id, "Making part of job {} panicked", task.job.id);
        (blame(&task, "the server's own code panicked", 0, shared.clock().now()), Spent::default())
    });
    if !matches!(conclusion, Conclusion::End(Outcome::Completed(_))) {
        // A file may have got its name before something went wrong, or before somebody asked to stop.
        Attempt::new(&task.job, task.position, task.fence.attempt).delete_files(&shared.parts.storage).await;
    }
    conclude(&shared, &task, conclusion, spent, begun.elapsed()).await;
}

async fn make(shared: &Arc<Shared>, task: &Arc<RunningTask>) -> (Conclusion, Spent) {
    let interrupt = Interrupt::default();
    let role = task.planned.role.as_str();
    tracing::info!(job.id = %task.job.id, role, position = task.position, "Making the {role} of job {}", task.job.id);
    let work = {
        let (task, shared, interrupt) = (task.clone(), shared.clone(), interrupt.clone());
        tokio::task::spawn_blocking(move || {
            let storage = &shared.parts.storage;
            let attempt = Attempt::new(&task.job, task.position, task.fence.attempt);
            let told = |done: u32, of: u32| {
                shared.parts.runner.publish_progress(&task, Progress { step: done, steps: of });
            };
            let progress = HostProgress { interrupt: &interrupt, told: &told };
            let Some(film) = task.request().film() else { return Err(FilmError::NotHere(task.planned.role.as_str())) };
            let plan = plan(&task.job.request);
            let parts = FilmTask { film, plan: &plan, position: task.position, finished: &task.finished };
            film::make(&parts, &attempt, storage, &shared.parts.options.films, shared.clock().now(), &progress)
        })
    };
    let mut work = std::pin::pin!(work);
    let made = loop {
        tokio::select! {
            made = &mut work => break made,
            () = told_to_stop(shared, task), if !interrupt.is_cancelled() => interrupt.cancel(),
        }
    };
    if task.lost.is_cancelled() {
        return (Conclusion::Discard, Spent::default());
    }
    match made {
        Ok(Ok((result, spent))) if !task.stop.is_cancelled() => (Conclusion::End(Outcome::Completed(result)), spent),
        Ok(Ok(_) | Err(FilmError::Interrupted)) if task.stop.is_cancelled() => {
            (Conclusion::End(Outcome::Cancelled), Spent::default())
        }
        Ok(Ok(_) | Err(FilmError::Interrupted)) => (Conclusion::Return(Release::default()), Spent::default()),
        Ok(Err(error)) => {
            tracing::error!(job.id = %task.job.id, error = &error as &dyn Error, "Job {}: {error}", task.job.id);
            let error = JobError { code: error.code(), message: error.to_string() };
            (Conclusion::End(Outcome::Failed(error)), Spent::default())
        }
        Err(panicked) if panicked.is_panic() => {
            (blame(task, "the server's own code panicked", 0, shared.clock().now()), Spent::default())
        }
        Err(error) => {
            let error = JobError { code: ErrorCode::Internal, message: error.to_string() };
            (Conclusion::End(Outcome::Failed(error)), Spent::default())
        }
    }
}

/// Completes when the task shall not go on, for whatever reason.
async fn told_to_stop(shared: &Shared, task: &RunningTask) {
    tokio::select! {
        () = task.stop.cancelled() => {}
        () = task.lost.cancelled() => {}
        () = shared.preempt.cancelled() => {}
    }
}
