//! Tasks that providers fulfil: claimed as soon as their provider has room, and followed beside what the devices do.

use std::collections::HashMap;
use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::conclusion::{Conclusion, conclude};
use super::dispatcher::Shared;
use super::remote_queue::Admission;
use super::task_run::blame;
use crate::domain::{
    ErrorCode, JobError, JobId, JobKind, JobResult, Progress, ProjectId, RemoteRequest, Spent, TaskId, UnixMs, UserId,
};
use crate::execution::results::Attempt;
use crate::execution::{RemoteEnding, RemoteExecution, RemoteWork, TaskHold, WaitingWork};
use crate::jobs::RunningTask;
use crate::jobs::store::{Outcome, QueuedTask, Release, StoreError};

/// Most tasks that are followed at once. They only wait, but each holds a lease.
const MOST_TOGETHER: usize = 1024;
/// The pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_millis(500);
/// How long nothing happens at most before the queue is looked at again.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How many of whose tasks run.
#[derive(Debug, Default)]
struct Running {
    all: usize,
    of_users: HashMap<UserId, u32>,
    of_projects: HashMap<ProjectId, u32>,
}

impl Running {
    fn count<K: std::hash::Hash + Eq + Clone>(counts: &mut HashMap<K, u32>, key: &K, one_more: bool) {
        let count = counts.entry(key.clone()).or_default();
        *count = if one_more { count.saturating_add(1) } else { count.saturating_sub(1) };
        if *count == 0 {
            counts.remove(key);
        }
    }

    fn change(&mut self, task: &RunningTask, one_more: bool) {
        self.all = if one_more { self.all + 1 } else { self.all.saturating_sub(1) };
        Self::count(&mut self.of_users, &task.job.user, one_more);
        if let Some(project) = &task.job.project {
            Self::count(&mut self.of_projects, project, one_more);
        }
    }

    /// Whether the tenants of a task may have one more.
    fn admits(&self, task: &QueuedTask, shared: &Shared) -> bool {
        let shares = &shared.parts.shares;
        let below = |cap: Option<u32>, count: Option<&u32>| cap.is_none_or(|cap| count.copied().unwrap_or(0) < cap);
        let of_project = task.project.as_ref();
        below(shares.user_concurrency(&task.user), self.of_users.get(&task.user))
            && of_project.is_none_or(|project| below(shares.project_concurrency(project), self.of_projects.get(project)))
    }
}

/// Claims and follows until the scheduler stops.
pub(super) async fn run_until_stopped(shared: Arc<Shared>, remote: Arc<dyn RemoteExecution>) {
    let running = Arc::new(Mutex::new(Running::default()));
    while !shared.stop.is_cancelled() {
        // Registered before the queue is looked at, so that what happens meanwhile wakes the wait.
        let mut arrived = std::pin::pin!(shared.remote_work.notified());
        arrived.as_mut().enable();
        let mut room = std::pin::pin!(remote.room_changed());
        room.as_mut().enable();
        match claim_first(&shared, &*remote, &running).await {
            Ok(Some((task, since))) => {
                running.lock().change(&task, true);
                let (shared, remote, running) = (shared.clone(), remote.clone(), running.clone());
                shared.clone().tasks.spawn(async move {
                    let task = Arc::new(task);
                    run(&shared, &*remote, &task, since).await;
                    running.lock().change(&task, false);
                    // Another one may have waited for it.
                    shared.remote_work.notify_one();
                });
            }
            Ok(None) => {
                let pause = until_next_due(&shared);
                tokio::select! {
                    () = shared.stop.cancelled() => {}
                    () = arrived => {}
                    () = room => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn Error, "Cannot claim tasks: {error}; trying again soon");
                tokio::select! {
                    () = shared.stop.cancelled() => {}
                    () = tokio::time::sleep(STORE_PAUSE) => {}
                }
            }
        }
    }
}

