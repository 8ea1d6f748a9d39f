//! The loop that gives work to devices, and its orderly end.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::image_job::ImageJob;
use super::plan::{FreeDevice, plan};
use crate::domain::{JobId, JobObserver, ModelId};
use crate::execution::Executor;
use crate::execution::results::Attempt;
use crate::jobs::JobRunner;
use crate::jobs::store::StoreError;
use crate::models::ModelCatalog;
use crate::storage::ArtifactStorage;

/// How often the queue is looked at when nothing wakes the loop.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How many waiting tasks a decision looks at.
const HEADS: u32 = 32;

/// How often a shutdown says what it waits for.
const SHUTDOWN_LOG_INTERVAL: Duration = Duration::from_secs(5);

/// How long interrupted tasks get to come back after the drain, before the shutdown goes on without them.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(30);

/// What a scheduler works with.
#[derive(Clone, Debug)]
pub struct SchedulerParts {
    /// The queue.
    pub runner: JobRunner,
    /// The devices.
    pub executors: Vec<Arc<dyn Executor>>,
    /// Where models lie.
    pub models: ModelCatalog,
    /// Where pictures go.
    pub storage: ArtifactStorage,
    /// Who is told of measurements.
    pub observer: Arc<dyn JobObserver>,
    /// How many tasks run at once, however many devices there are.
    pub max_concurrent: usize,
}

/// A device and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceStatus {
    /// Its name.
    pub name: String,
    /// The job that it runs.
    pub job: Option<JobId>,
    /// The model that it ran last, and so has loaded.
    pub model: Option<ModelId>,
}

/// What the loop and the tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) parts: SchedulerParts,
    pub(super) devices: Mutex<Vec<DeviceStatus>>,
    /// Woken when a device becomes free.
    device_freed: Notify,
    /// Stops claiming.
    stop: CancellationToken,
    /// Interrupts what runs, to be run again by the next server.
    pub(super) preempt: CancellationToken,
    /// Results that are being encoded and stored while their devices go on; bounds the pictures held in memory.
    pub(super) publishing: Arc<Semaphore>,
}

/// Takes a device until it is dropped.
#[derive(Debug)]
pub(super) struct DeviceSlot {
    shared: Arc<Shared>,
    index: usize,
}

impl DeviceSlot {
    fn take(shared: &Arc<Shared>, index: usize, job: JobId, model: ModelId) -> Self {
        if let Some(device) = shared.devices.lock().get_mut(index) {
            device.job = Some(job);
            device.model = Some(model);
        }
        Self { shared: shared.clone(), index }
    }

    pub(super) fn executor(&self) -> &dyn Executor {
        &*self.shared.parts.executors[self.index]
    }
}

impl Drop for DeviceSlot {
    fn drop(&mut self) {
        if let Some(device) = self.shared.devices.lock().get_mut(self.index) {
            device.job = None;
        }
        self.shared.device_freed.notify_one();
    }
}

/// The running scheduler. Must be shut down before its runtime ends, or running jobs are left to the next start.
#[derive(Debug)]
pub struct Scheduler {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

impl Scheduler {
    /// Gives back what an earlier server left running, then starts to run jobs. Only one scheduler may stand on a database.
    pub async fn start(parts: SchedulerParts) -> Result<Self, StoreError> {
        // An attempt that was cut off may have stored pictures; the next one stores its own.
        for left in parts.runner.left_over().await? {
            Attempt::new(&left.job, left.fence.attempt).delete_pictures(&parts.storage).await;
        }
        let released = parts.runner.release_left_over().await?;
        if released > 0 {
            tracing::info!(jobs = released, "Queued {released} jobs again that an earlier server left running");
        }
        let concurrency = parts.max_concurrent.min(parts.executors.len());
        parts.runner.set_devices(concurrency);
        let idle = |executor: &Arc<dyn Executor>| DeviceStatus { name: executor.name().to_owned(), job: None, model: None };
        let shared = Arc::new(Shared {
            devices: Mutex::new(parts.executors.iter().map(idle).collect()),
            device_freed: Notify::new(),
            stop: CancellationToken::new(),
            preempt: CancellationToken::new(),
            publishing: Arc::new(Semaphore::new(concurrency.max(1))),
            parts,
        });
        let tasks = TaskTracker::new();
        tasks.spawn(dispatch_until_stopped(shared.clone(), tasks.clone()));
        Ok(Self { shared, tasks })
    }

    /// The devices and what they do.
    pub fn devices(&self) -> Vec<DeviceStatus> {
        self.shared.devices.lock().clone()
    }

    /// Stops claiming at once, waits up to `drain` for running jobs, then interrupts them and gives them back to the queue.
    pub async fn shut_down(&self, drain: Duration) {
        self.shared.stop.cancel();
        self.tasks.close();
        if self.wait_for_tasks(drain).await {
            return;
        }
        self.shared.preempt.cancel();
        if !self.wait_for_tasks(INTERRUPT_TIMEOUT).await {
            tracing::error!("Devices do not come back; their jobs will run again after the next start");
        }
    }

    /// Whether everything ended within `timeout`.
    async fn wait_for_tasks(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let next_log = Instant::now() + SHUTDOWN_LOG_INTERVAL;
            if tokio::time::timeout_at(next_log.min(deadline), self.tasks.wait()).await.is_ok() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            let running = self.shared.running();
            tracing::info!(jobs = running, "Shutdown waits for {running} running jobs");
        }
    }
}

impl Shared {
    fn running(&self) -> usize {
        self.devices.lock().iter().filter(|device| device.job.is_some()).count()
    }

    fn free_devices(&self) -> Vec<FreeDevice> {
        let devices = self.devices.lock();
        let free = devices.iter().enumerate().filter(|(_, device)| device.job.is_none());
        free.map(|(index, device)| FreeDevice { index, resident: device.model.clone() }).collect()
    }
}

async fn dispatch_until_stopped(shared: Arc<Shared>, tasks: TaskTracker) {
    while !shared.stop.is_cancelled() {
        // Registered before the queue is looked at, so that a job which arrives meanwhile wakes this turn's wait.
        let mut arrived = std::pin::pin!(shared.parts.runner.work_arrived());
        arrived.as_mut().enable();
        let mut freed = std::pin::pin!(shared.device_freed.notified());
        freed.as_mut().enable();
        if let Err(error) = dispatch(&shared, &tasks).await {
            tracing::error!(error = &error as &dyn Error, "Cannot read the queue: {error}; trying again in a second");
        }
        tokio::select! {
            () = shared.stop.cancelled() => {}
            () = arrived => {}
            () = freed => {}
            () = tokio::time::sleep(POLL_INTERVAL) => {}
        }
    }
}

/// Fills free devices with waiting tasks.
async fn dispatch(shared: &Arc<Shared>, tasks: &TaskTracker) -> Result<(), StoreError> {
    loop {
        let free = shared.free_devices();
        let capacity = shared.parts.max_concurrent.saturating_sub(shared.running());
        if free.is_empty() || capacity == 0 {
            return Ok(());
        }
        let ready = shared.parts.runner.ready(HEADS).await?;
        let dispatches = plan(&ready, &free, capacity);
        let mut started = 0;
        for dispatch in dispatches {
            // A task that was cancelled meanwhile is passed over; the next turn plans again.
            let Some(task) = shared.parts.runner.claim(&dispatch.task).await? else { continue };
            started += 1;
            let slot = DeviceSlot::take(shared, dispatch.device, task.job.id, task.job.request.model.clone());
            tasks.spawn(ImageJob::new(shared.clone(), task).run(slot));
        }
        if started == 0 {
            return Ok(());
        }
    }
}
