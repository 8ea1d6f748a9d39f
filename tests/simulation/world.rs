//! A discrete-event world around the real `plan()`: devices that batch continuously, tenants that submit.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framewright::domain::{BatchKey, JobId, ModelId, ProjectId, TaskId, UnixMs, UserId};
use framewright::jobs::store::QueuedTask;
use framewright::scheduler::fair_share::EqualShares;
use framewright::scheduler::fleet::{DeviceView, Fleet, ModelFacts, ResidentModel, RunningTaskView, Shares};
use framewright::scheduler::plan::{Dispatch, plan};
use framewright::scheduler::queue_view::QueueView;

use crate::bound::Stretch;

/// Tasks that a device evaluates together.
pub(crate) const MATES: u32 = 4;
/// An evaluation of `n` pictures takes `ALONE + EACH · n` times the time of one.
const ALONE: f64 = 0.4;
const EACH: f64 = 0.6;
const GIGABYTE: u64 = 1_000_000_000;
const WEIGHTS_BYTES: u64 = 7 * GIGABYTE;
pub(crate) const LOAD_SECONDS: f64 = 10.0;
const MEMORY_BYTES: u64 = 21 * GIGABYTE;
/// Models that fit on a device beside the least evaluation: (21 − 1) / 7.
pub(crate) const PLACES_EACH: usize = 2;
/// Sides of pictures, how many in ten are of it, and seconds of one alone.
const SIZES: [(u32, u64, f64); 3] = [(1024, 6, 12.0), (768, 3, 7.0), (512, 1, 3.0)];

/// What is simulated.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) devices: usize,
    pub(crate) models: usize,
    /// Jobs that wait at the start, all of heavy tenants.
    pub(crate) backlog: usize,
    pub(crate) heavy: usize,
    pub(crate) light: usize,
    /// A light tenant's pause between its job's end and its next job, mean.
    pub(crate) pause_seconds: f64,
    pub(crate) seed: u64,
}

/// A splitmix64 generator.
pub(crate) struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// An index, by Zipf's law with exponent 1.
    fn zipf(&mut self, cumulative: &[f64]) -> usize {
        let at = self.unit() * cumulative.last().unwrap();
        cumulative.partition_point(|&sum| sum < at).min(cumulative.len() - 1)
    }
}

struct Facts;

impl ModelFacts for Facts {
    fn weights_bytes(&self, _: &ModelId) -> Option<u64> {
        Some(WEIGHTS_BYTES)
    }
    fn activation_bytes(&self, _: &BatchKey, rows: u32) -> Option<u64> {
        Some(u64::from(rows) * GIGABYTE / 2)
    }
    /// A unit of work is a second of a picture evaluated alone; in a full batch it costs the device less.
    fn seconds_per_work(&self, _: &BatchKey) -> Option<f64> {
        Some((ALONE + EACH * f64::from(MATES)) / f64::from(MATES))
    }
    fn load_seconds(&self, _: &ModelId) -> Option<f64> {
        Some(LOAD_SECONDS)
    }
}

/// Equal shares, and caps that never bind.
struct Capped;

impl Shares for Capped {
    fn user_weight(&self, _: &UserId) -> f64 {
        1.0
    }
    fn project_weight(&self, _: Option<&ProjectId>) -> f64 {
        1.0
    }
    fn user_concurrency(&self, _: &UserId) -> Option<u32> {
        Some(1_000_000)
    }
    fn project_concurrency(&self, _: &ProjectId) -> Option<u32> {
        Some(1_000_000)
    }
}

#[derive(Clone, Copy)]
struct Job {
    tenant: u32,
    model: u16,
    size: u8,
    created_ms: i64,
    /// What equal device shares would have taken, in milliseconds; light tenants' only.
    reference_ms: i64,
}

#[derive(Default)]
struct Machine {
    /// Evaluation seconds (of one alone) that each of its tasks has had since the start; up to `at_ms`.
    progress: f64,
    at_ms: i64,
    /// Job, and the progress at which it ends.
    tasks: Vec<(u32, f64)>,
    stretch: Option<Stretch>,
    version: u32,
}

impl Machine {
    fn pace(&self) -> f64 {
        1.0 / (ALONE + EACH * self.tasks.len() as f64)
    }

    fn advance(&mut self, now_ms: i64) {
        if now_ms > self.at_ms {
            if !self.tasks.is_empty() {
                self.progress += (now_ms - self.at_ms) as f64 / 1000.0 * self.pace();
            }
            self.at_ms = now_ms;
        }
    }

