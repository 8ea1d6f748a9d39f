//! The next tasks of a lane, in turn: what one decision takes is remembered until it is made. Pure.

use hashbrown::{HashMap, HashSet};

use super::admission;
use super::fair_share::Tag;
use super::fleet::{Fleet, ModelFacts, Shares};
use super::queue_view::{Place, QueueView, Waiting};
use crate::domain::{JobError, ProjectId, TaskId, UnixMs, UserId};
use crate::jobs::speed::UNMEASURED_SECONDS_PER_WORK;

/// Running tasks by those who have caps; counted once, when the first cap is met.
#[derive(Default)]
struct Running<'a> {
    users: HashMap<&'a UserId, u32>,
    projects: HashMap<&'a ProjectId, u32>,
}

/// Picks tasks and keeps account of what this decision has given away.
pub(super) struct Picker<'a> {
    queue: &'a QueueView,
    fleet: &'a Fleet,
    models: &'a dyn ModelFacts,
    shares: &'a dyn Shares,
    now: UnixMs,
    /// How many more tasks may run.
    pub left: usize,
    running: Option<Running<'a>>,
    /// Virtual time by which a tenant has moved on in this decision.
    moved: HashMap<u32, f64>,
    /// How far a tenant's tasks of a lane are given away.
    taken: HashMap<(u32, u32), Place>,
    picked: HashSet<u32>,
    seconds_per_work: Vec<Option<f64>>,
    lane_seconds: Vec<Option<f64>>,
    lane_given: HashMap<u32, usize>,
    never: HashMap<(u32, u32), Option<JobError>>,
    /// What can never run.
    pub impossible: Vec<(TaskId, JobError)>,
}

impl<'a> Picker<'a> {
    pub(super) fn new(
        queue: &'a QueueView,
        fleet: &'a Fleet,
        models: &'a dyn ModelFacts,
        shares: &'a dyn Shares,
        now: UnixMs,
        left: usize,
    ) -> Self {
        Self {
            queue,
            fleet,
            models,
            shares,
            now,
            left,
            running: None,
            moved: HashMap::new(),
            taken: HashMap::new(),
            picked: HashSet::new(),
            seconds_per_work: vec![None; queue.lane_bound()],
            lane_seconds: vec![None; queue.lane_bound()],
            lane_given: HashMap::new(),
            never: HashMap::new(),
            impossible: Vec::new(),
        }
    }

    /// The next task of a lane that `fits` (asked with its rows): of the tenants whose turn comes first, and that may run one more, the
    /// first task in rank that may start. Only `tenant`'s, where one is given.
    pub(super) fn next(&mut self, lane: u32, tenant: Option<u32>, mut fits: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.left == 0 {
            return None;
        }
        let mut best: Option<(Tag, u32)> = None;
        let queue = self.queue;
        for &(turn, candidate) in &queue.lane(lane)?.order {
            if best.is_some_and(|(best, _)| best < turn) {
                break;
            }
            if tenant.is_some_and(|tenant| tenant != candidate) {
                continue;
            }
            let turn = Tag(turn.0 + self.moved.get(&candidate).copied().unwrap_or(0.0));
            if best.is_some_and(|(best, _)| best <= turn) || !self.may_run(candidate) {
                continue;
            }
            let Some((slot, waiting)) = self.head(candidate, lane) else { continue };
            if fits(waiting.rows) {
                best = Some((turn, slot));
            }
        }
        best.map(|(_, slot)| slot)
    }

