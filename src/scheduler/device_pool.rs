//! The devices: what runs on each, what is loaded, who may come next.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::fleet::{DeviceView, Fleet, ResidentModel, RunningTaskView};
use super::options::SchedulerOptions;
use crate::domain::{JobId, ModelId, TaskId, UnixMs};
use crate::execution::{Executor, ExecutorHealth, ExecutorStatus};
use crate::jobs::store::QueuedTask;
use crate::models::residency::{self, Resident};

/// Deaths in a row after which a worker whose device's memory is not known counts as one that will not come up.
const LOST_AFTER_DEATHS: u32 = 5;

/// A device and what it does.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceStatus {
    /// Its name: what `drain` takes.
    pub name: String,
    /// How its executor is.
    pub executor: ExecutorStatus,
    /// It takes no new tasks.
    pub draining: bool,
    /// The jobs that it runs.
    pub jobs: Vec<JobId>,
    /// Models that stay loaded on it.
    pub pinned: Vec<ModelId>,
}

/// All devices of this server.
#[derive(Debug)]
pub(super) struct DevicePool {
    executors: Vec<Arc<dyn Executor>>,
    limits: Limits,
    state: Mutex<State>,
    /// Woken when a device may take more than before.
    changed: Notify,
}

#[derive(Debug)]
struct Limits {
    max_concurrent: usize,
    max_batch_tasks: u32,
    max_batch_rows: u32,
    max_vram_bytes: Option<u64>,
    max_ram_bytes: Option<u64>,
    idle_unload: Option<Duration>,
}

#[derive(Debug)]
struct State {
    slots: Vec<Slot>,
    pinned: BTreeSet<ModelId>,
}

#[derive(Debug)]
struct Slot {
    status: watch::Receiver<ExecutorStatus>,
    draining: bool,
    seats: Vec<Seated>,
    last_used: HashMap<ModelId, UnixMs>,
    /// Models that go as soon as nothing here uses them.
    leaving: BTreeSet<ModelId>,
    /// Models that are being unloaded.
    unloading: BTreeSet<ModelId>,
    time: SharedTime,
}

#[derive(Debug)]
struct Seated {
    view: RunningTaskView,
    job: JobId,
    /// [`SharedTime::seconds_each`] when it came.
    came: f64,
}

/// Device time, divided equally among those who share the device at every moment: all parts together are the time it was busy.
#[derive(Debug)]
struct SharedTime {
    seconds_each: f64,
    as_of: Instant,
}

impl SharedTime {
    /// Brings the account up to `now`, before the number of those who share changes.
    fn advance(&mut self, now: Instant, sharing: usize) {
        if sharing > 0 {
            self.seconds_each += now.saturating_duration_since(self.as_of).as_secs_f64() / sharing as f64;
        }
        self.as_of = now;
    }
}

/// A task's place on a device, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    pool: Arc<DevicePool>,
    device: usize,
    task: TaskId,
}

impl Seat {
    pub(super) fn executor(&self) -> &dyn Executor {
        &*self.pool.executors[self.device]
    }

    /// Leaves the device, with the device time that the task has used.
    pub(super) fn leave(self) -> Duration {
        self.pool.stand_up(self.device, self.task)
    }

    /// Has everything that is loaded on the device, but for what is pinned, unloaded before another task comes.
    pub(super) fn clear_device(&self) {
        let mut state = self.pool.state.lock();
        let State { slots, pinned } = &mut *state;
        let slot = &mut slots[self.device];
        let loaded: Vec<ModelId> = slot.status.borrow().loaded.iter().map(|loaded| loaded.model.clone()).collect();
        slot.leaving.extend(loaded.into_iter().filter(|model| !pinned.contains(model)));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.pool.stand_up(self.device, self.task);
    }
}

