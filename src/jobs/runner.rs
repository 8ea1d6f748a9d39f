//! The scheduler's door to jobs: claim, report, finish.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::futures::Notified;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::feed::QueueChange;
use super::leases::{self, Answers, Held, Leases, ProgressCell};
use super::progress::JobProgress;
use super::service::{LiveJob, Shared};
use super::store::{Claim, Ended, Ending, Fence, JobStore, Outcome, QueuedTask, Release, StoreError};
use super::submission::waiting_task;
use crate::domain::plan::{Lane, PlannedTask, plan, total_steps};
use crate::domain::{
    Clock, Job, JobError, JobEventKind, JobId, JobObserver, JobRequest, JobResult, JobState, PreviewDemand, Progress, Spent,
    TaskId, TaskStep, UnixMs,
};

/// Leases are renewed this many times within their length.
const RENEWALS_PER_LEASE: u32 = 3;
/// After a renewal that failed, or for some tasks did nothing, the next one comes after this part of a lease.
const FAILED_RENEWALS_PER_LEASE: u32 = 20;

/// Jobs of other servers that are looked up in one call.
const FOLLOWED_TOGETHER: usize = 500;

/// Claims tasks and reports on them, in the name of this boot of the server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JobRunner {
    shared: Arc<Shared>,
    own: Arc<Own>,
}

#[derive(Debug)]
struct Own {
    owner: String,
    leases: Leases,
    /// Since when the store may hold tasks for this runner that it does not hold itself: a claim failed without saying whether it went
    /// through, a lease could not be renewed, an ending could not be written.
    doubt: Mutex<Option<Instant>>,
}

/// A claimed task.
#[derive(Clone, Debug)]
pub struct RunningTask {
    /// Proof for writes.
    pub fence: Fence,
    /// The job.
    pub job: Job,
    /// Its place in the job's plan.
    pub position: u32,
    /// What the plan says of it.
    pub planned: PlannedTask,
    /// What the job's finished tasks have left, by position; nothing in a job of one task.
    pub finished: BTreeMap<u32, JobResult>,
    /// How often the task has been charged for a failure.
    pub failures: u32,
    /// It must have its worker to itself.
    pub alone: bool,
    /// Cancelled when a user asks the job to stop; the same for all of the job's tasks.
    pub stop: CancellationToken,
    /// Cancelled when the claim is lost: whatever is made of the task is not wanted any more.
    pub lost: CancellationToken,
    /// Whether anybody wants previews.
    pub previews: PreviewDemand,
    /// How far its job is.
    progress: ProgressCell,
    job_progress: Arc<JobProgress>,
}

impl RunningTask {
    /// How it waited, as far as its job tells.
    pub fn waiting(&self) -> QueuedTask {
        QueuedTask { alone: self.alone, ..waiting_task(self.fence.task, self.position, &self.planned, &self.job) }
    }

    /// How far its job is.
    pub fn progress(&self) -> Progress {
        self.progress.get()
    }

    /// Files that the tasks before it have left, in the order of [`PlannedTask::after`].
    pub fn inputs(&self) -> impl Iterator<Item = &JobResult> {
        self.planned.after.iter().filter_map(|position| self.finished.get(position))
    }

    /// The target that it is for: what its job was asked for, or one of what a route made of that.
    pub fn request(&self) -> &JobRequest {
        self.job.request.target(self.planned.stage)
    }

    /// Whether it makes by itself all that its job was asked for.
    pub fn is_whole_job(&self) -> bool {
        self.request().film().is_none()
    }

    /// Whether another target can be tried where this one fails.
    pub fn has_next_target(&self) -> bool {
        self.planned.has_next_target(&self.job.request)
    }

    /// Whether an end of it is the beginning of the next target.
    pub fn is_passed_on(&self, outcome: &Outcome) -> bool {
        let is_of_target = |error: &JobError| error.code.is_of_the_target();
        matches!(outcome, Outcome::Failed(error) if self.has_next_target() && is_of_target(error))
    }
}