    fn next_end_ms(&self) -> Option<i64> {
        let end = self.tasks.iter().map(|(_, end)| *end).min_by(f64::total_cmp)?;
        Some(self.at_ms + ((end - self.progress).max(0.0) / self.pace() * 1000.0).ceil() as i64)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Submit(u32),
    End(u32, u32),
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) jobs: usize,
    /// When fewer tasks than would fill every device waited for the first time, and the loads until then: what follows is the run-out.
    pub(crate) backlog_end_ms: i64,
    pub(crate) backlog_loads: usize,
    pub(crate) end_ms: i64,
    pub(crate) evaluating_ms: i64,
    pub(crate) loading_ms: i64,
    pub(crate) task_ms: i64,
    pub(crate) loads: usize,
    pub(crate) stretches: Vec<Stretch>,
    /// Light tenants' jobs: milliseconds from submission to end, and what equal device shares would have taken.
    pub(crate) light: Vec<(i64, i64)>,
    /// Device seconds that heavy tenants had when the backlog had half gone.
    pub(crate) heavy_seconds: Vec<f64>,
    pub(crate) plans: usize,
    pub(crate) plan_time: Duration,
    pub(crate) longest_plan: Duration,
    /// Simulated hour, tasks waiting, loads so far, part of devices evaluating: for the plots.
    pub(crate) samples: Vec<(f64, usize, usize, f64)>,
    pub(crate) bytes_per_task: f64,
}

pub(crate) struct World {
    scenario: Scenario,
    random: Random,
    cumulative: Vec<f64>,
    models: Vec<ModelId>,
    users: Vec<UserId>,
    favourites: Vec<usize>,
    queue: QueueView,
    fleet: Fleet,
    machines: Vec<Machine>,
    jobs: Vec<Job>,
    events: BinaryHeap<Reverse<(i64, u64, Event)>>,
    sequence: u64,
    waiting_by_heavy: usize,
    heavy_seconds: Vec<f64>,
    light_active: usize,
    pub(crate) report: Report,
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

impl World {
    pub(crate) fn new(scenario: Scenario) -> Self {
        let mut sum = 0.0;
        let cumulative: Vec<f64> = (1..=scenario.models)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        let mut random = Random(scenario.seed);
        let tenants = scenario.heavy + scenario.light;
        let favourites = (0..tenants).map(|_| random.zipf(&cumulative)).collect();
        let devices = (0..scenario.devices)
            .map(|index| DeviceView {
                index,
                accepts: true,
                max_batch_tasks: MATES,
                max_batch_rows: 2 * MATES,
                memory_bytes: Some(MEMORY_BYTES),
                shares_memory: false,
                resident: Vec::new(),
                running: Vec::new(),
            })
            .collect();
        Self {
            models: (0..scenario.models).map(|model| format!("model-{model}").parse().unwrap()).collect(),
            users: (0..tenants).map(|user| format!("user-{user}").parse().unwrap()).collect(),
            machines: (0..scenario.devices).map(|_| Machine::default()).collect(),
            heavy_seconds: vec![0.0; scenario.heavy],
            fleet: Fleet { devices, max_concurrent: usize::MAX },
            queue: QueueView::new(Arc::new(EqualShares)),
            jobs: Vec::new(),
            events: BinaryHeap::new(),
            sequence: 0,
            waiting_by_heavy: 0,
            light_active: 0,
            report: Report::default(),
            random,
            cumulative,
            favourites,
            scenario,
        }
    }

    fn at(&mut self, time_ms: i64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((time_ms, self.sequence, event)));
    }

    fn submit(&mut self, tenant: u32, now_ms: i64) {
        let light = tenant as usize >= self.scenario.heavy;
        let model = if light { self.favourites[tenant as usize] } else { self.random.zipf(&self.cumulative) };
        let tenth = self.random.next() % 10;
        let size = if tenth < SIZES[0].1 {
            0
        } else if tenth < SIZES[0].1 + SIZES[1].1 {
            1
        } else {
            2
        };
        let seconds = SIZES[size].2;
        let mut reference_ms = 0;
        if light {
            self.light_active += 1;
            let share = self.scenario.devices as f64 / (self.scenario.heavy + self.light_active) as f64;
            let batch_seconds = seconds * (ALONE + EACH * f64::from(MATES));
            reference_ms = (batch_seconds.max(batch_seconds / f64::from(MATES) / share) * 1000.0) as i64;
        } else {
            self.waiting_by_heavy += 1;
        }
        let number = self.jobs.len() as u32;
        self.jobs.push(Job { tenant, model: model as u16, size: size as u8, created_ms: now_ms, reference_ms });
        let side = SIZES[size].0;
        let task: TaskId = format!("piece_{:032x}", u128::from(number)).parse().unwrap();
        let job: JobId = format!("job_{:032x}", u128::from(number)).parse().unwrap();
        self.queue.insert(QueuedTask {
            task,
            job,
            user: self.users[tenant as usize].clone(),
            project: None,
            position: 0,
            lane: framewright::domain::plan::Lane::Device,
            batch: BatchKey { model: self.models[model].clone(), width: side, height: side },
            rows: 2,
            work: seconds,
            priority: 0,
            created: UnixMs(now_ms),
            queued: UnixMs(now_ms),
            run_after: None,
            alone: false,
            has_next_target: false,
            has_open_call: false,
        });
    }

