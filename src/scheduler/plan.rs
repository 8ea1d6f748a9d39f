//! Which waiting tasks go to which device. Pure, and the same for the same history.
//!
//! Four passes, each over what the ones before left: overdue tenants and passed-over lanes ([`super::affinity`], rules 1 and 2), idle devices
//! whose models somebody waits for, idle devices that have to load one (rules 3 and 4), and running batches with free rows. An idle device
//! never stays idle while a task waits that may run and fits on it. No pass walks the queue: only lanes, and the first tenants of a lane.

mod room;

use hashbrown::HashSet;

use super::admission;
use super::affinity;
use super::fair_share::Tag;
use super::fleet::{DeviceView, Fleet, ModelFacts, Shares};
use super::picker::Picker;
use super::queue_view::QueueView;
use super::shared_memory::SharedMemory;
use crate::domain::{BatchKey, JobError, ModelId, TaskId, UnixMs};

/// Lanes of a model, and due lanes, that are looked at before a decision does without the rest.
const LOOK: usize = 16;

/// Tasks for a device, which start (or join what runs) together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// The device's index.
    pub device: usize,
    /// What it must unload first.
    pub unload: Vec<ModelId>,
    /// The tasks, all of one batch key.
    pub tasks: Vec<TaskId>,
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What starts.
    pub dispatches: Vec<Dispatch>,
    /// Models that devices beside those that start must give up, so that what waits for the memory they share can start next.
    pub unload: Vec<(usize, ModelId)>,
    /// What can never run on these devices, and why, with the numbers.
    pub impossible: Vec<(TaskId, JobError)>,
}

/// Decides what starts now.
pub fn plan(queue: &QueueView, fleet: &Fleet, models: &dyn ModelFacts, shares: &dyn Shares, now: UnixMs) -> Plan {
    let running: usize = fleet.devices.iter().map(|device| device.running.len()).sum();
    let left = fleet.max_concurrent.saturating_sub(running);
    if queue.is_empty() || left == 0 {
        return Plan::default();
    }
    let mut planner = Planner::survey(queue, fleet, models, Picker::new(queue, fleet, models, shares, now, left));
    if planner.idle.is_empty() && planner.open.is_empty() {
        return Plan::default();
    }
    planner.serve_overdue_tenants();
    planner.serve_passed_over_lanes();
    planner.serve_with_resident_models();
    planner.serve_by_demand();
    planner.join_running();
    planner.make_room_by_demand();
    Plan { dispatches: planner.dispatches, unload: planner.unload, impossible: planner.picker.impossible }
}

/// A running batch with room.
struct Open {
    position: usize,
    lane: u32,
    rows: u32,
    tasks: usize,
}

struct Planner<'a> {
    queue: &'a QueueView,
    fleet: &'a Fleet,
    models: &'a dyn ModelFacts,
    picker: Picker<'a>,
    /// Positions of devices that run nothing, the emptiest and longest unused first.
    idle: Vec<usize>,
    /// The same, by position.
    is_idle: Vec<bool>,
    open: Vec<Open>,
    /// Devices that take tasks, by wanted model that they have.
    hosts: Vec<Vec<u32>>,
    accepting: usize,
    /// Lanes that run somewhere.
    running_lanes: HashSet<u32>,
    /// When a busy device will be free; not asked for before it is needed.
    ends: Vec<Option<i64>>,
    /// Devices that take no mates, so that they become free for somebody who is due.
    reserved: HashSet<usize>,
    /// Seconds that wait for a model; NaN where not yet added up.
    model_seconds: Vec<f64>,
    shared: SharedMemory,
    dispatches: Vec<Dispatch>,
    unload: Vec<(usize, ModelId)>,
}