impl DevicePool {
    pub(super) fn new(executors: Vec<Arc<dyn Executor>>, max_concurrent: usize, options: &SchedulerOptions) -> Self {
        let slot = |executor: &Arc<dyn Executor>| Slot {
            status: executor.status(),
            draining: false,
            seats: Vec::new(),
            last_used: HashMap::new(),
            leaving: BTreeSet::new(),
            unloading: BTreeSet::new(),
            time: SharedTime { seconds_each: 0.0, as_of: Instant::now() },
        };
        Self {
            limits: Limits {
                max_concurrent,
                max_batch_tasks: options.max_batch_tasks,
                max_batch_rows: options.max_batch_rows,
                max_vram_bytes: options.max_vram_bytes,
                max_ram_bytes: options.max_ram_bytes,
                idle_unload: options.idle_unload,
            },
            state: Mutex::new(State { slots: executors.iter().map(slot).collect(), pinned: BTreeSet::new() }),
            executors,
            changed: Notify::new(),
        }
    }

    pub(super) fn executors(&self) -> &[Arc<dyn Executor>] {
        &self.executors
    }

    /// The place of a device in the list.
    pub(super) fn index(&self, name: &str) -> Option<usize> {
        self.executors.iter().position(|executor| executor.name() == name)
    }

    /// Completes when a device may take more than before this call, or one permit is left from before.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Has the devices looked at again.
    pub(super) fn wake(&self) {
        self.changed.notify_one();
    }

    /// How many tasks run.
    pub(super) fn running(&self) -> usize {
        self.state.lock().slots.iter().map(|slot| slot.seats.len()).sum()
    }

    /// The devices as decisions see them; not those that never came up.
    pub(super) fn fleet(&self) -> Fleet {
        let state = self.state.lock();
        let view = |(index, slot): (usize, &Slot)| {
            let status = slot.status.borrow();
            let resident = status.loaded.iter().map(|loaded| ResidentModel {
                model: loaded.model.clone(),
                weights_bytes: loaded.weights_bytes,
                last_used: slot.last_used(&loaded.model),
                pinned: state.pinned.contains(&loaded.model),
            });
            DeviceView {
                index,
                accepts: status.health == ExecutorHealth::Ready && !slot.draining,
                max_batch_tasks: self.limits.max_batch_tasks,
                max_batch_rows: self.limits.max_batch_rows,
                memory_bytes: self.memory_bytes(self.executors[index].name(), &status),
                shares_memory: self.executors[index].name().starts_with("cpu"),
                resident: resident.collect(),
                running: slot.seats.iter().map(|seated| seated.view.clone()).collect(),
            }
        };
        let devices = state.slots.iter().enumerate().filter(|(_, slot)| !slot.is_lost()).map(view).collect();
        Fleet { devices, max_concurrent: self.limits.max_concurrent }
    }

    /// What models and their work may take: all of the device's memory, not what is free at the moment (a decision that a task can never
    /// run must not hang on what other programs do), up to the configured cap.
    fn memory_bytes(&self, name: &str, status: &ExecutorStatus) -> Option<u64> {
        let cap = if name.starts_with("cuda") { self.limits.max_vram_bytes } else { self.limits.max_ram_bytes };
        // Numbers that cannot be true say nothing.
        let total = status.memory.filter(|memory| memory.total_bytes > 0 && memory.free_bytes <= memory.total_bytes);
        match (total.map(|memory| memory.total_bytes), cap) {
            (Some(total), Some(cap)) => Some(total.min(cap)),
            (total, cap) => total.or(cap),
        }
    }

    /// How many tasks share a device.
    pub(super) fn sharing(&self, device: usize) -> usize {
        self.state.lock().slots[device].seats.len()
    }

    /// Whether a device has a model loaded.
    pub(super) fn has_loaded(&self, device: usize, model: &ModelId) -> bool {
        self.state.lock().slots[device].has_loaded(model)
    }

