//! The housekeeping of the store and the disk: one task, named steps, each of which says how much it did.

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use tokio::time::Instant;

use super::dispatcher::Shared;
use super::work_directories;
use crate::domain::{TaskId, UnixMs};
use crate::execution::results::Attempt;
use crate::jobs::store::StoreError;
use crate::jobs::submission::job_of_input;
use crate::storage::StorageError;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// How old a file that nobody knows must be before it is taken for left over: whoever made it may just be about to say so.
const LEFT_OVER_AFTER: Duration = HOUR;
/// Quota counters are kept this long after their window began: far longer than any window, and than any job waits.
const COUNTERS_KEPT_MS: i64 = 100 * DAY_MS;
/// Jobs removed in one transaction.
const FORGOTTEN_TOGETHER: u32 = 100;

/// Why a step was not done; the next turn tries again.
#[derive(Debug, thiserror::Error)]
enum UpkeepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Disk(#[from] std::io::Error),
    #[error(transparent)]
    Interrupted(#[from] tokio::task::JoinError),
}

/// What is done now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Clock,
    ExpiredLeases,
    OldJobs,
    WorkDirectories,
    OrphanedInputs,
    OldCounters,
}

impl Step {
    const ALL: [Self; 6] =
        [Self::Clock, Self::ExpiredLeases, Self::OldJobs, Self::WorkDirectories, Self::OrphanedInputs, Self::OldCounters];

    /// The name in metrics and logs.
    const fn name(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::ExpiredLeases => "expired_leases",
            Self::OldJobs => "old_jobs",
            Self::WorkDirectories => "work_directories",
            Self::OrphanedInputs => "orphaned_inputs",
            Self::OldCounters => "old_counters",
        }
    }

    /// How often it is done.
    fn interval(self, lease: Duration) -> Duration {
        match self {
            Self::Clock => MINUTE / 2,
            Self::ExpiredLeases => lease / 2,
            Self::OldJobs => 10 * MINUTE,
            Self::WorkDirectories | Self::OrphanedInputs => HOUR,
            Self::OldCounters => 6 * HOUR,
        }
    }

    /// Whether it is done by one server for all of the store.
    const fn is_shared(self) -> bool {
        match self {
            Self::Clock | Self::WorkDirectories => false,
            Self::ExpiredLeases | Self::OldJobs | Self::OrphanedInputs | Self::OldCounters => true,
        }
    }
}

/// Does every step in its time.
pub(super) async fn run(shared: Arc<Shared>) {
    let lease = shared.parts.options.lease;
    let mut due = Step::ALL.map(|step| (step, Instant::now()));
    loop {
        let next = due.iter().map(|(_, at)| *at).min().unwrap_or_else(Instant::now);
        tokio::time::sleep_until(next).await;
        let now = Instant::now();
        let is_leader = match shared.parts.runner.store().lead_upkeep().await {
            Ok(is_leader) => is_leader,
            Err(error) => {
                tracing::warn!(error = &error as &dyn Error, "Cannot tell who does the upkeep: {error}");
                false
            }
        };
        for (step, at) in due.iter_mut().filter(|(_, at)| *at <= now) {
            *at = now + step.interval(lease);
            if step.is_shared() && !is_leader {
                continue;
            }
            match perform(&shared, *step).await {
                Ok(count) => {
                    shared.parts.observer.upkeep_done(step.name(), count);
                    if count > 0 {
                        tracing::info!(step = step.name(), count, "Upkeep: {} {count}", step.name());
                    }
                }
                Err(error) => {
                    tracing::warn!(step = step.name(), error = &error as &dyn Error, "Upkeep: {} failed: {error}", step.name());
                }
            }
        }
    }
}