impl<'a> Planner<'a> {
    fn survey(queue: &'a QueueView, fleet: &'a Fleet, models: &'a dyn ModelFacts, picker: Picker<'a>) -> Self {
        let mut planner = Self {
            queue,
            fleet,
            models,
            picker,
            idle: Vec::new(),
            is_idle: vec![false; fleet.devices.len()],
            open: Vec::new(),
            hosts: vec![Vec::new(); queue.model_bound()],
            accepting: 0,
            running_lanes: HashSet::new(),
            ends: Vec::new(),
            reserved: HashSet::new(),
            model_seconds: vec![f64::NAN; queue.model_bound()],
            shared: SharedMemory::survey(fleet, models),
            dispatches: Vec::new(),
            unload: Vec::new(),
        };
        for (position, device) in fleet.devices.iter().enumerate().filter(|(_, device)| device.accepts) {
            planner.accepting += 1;
            for resident in &device.resident {
                if let Some(model) = queue.model_number(&resident.model) {
                    planner.hosts[model as usize].push(position as u32);
                }
            }
            let Some(first) = device.running.first() else {
                planner.idle.push(position);
                planner.is_idle[position] = true;
                continue;
            };
            let Some(lane) = queue.lane_of(&first.batch) else { continue };
            if device.running.iter().any(|task| task.alone) {
                continue;
            }
            planner.running_lanes.insert(lane);
            let rows = device.running.iter().fold(0_u32, |rows, task| rows.saturating_add(task.rows));
            let tasks = device.running.len();
            if tasks < device.max_batch_tasks as usize && rows < device.max_batch_rows {
                planner.open.push(Open { position, lane, rows, tasks });
            }
        }
        let last_used = |device: &DeviceView| device.resident.iter().map(|resident| resident.last_used).max();
        planner.idle.sort_by_cached_key(|&position| (last_used(&fleet.devices[position]), position));
        planner.open.sort_by_key(|open| (open.tasks, open.position));
        planner
    }

    /// Rule 1: tenants with whom a fluid server would be done by now.
    fn serve_overdue_tenants(&mut self) {
        let (queue, fair) = (self.queue, self.queue.fair());
        let now = fair.virtual_time();
        let mut due: Vec<_> = (0..queue.model_bound() as u32)
            .filter_map(|model| queue.model(model))
            .flat_map(|model| model.lanes.iter().take(2))
            .filter(|(turn, _)| turn.0 <= now)
            .copied()
            .collect();
        due.sort_unstable();
        let mut served = HashSet::new();
        for (_, lane) in due {
            let Some(slot) = self.picker.next(lane, None, |_| true) else { continue };
            let Some(waiting) = queue.waiting(slot) else { continue };
            let tenant = waiting.tenant;
            if !served.insert(tenant) {
                continue;
            }
            let (turn, share) = (fair.turn(tenant, waiting.priority()).0, fair.share(tenant));
            let seconds = waiting.work * self.picker.seconds_per_work(lane);
            if !affinity::is_overdue(now, turn, share, seconds, 0.0) || self.start_where_resident(lane, Some(tenant)) {
                continue;
            }
            let Some(model) = queue.lane(lane).map(|lane| lane.model) else { continue };
            let load_seconds = self.load_seconds(model);
            let served_soon = self.running_lanes.contains(&lane);
            if !self.hosts[model as usize].is_empty() {
                let more = affinity::is_overdue(now, turn, share, 4.0 * seconds, load_seconds);
                if !served_soon || more {
                    self.reserve(lane, !more);
                }
            } else if affinity::is_overdue(now, turn, share, seconds, load_seconds) && !self.has_hosted_work(tenant) {
                self.start_or_reserve(lane, Some(tenant));
            }
        }
    }

    /// Rule 2: lanes that others were served instead of for long enough.
    fn serve_passed_over_lanes(&mut self) {
        let queue = self.queue;
        let hosted = self.hosts.iter().filter(|hosts| !hosts.is_empty()).count();
        let unhosted = queue.model_count().saturating_sub(hosted);
        for lane in queue.by_since().take(LOOK) {
            let Some((model, since)) = queue.lane(lane).map(|lane| (lane.model, lane.since)) else { continue };
            let has_host = !self.hosts[model as usize].is_empty();
            let passed_over = queue.served_seconds() - since;
            let turn = affinity::turn_seconds(self.accepting, queue.lane_count(), 0, 0.0);
            if passed_over < turn {
                break;
            }
            let load_seconds = if has_host { 0.0 } else { self.load_seconds(model) };
            let turn = affinity::turn_seconds(self.accepting, queue.lane_count(), unhosted, load_seconds);
            if passed_over < turn || self.picker.next(lane, None, |_| true).is_none() {
                continue;
            }
            if !self.start_where_resident(lane, None) {
                if has_host {
                    self.reserve(lane, true);
                } else {
                    self.start_or_reserve(lane, None);
                }
            }
        }
    }

