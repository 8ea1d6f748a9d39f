//! The housekeeping of the store and the disk: named steps, each of which says how much it did.

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use framewright_engine::weights::PackedCache;
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::abandoned_calls;
use super::dispatcher::Shared;
use super::work_directories;
use crate::domain::{JobId, TaskId, UnixMs, WeightsTier};
use crate::execution::results::Attempt;
use crate::jobs::delete_files;
use crate::jobs::store::{QueuePosition, StoreError};
use crate::jobs::submission::job_of_input;
use crate::models::packed;
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
/// Transactions in which old jobs are removed in one turn; the rest waits for the next one.
const FORGETTING_PER_TURN: u32 = 100;
/// Waiting tasks that are read together.
const QUEUE_PAGE: u32 = 1000;
/// Initial pictures whose jobs are looked up together.
const LOOKED_UP_TOGETHER: usize = 500;

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
    PackedWeights,
    OrphanedInputs,
    OldCounters,
    AbandonedCalls,
}

impl Step {
    const ALL: [Self; 8] = [
        Self::Clock,
        Self::ExpiredLeases,
        Self::OldJobs,
        Self::WorkDirectories,
        Self::PackedWeights,
        Self::OrphanedInputs,
        Self::OldCounters,
        Self::AbandonedCalls,
    ];

    /// The name in metrics and logs.
    const fn name(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::ExpiredLeases => "expired_leases",
            Self::OldJobs => "old_jobs",
            Self::WorkDirectories => "work_directories",
            Self::PackedWeights => "packed_weights",
            Self::OrphanedInputs => "orphaned_inputs",
            Self::OldCounters => "old_counters",
            Self::AbandonedCalls => "abandoned_calls",
        }
    }

    /// How often it is done.
    fn interval(self, lease: Duration) -> Duration {
        match self {
            Self::Clock => MINUTE / 2,
            Self::ExpiredLeases => lease / 2,
            Self::AbandonedCalls => MINUTE / 4,
            Self::PackedWeights => MINUTE,
            Self::OldJobs => 10 * MINUTE,
            Self::WorkDirectories | Self::OrphanedInputs => HOUR,
            Self::OldCounters => 6 * HOUR,
        }
    }

    /// Whether running jobs depend on it: then it waits for no other step.
    const fn is_urgent(self) -> bool {
        matches!(self, Self::Clock | Self::ExpiredLeases)
    }

    /// Whether it is done by one server for all of the store. Abandoned calls are taken one by one, by servers that know their providers.
    const fn is_shared(self) -> bool {
        match self {
            Self::AbandonedCalls | Self::Clock | Self::WorkDirectories | Self::PackedWeights => false,
            Self::ExpiredLeases | Self::OldJobs | Self::OrphanedInputs | Self::OldCounters => true,
        }
    }
}

/// Does every step in its time.
pub(super) async fn run(shared: Arc<Shared>) {
    let (urgent, patient): (Vec<Step>, Vec<Step>) = Step::ALL.into_iter().partition(|step| step.is_urgent());
    // Nobody waits for providers.
    let (remote, patient) = patient.into_iter().partition(|step| *step == Step::AbandonedCalls);
    tokio::join!(take_turns(&shared, urgent), take_turns(&shared, patient), take_turns(&shared, remote));
}