async fn perform(shared: &Arc<Shared>, step: Step) -> Result<u64, UpkeepError> {
    match step {
        Step::Clock => synchronise_clock(shared).await,
        Step::ExpiredLeases => give_back_expired(shared).await,
        Step::OldJobs => forget_old_jobs(shared).await,
        Step::WorkDirectories => remove_work_directories(shared).await,
        Step::OrphanedInputs => remove_orphaned_inputs(shared).await,
        Step::OldCounters => {
            let before = UnixMs(shared.clock().now().0.saturating_sub(COUNTERS_KEPT_MS));
            Ok(shared.parts.runner.store().forget_counters(before).await?)
        }
    }
}

/// Gives the correction in milliseconds.
async fn synchronise_clock(shared: &Shared) -> Result<u64, UpkeepError> {
    match &shared.parts.options.clock {
        Some(clock) => Ok(clock.synchronise(shared.parts.runner.store()).await?.unsigned_abs()),
        None => Ok(0),
    }
}

/// Has tasks run again whose server died, and removes what their cut-off attempts may have stored.
async fn give_back_expired(shared: &Shared) -> Result<u64, UpkeepError> {
    let cut_off = shared.parts.runner.give_back_expired(false, shared.parts.options.lease).await?;
    for claim in &cut_off {
        shared.parts.observer.job_returned(&claim.job.request.model);
        Attempt::new(&claim.job, claim.fence.attempt).delete_pictures(&shared.parts.storage).await;
    }
    Ok(cut_off.len() as u64)
}

/// Removes jobs that ended too long ago, and their files.
async fn forget_old_jobs(shared: &Shared) -> Result<u64, UpkeepError> {
    let Some(retention) = shared.parts.options.retention else { return Ok(0) };
    let kept_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let before = UnixMs(shared.clock().now().0.saturating_sub(kept_ms));
    let mut forgotten = 0;
    loop {
        let jobs = shared.parts.runner.store().forget(before, FORGOTTEN_TOGETHER).await?;
        for job in &jobs {
            let artifacts = job.result.iter().flat_map(|result| &result.artifacts);
            let pictures = artifacts.flat_map(|artifact| [artifact.key.as_str(), artifact.thumbnail_key.as_str()]);
            for key in pictures.chain(job.request.init_image.as_deref()) {
                if let Err(error) = shared.parts.storage.delete(key).await {
                    tracing::warn!(%key, %error, "Cannot delete {key} of a job that is no longer kept");
                }
            }
        }
        forgotten += jobs.len() as u64;
        if jobs.len() < FORGOTTEN_TOGETHER as usize {
            return Ok(forgotten);
        }
    }
}

/// Removes checkpoints of tasks that neither wait nor run here.
async fn remove_work_directories(shared: &Arc<Shared>) -> Result<u64, UpkeepError> {
    let (directories, now) = (shared.work_directories.clone(), wall_time(shared.clock().now()));
    let candidates = tokio::task::spawn_blocking(move || directories.untouched(LEFT_OVER_AFTER, now)).await??;
    if candidates.is_empty() {
        return Ok(0);
    }
    let waiting: HashSet<TaskId> = shared.waiting.lock().view.tasks().map(|(task, _)| task).collect();
    let left_over = work_directories::unknown(candidates, &waiting, |task| shared.parts.runner.holds(task));
    for task in &left_over {
        shared.work_directories.remove_soon(*task);
    }
    Ok(left_over.len() as u64)
}

/// Removes initial pictures whose jobs are not there: a server died between storing the one and the other.
async fn remove_orphaned_inputs(shared: &Shared) -> Result<u64, UpkeepError> {
    let storage = &shared.parts.storage;
    let old = UnixMs(shared.clock().now().0.saturating_sub(LEFT_OVER_AFTER.as_millis() as i64));
    let mut removed = 0;
    let mut inputs = storage.list("inputs");
    while let Some(input) = inputs.next().await {
        let (key, changed) = input?;
        let Some(job) = job_of_input(&key).filter(|_| changed < old) else { continue };
        if matches!(shared.parts.runner.store().job(job).await, Err(StoreError::NotFound(_))) {
            storage.delete(&key).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn wall_time(now: UnixMs) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(now.0).unwrap_or(0))
}