    /// Idle devices go on with what they have loaded, unless rule 3 has them leave it.
    fn serve_with_resident_models(&mut self) {
        let queue = self.queue;
        for position in self.idle.clone() {
            let resident: Vec<u32> =
                self.fleet.devices[position].resident.iter().filter_map(|resident| queue.model_number(&resident.model)).collect();
            if resident.is_empty() {
                continue;
            }
            if let Some(model) = self.most_demanded(&resident, &HashSet::new()) {
                let (to_seconds, to_hosts, load_seconds) =
                    (self.model_seconds(model), self.hosts[model as usize].len() as u32, self.load_seconds(model));
                let leaves = |planner: &mut Self, &from: &u32| {
                    let from_hosts = planner.hosts[from as usize].len() as u32;
                    affinity::should_move(planner.model_seconds(from), from_hosts, to_seconds, to_hosts, load_seconds)
                };
                if resident.iter().all(|from| leaves(self, from)) && self.start_model(position, model) {
                    continue;
                }
            }
            // One tenant often is first in many lanes: among those the one that was served longest ago is next.
            let mut lanes: Vec<_> = resident
                .iter()
                .filter_map(|&model| queue.model(model))
                .flat_map(|model| &model.lanes)
                .filter_map(|&(turn, number)| queue.lane(number).map(|lane| (turn, Tag(lane.since), number)))
                .collect();
            lanes.sort_unstable();
            let _ = lanes.into_iter().any(|(.., lane)| self.start(position, lane, None));
        }
    }

    /// Rule 4: the other idle devices load what has the most waiting for each device that has it.
    fn serve_by_demand(&mut self) {
        let mut exhausted = HashSet::new();
        for position in self.idle.clone() {
            let mut refused = exhausted.clone();
            while let Some(model) = self.most_demanded(&[], &refused) {
                if self.start_model(position, model) {
                    break;
                }
                refused.insert(model);
                if !self.may_start(model) {
                    exhausted.insert(model);
                }
            }
            if exhausted.len() >= self.queue.model_count() {
                break;
            }
        }
    }

    /// Free rows of running batches.
    fn join_running(&mut self) {
        let mut waiting_batches = hashbrown::HashMap::<u32, usize>::new();
        let open: Vec<Open> =
            std::mem::take(&mut self.open).into_iter().filter(|open| !self.reserved.contains(&open.position)).collect();
        for open in &open {
            *waiting_batches.entry(open.lane).or_default() += 1;
        }
        for open in open {
            let batches = waiting_batches.entry(open.lane).or_insert(1);
            let most = self.picker.lane_tasks(open.lane).div_ceil(*batches);
            *batches = (*batches - 1).max(1);
            let device = &self.fleet.devices[open.position];
            let room = (device.max_batch_tasks as usize).saturating_sub(open.tasks).min(most);
            let (tasks, unload) = self.fill(device, open.lane, None, open.rows, room, false);
            if !tasks.is_empty() {
                self.dispatches.push(Dispatch { device: device.index, unload, tasks });
            }
        }
    }

    fn start_where_resident(&mut self, lane: u32, tenant: Option<u32>) -> bool {
        let Some(model) = self.queue.lane(lane).map(|lane| lane.model) else { return false };
        let hosts = self.hosts[model as usize].clone();
        hosts.into_iter().any(|position| self.start(position as usize, lane, tenant))
    }

    /// Loads the lane's model on an idle device, or has the device that is free soonest come free for it.
    fn start_or_reserve(&mut self, lane: u32, tenant: Option<u32>) {
        let idle = self.idle.clone();
        if idle.into_iter().any(|position| self.start(position, lane, tenant)) {
            return;
        }
        if self.make_room(lane) {
            if let Some(lane) = self.queue.lane(lane) {
                self.shared.hold_for(&lane.batch.model);
            }
        } else {
            self.reserve(lane, false);
        }
    }

