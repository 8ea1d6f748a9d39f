//! The loop that gives work to devices: take changes in, plan, claim in one call, start.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::device_pool::DevicePool;
use super::fleet::ModelFacts;
use super::known_models::KnownModels;
use super::options::SchedulerParts;
use super::plan::{Dispatch, Plan, plan};
use super::publish::PUBLISHING_UNITS;
use super::task_run::{self, OutOfMemoryRetries};
use super::waiting::WaitingTasks;
use super::work_directories::WorkDirectories;
use crate::domain::plan::Lane;
use crate::domain::{Clock, JobId, ModelId, TaskId, UnixMs, WeightsTier};
use crate::execution::TaskFailure;
use crate::jobs::speed::UNMEASURED_SECONDS_PER_WORK;
use crate::jobs::store::{Outcome, QueuedTask, StoreError};
use crate::jobs::{QueueChange, RunningTask};

/// How often the loop looks whether models are idle, whatever happens or does not.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);
/// The pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_millis(500);
/// How long a plan waits for a first look at a new model's files.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// Tasks that are failed in one turn because they can never run.
const IMPOSSIBLE_TOGETHER: usize = 64;

/// What the loop, the tasks and the upkeep share.
pub(super) struct Shared {
    pub(super) parts: SchedulerParts,
    pub(super) pool: Arc<DevicePool>,
    pub(super) waiting: Mutex<WaitingTasks>,
    pub(super) models: KnownModels,
    pub(super) work_directories: WorkDirectories,
    pub(super) oom_retries: OutOfMemoryRetries,
    /// Results that are encoded and stored while their devices go on: bounds the pictures held in memory.
    pub(super) publishing: Arc<Semaphore>,
    /// Wakes whoever runs what needs no device.
    pub(super) host_work: Notify,
    /// Wakes whoever speaks with providers.
    pub(super) remote_work: Notify,
    /// Stops claiming.
    pub(super) stop: CancellationToken,
    /// Interrupts what runs, to be run again by the next server.
    pub(super) preempt: CancellationToken,
    /// The loop and the tasks.
    pub(super) tasks: TaskTracker,
}

impl Shared {
    pub(super) fn new(parts: SchedulerParts, work_directories: WorkDirectories) -> Self {
        Self {
            pool: Arc::new(DevicePool::new(parts.executors.clone(), parts.max_concurrent, &parts.options)),
            waiting: Mutex::new(WaitingTasks::new(parts.shares.clone(), parts.runner.clock().now())),
            models: KnownModels::new(parts.models.clone(), parts.options.numerics),
            work_directories,
            oom_retries: OutOfMemoryRetries::default(),
            publishing: Arc::new(Semaphore::new(PUBLISHING_UNITS)),
            host_work: Notify::new(),
            remote_work: Notify::new(),
            stop: CancellationToken::new(),
            preempt: CancellationToken::new(),
            tasks: TaskTracker::new(),
            parts,
        }
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        self.parts.runner.clock()
    }

    /// Device seconds that a waiting task will probably take.
    fn expected_seconds(&self, task: &QueuedTask) -> f64 {
        task.work * self.models.seconds_per_work(&task.batch).unwrap_or(UNMEASURED_SECONDS_PER_WORK)
    }
}