impl JobRunner {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let own = Own { owner: Uuid::now_v7().to_string(), leases: Leases::default(), doubt: Mutex::default() };
        Self { shared, own: Arc::new(own) }
    }

    /// The clock that all writes use.
    pub fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    /// The store, for the upkeep.
    pub fn store(&self) -> &dyn JobStore {
        &*self.shared.store
    }

    /// Keeps the changes of the queue for [`JobRunner::changes`] from now on.
    pub fn attach(&self) {
        self.shared.feed.attach();
    }

    /// Keeps none any more.
    pub fn detach(&self) {
        self.shared.feed.detach();
    }

    /// What has changed in the queue since the last call.
    pub fn changes(&self) -> Vec<QueueChange> {
        self.shared.feed.take()
    }

    /// Completes when something changed after this call, or one permit is left from before.
    pub fn changed(&self) -> Notified<'_> {
        self.shared.feed.arrived()
    }

    /// Hands on what was found in the store.
    pub fn announce(&self, changes: impl IntoIterator<Item = QueueChange>) {
        self.shared.feed.extend(changes);
    }

    /// Whether this runner holds the task.
    pub fn holds(&self, task: TaskId) -> bool {
        self.own.leases.holds(task)
    }

    /// Claims those of `tasks` that are still to be had, in one transaction.
    pub async fn claim(&self, tasks: &[(TaskId, JobId)], lease: Duration) -> Result<Vec<RunningTask>, StoreError> {
        // Registered before the claim, so that a cancel finds the token as soon as the store says "running".
        {
            let mut live = self.shared.live.lock();
            for (_, job) in tasks {
                live.entry(*job).or_insert_with(LiveJob::unknown);
            }
        }
        let (asked, now) = (Instant::now(), self.shared.clock.now());
        let ids: Vec<TaskId> = tasks.iter().map(|(task, _)| *task).collect();
        let claimed = self.shared.store.claim(&ids, &self.own.owner, now, lease_end(now, lease)).await;
        if let Err(StoreError::Unavailable(_)) = &claimed {
            self.own.doubt();
        }
        let running: Vec<RunningTask> = {
            let claims = claimed.as_deref().unwrap_or_default().iter();
            claims.filter_map(|claim| self.running(claim)).collect()
        };
        let won: HashSet<JobId> = running.iter().map(|task| task.fence.job).collect();
        for (_, job) in tasks.iter().filter(|(_, job)| !won.contains(job)) {
            self.forget_live(*job);
        }
        claimed?;
        let deadline = leases::deadline(asked, lease);
        self.own.leases.hold(running.iter().map(|task| Held {
            fence: task.fence.clone(),
            progress: task.progress.clone(),
            stop: task.stop.clone(),
            lost: task.lost.clone(),
            deadline,
        }));
        for task in &running {
            let job = task.fence.job;
            self.shared.events.publish_running(job);
            self.publish_step(task, JobState::Running);
        }
        Ok(running)
    }

    /// `None`, and a line in the log, for a task that this version does not know: its lease ends.
    fn running(&self, claim: &Claim) -> Option<RunningTask> {
        let mut tasks = plan(&claim.job.request);
        let steps = tasks.iter().map(|task| (task.stage, task.steps)).collect::<Vec<_>>();
        let Some(stage) = tasks.get(claim.position as usize).map(|task| task.stage) else {
            tracing::error!(job.id = %claim.job.id, position = claim.position, "Job {} has a task that is not in its plan", claim.job.id);
            return None;
        };
        let total = total_steps(&tasks, stage);
        let planned = tasks.swap_remove(claim.position as usize);
        let live = {
            let mut all = self.shared.live.lock();
            let live = all.entry(claim.job.id).or_insert_with(LiveJob::unknown);
            if !live.progress.is_of(stage, total) {
                live.progress = Arc::new(JobProgress::new(stage, total));
            }
            live.clone()
        };
        for position in claim.finished.keys() {
            let Some((of, steps)) = steps.get(*position as usize).copied() else { continue };
            if of != stage {
                continue;
            }
            live.progress.set(*position, steps, Progress { step: 1, steps: 1 });
        }
        let progress = ProgressCell::default();
        if claim.job.request.target(stage).film().is_some() {
            progress.set(live.progress.get());
        }
        Some(RunningTask {
            previews: self.shared.events.open(claim.job.id, progress.get()),
            fence: claim.fence.clone(),
            job: claim.job.clone(),
            position: claim.position,
            planned,
            finished: claim.finished.clone(),
            failures: claim.failures,
            alone: claim.alone,
            stop: live.stop,
            lost: CancellationToken::new(),
            progress,
            job_progress: live.progress,
        })
    }

    /// Tells the watchers of a film what becomes of one of its tasks.
    fn publish_step(&self, task: &RunningTask, state: JobState) {
        if task.is_whole_job() {
            return;
        }
        let step = TaskStep { role: task.planned.role, position: task.position, attempt: task.fence.attempt, state };
        self.shared.events.publish(task.fence.job, JobEventKind::Task(step));
    }

    /// Renews all held leases in one call, again and again until `until`; progress rides along and requests to stop come back. What
    /// cannot be renewed in time is given up: its [`RunningTask::lost`] is cancelled before another server may take it.
    pub async fn keep_leases(&self, lease: Duration, observer: &dyn JobObserver, until: &CancellationToken) {
        let mut pause = lease / RENEWALS_PER_LEASE;
        loop {
            let next = Instant::now() + pause;
            let wake = self.own.leases.due().1.map_or(next, |deadline| deadline.min(next));
            tokio::select! {
                () = until.cancelled() => return,
                () = tokio::time::sleep_until(wake) => {}
            }
            pause = match self.renew(lease, observer).await {
                Ok(0) => lease / RENEWALS_PER_LEASE,
                Ok(_) => lease / FAILED_RENEWALS_PER_LEASE,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn Error, "Cannot renew leases: {error}");
                    lease / FAILED_RENEWALS_PER_LEASE
                }
            };
            let overdue = self.own.leases.give_up_overdue(Instant::now());
            if overdue > 0 {
                // In the store they are still this runner's, and no other server need be there to take them over.
                self.own.doubt();
                tracing::error!(tasks = overdue, "Gave up {overdue} tasks: their leases could not be renewed in time");
                (0..overdue).for_each(|_| observer.lease_lost());
            }
        }
    }

    /// Gives how many of the tasks are to be renewed again soon.
    async fn renew(&self, lease: Duration, observer: &dyn JobObserver) -> Result<u64, StoreError> {
        let (renewals, deadline) = self.own.leases.due();
        let Some(deadline) = deadline else { return Ok(0) };
        let (asked, now) = (Instant::now(), self.shared.clock.now());
        let renewing = self.shared.store.renew(&renewals, now, lease_end(now, lease));
        let answers = tokio::time::timeout_at(deadline, renewing).await.unwrap_or_else(|late| {
            // Counts as a failure of the database, whatever it does with the call afterwards.
            Err(StoreError::Unavailable(Box::new(late)))
        })?;
        let Answers { lost, busy } = self.own.leases.renewed(&renewals, &answers, asked, lease);
        if lost > 0 {
            tracing::error!(tasks = lost, "{lost} tasks are no longer this server's; what they made is thrown away");
            (0..lost).for_each(|_| observer.lease_lost());
        }
        Ok(busy)
    }

    /// Tells the watchers of progress; the store is told with the next renewal.
    pub fn publish_progress(&self, task: &RunningTask, progress: Progress) {
        let progress = task.job_progress.set(task.position, task.planned.steps, progress);
        task.progress.set(progress);
        self.shared.events.publish(task.job.id, JobEventKind::Progress(progress));
    }

    /// Shows the watchers a preview.
    pub fn publish_preview(&self, job: JobId, index: u32, progress: Progress, png: bytes::Bytes) {
        self.shared.events.publish(job, JobEventKind::Preview { index, progress, png });
    }

    /// Ends a task, and its job if that follows. A failure that is the target's is passed on to the next one, where there is one.
    pub async fn finish(&self, task: &RunningTask, outcome: &Outcome, spent: Spent) -> Result<Job, StoreError> {
        let outcome = &passed_on(task, outcome);
        if matches!(outcome, Outcome::Completed(_)) && !task.is_whole_job() {
            self.publish_progress(task, Progress { step: 1, steps: 1 });
        }
        let ending = Ending { fence: task.fence.clone(), outcome: outcome.clone(), progress: task.progress.get(), spent };
        let ended = self.shared.store.finish(&ending, self.shared.clock.now()).await;
        let (job, arrived) = match ended {
            Ok(Ended { job, arrived }) => (Ok(job), arrived),
            Err(error) => (Err(error), Vec::new()),
        };
        if let Ok(job) = &job {
            self.publish_step(task, outcome.state());
            if job.state.is_terminal() {
                // Whatever else of it is under way here is of no use to anybody: it stops now, not when its lease is renewed in vain.
                self.own.leases.give_up_job(job.id);
            } else if let Outcome::PassedOn(error) = outcome {
                self.own.leases.give_up_job(job.id);
                let model = task.request().model();
                tracing::warn!(job.id = %job.id, model.id = %model, "Job {} goes to its next target; {model} failed: {}", job.id, error.message);
            }
        }
        self.left_running(task, &job);
        match &job {
            Ok(job) if job.state.is_terminal() && !task.is_whole_job() => self.shared.feed.push(QueueChange::Left(job.id)),
            _ => self.shared.feed.extend(arrived.into_iter().map(QueueChange::Arrived)),
        }
        job
    }

    /// Gives a task back to the queue; it comes back cancelled when that was asked for meanwhile.
    pub async fn release(&self, task: &RunningTask, release: &Release) -> Result<Job, StoreError> {
        let released = self.shared.store.release(&task.fence, release, self.shared.clock.now()).await;
        self.left_running(task, &released);
        if let Ok(job) = &released
            && !job.state.is_terminal()
            && !task.stop.is_cancelled()
        {
            let waiting = waiting_task(task.fence.task, task.position, &task.planned, job);
            // What is to run alone by plan always is.
            let alone = release.alone || waiting.alone;
            let waiting = QueuedTask { run_after: release.run_after, alone, ..waiting };
            let waiting = self.with_open_calls(vec![waiting]).await;
            self.shared.feed.extend(waiting.into_iter().map(QueueChange::Arrived));
        }
        released
    }

    /// Lets go of a task that turned out to be somebody else's.
    pub fn forget(&self, task: &RunningTask) {
        self.own.leases.let_go(&task.fence);
        if self.forget_live(task.fence.job) {
            self.shared.events.leave(task.fence.job);
        }
    }

    /// Lets go of a task whose end the store does not take: it runs again when its lease has ended.
    pub fn give_up(&self, task: &RunningTask) {
        self.forget(task);
        self.own.doubt();
    }

    fn left_running(&self, task: &RunningTask, written: &Result<Job, StoreError>) {
        match written {
            Ok(job) => {
                self.own.leases.let_go(&task.fence);
                let is_last_here = self.forget_live(job.id);
                if job.state != JobState::Running {
                    self.shared.events.publish(job.id, JobEventKind::State { state: job.state, error: job.error.clone() });
                } else if is_last_here {
                    self.shared.events.leave(job.id);
                }
            }
            Err(StoreError::LeaseLost) => self.forget(task),
            Err(_) => {}
        }
    }

    /// Forgets a job unless another of its tasks runs here; whether it did.
    fn forget_live(&self, job: JobId) -> bool {
        let mut live = self.shared.live.lock();
        let is_idle = !self.own.leases.holds_job(job);
        if is_idle {
            live.remove(&job);
        }
        is_idle
    }

    /// Gives back what other servers' ended leases (at start, with `all`, every lease) leave running, and those of this one that it
    /// does not hold: claims it did not learn of, or had to give up. Gives the attempts that were cut off.
    pub async fn give_back_expired(&self, all: bool, lease: Duration) -> Result<Vec<Claim>, StoreError> {
        let doubt = *self.own.doubt.lock();
        // Nobody's name: this runner's own forgotten claims end like the others'. Those that it holds are renewed long before.
        let owner = if doubt.is_some() { "" } else { self.own.owner.as_str() };
        let (asked, now) = (Instant::now(), self.shared.clock.now());
        let cut_off = self.shared.store.give_back_expired(owner, all, now).await?;
        {
            // Whatever it was about has ended by now, unless something else has come up since.
            let mut current = self.own.doubt.lock();
            *current = current.filter(|since| asked.saturating_duration_since(*since) <= lease);
        }
        for claim in &cut_off {
            let job = &claim.job;
            self.shared.events.publish(job.id, JobEventKind::State { state: job.state, error: job.error.clone() });
        }
        let waiting = cut_off.iter().filter(|claim| !claim.job.state.is_terminal());
        let waiting = waiting.filter_map(|claim| {
            let tasks = plan(&claim.job.request);
            let planned = tasks.get(claim.position as usize)?;
            let task = waiting_task(claim.fence.task, claim.position, planned, &claim.job);
            Some(QueuedTask { alone: claim.alone || task.alone, queued: now, ..task })
        });
        let waiting = self.with_open_calls(waiting.collect()).await;
        self.shared.feed.extend(waiting.into_iter().map(QueueChange::Arrived));
        Ok(cut_off)
    }

    /// Tasks that have been claimed before, with what the ledger says of them. Where it cannot be asked, they wait as those that were not.
    async fn with_open_calls(&self, mut tasks: Vec<QueuedTask>) -> Vec<QueuedTask> {
        let jobs: Vec<JobId> = tasks.iter().filter(|task| task.lane == Lane::Remote).map(|task| task.job).collect();
        if jobs.is_empty() {
            return tasks;
        }
        match self.shared.store.open_calls(&jobs).await {
            Ok(open) => tasks.iter_mut().for_each(|task| task.has_open_call = open.contains(&task.task)),
            Err(error) => tracing::warn!(error = &error as &dyn Error, "Cannot tell which tasks providers work for: {error}"),
        }
        tasks
    }

    /// Tells the watchers of jobs that run on other servers what became of them.
    pub async fn follow_elsewhere(&self) -> Result<(), StoreError> {
        let watched = self.shared.events.watched_elsewhere();
        for page in watched.chunks(FOLLOWED_TOGETHER) {
            let known: HashMap<JobId, Option<JobState>> = page.iter().copied().collect();
            let ids: Vec<JobId> = known.keys().copied().collect();
            for job in self.shared.store.jobs_of(&ids).await? {
                if known.get(&job.id) != Some(&Some(job.state)) {
                    self.shared.events.publish(job.id, JobEventKind::State { state: job.state, error: job.error });
                }
                if job.state == JobState::Running {
                    self.shared.events.publish(job.id, JobEventKind::Progress(job.progress));
                }
            }
        }
        Ok(())
    }
}

/// How a task's end is written down.
fn passed_on(task: &RunningTask, outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Failed(error) if task.is_passed_on(outcome) => Outcome::PassedOn(error.clone()),
        outcome => outcome.clone(),
    }
}

impl Own {
    fn doubt(&self) {
        *self.doubt.lock() = Some(Instant::now());
    }
}

fn lease_end(now: UnixMs, lease: Duration) -> UnixMs {
    UnixMs(now.0.saturating_add(i64::try_from(lease.as_millis()).unwrap_or(i64::MAX)))
}