    /// Has the busy device that is free soonest take no mates: one that has the model, if it must.
    fn reserve(&mut self, lane: u32, only_hosts: bool) {
        let Some((lane, model)) = self.queue.lane(lane).map(|lane| (lane, lane.model)) else { return };
        if self.reserved.len() >= (self.accepting / 4).max(1) {
            return;
        }
        if self.ends.is_empty() {
            let end = |device: &DeviceView| {
                let busy = device.accepts && !device.running.is_empty();
                busy.then(|| device.running.iter().map(|task| task.expected_end.map_or(i64::MAX, |end| end.0)).max()).flatten()
            };
            self.ends = self.fleet.devices.iter().map(end).collect();
        }
        let candidates: Vec<usize> = if only_hosts {
            self.hosts[model as usize].iter().map(|&position| position as usize).collect()
        } else {
            (0..self.fleet.devices.len()).collect()
        };
        let fits = |position: usize| self.unloads_beside(&self.fleet.devices[position], &lane.batch, |_| false).is_some();
        // Rather one that need not give up the only copy of a wanted model.
        let is_last =
            |model: &ModelId| self.queue.model_number(model).is_some_and(|number| self.hosts[number as usize].len() <= 1);
        let gives_up_last = |position: usize| self.unloads_beside(&self.fleet.devices[position], &lane.batch, is_last).is_none();
        let soonest = candidates
            .into_iter()
            .filter(|position| !self.reserved.contains(position))
            .filter_map(|position| Some((self.ends[position]?, position)))
            .filter(|&(_, position)| fits(position))
            .min_by_key(|&(end, position)| (gives_up_last(position), end, position));
        if let Some((_, position)) = soonest {
            self.reserved.insert(position);
        } else {
            self.reserve_shared(&lane.batch);
        }
    }

    fn start_model(&mut self, position: usize, model: u32) -> bool {
        let Some(model) = self.queue.model(model) else { return false };
        model.lanes.iter().any(|&(_, lane)| self.start(position, lane, None))
    }

    /// Starts a lane's next tasks on an idle device, with as many mates as are better off there than on other idle devices.
    fn start(&mut self, position: usize, lane_number: u32, tenant: Option<u32>) -> bool {
        let Some(at) = self.idle.iter().position(|&idle| idle == position) else { return false };
        let Some(lane) = self.queue.lane(lane_number) else { return false };
        let device = &self.fleet.devices[position];
        if !self.shared.is_open(device, &lane.batch.model) {
            return false;
        }
        let most = if lane.alone { 1 } else { self.mates_per_device(lane_number, lane.model) };
        let most = most.min(device.max_batch_tasks.max(1) as usize);
        let (tasks, unload) = self.fill(device, lane_number, tenant, 0, most, true);
        if tasks.is_empty() {
            return false;
        }
        self.idle.remove(at);
        self.is_idle[position] = false;
        self.running_lanes.insert(lane_number);
        for gone in unload.iter().filter_map(|model| self.queue.model_number(model)) {
            self.hosts[gone as usize].retain(|&host| host as usize != position);
        }
        let hosts = &mut self.hosts[lane.model as usize];
        if !hosts.contains(&(position as u32)) {
            hosts.push(position as u32);
        }
        self.dispatches.push(Dispatch { device: device.index, unload, tasks });
        true
    }

    /// How many tasks of a lane each device gets: where devices are idle, a batch is not filled with what another could do meanwhile.
    fn mates_per_device(&mut self, lane: u32, model: u32) -> usize {
        if self.idle.len() <= 1 {
            return usize::MAX;
        }
        let with_model = self.hosts[model as usize].iter().filter(|&&host| self.is_idle[host as usize]).count();
        let without = self.idle.len() - with_model;
        let load_seconds = self.load_seconds(model);
        let worth = if load_seconds > 0.0 { (self.picker.lane_seconds(lane) / load_seconds) as usize } else { without };
        let useful = (with_model + without.min(worth)).max(1);
        self.picker.lane_tasks(lane).div_ceil(useful).max(self.picker.tasks().div_ceil(self.idle.len()))
    }