    fn number_of(task: TaskId) -> u32 {
        let text = task.to_string();
        u32::from_str_radix(&text[text.len() - 8..], 16).unwrap()
    }

    /// Times one call of `plan()` with the backlog waiting: the first, with every device idle, and then, with every device full but one, the
    /// median of many. Every tenant has a cap that does not bind, so that running tasks are counted.
    pub(crate) fn time_plan(mut self) -> (Duration, Duration) {
        for number in 0..self.scenario.backlog + self.scenario.devices * MATES as usize {
            self.submit((number % (self.scenario.heavy + self.scenario.light)) as u32, 0);
        }
        self.decide(0);
        let first = self.report.longest_plan;
        let last = self.fleet.devices.len() - 1;
        self.fleet.devices[last].running.clear();
        let mut times: Vec<Duration> = (0..41)
            .map(|_| {
                let begun = Instant::now();
                let decision = plan(&self.queue, &self.fleet, &Facts, &Capped, UnixMs(1_000));
                assert!(decision.dispatches.iter().any(|dispatch| dispatch.device == last));
                begun.elapsed()
            })
            .collect();
        times.sort_unstable();
        (first, times[times.len() / 2])
    }

    /// Runs to the end of the backlog; light tenants submit until then.
    pub(crate) fn run(mut self) -> Report {
        let before = resident_bytes();
        for number in 0..self.scenario.backlog {
            self.submit((number % self.scenario.heavy) as u32, 0);
        }
        self.report.bytes_per_task = resident_bytes().saturating_sub(before) as f64 / self.scenario.backlog as f64;
        for light in 0..self.scenario.light {
            let at_ms = (self.random.unit() * self.scenario.pause_seconds * 1000.0) as i64;
            self.at(at_ms, Event::Submit((self.scenario.heavy + light) as u32));
        }
        let sample_every = (self.scenario.backlog / 400).max(1);
        let mut next_sample = usize::MAX;
        self.decide(0);
        while let Some(Reverse((now_ms, _, event))) = self.events.pop() {
            let changed = match event {
                Event::Submit(tenant) => {
                    if self.waiting_by_heavy == 0 {
                        continue;
                    }
                    self.submit(tenant, now_ms);
                    true
                }
                Event::End(device, version) => self.end(device as usize, version, now_ms),
            };
            if changed {
                self.decide(now_ms);
            }
            if self.queue.len() < next_sample {
                next_sample = self.queue.len().saturating_sub(sample_every);
                let evaluating =
                    self.machines.iter().filter(|machine| !machine.tasks.is_empty() && machine.at_ms <= now_ms).count();
                let part = evaluating as f64 / self.machines.len() as f64;
                self.report.samples.push((now_ms as f64 / 3.6e6, self.queue.len(), self.report.loads, part));
            }
        }
        self.report.jobs = self.jobs.len();
        assert!(self.queue.is_empty());
        self.report
    }