    /// Models that a device has loaded, or is about to.
    pub(super) fn models_in_use(&self) -> BTreeSet<ModelId> {
        let state = self.state.lock();
        let seated = |slot: &Slot| slot.seats.iter().map(|seated| seated.view.batch.model.clone()).collect::<Vec<_>>();
        let loaded = |slot: &Slot| slot.status.borrow().loaded.iter().map(|loaded| loaded.model.clone()).collect::<Vec<_>>();
        state.slots.iter().flat_map(|slot| [seated(slot), loaded(slot)]).flatten().collect()
    }

    /// Gives a claimed task a place. Also says whether its model is there already, or on the way for another task.
    pub(super) fn seat(
        self: &Arc<Self>,
        device: usize,
        task: QueuedTask,
        alone: bool,
        now: UnixMs,
        expected_end: Option<UnixMs>,
    ) -> (Seat, bool) {
        let mut state = self.state.lock();
        let slot = &mut state.slots[device];
        let is_joined = slot.seats.iter().any(|seated| seated.view.batch.model == task.batch.model);
        let is_hit = is_joined || slot.has_loaded(&task.batch.model);
        slot.last_used.insert(task.batch.model.clone(), now);
        slot.leaving.remove(&task.batch.model);
        slot.time.advance(Instant::now(), slot.seats.len());
        let seat = Seat { pool: self.clone(), device, task: task.task };
        slot.seats.push(Seated {
            job: task.job,
            came: slot.time.seconds_each,
            view: RunningTaskView {
                task: task.task,
                user: task.user,
                project: task.project,
                batch: task.batch,
                rows: task.rows,
                alone,
                expected_end,
            },
        });
        (seat, is_hit)
    }

    /// What is wanted out of a device that runs nothing, but for the `model` of the task that comes next: the task has it unloaded on its
    /// way in, since a device under load is never idle for long enough to be cleared otherwise.
    pub(super) fn take_leaving(&self, device: usize, model: &ModelId) -> Vec<ModelId> {
        let mut state = self.state.lock();
        let slot = &mut state.slots[device];
        if !slot.seats.is_empty() {
            return Vec::new();
        }
        let leaving = std::mem::take(&mut slot.leaving);
        let is_there = |leaving: &ModelId| leaving != model && slot.has_loaded(leaving) && !slot.unloading.contains(leaving);
        leaving.into_iter().filter(is_there).collect()
    }

    /// Frees a task's place; nothing, the second time.
    fn stand_up(&self, device: usize, task: TaskId) -> Duration {
        let used = {
            let mut state = self.state.lock();
            let slot = &mut state.slots[device];
            let Some(place) = slot.seats.iter().position(|seated| seated.view.task == task) else { return Duration::ZERO };
            slot.time.advance(Instant::now(), slot.seats.len());
            let seated = slot.seats.swap_remove(place);
            Duration::from_secs_f64((slot.time.seconds_each - seated.came).max(0.0))
        };
        self.changed.notify_one();
        used
    }

    /// Notes that somebody uses a model on a device.
    pub(super) fn touch(&self, device: usize, model: &ModelId, now: UnixMs) {
        let mut state = self.state.lock();
        let slot = &mut state.slots[device];
        slot.last_used.insert(model.clone(), now);
        slot.leaving.remove(model);
    }

    /// Has a model unloaded from a device: when nothing there uses it, if something does now.
    pub(super) fn dismiss(&self, device: usize, model: &ModelId) {
        let is_news = {
            let mut state = self.state.lock();
            let slot = &mut state.slots[device];
            !slot.unloading.contains(model) && slot.leaving.insert(model.clone())
        };
        if is_news {
            self.wake();
        }
    }