/// Does these steps, one after the other, each in its time.
async fn take_turns(shared: &Arc<Shared>, steps: Vec<Step>) {
    let lease = shared.parts.options.lease;
    let mut due: Vec<(Step, Instant)> = steps.into_iter().map(|step| (step, Instant::now())).collect();
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
            match perform(shared, *step).await {
                Ok(count) => {
                    shared.parts.observer.upkeep_done(step.name(), count);
                    if count > 0 && *step != Step::Clock {
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
        Step::PackedWeights => sweep_packed_weights(shared).await,
        Step::OrphanedInputs => remove_orphaned_inputs(shared).await,
        Step::AbandonedCalls => Ok(abandoned_calls::wind_up(shared).await),
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
        shared.parts.observer.job_returned(claim.job.request.model());
        Attempt::new(&claim.job, claim.position, claim.fence.attempt).delete_files(&shared.parts.storage).await;
    }
    Ok(cut_off.len() as u64)
}

/// Removes jobs that ended too long ago: first their files, then their rows, without which nobody would know of the files.
async fn forget_old_jobs(shared: &Shared) -> Result<u64, UpkeepError> {
    let Some(retention) = shared.parts.options.retention else { return Ok(0) };
    let kept_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let before = UnixMs(shared.clock().now().0.saturating_sub(kept_ms));
    let store = shared.parts.runner.store();
    let mut forgotten = 0;
    for _ in 0..FORGETTING_PER_TURN {
        let jobs = store.ended(before, FORGOTTEN_TOGETHER).await?;
        let mut without_files = Vec::with_capacity(jobs.len());
        for job in &jobs {
            match delete_files(store, &shared.parts.storage, job).await {
                Ok(()) => without_files.push(job.id),
                Err(error) => {
                    tracing::warn!(job.id = %job.id, error = &error as &dyn Error, "Cannot delete the files of {}: {error}", job.id);
                }
            }
        }
        let removed = store.forget(&without_files).await?;
        forgotten += removed;
        if removed == 0 || jobs.len() < FORGOTTEN_TOGETHER as usize {
            break;
        }
    }
    Ok(forgotten)
}

/// Removes checkpoints of tasks that neither wait nor run here.
async fn remove_work_directories(shared: &Arc<Shared>) -> Result<u64, UpkeepError> {
    let (directories, now) = (shared.work_directories.clone(), wall_time(shared.clock().now()));
    let candidates = tokio::task::spawn_blocking(move || directories.untouched(LEFT_OVER_AFTER, now)).await??;
    if candidates.is_empty() {
        return Ok(0);
    }
    // The store is asked, not the view: at start the view is still empty, and what these tasks have done is in the directories.
    let waiting = waiting_in_store(shared).await?;
    let left_over = work_directories::unknown(candidates, &waiting, |task| shared.parts.runner.holds(task));
    for task in &left_over {
        shared.work_directories.remove_soon(*task);
    }
    Ok(left_over.len() as u64)
}

/// Every task that waits.
async fn waiting_in_store(shared: &Shared) -> Result<HashSet<TaskId>, UpkeepError> {
    let mut waiting = HashSet::new();
    let mut after = QueuePosition { queued: UnixMs(0), task: None };
    loop {
        let page = shared.parts.runner.store().queued(after, QUEUE_PAGE).await?;
        waiting.extend(page.iter().map(|task| task.task));
        match page.last() {
            Some(last) if page.len() == QUEUE_PAGE as usize => {
                after = QueuePosition { queued: last.queued, task: Some(last.task) };
            }
            _ => return Ok(waiting),
        }
    }
}

/// Keeps packed weights below their bound, and those of no use off the disk.
async fn sweep_packed_weights(shared: &Arc<Shared>) -> Result<u64, UpkeepError> {
    let options = &shared.parts.options;
    let (Some(directory), max_bytes) = (options.packed_directory.clone(), options.max_packed_bytes) else { return Ok(0) };
    let (models, in_use) = (shared.parts.models.clone(), shared.pool.models_in_use());
    let sweeping = tokio::task::spawn_blocking(move || {
        packed::sweep(&PackedCache::new(directory), &models.directories(), &in_use, max_bytes)
    });
    let swept = sweeping.await??;
    (0..swept.evicted_models).for_each(|_| shared.parts.observer.model_evicted(WeightsTier::Packed));
    if swept.excess_bytes > 0 {
        let (kept, excess) = (swept.kept_bytes, swept.excess_bytes);
        tracing::debug!(kept, excess, "Packed weights of models in use take {excess} bytes more than model_cache.max_size_gb");
    }
    Ok(swept.evicted_files + swept.outdated_files + swept.unfinished_files)
}

/// Removes initial pictures whose jobs are not there: a server died between storing the one and the other.
async fn remove_orphaned_inputs(shared: &Shared) -> Result<u64, UpkeepError> {
    let storage = &shared.parts.storage;
    let old = UnixMs(shared.clock().now().0.saturating_sub(LEFT_OVER_AFTER.as_millis() as i64));
    let mut removed = 0;
    let inputs = storage.list("inputs").try_filter_map(move |(key, changed)| {
        std::future::ready(Ok(job_of_input(&key).filter(|_| changed < old).map(|job| (key, job))))
    });
    let mut pages = std::pin::pin!(inputs.try_chunks(LOOKED_UP_TOGETHER));
    while let Some(page) = pages.next().await {
        let page = page.map_err(|failed| failed.1)?;
        let jobs: Vec<JobId> = page.iter().map(|(_, job)| *job).collect();
        let stored = shared.parts.runner.store().stored(&jobs).await?;
        for (key, _) in page.iter().filter(|(_, job)| !stored.contains(job)) {
            storage.delete(key).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn wall_time(now: UnixMs) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(now.0).unwrap_or(0))
}