    /// Picks up to `most` tasks that fit together beside `rows` rows; gives them and what must be unloaded. The first (where `first`) may
    /// have models unloaded that others wait for, and may have more rows than a batch should.
    fn fill(
        &mut self,
        device: &DeviceView,
        lane_number: u32,
        tenant: Option<u32>,
        mut rows: u32,
        most: usize,
        first: bool,
    ) -> (Vec<TaskId>, Vec<ModelId>) {
        let (queue, models) = (self.queue, self.models);
        let Some(lane) = queue.lane(lane_number) else { return Default::default() };
        let batch: &BatchKey = &lane.batch;
        let (mut tasks, mut unload) = (Vec::new(), Vec::new());
        let mut first = first;
        let mut room: Option<DeviceView> = self.shared.beside_others(device, &batch.model);
        let hosts = &self.hosts;
        let is_wanted = |model: &ModelId| queue.model_number(model).is_some();
        let is_last = |model: &ModelId| queue.model_number(model).is_some_and(|number| hosts[number as usize].len() <= 1);
        while tasks.len() < most {
            let on = room.as_ref().unwrap_or(device);
            let mut unloads = None;
            let slot = self.picker.next(lane_number, tenant.filter(|_| first), |more| {
                let total = rows.saturating_add(more);
                if !first && total > device.max_batch_rows {
                    return false;
                }
                // Mates are not worth a model that somebody waits for; the first is, but rather one that other devices have too.
                unloads = if first {
                    admission::unloads(on, models, batch, total, is_last)
                        .or_else(|| admission::unloads(on, models, batch, total, |_| false))
                } else {
                    admission::unloads(on, models, batch, total, is_wanted)
                };
                unloads.is_some()
            });
            let Some(slot) = slot else { break };
            let Some(waiting) = self.picker.take(slot) else { break };
            self.model_seconds[lane.model as usize] = f64::NAN;
            rows = rows.saturating_add(waiting.rows);
            tasks.push(waiting.task);
            first = false;
            if let Some(more) = unloads.filter(|more| !more.is_empty()) {
                let kept = room.get_or_insert_with(|| DeviceView { running: Vec::new(), ..device.clone() });
                kept.resident.retain(|resident| !more.contains(&resident.model));
                unload.extend(more);
            }
        }
        if !tasks.is_empty() {
            self.shared.start(device.index, &unload, batch, rows, models);
        }
        (tasks, unload)
    }

    /// The model, none of `except` or `refused`, with the most waiting for each device that has it, counting half a device more: by this
    /// rule (Sainte-Laguë's) as many devices have a model as comes closest to what its demand is worth, for rare models as for hot ones.
    fn most_demanded(&mut self, except: &[u32], refused: &HashSet<u32>) -> Option<u32> {
        let mut best: Option<(f64, u32)> = None;
        for model in 0..self.queue.model_bound() as u32 {
            if self.queue.model(model).is_none() || except.contains(&model) || refused.contains(&model) {
                continue;
            }
            let each = self.model_seconds(model) / (self.hosts[model as usize].len() as f64 + 0.5);
            if best.is_none_or(|(most, _)| each > most) {
                best = Some((each, model));
            }
        }
        best.map(|(_, model)| model)
    }

    fn model_seconds(&mut self, model: u32) -> f64 {
        if self.model_seconds[model as usize].is_nan() {
            let lanes = self.queue.model(model).into_iter().flat_map(|model| &model.lanes);
            self.model_seconds[model as usize] = lanes.map(|&(_, lane)| self.picker.lane_seconds(lane)).sum();
        }
        self.model_seconds[model as usize]
    }

    fn load_seconds(&self, model: u32) -> f64 {
        let seconds = self.queue.model(model).and_then(|model| self.models.load_seconds(&model.id));
        seconds.filter(|seconds| seconds.is_finite()).map_or(0.0, |seconds| seconds.max(0.0))
    }

    /// Whether any task of the model may start at all, wherever.
    fn may_start(&mut self, model: u32) -> bool {
        let Some(model) = self.queue.model(model) else { return false };
        model.lanes.iter().any(|&(_, lane)| self.picker.next(lane, None, |_| true).is_some())
    }

    /// Whether the tenant waits for a model that some device has.
    fn has_hosted_work(&self, tenant: u32) -> bool {
        let model = |lane| self.queue.lane(lane).map(|lane| lane.model);
        self.queue.lanes_of(tenant).filter_map(model).any(|model| !self.hosts[model as usize].is_empty())
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