    /// The models that shall be unloaded now, and that nothing uses on their device: wanted out, or idle for too long. Each is given
    /// once, until [`DevicePool::unloaded`] is called for it.
    pub(super) fn take_unloads(&self, now: UnixMs) -> Vec<(usize, ModelId)> {
        let mut state = self.state.lock();
        let State { slots, pinned } = &mut *state;
        let mut unloads = Vec::new();
        for (index, slot) in slots.iter_mut().enumerate() {
            let in_use: BTreeSet<ModelId> = slot.seats.iter().map(|seated| seated.view.batch.model.clone()).collect();
            slot.last_used.extend(in_use.iter().map(|model| (model.clone(), now)));
            let mut due: BTreeSet<ModelId> =
                slot.leaving.difference(&in_use).filter(|model| slot.has_loaded(model)).cloned().collect();
            if let Some(idle) = self.limits.idle_unload {
                due.extend(slot.idle(pinned, idle, now).into_iter().filter(|model| !in_use.contains(model)));
            }
            slot.leaving.retain(|model| in_use.contains(model));
            for model in due {
                if slot.unloading.insert(model.clone()) {
                    unloads.push((index, model));
                }
            }
        }
        unloads
    }

    /// An unload has ended, one way or another.
    pub(super) fn unloaded(&self, device: usize, model: &ModelId) {
        self.state.lock().slots[device].unloading.remove(model);
        self.wake();
    }

    /// Stops giving tasks to a device, or begins again.
    pub(super) fn drain(&self, device: usize, draining: bool) {
        self.state.lock().slots[device].draining = draining;
        self.wake();
    }

    /// Whether a model is pinned.
    pub(super) fn is_pinned(&self, model: &ModelId) -> bool {
        self.state.lock().pinned.contains(model)
    }

    /// Keeps a model wherever it is loaded, or no more.
    pub(super) fn pin(&self, model: &ModelId, pinned: bool) {
        let mut state = self.state.lock();
        if pinned {
            state.pinned.insert(model.clone());
            for slot in &mut state.slots {
                slot.leaving.remove(model);
            }
        } else {
            state.pinned.remove(model);
        }
    }

    /// A device and what it does.
    pub(super) fn status(&self, device: usize) -> DeviceStatus {
        let state = self.state.lock();
        self.describe(device, &state)
    }

    /// All devices and what they do.
    pub(super) fn statuses(&self) -> Vec<DeviceStatus> {
        let state = self.state.lock();
        (0..state.slots.len()).map(|device| self.describe(device, &state)).collect()
    }

    fn describe(&self, device: usize, state: &State) -> DeviceStatus {
        let slot = &state.slots[device];
        let executor = slot.status.borrow().clone();
        let pinned = executor.loaded.iter().map(|loaded| &loaded.model).filter(|model| state.pinned.contains(model));
        DeviceStatus {
            name: self.executors[device].name().to_owned(),
            draining: slot.draining,
            jobs: slot.seats.iter().map(|seated| seated.job).collect(),
            pinned: pinned.cloned().collect(),
            executor,
        }
    }
}

impl Slot {
    /// Its worker dies again and again without ever having said what memory there is: to wait for what it may have is to wait for ever.
    fn is_lost(&self) -> bool {
        let status = self.status.borrow();
        let is_dying = matches!(status.health, ExecutorHealth::Restarting { deaths, .. } if deaths >= LOST_AFTER_DEATHS);
        is_dying && status.memory.is_none() && self.seats.is_empty()
    }

    fn has_loaded(&self, model: &ModelId) -> bool {
        self.status.borrow().loaded.iter().any(|loaded| loaded.model == *model)
    }

    fn last_used(&self, model: &ModelId) -> UnixMs {
        self.last_used.get(model).copied().unwrap_or(UnixMs(0))
    }

    /// Models that nobody has used for `idle`.
    fn idle(&self, pinned: &BTreeSet<ModelId>, idle: Duration, now: UnixMs) -> Vec<ModelId> {
        let status = self.status.borrow();
        let residents: Vec<Resident> = status
            .loaded
            .iter()
            .map(|loaded| Resident {
                model: loaded.model.clone(),
                bytes: loaded.weights_bytes,
                last_used: self.last_used(&loaded.model),
                pinned: pinned.contains(&loaded.model),
            })
            .collect();
        residency::idle(&residents, i64::try_from(idle.as_millis()).unwrap_or(i64::MAX), now)
    }
}