    /// Gives the task away.
    pub(super) fn take(&mut self, slot: u32) -> Option<&'a Waiting> {
        let waiting = self.queue.waiting(slot)?;
        self.left -= 1;
        self.picked.insert(slot);
        let seconds = waiting.work * self.seconds_per_work(waiting.lane);
        *self.moved.entry(waiting.tenant).or_default() += seconds / self.queue.fair().share(waiting.tenant);
        let left = (self.lane_seconds(waiting.lane) - seconds).max(0.0);
        self.lane_seconds[waiting.lane as usize] = Some(left);
        *self.lane_given.entry(waiting.lane).or_default() += 1;
        if let Some(tenant) = self.queue.fair().tenant(waiting.tenant)
            && let Some(running) = &mut self.running
        {
            *running.users.entry(&tenant.user).or_default() += 1;
            if let Some(project) = &tenant.project {
                *running.projects.entry(project).or_default() += 1;
            }
        }
        Some(waiting)
    }

    /// A tenant's first task in a lane that is not given away, may start, and could run somewhere.
    pub(super) fn head(&mut self, tenant: u32, lane: u32) -> Option<(u32, &'a Waiting)> {
        let queue = self.queue;
        let mut behind = self.taken.get(&(tenant, lane)).copied();
        let mut found = None;
        for place in queue.places(tenant, lane, behind) {
            let Some(waiting) = queue.waiting(place.1) else { continue };
            if !self.picked.contains(&place.1) && waiting.is_due(self.now) {
                match self.never_fits(lane, waiting.rows) {
                    None => {
                        found = Some((place.1, waiting));
                        break;
                    }
                    Some(error) => self.impossible.push((waiting.task, error)),
                }
            }
            behind = Some(place);
        }
        if let Some(behind) = behind {
            self.taken.insert((tenant, lane), behind);
        }
        found
    }

    /// Whether the tenant's user and project may have one more task running.
    pub(super) fn may_run(&mut self, tenant: u32) -> bool {
        let Some(tenant) = self.queue.fair().tenant(tenant) else { return false };
        let user_cap = self.shares.user_concurrency(&tenant.user);
        let project_cap = tenant.project.as_ref().and_then(|project| self.shares.project_concurrency(project));
        if user_cap.is_none() && project_cap.is_none() {
            return true;
        }
        let (fleet, queue, picked) = (self.fleet, self.queue, &self.picked);
        let running = self.running.get_or_insert_with(|| Running::count(fleet, queue, picked));
        let of_user = running.users.get(&tenant.user).copied().unwrap_or(0);
        let of_project = tenant.project.as_ref().and_then(|project| running.projects.get(project)).copied().unwrap_or(0);
        user_cap.is_none_or(|cap| of_user < cap) && project_cap.is_none_or(|cap| of_project < cap)
    }

    pub(super) fn seconds_per_work(&mut self, lane: u32) -> f64 {
        if let Some(seconds) = self.seconds_per_work[lane as usize] {
            return seconds;
        }
        let measured = self.queue.lane(lane).and_then(|lane| self.models.seconds_per_work(&lane.batch));
        let seconds = measured.filter(|seconds| seconds.is_finite() && *seconds >= 0.0).unwrap_or(UNMEASURED_SECONDS_PER_WORK);
        self.seconds_per_work[lane as usize] = Some(seconds);
        seconds
    }

    /// Tasks that wait in a lane, less what is given away.
    pub(super) fn lane_tasks(&self, lane: u32) -> usize {
        let given = self.lane_given.get(&lane).copied().unwrap_or(0);
        self.queue.lane(lane).map_or(0, |lane| lane.tasks.saturating_sub(given))
    }

    /// Tasks that wait, less what is given away.
    pub(super) fn tasks(&self) -> usize {
        self.queue.len().saturating_sub(self.picked.len())
    }

    /// Device seconds that wait in a lane, less what is given away.
    pub(super) fn lane_seconds(&mut self, lane: u32) -> f64 {
        if let Some(seconds) = self.lane_seconds[lane as usize] {
            return seconds;
        }
        let seconds = self.queue.lane(lane).map_or(0.0, |lane| lane.work) * self.seconds_per_work(lane);
        self.lane_seconds[lane as usize] = Some(seconds);
        seconds
    }

    fn never_fits(&mut self, lane: u32, rows: u32) -> Option<JobError> {
        let (queue, fleet, models) = (self.queue, self.fleet, self.models);
        self.never
            .entry((lane, rows))
            .or_insert_with(|| admission::never_fits(&fleet.devices, models, &queue.lane(lane)?.batch, rows))
            .clone()
    }
}

impl<'a> Running<'a> {
    fn count(fleet: &'a Fleet, queue: &'a QueueView, picked: &HashSet<u32>) -> Self {
        let mut counts = Self::default();
        let running = fleet.devices.iter().flat_map(|device| &device.running).map(|task| (&task.user, task.project.as_ref()));
        let given = picked.iter().filter_map(|&slot| {
            let tenant = queue.fair().tenant(queue.waiting(slot)?.tenant)?;
            Some((&tenant.user, tenant.project.as_ref()))
        });
        for (user, project) in running.chain(given) {
            *counts.users.entry(user).or_default() += 1;
            if let Some(project) = project {
                *counts.projects.entry(project).or_default() += 1;
            }
        }
        counts
    }
}