fn until_next_due(shared: &Shared) -> Duration {
    let now = shared.clock().now();
    let due = shared.waiting.lock().remote.next_due(now);
    due.map_or(LONGEST_WAIT, |due| Duration::from_millis(u64::try_from(due.0 - now.0).unwrap_or(0).max(1)).min(LONGEST_WAIT))
}

/// Claims the task whose turn it is; `None` when nothing is due, nothing has room, or somebody else was faster.
async fn claim_first(
    shared: &Shared,
    remote: &dyn RemoteExecution,
    running: &Mutex<Running>,
) -> Result<Option<(RunningTask, UnixMs)>, StoreError> {
    let first: Option<(TaskId, JobId, UnixMs)> = {
        let (mut waiting, running) = (shared.waiting.lock(), running.lock());
        let now = shared.clock().now();
        let doors = Doors { shared, remote, running: &running, now };
        waiting.remote.note_caps(now, &doors);
        waiting.remote.first(now, &doors).map(|(task, since)| (task.task, task.job, since))
    };
    let Some((task, job, since)) = first else { return Ok(None) };
    let claimed = shared.parts.runner.claim(&[(task, job)], shared.parts.options.lease).await?;
    {
        let mut waiting = shared.waiting.lock();
        // What was not won is somebody else's, or not wanted any more.
        if claimed.is_empty() { drop(waiting.remote.remove(task)) } else { waiting.remote.take(task) }
    }
    Ok(claimed.into_iter().next().map(|claimed| (claimed, since)))
}

/// What lets tasks begin at this moment.
struct Doors<'a> {
    shared: &'a Shared,
    remote: &'a dyn RemoteExecution,
    running: &'a Running,
    now: UnixMs,
}

impl Doors<'_> {
    fn admits(&self, work: Option<WaitingWork>) -> bool {
        self.running.all < MOST_TOGETHER && work.is_none_or(|work| self.remote.admits(&work))
    }
}

impl Admission for Doors<'_> {
    fn has_room(&self, task: &QueuedTask) -> bool {
        // As one that has just come.
        let fresh = |work| WaitingWork { queued: self.now, has_next_target: false, has_open_call: false, ..work };
        self.admits(waiting_work(task, self.now, self.shared).map(fresh))
    }

    fn begins_without_room(&self, task: &QueuedTask, since: UnixMs) -> bool {
        self.admits(waiting_work(task, since, self.shared))
    }

    fn lets_tenant(&self, task: &QueuedTask) -> bool {
        self.running.admits(task, self.shared)
    }
}

/// A task that has waited for its provider since then, as whoever speaks with that knows it; nothing where the provider has no name, so that it
/// fails at once.
pub(super) fn waiting_work(task: &QueuedTask, since: UnixMs, shared: &Shared) -> Option<WaitingWork> {
    Some(WaitingWork {
        provider: task.batch.model.as_str().parse().ok()?,
        queued: task.queued,
        since,
        has_next_target: task.has_next_target,
        has_open_call: task.has_open_call,
        has_peers: shared.parts.options.has_peers,
    })
}

/// Follows a claimed task, which has waited since then, and writes down how it ended. A panic on the way counts as the task's failure.
async fn run(shared: &Arc<Shared>, remote: &dyn RemoteExecution, task: &Arc<RunningTask>, since: UnixMs) {
    let begun = Instant::now();
    let followed = AssertUnwindSafe(follow(shared, remote, task, since)).catch_unwind().await;
    let (conclusion, spent) = followed.unwrap_or_else(|_| {
        tracing::error!(job.id = %task.job.id, "Following job {} panicked", task.job.id);
        (blame(task, "the server's own code panicked", 0, shared.clock().now()), Spent::default())
    });
    if !matches!(conclusion, Conclusion::End(Outcome::Completed(_))) {
        attempt(task).delete_files(&shared.parts.storage).await;
    }
    if conclude(shared, task, conclusion, spent, begun.elapsed()).await {
        attempt(task).delete_answer(&shared.parts.storage).await;
    } else if let Err(error) = shared.parts.runner.store().charge_late(task.fence.job, task.fence.task).await {
        // Where somebody else has ended the task meanwhile, a call that ended here is charged nowhere else.
        tracing::error!(job.id = %task.job.id, error = &error as &dyn Error, "Job {}: what it cost is not charged: {error}", task.job.id);
    }
}

