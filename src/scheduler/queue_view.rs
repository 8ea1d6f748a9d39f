//! What waits, kept in memory and up to date by small changes, in the order that decisions need: model, then lane (a batch key), then
//! tenant in turn, then that tenant's tasks by rank.
//!
//! Invariants: a lane, a model and a tenant are here exactly as long as a task of theirs waits; every order is a function of the changes
//! made, never of hashes, so that equal histories decide equally. A task takes about 130 bytes: names are interned, ids stand once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::BuildHasher;
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, Equivalent, HashMap, HashTable};

use super::ageing;
use super::fair_share::{EqualShares, FairShare, Tag};
use super::fleet::Shares;
use crate::domain::{BatchKey, JobId, ModelId, ProjectId, TaskId, UnixMs, UserId};
use crate::jobs::store::QueuedTask;

/// Who is served in turn: a user, within a project or outside any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant {
    /// The project; shares are weighed among projects (and no project) first.
    pub project: Option<ProjectId>,
    /// The user; then among a project's users.
    pub user: UserId,
}

/// A task's place among a tenant's tasks of one lane.
pub(super) type Place = (i64, u32);

/// A waiting task, as small as it can be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub task: TaskId,
    pub job: JobId,
    created: UnixMs,
    queued: UnixMs,
    /// `i64::MIN`: at once.
    run_after: UnixMs,
    pub work: f64,
    pub tenant: u32,
    pub lane: u32,
    pub rows: u32,
    position: u32,
    priority: i32,
}

impl Waiting {
    pub(super) fn is_due(&self, now: UnixMs) -> bool {
        ageing::is_due(self.run_after(), now)
    }

    pub(super) const fn priority(&self) -> i32 {
        self.priority
    }

    fn run_after(&self) -> Option<UnixMs> {
        (self.run_after.0 != i64::MIN).then_some(self.run_after)
    }

    pub(super) fn place(&self, slot: u32) -> Place {
        (ageing::rank(self.created, self.priority), slot)
    }
}

/// Tasks that may share evaluations; where `alone`, tasks that may share with nobody.
#[derive(Debug)]
pub(super) struct Lane {
    pub batch: BatchKey,
    pub alone: bool,
    pub model: u32,
    pub tasks: usize,
    pub work: f64,
    /// Tenants in turn.
    pub order: BTreeSet<(Tag, u32)>,
    /// The first tenant's turn, as it stands in its model's order.
    head: Tag,
    /// What had been served of everything when this lane was served last, or began to wait.
    pub since: f64,
}

/// A model that somebody waits for.
#[derive(Debug)]
pub(super) struct WantedModel {
    pub id: ModelId,
    /// Its lanes, by the turn of their first tenants.
    pub lanes: BTreeSet<(Tag, u32)>,
}

#[derive(Debug)]
struct TenantLane {
    tasks: BTreeSet<Place>,
    /// As it stands in the lane's order.
    turn: Tag,
}

/// How many wait of a priority, and since when.
#[derive(Debug, Default)]
struct Depth {
    tasks: usize,
    /// Tasks by the second in which they were accepted: an age needs to be no finer.
    by_second: BTreeMap<i64, u32>,
}

/// The waiting tasks. Every change costs O(log n) a lane of the tenant; no decision walks all of them.
pub struct QueueView {
    shares: Arc<dyn Shares + Send + Sync>,
    hasher: DefaultHashBuilder,
    slots: Vec<Option<Waiting>>,
    free_slots: Vec<u32>,
    by_task: HashTable<u32>,
    by_job: HashTable<u32>,
    lanes: Vec<Option<Lane>>,
    free_lanes: Vec<u32>,
    lane_numbers: HashMap<(BatchKey, bool), u32>,
    models: Vec<Option<WantedModel>>,
    free_models: Vec<u32>,
    model_numbers: HashMap<ModelId, u32>,
    tenant_lanes: BTreeMap<(u32, u32), TenantLane>,
    /// Lanes, the longest unserved first.
    by_since: BTreeSet<(Tag, u32)>,
    delayed: BTreeSet<(UnixMs, u32)>,
    depths: BTreeMap<i32, Depth>,
    fair: FairShare,
    served_seconds: f64,
}

impl Default for QueueView {
    fn default() -> Self {
        Self::new(Arc::new(EqualShares))
    }
}

impl fmt::Debug for QueueView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueView").field("tasks", &self.len()).field("lanes", &self.lane_numbers.len()).finish_non_exhaustive()
    }
}

