//! The running scheduler: its start, what it foretells, its orderly end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dispatcher::{Shared, dispatch_until_stopped};
use super::elsewhere;
use super::forecast::{Forecast, Outlook};
use super::host_tasks;
use super::options::SchedulerParts;
use super::orders::Loads;
use super::queue_order;
use super::remote_tasks::{self, waiting_work};
use super::upkeep;
use super::work_directories::{self, WorkDirectories};
use crate::domain::plan::{Place, plan};
use crate::domain::{JobId, JobRequest};
use crate::execution::results::Attempt;
use crate::jobs::store::{QueuedTask, StoreError};

/// How often a shutdown says what it waits for.
const SHUTDOWN_LOG_INTERVAL: Duration = Duration::from_secs(5);
/// How long interrupted tasks get to come back after the drain, before their workers are ended.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long they get after that.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// The running scheduler. Must be shut down before its runtime ends. Cheap to clone.
#[derive(Clone)]
pub struct Scheduler {
    pub(super) shared: Arc<Shared>,
    pub(super) loads: Arc<Loads>,
    /// What goes on until every task has ended: renewal of leases, upkeep, what watches devices and other servers.
    services: TaskTracker,
    ended: CancellationToken,
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").finish_non_exhaustive()
    }
}

impl Scheduler {
    /// Gives back what an earlier server left running, then starts to run jobs.
    pub async fn start(parts: SchedulerParts) -> Result<Self, StoreError> {
        // What changes from here on is heard of; what waits already is read after it.
        parts.runner.attach();
        let cut_off = parts.runner.give_back_expired(!parts.options.has_peers, parts.options.lease).await?;
        // An attempt that was cut off may have stored pictures; the next one stores its own.
        for left in &cut_off {
            Attempt::new(&left.job, left.position, left.fence.attempt).delete_files(&parts.storage).await;
        }
        if !cut_off.is_empty() {
            let jobs = cut_off.len();
            tracing::info!(jobs, "Queued {jobs} jobs again that an earlier server left running");
        }
        let work_directory = parts.work_directory.clone();
        let (work_directories, ended_tasks) = WorkDirectories::new(work_directory.clone());
        let shared = Arc::new(Shared::new(parts, work_directories));
        let scheduler =
            Self { shared: shared.clone(), loads: Arc::default(), services: TaskTracker::new(), ended: CancellationToken::new() };
        shared.tasks.spawn(dispatch_until_stopped(shared.clone()));
        shared.tasks.spawn(host_tasks::run_until_stopped(shared.clone()));
        if let Some(remote) = shared.parts.remote.clone() {
            shared.tasks.spawn(remote_tasks::run_until_stopped(shared.clone(), remote));
        }
        scheduler.serve(keep_leases(shared.clone(), scheduler.ended.clone()));
        scheduler.serve(elsewhere::follow(shared.clone()));
        scheduler.serve(upkeep::run(shared.clone()));
        scheduler.serve(work_directories::remove_ended(work_directory, ended_tasks));
        for executor in shared.pool.executors() {
            let (pool, mut status) = (shared.pool.clone(), executor.status());
            scheduler.serve(async move {
                while status.changed().await.is_ok() {
                    pool.wake();
                }
            });
        }
        Ok(scheduler)
    }