fn attempt(task: &RunningTask) -> Attempt {
    Attempt::new(&task.job, task.position, task.fence.attempt)
}

async fn follow(
    shared: &Arc<Shared>,
    remote: &dyn RemoteExecution,
    task: &Arc<RunningTask>,
    since: UnixMs,
) -> (Conclusion, Spent) {
    let Some(request) = task.request().remote().cloned() else {
        let error = JobError { code: ErrorCode::Internal, message: "the task has nothing that a provider can make".to_owned() };
        return (Conclusion::End(Outcome::Failed(error)), Spent::default());
    };
    let waited_ms = task.job.started.map_or(0, |started| started.0 - task.job.created.0);
    shared.parts.observer.job_started(&request.model, waited_ms as f64 / 1000.0);
    let provider = request.provider.clone();
    tracing::info!(job.id = %task.job.id, %provider, waited_ms, "Job {} goes to {provider}", task.job.id);
    let leave = CancellationToken::new();
    let progress = {
        let (shared, task) = (shared.clone(), task.clone());
        move |percent: u32| shared.parts.runner.publish_progress(&task, Progress { step: percent.min(100), steps: 100 })
    };
    let work = RemoteWork {
        task: task.fence.task,
        job: task.job.clone(),
        request: request.clone(),
        attempt: attempt(task),
        hold: Some(TaskHold { attempt: task.fence.attempt, owner: task.fence.owner.clone() }),
        has_next_target: task.has_next_target(),
        waiting_since: since,
        stop: task.stop.clone(),
        leave: leave.clone(),
        progress: Arc::new(progress),
    };
    let mut running = std::pin::pin!(remote.run(work));
    let ending = loop {
        tokio::select! {
            ending = &mut running => break ending,
            () = left(shared, task), if !leave.is_cancelled() => leave.cancel(),
        }
    };
    if task.lost.is_cancelled() {
        return (Conclusion::Discard, Spent::default());
    }
    let costs = |cost_micros| Spent { cost_micros, ..Spent::default() };
    match ending {
        RemoteEnding::Completed { result, cost_micros } => {
            let spent = delivered(&request, &result, cost_micros);
            (Conclusion::End(Outcome::Completed(result)), spent)
        }
        RemoteEnding::Failed { error, cost_micros } => (Conclusion::End(Outcome::Failed(error)), costs(cost_micros)),
        RemoteEnding::Cancelled { cost_micros } => (Conclusion::End(Outcome::Cancelled), costs(cost_micros)),
        RemoteEnding::Left => (Conclusion::Return(Release::default()), Spent::default()),
    }
}

/// What a completed task takes from the quotas.
fn delivered(request: &RemoteRequest, result: &JobResult, cost_micros: i64) -> Spent {
    let artifacts = &result.artifacts;
    let storage_bytes = artifacts.iter().fold(0_i64, |sum, artifact| sum.saturating_add_unsigned(artifact.bytes));
    let count = i64::try_from(artifacts.len()).unwrap_or(i64::MAX);
    let spent = Spent { cost_micros, storage_bytes, ..Spent::default() };
    match request.output {
        JobKind::Image => Spent { images: count, ..spent },
        JobKind::Film => {
            let milliseconds = artifacts.iter().filter_map(|artifact| artifact.video.as_ref()).map(|video| video.duration_ms);
            Spent { videos: 1, video_ms: milliseconds.fold(0, i64::saturating_add), ..spent }
        }
    }
}

/// Completes when this server shall not follow the task any more, whoever goes on with it.
async fn left(shared: &Shared, task: &RunningTask) {
    tokio::select! {
        () = task.lost.cancelled() => {}
        () = shared.preempt.cancelled() => {}
    }
}