impl QueueView {
    /// An empty queue; `shares` gives tenants' weights, read anew whenever a tenant begins to wait.
    pub fn new(shares: Arc<dyn Shares + Send + Sync>) -> Self {
        Self {
            shares,
            hasher: DefaultHashBuilder::default(),
            slots: Vec::new(),
            free_slots: Vec::new(),
            by_task: HashTable::new(),
            by_job: HashTable::new(),
            lanes: Vec::new(),
            free_lanes: Vec::new(),
            lane_numbers: HashMap::new(),
            models: Vec::new(),
            free_models: Vec::new(),
            model_numbers: HashMap::new(),
            tenant_lanes: BTreeMap::new(),
            by_since: BTreeSet::new(),
            delayed: BTreeSet::new(),
            depths: BTreeMap::new(),
            fair: FairShare::default(),
            served_seconds: 0.0,
        }
    }

    /// Adds a task; `false` when it is there already.
    pub fn insert(&mut self, task: QueuedTask) -> bool {
        if self.slot_of(task.task).is_some() {
            return false;
        }
        let lane = self.lane_number(task.batch, task.alone);
        let tenant = self.fair.number(Tenant { project: task.project, user: task.user });
        let waiting = Waiting {
            task: task.task,
            job: task.job,
            created: task.created,
            queued: task.queued,
            run_after: task.run_after.unwrap_or(UnixMs(i64::MIN)),
            work: if task.work.is_finite() { task.work.max(0.0) } else { 0.0 },
            tenant,
            lane,
            rows: task.rows,
            position: task.position,
            priority: task.priority,
        };
        let slot = put(&mut self.slots, &mut self.free_slots, waiting);
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.by_task
            .insert_unique(hasher.hash_one(waiting.task), slot, |&slot| hash_of(slots, slot, |w| hasher.hash_one(w.task)));
        self.by_job.insert_unique(hasher.hash_one(waiting.job), slot, |&slot| hash_of(slots, slot, |w| hasher.hash_one(w.job)));
        if waiting.run_after().is_some() {
            self.delayed.insert((waiting.run_after, slot));
        }
        self.fair.begin(tenant, &*self.shares);
        self.enter(&waiting, slot);
        true
    }

    /// Takes a task out: it was cancelled, or somebody else has it.
    pub fn remove(&mut self, task: TaskId) -> Option<QueuedTask> {
        let slot = self.slot_of(task)?;
        self.leave(slot)
    }

    /// Takes a task out because it was claimed here, and charges its tenant's share with `device_seconds`, the time it is expected to
    /// take.
    pub fn take(&mut self, task: TaskId, device_seconds: f64) -> Option<QueuedTask> {
        let slot = self.slot_of(task)?;
        let (tenant, lane) = self.slots[slot as usize].as_ref().map(|waiting| (waiting.tenant, waiting.lane))?;
        let seconds = if device_seconds.is_finite() { device_seconds.max(0.0) } else { 0.0 };
        self.fair.charge(tenant, seconds);
        self.served_seconds += seconds;
        if let Some(served) = self.lanes[lane as usize].as_mut() {
            self.by_since.remove(&(Tag(served.since), lane));
            served.since = self.served_seconds;
            self.by_since.insert((Tag(served.since), lane));
        }
        let taken = self.leave(slot);
        self.sort_in_everywhere(tenant);
        taken
    }

    /// The waiting tasks of a job, in no order.
    pub fn of_job(&self, job: JobId) -> Vec<QueuedTask> {
        let waiting = self.slots_of_job(job).into_iter().filter_map(|slot| self.waiting(slot));
        waiting.filter_map(|waiting| self.written_out(waiting)).collect()
    }

    /// A waiting task.
    pub fn get(&self, task: TaskId) -> Option<QueuedTask> {
        self.slot_of(task).and_then(|slot| self.waiting(slot)).and_then(|waiting| self.written_out(waiting))
    }

    /// When a waiting task joined the queue, as far as is known here.
    pub(super) fn queued(&self, task: TaskId) -> Option<UnixMs> {
        self.slot_of(task).and_then(|slot| self.waiting(slot)).map(|waiting| waiting.queued)
    }

    /// Gives a tenant back what [`QueueView::take`] has charged for a task that goes back to the queue.
    pub(super) fn refund(&mut self, task: &QueuedTask, device_seconds: f64) {
        let tenant = Tenant { project: task.project.clone(), user: task.user.clone() };
        if let Some(tenant) = self.fair.refund(&tenant, device_seconds) {
            self.sort_in_everywhere(tenant);
        }
    }