/// Dispatches until the scheduler stops.
pub(super) async fn dispatch_until_stopped(shared: Arc<Shared>) {
    while !shared.stop.is_cancelled() {
        // Registered before anything is looked at, so that what happens meanwhile wakes this turn's wait.
        let mut arrived = std::pin::pin!(shared.parts.runner.changed());
        arrived.as_mut().enable();
        let mut changed = std::pin::pin!(shared.pool.changed());
        changed.as_mut().enable();

        take_changes(&shared).await;
        let pause = match dispatch(&shared).await {
            Ok(0) => {
                unload_idle(&shared);
                HOUSEKEEPING_INTERVAL.min(shared.until_next_due())
            }
            Ok(_) => Duration::ZERO,
            Err(error) => {
                tracing::error!(error = &error as &dyn Error, "Cannot claim tasks: {error}; trying again soon");
                tokio::select! {
                    () = shared.stop.cancelled() => {}
                    () = tokio::time::sleep(STORE_PAUSE) => {}
                }
                Duration::ZERO
            }
        };
        if pause.is_zero() {
            tokio::task::yield_now().await;
            continue;
        }
        tokio::select! {
            () = shared.stop.cancelled() => {}
            () = arrived => {}
            () = changed => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Shared {
    fn until_next_due(&self) -> Duration {
        let now = self.clock().now();
        let due = self.waiting.lock().view.next_due(now);
        due.map_or(Duration::MAX, |due| Duration::from_millis(u64::try_from(due.0 - now.0).unwrap_or(0).max(1)))
    }
}

/// Brings the view of the queue up to date. A model that was never seen is looked at before its first task can be planned.
async fn take_changes(shared: &Arc<Shared>) {
    let changes = shared.parts.runner.changes();
    let arrived = changes.iter().filter_map(|change| match change {
        QueueChange::Arrived(task) => (task.lane == Lane::Device).then_some(&task.batch.model),
        QueueChange::Left(_) | QueueChange::Gone(_) | QueueChange::Reprioritized(..) => None,
    });
    let mut strangers: Vec<ModelId> = Vec::new();
    for model in arrived {
        if !strangers.contains(model) && !shared.models.knows(model) {
            strangers.push(model.clone());
        }
    }
    for model in strangers {
        // A model that is not there fails its tasks when they run.
        let _ = tokio::time::timeout(FIRST_LOOK, shared.models.find(&model)).await;
    }
    let (is_host, is_remote) = {
        let mut waiting = shared.waiting.lock();
        for change in changes {
            waiting.apply(change);
        }
        (waiting.host.tasks().next().is_some(), waiting.remote.tasks().next().is_some())
    };
    if is_host {
        shared.host_work.notify_one();
    }
    if is_remote {
        shared.remote_work.notify_one();
    }
}

/// A task that was planned.
struct Planned {
    task: TaskId,
    job: JobId,
    /// Index into the plan's dispatches; `None` when it can never run.
    dispatch: Option<usize>,
    expected_seconds: f64,
}

/// Plans, claims and starts once; gives how many tasks left the queue.
async fn dispatch(shared: &Arc<Shared>) -> Result<usize, StoreError> {
    let now = shared.clock().now();
    let (plan, planned) = {
        let waiting = shared.waiting.lock();
        if waiting.view.is_empty() {
            return Ok(0);
        }
        let plan = plan(&waiting.view, &shared.pool.fleet(), &shared.models, &*shared.parts.shares, now);
        let planned = planned_tasks(shared, &waiting, &plan);
        (plan, planned)
    };
    for (device, model) in &plan.unload {
        shared.pool.dismiss(*device, model);
    }
    if planned.is_empty() {
        return Ok(0);
    }
    let wanted: Vec<(TaskId, JobId)> = planned.iter().map(|planned| (planned.task, planned.job)).collect();
    let claimed = shared.parts.runner.claim(&wanted, shared.parts.options.lease).await?;
    let mut won: HashMap<TaskId, RunningTask> = claimed.into_iter().map(|task| (task.fence.task, task)).collect();
    for planned in &planned {
        let task = won.remove(&planned.task);
        let dispatch = planned.dispatch.map(|index| &plan.dispatches[index]);
        let waited = {
            let mut waiting = shared.waiting.lock();
            // What was not won is somebody else's, or not wanted any more; what can never run costs its tenant nothing.
            match (&task, dispatch) {
                (Some(_), Some(_)) => waiting.view.take(planned.task, planned.expected_seconds),
                _ => waiting.view.remove(planned.task),
            }
        };
        let Some(task) = task else { continue };
        if let Some(dispatch) = dispatch {
            let waited = waited.unwrap_or_else(|| task.waiting());
            let has_mates = dispatch.tasks.len() > 1 || shared.pool.sharing(dispatch.device) > 0;
            if task.alone && !waited.alone && has_mates {
                // Another server gave it back so, and this one had not heard.
                shared.tasks.spawn(task_run::return_unrun(shared.clone(), task, planned.expected_seconds));
            } else {
                start(shared, task, waited, dispatch, planned.expected_seconds, now);
            }
        } else if let Some((_, error)) = plan.impossible.iter().find(|(id, _)| *id == planned.task) {
            let outcome = Outcome::Failed(error.clone());
            shared.tasks.spawn(task_run::end_unrun(shared.clone(), task, outcome));
        }
    }
    for dispatch in &plan.dispatches {
        shared.parts.observer.batch_formed(shared.pool.sharing(dispatch.device));
        for _ in &dispatch.unload {
            shared.parts.observer.model_evicted(WeightsTier::Device);
        }
    }
    Ok(planned.len())
}

fn planned_tasks(shared: &Shared, waiting: &WaitingTasks, plan: &Plan) -> Vec<Planned> {
    let of = |task: TaskId, dispatch: Option<usize>| {
        let waiting = waiting.view.get(task)?;
        Some(Planned { task, job: waiting.job, dispatch, expected_seconds: shared.expected_seconds(&waiting) })
    };
    let dispatched = plan.dispatches.iter().enumerate();
    let dispatched = dispatched.flat_map(|(index, dispatch)| dispatch.tasks.iter().map(move |task| (*task, Some(index))));
    let impossible = plan.impossible.iter().take(IMPOSSIBLE_TOGETHER).map(|(task, _)| (*task, None));
    dispatched.chain(impossible).filter_map(|(task, dispatch)| of(task, dispatch)).collect()
}

/// Seats a claimed task and follows it to its end.
fn start(shared: &Arc<Shared>, task: RunningTask, waited: QueuedTask, dispatch: &Dispatch, expected_seconds: f64, now: UnixMs) {
    let device = dispatch.device;
    let is_measured = shared.models.seconds_per_work(&waited.batch).is_some();
    let load_ms = |model: &ModelId| shared.models.load_seconds(model).unwrap_or(0.0) * 1000.0;
    let expected_end = is_measured.then(|| {
        let load_ms = if shared.pool.has_loaded(device, &waited.batch.model) { 0.0 } else { load_ms(&waited.batch.model) };
        UnixMs(now.0.saturating_add((expected_seconds * 1000.0 + load_ms) as i64))
    });
    let mut unload = dispatch.unload.clone();
    for leaving in shared.pool.take_leaving(device, &waited.batch.model) {
        if !unload.contains(&leaving) {
            shared.parts.observer.model_evicted(WeightsTier::Device);
            unload.push(leaving);
        }
    }
    let (seat, is_hit) = shared.pool.seat(device, waited, task.alone, now, expected_end);
    shared.parts.observer.model_wanted(is_hit);
    shared.tasks.spawn(task_run::run(shared.clone(), task, unload, seat, expected_seconds));
}

/// Gives back the memory of models that are wanted out or that nobody uses.
fn unload_idle(shared: &Arc<Shared>) {
    for (device, model) in shared.pool.take_unloads(shared.clock().now()) {
        let shared_by_task = shared.clone();
        shared.tasks.spawn(async move {
            let shared = shared_by_task;
            let executor = &shared.pool.executors()[device];
            match executor.unload(&model).await {
                Ok(()) => {
                    tracing::info!(model.id = %model, device = executor.name(), "Unloaded model {model} from {}", executor.name());
                    shared.parts.observer.model_evicted(WeightsTier::Device);
                }
                // A task was faster: the model is in use again.
                Err(TaskFailure::Cancelled) => {}
                Err(error) => tracing::debug!(model.id = %model, device = executor.name(), %error, "Did not unload {model}: {error}"),
            }
            shared.pool.unloaded(device, &model);
        });
    }
}