    fn end(&mut self, index: usize, version: u32, now_ms: i64) -> bool {
        if self.machines[index].version != version {
            return false;
        }
        let machine = &mut self.machines[index];
        machine.advance(now_ms);
        let progress = machine.progress + 1e-6;
        let ended: Vec<u32> = machine.tasks.iter().filter(|(_, end)| *end <= progress).map(|(job, _)| *job).collect();
        machine.tasks.retain(|(_, end)| *end > progress);
        if machine.tasks.is_empty()
            && let Some(mut stretch) = machine.stretch.take()
        {
            stretch.end_ms = now_ms;
            // What counts is the time while there is a backlog.
            self.report.evaluating_ms += now_ms - stretch.start_ms;
            self.report.stretches.push(stretch);
        }
        let device = &mut self.fleet.devices[index];
        for number in &ended {
            let job = self.jobs[*number as usize];
            device.running.retain(|running| Self::number_of(running.task) != *number);
            self.report.task_ms += (SIZES[usize::from(job.size)].2 * 700.0) as i64;
            if let Some(resident) =
                device.resident.iter_mut().find(|resident| resident.model == self.models[usize::from(job.model)])
            {
                resident.last_used = UnixMs(now_ms);
            }
        }
        for number in ended {
            let job = self.jobs[number as usize];
            if job.tenant as usize >= self.scenario.heavy {
                self.light_active -= 1;
                self.report.light.push((now_ms - job.created_ms, job.reference_ms));
                let pause_ms = (self.random.unit() * 2.0 * self.scenario.pause_seconds * 1000.0) as i64;
                self.at(now_ms + pause_ms, Event::Submit(job.tenant));
            }
        }
        self.schedule_end(index);
        self.report.end_ms = self.report.end_ms.max(now_ms);
        true
    }

    fn schedule_end(&mut self, index: usize) {
        self.machines[index].version += 1;
        if let Some(end_ms) = self.machines[index].next_end_ms() {
            let version = self.machines[index].version;
            self.at(end_ms, Event::End(index as u32, version));
        }
    }

    fn decide(&mut self, now_ms: i64) {
        let begun = Instant::now();
        let decision = plan(&self.queue, &self.fleet, &Facts, &EqualShares, UnixMs(now_ms));
        let took = begun.elapsed();
        self.report.plans += 1;
        self.report.plan_time += took;
        self.report.longest_plan = self.report.longest_plan.max(took);
        assert!(decision.impossible.is_empty());
        for dispatch in decision.dispatches {
            self.carry_out(&dispatch, now_ms);
        }
        if self.queue.len() < self.scenario.devices * MATES as usize && self.report.backlog_end_ms == 0 {
            self.report.backlog_end_ms = now_ms;
            self.report.backlog_loads = self.report.loads;
        }
    }

    fn carry_out(&mut self, dispatch: &Dispatch, now_ms: i64) {
        let device = &mut self.fleet.devices[dispatch.device];
        device.resident.retain(|resident| !dispatch.unload.contains(&resident.model));
        let machine = &mut self.machines[dispatch.device];
        machine.advance(now_ms);
        for &task in &dispatch.tasks {
            let number = Self::number_of(task);
            let job = self.jobs[number as usize];
            let (side, _, seconds) = SIZES[usize::from(job.size)];
            let charge = seconds * (ALONE + EACH * f64::from(MATES)) / f64::from(MATES);
            assert!(self.queue.take(task, charge).is_some(), "a task was given twice");
            let model = &self.models[usize::from(job.model)];
            if !device.resident.iter().any(|resident| resident.model == *model) {
                assert!(machine.tasks.is_empty(), "a model was loaded under a running batch");
                device.resident.push(ResidentModel {
                    model: model.clone(),
                    weights_bytes: WEIGHTS_BYTES,
                    last_used: UnixMs(now_ms),
                    pinned: false,
                });
                machine.at_ms = now_ms + (LOAD_SECONDS * 1000.0) as i64;
                self.report.loads += 1;
                self.report.loading_ms += (LOAD_SECONDS * 1000.0) as i64;
            }
            machine.tasks.push((number, machine.progress + seconds));
            if machine.stretch.is_none() {
                machine.stretch = Some(Stretch { model: usize::from(job.model), start_ms: machine.at_ms, end_ms: 0 });
            }
            let expected_ms = (seconds * (ALONE + EACH * f64::from(MATES)) * 1000.0) as i64;
            device.running.push(RunningTaskView {
                task,
                user: self.users[job.tenant as usize].clone(),
                project: None,
                batch: BatchKey { model: model.clone(), width: side, height: side },
                rows: 2,
                alone: false,
                expected_end: Some(UnixMs(machine.at_ms + expected_ms)),
            });
            if (job.tenant as usize) < self.scenario.heavy {
                self.waiting_by_heavy -= 1;
                if self.waiting_by_heavy >= self.scenario.backlog / 2 {
                    self.heavy_seconds[job.tenant as usize] += charge;
                }
            }
        }
        assert!(device.running.len() <= MATES as usize);
        let held: u64 = device.resident.iter().map(|resident| resident.weights_bytes).sum();
        assert!(held + device.running.len() as u64 * GIGABYTE <= MEMORY_BYTES, "device {} is over its memory", dispatch.device);
        self.report.heavy_seconds.clone_from(&self.heavy_seconds);
        self.schedule_end(dispatch.device);
    }
}
