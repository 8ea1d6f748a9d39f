//! Tasks that wait for providers: a queue for each, in which tenants take turns.
//!
//! A look costs as much as there are providers and, of those with room, tenants that wait; never as there are tasks. Where a provider has no
//! room, only three of its tasks can begin: one that it works for already, and those that have waited longest, with another target and at all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use super::ageing;
use super::fair_share::{FairShare, Tag};
use super::fleet::Shares;
use super::queue_view::Tenant;
use crate::domain::{JobId, ModelId, TaskId, UnixMs};
use crate::jobs::store::QueuedTask;

/// What a task of a provider counts as among its tenant's, device seconds: they take no device, and are worth the same.
const SECONDS_OF_TASK: f64 = 60.0;

/// What the queue asks before it lets a task begin.
pub(super) trait Admission {
    /// Whether a provider has room for whoever is next, or fails them at once.
    fn has_room(&self, task: &QueuedTask) -> bool;
    /// Whether a task begins though its provider has no room.
    fn begins_without_room(&self, task: &QueuedTask) -> bool;
    /// Whether its tenants may have one more.
    fn lets_tenant(&self, task: &QueuedTask) -> bool;
}

/// A task's place among its tenant's: smaller goes first.
type Rank = (i64, TaskId);

#[derive(Debug)]
struct Waiting {
    task: QueuedTask,
    tenant: u32,
}

/// What waits for a provider.
#[derive(Debug, Default)]
struct ProviderQueue {
    fair: FairShare,
    by_tenant: BTreeMap<u32, BTreeSet<Rank>>,
    /// Those that the provider works for already.
    open: BTreeSet<Rank>,
    /// All, the longest wait first.
    by_wait: BTreeSet<(UnixMs, TaskId)>,
    /// Those with another target, the longest wait first.
    routed_by_wait: BTreeSet<(UnixMs, TaskId)>,
}

/// What waits, and for how long.
pub(super) struct RemoteQueue {
    shares: Arc<dyn Shares + Send + Sync>,
    tasks: HashMap<TaskId, Waiting>,
    by_job: HashMap<JobId, BTreeSet<TaskId>>,
    /// Those that pause.
    pausing: BTreeSet<(UnixMs, TaskId)>,
    providers: BTreeMap<ModelId, ProviderQueue>,
}

impl fmt::Debug for RemoteQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteQueue").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

fn rank(task: &QueuedTask) -> Rank {
    (ageing::rank(task.created, task.priority), task.task)
}

impl RemoteQueue {
    /// An empty queue.
    pub(super) fn new(shares: Arc<dyn Shares + Send + Sync>) -> Self {
        Self { shares, tasks: HashMap::new(), by_job: HashMap::new(), pausing: BTreeSet::new(), providers: BTreeMap::new() }
    }

    /// Adds a task; one that is known joins anew if this is news of it.
    pub(super) fn insert(&mut self, task: QueuedTask) {
        if self.tasks.get(&task.task).is_some_and(|known| known.task.queued >= task.queued) {
            return;
        }
        self.remove(task.task);
        let queue = self.providers.entry(task.batch.model.clone()).or_default();
        let tenant = queue.fair.number(Tenant { project: task.project.clone(), user: task.user.clone() });
        queue.fair.begin(tenant, &*self.shares);
        queue.by_tenant.entry(tenant).or_default().insert(rank(&task));
        queue.by_wait.insert((task.queued, task.task));
        if task.has_next_target {
            queue.routed_by_wait.insert((task.queued, task.task));
        }
        if task.has_open_call {
            queue.open.insert(rank(&task));
        }
        if let Some(until) = task.run_after {
            self.pausing.insert((until, task.task));
        }
        self.by_job.entry(task.job).or_default().insert(task.task);
        self.tasks.insert(task.task, Waiting { task, tenant });
    }

    /// Takes a task out that is about to run: its tenant's turn is over.
    pub(super) fn take(&mut self, task: TaskId) {
        if let Some(waiting) = self.tasks.get(&task)
            && let Some(queue) = self.providers.get_mut(&waiting.task.batch.model)
        {
            queue.fair.charge(waiting.tenant, SECONDS_OF_TASK);
        }
        self.remove(task);
    }

    /// Takes a task out that does not run here.
    pub(super) fn remove(&mut self, task: TaskId) -> Option<QueuedTask> {
        let Waiting { task, tenant } = self.tasks.remove(&task)?;
        if let Some(of_job) = self.by_job.get_mut(&task.job) {
            of_job.remove(&task.task);
            if of_job.is_empty() {
                self.by_job.remove(&task.job);
            }
        }
        if let Some(until) = task.run_after {
            self.pausing.remove(&(until, task.task));
        }
        let Some(queue) = self.providers.get_mut(&task.batch.model) else { return Some(task) };
        queue.by_wait.remove(&(task.queued, task.task));
        queue.routed_by_wait.remove(&(task.queued, task.task));
        queue.open.remove(&rank(&task));
        if let Some(own) = queue.by_tenant.get_mut(&tenant) {
            own.remove(&rank(&task));
            if own.is_empty() {
                queue.by_tenant.remove(&tenant);
                queue.fair.end(tenant);
            }
        }
        Some(task)
    }

