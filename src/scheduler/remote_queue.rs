//! Tasks that wait for providers: a queue for each, in which tenants take turns.
//!
//! A look costs as much as there are providers and tenants that wait for them; never as there are tasks. Where a provider has no room, only a
//! few of its tasks can begin: one that it works for already, and each tenant's that have waited longest, with another target and at all.
//!
//! A task has not waited for its provider while its tenant's own caps held it up. Nobody knows what held it up before this server began, so its
//! wait begins with the server at the earliest.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use super::ageing;
use super::cap_time::CapTime;
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
    /// Whether a task that has waited since then begins though its provider has no room.
    fn begins_without_room(&self, task: &QueuedTask, since: UnixMs) -> bool;
    /// Whether its tenants may have one more.
    fn lets_tenant(&self, task: &QueuedTask) -> bool;
}

/// A task's place among its tenant's: smaller goes first.
type Rank = (i64, TaskId);

/// A task's place among its tenant's that wait: when it began to, less what its tenant's caps had held others up by then. What they hold up
/// from then on is the same for all, so it changes no order.
type Wait = (UnixMs, TaskId);

#[derive(Debug)]
struct Waiting {
    task: QueuedTask,
    tenant: u32,
    wait: Wait,
}

/// A tenant's tasks at a provider.
#[derive(Debug, Default)]
struct Line {
    by_rank: BTreeSet<Rank>,
    /// The longest wait first.
    by_wait: BTreeSet<Wait>,
    /// Those with another target that the provider does not work for yet, the longest wait first.
    routed_by_wait: BTreeSet<Wait>,
    caps: CapTime,
}

impl Line {
    fn since(&self, wait: Wait, now: UnixMs) -> UnixMs {
        UnixMs(wait.0.0.saturating_add(self.caps.until_ms(now)))
    }
}

/// What waits for a provider.
#[derive(Debug, Default)]
struct ProviderQueue {
    fair: FairShare,
    by_tenant: BTreeMap<u32, Line>,
    /// Those that the provider works for already.
    open: BTreeSet<Rank>,
}