    fn serve(&self, service: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        self.services.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = service => {}
            }
        });
    }

    /// What a waiting job can expect; `None` when it does not wait here.
    pub fn forecast(&self, job: JobId) -> Option<Forecast> {
        self.forecasts(&[job]).pop().flatten()
    }

    /// What waiting jobs can expect, in their order and all as of one moment; `None` for those that do not wait here.
    pub fn forecasts(&self, jobs: &[JobId]) -> Vec<Option<Forecast>> {
        if jobs.is_empty() {
            return Vec::new();
        }
        let (fleet, now) = (self.shared.pool.fleet(), self.shared.clock().now());
        let waiting = self.shared.waiting.lock();
        let outlook = Outlook::new(&waiting.view, &fleet, &self.shared.models, now);
        // Of what waits for a provider the place is known, and not how long those before it take.
        let at_provider = |job| waiting.remote.before(job).map(|before| Forecast { position: before + 1, seconds: None });
        jobs.iter().map(|job| outlook.of_waiting(*job).or_else(|| at_provider(*job))).collect()
    }

    /// Why a job that waits for a provider does not begin, in one line; `None` when it is about to, or waits for something else.
    pub fn waits_for(&self, job: JobId) -> Option<String> {
        let remote = self.shared.parts.remote.as_ref()?;
        let now = self.shared.clock().now();
        let work = {
            let waiting = self.shared.waiting.lock();
            let (task, since) = waiting.remote.task_of(job, now)?;
            waiting_work(task, since, &self.shared)?
        };
        remote.waits_for(&work)
    }

    /// What a job could expect that were submitted now.
    ///
    /// A film's tasks are taken to run one after the other on as many devices as there are.
    pub fn forecast_new(&self, request: &JobRequest) -> Forecast {
        let (fleet, now) = (self.shared.pool.fleet(), self.shared.clock().now());
        let waiting = self.shared.waiting.lock();
        let outlook = Outlook::new(&waiting.view, &fleet, &self.shared.models, now);
        let first_target = plan(request).into_iter().filter(|task| task.stage == 0);
        let tasks = first_target.filter_map(|task| match task.place {
            Place::Device { batch, .. } => Some((batch, task.work)),
            Place::Host { .. } | Place::Remote { .. } => None,
        });
        let parallel = fleet.devices.iter().filter(|device| device.accepts).count().min(fleet.max_concurrent).max(1);
        let spread = if request.target(0).film().is_some() { parallel as f64 } else { 1.0 };
        outlook.of_new(&tasks.collect::<Vec<_>>(), spread)
    }

    /// How many tasks wait, and those of them that will probably start after `skip` others, at most `limit`, in that order. Costs as much
    /// as there are tenants and as `skip` and `limit` say.
    pub fn queue(&self, skip: usize, limit: usize) -> (usize, Vec<QueuedTask>) {
        let waiting = self.shared.waiting.lock();
        (waiting.view.len(), queue_order::in_order(&waiting.view, &self.shared.models, skip, limit))
    }

    /// Reads tenants' weights and caps anew; those that wait are weighed by what was read when they began to.
    pub fn reweigh(&self) {
        {
            let mut waiting = self.shared.waiting.lock();
            waiting.view.reweigh();
            waiting.remote.reweigh();
        }
        self.shared.pool.wake();
    }

    /// Waiting tasks by priority class, with the age of the oldest in milliseconds.
    pub fn queue_depths(&self) -> Vec<(i32, usize, i64)> {
        let now = self.shared.clock().now();
        let depths = self.shared.waiting.lock().view.depths();
        depths.into_iter().map(|(priority, tasks, oldest)| (priority, tasks, (now.0 - oldest.0).max(0))).collect()
    }

    /// How many tasks wait for each provider that any has waited for, by its name.
    pub fn provider_queue_depths(&self) -> BTreeMap<String, usize> {
        let waiting = self.shared.waiting.lock();
        waiting.remote.depths().map(|(name, tasks)| (name.to_string(), tasks)).collect()
    }

    /// Stops claiming at once, waits up to `drain` for running jobs, then interrupts them, gives them back to the queue, and ends the
    /// workers. A second call, while the first still waits, may shorten the drain.
    pub async fn shut_down(&self, drain: Duration) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        let mut is_done = self.wait_for_tasks(drain).await;
        if !is_done {
            self.shared.preempt.cancel();
            is_done = self.wait_for_tasks(INTERRUPT_TIMEOUT).await;
        }
        // A worker that does not listen is ended, and so are its tasks.
        join_all(self.shared.pool.executors().iter().map(|executor| executor.shut_down())).await;
        if !is_done && !self.wait_for_tasks(LAST_WAIT).await {
            tracing::error!("Devices do not come back; their jobs will run again after the next start");
        }
        self.shared.parts.runner.detach();
        self.ended.cancel();
        self.services.close();
        self.services.wait().await;
    }

    /// Whether everything ended within `timeout`.
    async fn wait_for_tasks(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let next_log = Instant::now() + SHUTDOWN_LOG_INTERVAL;
            if tokio::time::timeout_at(next_log.min(deadline), self.shared.tasks.wait()).await.is_ok() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            let running = self.shared.pool.running();
            tracing::info!(jobs = running, "Shutdown waits for {running} running jobs");
        }
    }
}

async fn keep_leases(shared: Arc<Shared>, until: CancellationToken) {
    shared.parts.runner.keep_leases(shared.parts.options.lease, &*shared.parts.observer, &until).await;
}