    /// Reads the tenants' weights anew.
    pub fn reweigh(&mut self) {
        self.fair.reweigh(&*self.shares);
        let waiting: Vec<(u32, u32)> = self.tenant_lanes.keys().copied().collect();
        for (tenant, lane) in waiting {
            self.sort_in(tenant, lane);
        }
    }

    /// Every waiting task in no order, with the time at which it joined the queue.
    pub fn tasks(&self) -> impl Iterator<Item = (TaskId, UnixMs)> {
        self.slots.iter().flatten().map(|waiting| (waiting.task, waiting.queued))
    }

    /// Gives the waiting tasks of a job another priority.
    pub fn set_priority(&mut self, job: JobId, priority: i32) {
        for slot in self.slots_of_job(job) {
            let Some(before) = self.waiting(slot).copied() else { continue };
            self.withdraw(&before, slot);
            let after = Waiting { priority, ..before };
            self.slots[slot as usize] = Some(after);
            self.enter(&after, slot);
        }
    }

    /// How many tasks wait.
    pub fn len(&self) -> usize {
        self.by_task.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waiting tasks by priority class, with the time (to the second) at which the oldest of each was accepted: for metrics.
    pub fn depths(&self) -> Vec<(i32, usize, UnixMs)> {
        let oldest =
            |depth: &Depth| depth.by_second.keys().next().map_or(UnixMs(0), |second| UnixMs(second.saturating_mul(1000)));
        self.depths.iter().map(|(&priority, depth)| (priority, depth.tasks, oldest(depth))).collect()
    }

    /// The batch keys that wait, with how many tasks and how much work each has: for estimates.
    pub fn demand(&self) -> Vec<(BatchKey, usize, f64)> {
        let mut demand: BTreeMap<&BatchKey, (usize, f64)> = BTreeMap::new();
        for lane in self.lanes.iter().flatten() {
            let entry = demand.entry(&lane.batch).or_default();
            *entry = (entry.0 + lane.tasks, entry.1 + lane.work);
        }
        demand.into_iter().map(|(batch, (tasks, work))| (batch.clone(), tasks, work)).collect()
    }

    /// When the next task that still pauses at `now` may start: decide again then.
    pub fn next_due(&self, now: UnixMs) -> Option<UnixMs> {
        self.delayed
            .range((UnixMs(now.0.saturating_add(1)), 0)..)
            .next()
            .map(|(at, _)| *at)
            .filter(|&at| !ageing::is_due(Some(at), now))
    }

    /// The one of a job's waiting tasks that comes first.
    pub(super) fn slot_of_job(&self, job: JobId) -> Option<u32> {
        self.slots_of_job(job).into_iter().min_by_key(|&slot| self.waiting(slot).map(|waiting| waiting.place(slot)))
    }

    fn slots_of_job(&self, job: JobId) -> Vec<u32> {
        let is_it = |slot: &&u32| self.slots[**slot as usize].as_ref().is_some_and(|waiting| waiting.job == job);
        self.by_job.iter_hash(self.hasher.hash_one(job)).filter(is_it).copied().collect()
    }

    pub(super) fn waiting(&self, slot: u32) -> Option<&Waiting> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn lane(&self, lane: u32) -> Option<&Lane> {
        self.lanes.get(lane as usize)?.as_ref()
    }

    pub(super) fn lane_of(&self, batch: &BatchKey) -> Option<u32> {
        self.lane_numbers.get(&LaneName(batch, false)).copied()
    }

    /// One more than the greatest number of a lane.
    pub(super) const fn lane_bound(&self) -> usize {
        self.lanes.len()
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = (u32, &Lane)> {
        self.lanes.iter().enumerate().filter_map(|(number, lane)| Some((number as u32, lane.as_ref()?)))
    }

    pub(super) fn model(&self, model: u32) -> Option<&WantedModel> {
        self.models.get(model as usize)?.as_ref()
    }

    pub(super) fn model_number(&self, model: &ModelId) -> Option<u32> {
        self.model_numbers.get(model).copied()
    }

    /// One more than the greatest number of a model.
    pub(super) const fn model_bound(&self) -> usize {
        self.models.len()
    }

    pub(super) fn model_count(&self) -> usize {
        self.model_numbers.len()
    }

    pub(super) fn lane_count(&self) -> usize {
        self.lane_numbers.len()
    }

    /// The lanes that nobody was taken from for longest, first.
    pub(super) fn by_since(&self) -> impl Iterator<Item = u32> {
        self.by_since.iter().map(|(_, lane)| *lane)
    }

    /// The lanes in which a tenant waits.
    pub(super) fn lanes_of(&self, tenant: u32) -> impl Iterator<Item = u32> {
        self.tenant_lanes.range((tenant, 0)..=(tenant, u32::MAX)).map(|((_, lane), _)| *lane)
    }

    /// A tenant's tasks in a lane, by rank, behind `after`.
    pub(super) fn places(&self, tenant: u32, lane: u32, after: Option<Place>) -> impl Iterator<Item = Place> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let queue = self.tenant_lanes.get(&(tenant, lane));
        queue.into_iter().flat_map(move |queue| queue.tasks.range((from, Bound::Unbounded)).copied())
    }

    /// How many tasks a tenant has waiting in a lane.
    pub(super) fn waiting_of(&self, tenant: u32, lane: u32) -> usize {
        self.tenant_lanes.get(&(tenant, lane)).map_or(0, |queue| queue.tasks.len())
    }

    /// A tenant's first and last place in a lane.
    pub(super) fn ends_of(&self, tenant: u32, lane: u32) -> Option<(Place, Place)> {
        let tasks = &self.tenant_lanes.get(&(tenant, lane))?.tasks;
        Some((*tasks.first()?, *tasks.last()?))
    }

    pub(super) const fn fair(&self) -> &FairShare {
        &self.fair
    }

    /// Device seconds taken so far.
    pub(super) const fn served_seconds(&self) -> f64 {
        self.served_seconds
    }

    fn slot_of(&self, task: TaskId) -> Option<u32> {
        let is_it = |&slot: &u32| self.slots[slot as usize].as_ref().is_some_and(|waiting| waiting.task == task);
        self.by_task.find(self.hasher.hash_one(task), is_it).copied()
    }

    fn written_out(&self, waiting: &Waiting) -> Option<QueuedTask> {
        let (lane, tenant) = (self.lane(waiting.lane)?, self.fair.tenant(waiting.tenant)?);
        Some(QueuedTask {
            task: waiting.task,
            job: waiting.job,
            user: tenant.user.clone(),
            project: tenant.project.clone(),
            position: waiting.position,
            lane: crate::domain::plan::Lane::Device,
            batch: lane.batch.clone(),
            rows: waiting.rows,
            work: waiting.work,
            priority: waiting.priority,
            created: waiting.created,
            queued: waiting.queued,
            run_after: waiting.run_after(),
            alone: lane.alone,
            has_next_target: false,
            has_open_call: false,
        })
    }

    fn leave(&mut self, slot: u32) -> Option<QueuedTask> {
        let waiting = self.slots[slot as usize].take()?;
        let task = self.written_out(&waiting);
        for (table, hash) in
            [(&mut self.by_task, self.hasher.hash_one(waiting.task)), (&mut self.by_job, self.hasher.hash_one(waiting.job))]
        {
            if let Ok(entry) = table.find_entry(hash, |&found| found == slot) {
                entry.remove();
            }
        }
        self.free_slots.push(slot);
        self.delayed.remove(&(waiting.run_after, slot));
        self.withdraw(&waiting, slot);
        if self.lanes_of(waiting.tenant).next().is_none() {
            self.fair.end(waiting.tenant);
        }
        self.drop_empty_lane(waiting.lane);
        task
    }

    /// Puts a task into the orders. Its lane is there, and its tenant waits.
    fn enter(&mut self, waiting: &Waiting, slot: u32) {
        let queue = self
            .tenant_lanes
            .entry((waiting.tenant, waiting.lane))
            .or_insert_with(|| TenantLane { tasks: BTreeSet::new(), turn: Tag(f64::NAN) });
        queue.tasks.insert(waiting.place(slot));
        let depth = self.depths.entry(waiting.priority).or_default();
        depth.tasks += 1;
        *depth.by_second.entry(waiting.created.seconds()).or_default() += 1;
        let served_seconds = self.served_seconds;
        if let Some(lane) = self.lanes[waiting.lane as usize].as_mut() {
            if lane.tasks == 0 {
                lane.since = served_seconds;
                self.by_since.insert((Tag(lane.since), waiting.lane));
            }
            lane.tasks += 1;
            lane.work += waiting.work;
        }
        self.sort_in(waiting.tenant, waiting.lane);
    }

    /// Takes a task out of the orders.
    fn withdraw(&mut self, waiting: &Waiting, slot: u32) {
        if let Some(depth) = self.depths.get_mut(&waiting.priority) {
            depth.tasks -= 1;
            if let std::collections::btree_map::Entry::Occupied(mut second) = depth.by_second.entry(waiting.created.seconds()) {
                *second.get_mut() -= 1;
                if *second.get() == 0 {
                    second.remove();
                }
            }
            if depth.tasks == 0 {
                self.depths.remove(&waiting.priority);
            }
        }
        if let Some(lane) = self.lanes[waiting.lane as usize].as_mut() {
            lane.tasks -= 1;
            lane.work = if lane.tasks == 0 { 0.0 } else { lane.work - waiting.work };
            if lane.tasks == 0 {
                self.by_since.remove(&(Tag(lane.since), waiting.lane));
            }
        }
        if let Some(queue) = self.tenant_lanes.get_mut(&(waiting.tenant, waiting.lane)) {
            queue.tasks.remove(&waiting.place(slot));
            self.sort_in(waiting.tenant, waiting.lane);
        }
    }

    fn sort_in_everywhere(&mut self, tenant: u32) {
        let lanes: Vec<u32> = self.lanes_of(tenant).collect();
        for lane in lanes {
            self.sort_in(tenant, lane);
        }
    }

    /// Puts a tenant where it belongs in a lane's order, and the lane in its model's.
    fn sort_in(&mut self, tenant: u32, lane_number: u32) {
        let key = (tenant, lane_number);
        let Some(queue) = self.tenant_lanes.get_mut(&key) else { return };
        let Some(lane) = self.lanes[lane_number as usize].as_mut() else { return };
        lane.order.remove(&(queue.turn, tenant));
        let head = queue.tasks.first().and_then(|&(_, slot)| self.slots[slot as usize]);
        if let Some(head) = head {
            queue.turn = self.fair.turn(tenant, head.priority);
            lane.order.insert((queue.turn, tenant));
        } else {
            self.tenant_lanes.remove(&key);
        }
        let first = lane.order.first().map(|(turn, _)| *turn);
        if let Some(model) = self.models[lane.model as usize].as_mut()
            && first != Some(lane.head)
        {
            model.lanes.remove(&(lane.head, lane_number));
            if let Some(first) = first {
                model.lanes.insert((first, lane_number));
            }
            lane.head = first.unwrap_or(Tag(f64::NAN));
        }
    }

    fn lane_number(&mut self, batch: BatchKey, alone: bool) -> u32 {
        if let Some(&number) = self.lane_numbers.get(&LaneName(&batch, alone)) {
            return number;
        }
        let model = if let Some(&model) = self.model_numbers.get(&batch.model) {
            model
        } else {
            let wanted = WantedModel { id: batch.model.clone(), lanes: BTreeSet::new() };
            let model = put(&mut self.models, &mut self.free_models, wanted);
            self.model_numbers.insert(batch.model.clone(), model);
            model
        };
        let lane = Lane {
            batch: batch.clone(),
            alone,
            model,
            tasks: 0,
            work: 0.0,
            order: BTreeSet::new(),
            head: Tag(f64::NAN),
            since: self.served_seconds,
        };
        let number = put(&mut self.lanes, &mut self.free_lanes, lane);
        self.lane_numbers.insert((batch, alone), number);
        number
    }

    fn drop_empty_lane(&mut self, number: u32) {
        let Some(lane) = self.lanes[number as usize].take_if(|lane| lane.tasks == 0) else { return };
        self.free_lanes.push(number);
        self.lane_numbers.remove(&(lane.batch, lane.alone));
        if let Some(model) = self.models[lane.model as usize].take_if(|model| model.lanes.is_empty()) {
            self.free_models.push(lane.model);
            self.model_numbers.remove(&model.id);
        }
    }
}

/// A lane's name that owns nothing; hashes as the tuple does.
#[derive(Hash)]
struct LaneName<'a>(&'a BatchKey, bool);

impl Equivalent<(BatchKey, bool)> for LaneName<'_> {
    fn equivalent(&self, name: &(BatchKey, bool)) -> bool {
        *self.0 == name.0 && self.1 == name.1
    }
}

/// Puts a value into the first free place; gives its number.
fn put<T>(places: &mut Vec<Option<T>>, free: &mut Vec<u32>, value: T) -> u32 {
    if let Some(number) = free.pop() {
        places[number as usize] = Some(value);
        return number;
    }
    places.push(Some(value));
    (places.len() - 1) as u32
}

fn hash_of(slots: &[Option<Waiting>], slot: u32, hash: impl Fn(&Waiting) -> u64) -> u64 {
    slots[slot as usize].as_ref().map_or(0, hash)
}
