//! When a waiting job will be done. Pure.
//!
//! An approximation, made for answers and not for decisions: tenants are taken to be served in the order of their virtual start times, a
//! task's start time being its tenant's turn plus what the tenant has before it, over its share; devices are taken to be shared equally,
//! loads other than the job's own to be hidden, and caps and memory not to bind. Costs as much as there are tenants and lanes, never as
//! there are tasks.

use super::fleet::{Fleet, ModelFacts};
use super::queue_view::{Place, QueueView};
use crate::domain::{BatchKey, JobId, UnixMs};

/// Tasks of a tenant's lane that are counted one by one; beyond, the position is told from the times of the first and the last.
const COUNTED: usize = 1_000;

/// What a waiting job can expect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Tasks that will probably start before it, and it: 1 is next.
    pub position: usize,
    /// Seconds until it has ended; `None` while too little has been measured.
    pub seconds: Option<f64>,
}

/// The queue and the devices at one moment, with what all forecasts of that moment share.
#[derive(Clone, Copy)]
pub struct Outlook<'a> {
    queue: &'a QueueView,
    fleet: &'a Fleet,
    models: &'a dyn ModelFacts,
    now: UnixMs,
    /// Seconds that a unit of work takes, over all that wait.
    pace: f64,
    /// Seconds that a waiting task takes, over all that wait.
    mean_seconds: f64,
}

impl<'a> Outlook<'a> {
    /// As things stand at `now`.
    pub fn new(queue: &'a QueueView, fleet: &'a Fleet, models: &'a dyn ModelFacts, now: UnixMs) -> Self {
        let (work, seconds) = queue
            .lanes()
            .filter_map(|(_, lane)| Some((lane.work, lane.work * models.seconds_per_work(&lane.batch)?)))
            .fold((0.0, 0.0), |(work, seconds), lane| (work + lane.0, seconds + lane.1));
        let pace = if work > 0.0 { seconds / work } else { 1.0 };
        Self { queue, fleet, models, now, pace, mean_seconds: seconds / queue.len().max(1) as f64 }
    }

    /// The forecast of a waiting job; `None` when it does not wait.
    pub fn of_waiting(&self, job: JobId) -> Option<Forecast> {
        let queue = self.queue;
        let slot = queue.slot_of_job(job)?;
        let waiting = queue.waiting(slot)?;
        let lane = queue.lane(waiting.lane)?;
        let place = waiting.place(slot);
        let (mut own_tasks, mut own_work) = (0, 0.0);
        for number in queue.lanes_of(waiting.tenant) {
            let before = before(queue, waiting.tenant, number, place);
            own_tasks += before;
            own_work += before as f64 * mean_work(queue, number);
        }
        let fair = queue.fair();
        let turn = fair.turn(waiting.tenant, waiting.priority()).0 + own_work * self.pace / fair.share(waiting.tenant);
        let ahead = own_tasks + others_before(queue, Some(waiting.tenant), turn, self.pace);
        Some(Forecast { position: ahead + 1, seconds: self.seconds(&lane.batch, waiting.work, ahead) })
    }

    /// The forecast of a job that would be submitted now, by a tenant that has nothing waiting: of its tasks with their work, of which
    /// `parallel` run at once.
    pub fn of_new(&self, tasks: &[(BatchKey, f64)], parallel: f64) -> Forecast {
        let ahead = others_before(self.queue, None, self.queue.fair().virtual_time(), self.pace);
        let own: Option<f64> = tasks.iter().map(|(batch, work)| Some(self.models.seconds_per_work(batch)? * work)).sum();
        let wait = tasks.first().and_then(|(batch, _)| self.seconds(batch, 0.0, ahead));
        let seconds = own.zip(wait).map(|(own, wait)| wait + own / parallel.max(1.0));
        Forecast { position: ahead + 1, seconds }
    }

    /// Seconds until a task ends that has `ahead` tasks before it.
    fn seconds(&self, batch: &BatchKey, work: f64, ahead: usize) -> Option<f64> {
        let own_seconds = self.models.seconds_per_work(batch)? * work;
        let accepting: Vec<_> = self.fleet.devices.iter().filter(|device| device.accepts).collect();
        let slots = accepting.len().min(self.fleet.max_concurrent);
        if slots == 0 {
            return None;
        }
        let ends = accepting.iter().map(|device| device.running.iter().filter_map(|task| task.expected_end).max());
        let remaining_ms = ends.map(|end| end.map_or(0, |end| end.0.saturating_sub(self.now.0)).max(0));
        let remaining: f64 = remaining_ms.map(|ms| ms as f64 / 1000.0).sum();
        let idle = accepting.iter().any(|device| device.running.is_empty());
        let wait = if idle && ahead == 0 { 0.0 } else { (remaining + ahead as f64 * self.mean_seconds) / slots as f64 };
        let loaded = accepting.iter().any(|device| device.resident.iter().any(|resident| resident.model == batch.model));
        let load_seconds = if loaded { 0.0 } else { self.models.load_seconds(&batch.model).unwrap_or(0.0) };
        Some(wait + load_seconds + own_seconds)
    }
}

/// Tasks of a tenant's lane whose rank is before `place`.
fn before(queue: &QueueView, tenant: u32, lane: u32, place: Place) -> usize {
    let counted = queue.places(tenant, lane, None).take(COUNTED).take_while(|other| *other < place).count();
    let tasks = queue.waiting_of(tenant, lane);
    if counted < COUNTED || tasks == COUNTED {
        return counted;
    }
    let Some((first, last)) = queue.ends_of(tenant, lane) else { return counted };
    let part = (place.0.saturating_sub(first.0)) as f64 / (last.0.saturating_sub(first.0)).max(1) as f64;
    ((tasks as f64 * part.clamp(0.0, 1.0)) as usize).max(counted)
}

/// Tasks of other tenants whose virtual start is before `turn`.
fn others_before(queue: &QueueView, except: Option<u32>, turn: f64, pace: f64) -> usize {
    let fair = queue.fair();
    let mut tasks = 0;
    for tenant in fair.by_tag().filter(|tenant| Some(*tenant) != except) {
        let arrears = turn - fair.tag(tenant);
        if arrears < 0.0 {
            break;
        }
        let (count, work) = queue.lanes_of(tenant).fold((0, 0.0), |(count, work), lane| {
            let waiting = queue.waiting_of(tenant, lane);
            (count + waiting, work + waiting as f64 * mean_work(queue, lane))
        });
        let each_seconds = work * pace / count.max(1) as f64;
        let served = if each_seconds > 0.0 { (arrears * fair.share(tenant) / each_seconds).floor() as usize + 1 } else { count };
        tasks += served.min(count);
    }
    tasks
}

fn mean_work(queue: &QueueView, lane: u32) -> f64 {
    queue.lane(lane).map_or(0.0, |lane| lane.work / lane.tasks.max(1) as f64)
}