    fn of_job(&self, job: JobId) -> Vec<TaskId> {
        self.by_job.get(&job).into_iter().flatten().copied().collect()
    }

    pub(super) fn remove_job(&mut self, job: JobId) {
        for task in self.of_job(job) {
            self.remove(task);
        }
    }

    pub(super) fn set_priority(&mut self, job: JobId, priority: i32) {
        for task in self.of_job(job) {
            if let Some(task) = self.remove(task) {
                self.insert(QueuedTask { priority, ..task });
            }
        }
    }

    /// Reads the tenants' weights anew.
    pub(super) fn reweigh(&mut self) {
        self.providers.values_mut().for_each(|queue| queue.fair.reweigh(&*self.shares));
    }

    pub(super) fn tasks(&self) -> impl Iterator<Item = (TaskId, UnixMs)> {
        self.tasks.values().map(|waiting| (waiting.task.task, waiting.task.queued))
    }

    /// The task that runs next, of all providers: of the tenant whose turn it is, the one of the highest rank, which grows with age and
    /// priority.
    pub(super) fn first(&self, now: UnixMs, admission: &impl Admission) -> Option<&QueuedTask> {
        let firsts = self.providers.values().filter_map(|queue| self.first_of(queue, now, admission));
        firsts.min_by_key(|task| (!task.has_open_call, rank(task)))
    }

    fn first_of(&self, queue: &ProviderQueue, now: UnixMs, admission: &impl Admission) -> Option<&QueuedTask> {
        let task = |id: &TaskId| self.tasks.get(id).map(|waiting| &waiting.task);
        let is_due = |task: &&QueuedTask| ageing::is_due(task.run_after, now);
        let open = queue.open.iter().filter_map(|(_, id)| task(id)).find(is_due);
        if let Some(open) = open.filter(|open| admission.begins_without_room(open)) {
            return Some(open);
        }
        let (_, any) = queue.by_wait.first()?;
        if !admission.has_room(task(any)?) {
            let longest = [queue.routed_by_wait.first(), queue.by_wait.first()].into_iter().flatten();
            let longest = longest.filter_map(|(_, id)| task(id)).filter(is_due);
            return longest.into_iter().find(|task| admission.begins_without_room(task));
        }
        let heads = queue.by_tenant.iter().filter_map(|(tenant, own)| {
            let head = own.iter().filter_map(|(_, id)| task(id)).find(is_due)?;
            admission.lets_tenant(head).then(|| (queue.fair.turn(*tenant, head.priority), head))
        });
        heads.min_by_key(|(turn, head): &(Tag, &QueuedTask)| (*turn, rank(head))).map(|(_, head)| head)
    }

    /// When a task that still pauses may start.
    pub(super) fn next_due(&self, now: UnixMs) -> Option<UnixMs> {
        self.pausing.iter().map(|(until, _)| *until).find(|until| !ageing::is_due(Some(*until), now))
    }