/// What waits, and for how long.
pub(super) struct RemoteQueue {
    shares: Arc<dyn Shares + Send + Sync>,
    /// When this server began.
    begun: UnixMs,
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
    /// An empty queue of a server that begins now.
    pub(super) fn new(shares: Arc<dyn Shares + Send + Sync>, now: UnixMs) -> Self {
        let (tasks, by_job, pausing, providers) = (HashMap::new(), HashMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { shares, begun: now, tasks, by_job, pausing, providers }
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
        let line = queue.by_tenant.entry(tenant).or_default();
        let begun = task.queued.max(self.begun);
        let wait = (UnixMs(begun.0.saturating_sub(line.caps.until_ms(begun))), task.task);
        line.by_rank.insert(rank(&task));
        line.by_wait.insert(wait);
        if task.has_next_target && !task.has_open_call {
            line.routed_by_wait.insert(wait);
        }
        if task.has_open_call {
            queue.open.insert(rank(&task));
        }
        if let Some(until) = task.run_after {
            self.pausing.insert((until, task.task));
        }
        self.by_job.entry(task.job).or_default().insert(task.task);
        self.tasks.insert(task.task, Waiting { task, tenant, wait });
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
        let Waiting { task, tenant, wait } = self.tasks.remove(&task)?;
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
        queue.open.remove(&rank(&task));
        if let Some(line) = queue.by_tenant.get_mut(&tenant) {
            line.by_rank.remove(&rank(&task));
            line.by_wait.remove(&wait);
            line.routed_by_wait.remove(&wait);
            if line.by_rank.is_empty() {
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
            let Some(Waiting { task, tenant, .. }) = self.tasks.get_mut(&task) else { continue };
            let before = rank(task);
            task.priority = priority;
            let Some(queue) = self.providers.get_mut(&task.batch.model) else { continue };
            let line = queue.by_tenant.get_mut(tenant).map(|line| &mut line.by_rank);
            for ranks in line.into_iter().chain([&mut queue.open]) {
                if ranks.remove(&before) {
                    ranks.insert(rank(task));
                }
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

    /// Notes whom caps hold up at this moment. To be told whenever that may have changed.
    pub(super) fn note_caps(&mut self, now: UnixMs, admission: &impl Admission) {
        for line in self.providers.values_mut().flat_map(|queue| queue.by_tenant.values_mut()) {
            let any = line.by_rank.first().and_then(|(_, id)| self.tasks.get(id));
            line.caps.note(any.is_some_and(|any| !admission.lets_tenant(&any.task)), now);
        }
    }

    /// The task that runs next, of all providers, and since when it has waited: of the tenant whose turn it is, the one of the highest rank,
    /// which grows with age and priority.
    pub(super) fn first(&self, now: UnixMs, admission: &impl Admission) -> Option<(&QueuedTask, UnixMs)> {
        let firsts = self.providers.values().filter_map(|queue| self.first_of(queue, now, admission));
        let first = firsts.min_by_key(|waiting| (!waiting.task.has_open_call, rank(&waiting.task)))?;
        Some((&first.task, self.since(first, now)))
    }

    /// Since when a task has waited for its provider.
    fn since(&self, waiting: &Waiting, now: UnixMs) -> UnixMs {
        let queue = self.providers.get(&waiting.task.batch.model);
        let line = queue.and_then(|queue| queue.by_tenant.get(&waiting.tenant));
        line.map_or(waiting.wait.0, |line| line.since(waiting.wait, now))
    }

    fn first_of(&self, queue: &ProviderQueue, now: UnixMs, admission: &impl Admission) -> Option<&Waiting> {
        let waiting = |id: &TaskId| self.tasks.get(id);
        let is_due = |waiting: &&Waiting| ageing::is_due(waiting.task.run_after, now);
        let begins = |waiting: &Waiting| admission.begins_without_room(&waiting.task, self.since(waiting, now));
        let open = queue.open.iter().filter_map(|(_, id)| waiting(id)).find(is_due);
        if let Some(open) = open.filter(|open| begins(open)) {
            return Some(open);
        }
        let any = queue.by_tenant.values().find_map(|line| line.by_rank.first()).and_then(|(_, id)| waiting(id))?;
        if !admission.has_room(&any.task) {
            let waits = queue.by_tenant.values().flat_map(|line| [&line.routed_by_wait, &line.by_wait]);
            let longest = waits.filter_map(|waits| waits.iter().filter_map(|(_, id)| waiting(id)).find(is_due));
            return longest.filter(|longest| begins(longest)).min_by_key(|longest| (self.since(longest, now), longest.task.task));
        }
        let heads = queue.by_tenant.iter().filter_map(|(tenant, line)| {
            let head = line.by_rank.iter().filter_map(|(_, id)| waiting(id)).find(is_due)?;
            admission.lets_tenant(&head.task).then(|| (queue.fair.turn(*tenant, head.task.priority), head))
        });
        heads.min_by_key(|(turn, head): &(Tag, &Waiting)| (*turn, rank(&head.task))).map(|(_, head)| head)
    }

    /// When a task that still pauses may start.
    pub(super) fn next_due(&self, now: UnixMs) -> Option<UnixMs> {
        self.pausing.iter().map(|(until, _)| *until).find(|until| !ageing::is_due(Some(*until), now))
    }

    /// How many tasks wait for each provider.
    pub(super) fn depths(&self) -> impl Iterator<Item = (&ModelId, usize)> {
        self.providers.iter().map(|(name, queue)| (name, queue.by_tenant.values().map(|line| line.by_rank.len()).sum()))
    }

    fn waiting_of(&self, job: JobId) -> Option<&Waiting> {
        self.tasks.get(self.by_job.get(&job)?.first()?)
    }

    /// The task of a job that waits, and since when it has waited for its provider.
    pub(super) fn task_of(&self, job: JobId, now: UnixMs) -> Option<(&QueuedTask, UnixMs)> {
        self.waiting_of(job).map(|waiting| (&waiting.task, self.since(waiting, now)))
    }

    /// About how many of its provider's tasks stand before that of a job that waits: its tenant's own, and of each other tenant as many.
    pub(super) fn before(&self, job: JobId) -> Option<usize> {
        let waiting = self.waiting_of(job)?;
        let queue = self.providers.get(&waiting.task.batch.model)?;
        let own = queue.by_tenant.get(&waiting.tenant)?.by_rank.range(..rank(&waiting.task)).count();
        let turn = queue.fair.turn(waiting.tenant, waiting.task.priority);
        let others = queue.by_tenant.iter().filter(|(tenant, _)| **tenant != waiting.tenant).map(|(tenant, theirs)| {
            let is_before = (queue.fair.turn(*tenant, 0), *tenant) < (turn, waiting.tenant);
            theirs.by_rank.len().min(own + usize::from(is_before))
        });
        Some(own + others.sum::<usize>())
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
        /// Whoever has waited since then or longer, too.
        begins_since: Option<i64>,
        capped: Vec<&'static str>,
    }

    impl Admission for Says {
        fn has_room(&self, task: &QueuedTask) -> bool {
            !self.full.contains(&task.batch.model.as_str())
        }
        fn begins_without_room(&self, task: &QueuedTask, since: UnixMs) -> bool {
            self.begins.contains(&task.task) || self.begins_since.is_some_and(|longest| since.0 <= longest)
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
        let mut queue = RemoteQueue::new(Arc::new(EqualShares), UnixMs(0));
        for task in tasks {
            queue.insert((*task).clone());
        }
        queue
    }

    /// The order in which all of them would begin.
    fn order(mut queue: RemoteQueue, says: &Says) -> Vec<TaskId> {
        let mut order = Vec::new();
        while let Some(first) = queue.first(UnixMs(5_000), says).map(|(task, _)| task.task) {
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
        assert_eq!(queue.before(late.job), Some(1));
        assert_eq!(queue.before(many[3].job), Some(5));
        assert_eq!(queue.before(JobId::generate()), None);
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
    fn what_its_tenants_caps_hold_up_does_not_wait_for_its_provider() {
        let (ann, bob) = (task("a", "ann", 1_000), task("a", "bob", 1_500));
        let mut queue = queue(&[&ann, &bob]);
        let since = |queue: &RemoteQueue, task: &QueuedTask, now| queue.task_of(task.job, UnixMs(now)).map(|(_, since)| since.0);
        let capped = || Says { full: vec!["a"], capped: vec!["ann"], ..Says::default() };
        queue.note_caps(UnixMs(2_000), &capped());
        assert_eq!(since(&queue, &ann, 3_000), Some(2_000), "one second, and not the second under the cap");
        let later = task("a", "ann", 2_600);
        queue.insert(later.clone());
        queue.note_caps(UnixMs(4_000), &Says::default());
        assert_eq!([&ann, &bob, &later].map(|task| since(&queue, task, 9_000)), [Some(3_000), Some(1_500), Some(4_000)]);
        queue.set_priority(ann.job, 7);
        assert_eq!(since(&queue, &ann, 9_000), Some(3_000), "another priority changes no wait");
        // Only what has waited so long for the provider itself gives it up.
        let first = |queue: &RemoteQueue, begins_since| {
            let says = Says { full: vec!["a"], begins_since: Some(begins_since), ..Says::default() };
            queue.first(UnixMs(9_000), &says).map(|(task, since)| (task.task, since.0))
        };
        assert_eq!(first(&queue, 1_499), None);
        assert_eq!(first(&queue, 3_000), Some((bob.task, 1_500)));
        queue.remove(bob.task);
        assert_eq!(first(&queue, 2_999), None);
        assert_eq!(first(&queue, 3_000), Some((ann.task, 3_000)));
        // Of what held it up before the server began, nobody knows.
        let mut queue = RemoteQueue::new(Arc::new(EqualShares), UnixMs(5_000));
        queue.insert(ann.clone());
        assert_eq!(since(&queue, &ann, 9_000), Some(5_000));
    }

    #[test]
    fn what_pauses_waits_and_what_leaves_is_gone() {
        let (paused, soon) = (QueuedTask { run_after: Some(UnixMs(9_000)), ..task("a", "ann", 0) }, task("a", "ann", 1));
        let mut queue = queue(&[&paused, &soon]);
        let says = Says::default();
        assert_eq!(queue.next_due(UnixMs(5_000)), Some(UnixMs(9_000)));
        assert_eq!(queue.first(UnixMs(5_000), &says).map(|(task, _)| task.task), Some(soon.task));
        queue.set_priority(soon.job, -7);
        assert_eq!(queue.first(UnixMs(5_000), &says).map(|(task, _)| task.priority), Some(-7));
        queue.insert(soon.clone());
        assert_eq!(queue.first(UnixMs(5_000), &says).map(|(task, _)| task.priority), Some(-7), "an old word");
        queue.insert(QueuedTask { queued: UnixMs(6), ..soon.clone() });
        assert_eq!(queue.first(UnixMs(5_000), &says).map(|(task, _)| task.priority), Some(0));
        assert_eq!(queue.tasks().count(), 2);
        queue.remove_job(soon.job);
        assert_eq!(queue.first(UnixMs(5_000), &says), None);
        assert_eq!(queue.first(UnixMs(9_000), &says).map(|(task, _)| task.task), Some(paused.task));
        assert!(queue.remove(paused.task).is_some() && queue.remove(paused.task).is_none());
        assert_eq!((queue.tasks().count(), queue.next_due(UnixMs(0))), (0, None));
        let Some(provider) = queue.providers.values().next() else { panic!("it was asked once") };
        assert!(provider.by_tenant.is_empty() && provider.open.is_empty());
    }
}