    /// The task of a job that waits, and about how many of its provider's stand before it: its tenant's own, and of each other tenant as many.
    pub(super) fn place_of(&self, job: JobId) -> Option<(&QueuedTask, usize)> {
        let waiting = self.of_job(job).first().and_then(|task| self.tasks.get(task))?;
        let queue = self.providers.get(&waiting.task.batch.model)?;
        let own = queue.by_tenant.get(&waiting.tenant)?.range(..rank(&waiting.task)).count();
        let turn = queue.fair.turn(waiting.tenant, waiting.task.priority);
        let others = queue.by_tenant.iter().filter(|(tenant, _)| **tenant != waiting.tenant).map(|(tenant, theirs)| {
            let is_before = (queue.fair.turn(*tenant, 0), *tenant) < (turn, waiting.tenant);
            theirs.len().min(own + usize::from(is_before))
        });
        Some((&waiting.task, own + others.sum::<usize>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::BatchKey;
    use crate::domain::plan::Lane;
    use crate::scheduler::fair_share::EqualShares;

    /// Providers that have room, and tasks that begin without; nobody has a cap but these users.
    #[derive(Default)]
    struct Says {
        full: Vec<&'static str>,
        begins: Vec<TaskId>,
        capped: Vec<&'static str>,
    }

    impl Admission for Says {
        fn has_room(&self, task: &QueuedTask) -> bool {
            !self.full.contains(&task.batch.model.as_str())
        }
        fn begins_without_room(&self, task: &QueuedTask) -> bool {
            self.begins.contains(&task.task)
        }
        fn lets_tenant(&self, task: &QueuedTask) -> bool {
            !self.capped.contains(&task.user.as_str())
        }
    }

    fn task(provider: &str, user: &str, created: i64) -> QueuedTask {
        QueuedTask {
            task: TaskId::generate(),
            job: JobId::generate(),
            user: user.parse().unwrap(),
            project: None,
            position: 0,
            lane: Lane::Remote,
            batch: BatchKey { model: provider.parse().unwrap(), width: 0, height: 0 },
            rows: 1,
            work: 0.0,
            priority: 0,
            created: UnixMs(created),
            queued: UnixMs(created),
            run_after: None,
            alone: false,
            has_next_target: false,
            has_open_call: false,
        }
    }

    fn queue(tasks: &[&QueuedTask]) -> RemoteQueue {
        let mut queue = RemoteQueue::new(Arc::new(EqualShares));
        for task in tasks {
            queue.insert((*task).clone());
        }
        queue
    }

    /// The order in which all of them would begin.
    fn order(mut queue: RemoteQueue, says: &Says) -> Vec<TaskId> {
        let mut order = Vec::new();
        while let Some(first) = queue.first(UnixMs(5_000), says).map(|task| task.task) {
            order.push(first);
            queue.take(first);
        }
        order
    }

    #[test]
    fn tenants_take_turns_whoever_has_how_much() {
        let many = [0, 1, 2, 3].map(|created| task("a", "ann", created));
        let (late, urgent) = (task("a", "bob", 1_000), QueuedTask { priority: 5, ..task("a", "ann", 2_000) });
        let queue = queue(&[&many[0], &many[1], &many[2], &many[3], &late, &urgent]);
        assert_eq!(queue.place_of(late.job).map(|(_, before)| before), Some(1));
        assert_eq!(queue.place_of(many[3].job).map(|(_, before)| before), Some(5));
        assert_eq!(queue.place_of(JobId::generate()), None);
        let order = order(queue, &Says::default());
        assert_eq!(order[0], urgent.task, "of one tenant's the most important");
        assert_eq!(order[1], late.task, "another tenant's turn");
        assert_eq!(order[2..], many.map(|task| task.task));
    }

    #[test]
    fn a_provider_without_room_holds_nobody_else_up() {
        let (first, second, other) = (task("a", "ann", 0), task("a", "ann", 1), task("b", "ann", 2));
        let begun = QueuedTask { has_open_call: true, ..task("a", "bob", 4) };
        let routed = QueuedTask { has_next_target: true, ..task("a", "eve", 3) };
        let all = [&first, &second, &other, &begun, &routed];
        let full = || Says { full: vec!["a"], ..Says::default() };
        assert_eq!(order(queue(&all), &full()), [other.task]);
        let says = Says { begins: vec![begun.task, routed.task, second.task], ..full() };
        assert_eq!(order(queue(&all), &says), [begun.task, other.task, routed.task], "the longest wait first, and only that");
        let says = Says { begins: vec![first.task], ..full() };
        assert_eq!(order(queue(&all), &says), [first.task, other.task]);
        let says = Says { capped: vec!["ann"], begins: vec![begun.task], ..Says::default() };
        assert_eq!(order(queue(&all), &says), [begun.task, routed.task]);
    }

    #[test]
    fn what_pauses_waits_and_what_leaves_is_gone() {
        let (paused, soon) = (QueuedTask { run_after: Some(UnixMs(9_000)), ..task("a", "ann", 0) }, task("a", "ann", 1));
        let mut queue = queue(&[&paused, &soon]);
        let says = Says::default();
        assert_eq!(queue.next_due(UnixMs(5_000)), Some(UnixMs(9_000)));
        assert_eq!(queue.first(UnixMs(5_000), &says).map(|task| task.task), Some(soon.task));
        queue.set_priority(soon.job, -7);
        assert_eq!(queue.first(UnixMs(5_000), &says).map(|task| task.priority), Some(-7));
        queue.insert(soon.clone());
        assert_eq!(queue.first(UnixMs(5_000), &says).map(|task| task.priority), Some(-7), "an old word");
        queue.insert(QueuedTask { queued: UnixMs(6), ..soon.clone() });
        assert_eq!(queue.first(UnixMs(5_000), &says).map(|task| task.priority), Some(0));
        assert_eq!(queue.tasks().count(), 2);
        queue.remove_job(soon.job);
        assert_eq!(queue.first(UnixMs(5_000), &says), None);
        assert_eq!(queue.first(UnixMs(9_000), &says).map(|task| task.task), Some(paused.task));
        assert!(queue.remove(paused.task).is_some() && queue.remove(paused.task).is_none());
        assert_eq!((queue.tasks().count(), queue.next_due(UnixMs(0))), (0, None));
        let Some(provider) = queue.providers.values().next() else { panic!("it was asked once") };
        assert!(provider.by_tenant.is_empty() && provider.by_wait.is_empty() && provider.open.is_empty());
    }
}
