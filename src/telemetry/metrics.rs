//! Counters, gauges and histograms, in Prometheus' text format.
//!
//! Every label is bounded: routes are patterns; methods, states, priorities, meters, tiers, steps and outcomes are known words; devices are
//! what is configured, and so are providers, their keys' names, and routes with their targets; models are what is installed, and beyond a
//! number of them `other`. What is counted is counted when it happens; what only stands at some value (the queue, the devices, the
//! providers) is handed to [`Metrics::render`] as [`Readings`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{Encoder, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Registry, TextEncoder};

use super::callback_metrics::CallbackMetrics;
use super::labels::{self, ModelLabels, PRIORITY_CLASSES, priority_class};
use super::maker::{Maker, whole};
use super::provider_metrics::ProviderMetrics;
use super::readings::{DeviceReading, QueueReading, Readings};
use crate::domain::{
    CallOutcome, CallbackOutcome, JobObserver, JobState, Meter, ModelId, ProviderId, ProviderTaskEnd, RouteStage,
    RouteStageResult, WeightsTier, WireCall,
};

/// The media type of [`Metrics::render`]'s text.
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Seconds that requests take: from a look at a task to a picture that is waited for.
const REQUEST_BUCKETS: [f64; 12] = [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1800.0];
/// Seconds that one evaluation takes: a GPU's milliseconds to a CPU's minute.
const STEP_BUCKETS: [f64; 11] = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];
/// Seconds that jobs wait and run and models load.
const JOB_BUCKETS: [f64; 11] = [0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0, 3600.0];
/// Tasks that share evaluations.
const BATCH_BUCKETS: [f64; 8] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0];

/// The only kind of task there is yet.
const IMAGE: &str = "image";
/// The outcome of a task that went back to the queue; the others are the names of a job's terminal states.
const RETURNED: &str = "returned";

/// A metric that could not be made or written.
#[derive(Debug, thiserror::Error)]
#[error("metrics failed")]
pub struct MetricsError(#[from] prometheus::Error);

/// The server's numbers. Made once and shared.
pub struct Metrics {
    registry: Registry,
    /// Held while a scrape puts its readings in and reads everything out, so that two scrapes never mix theirs.
    scrape: Mutex<()>,
    models: ModelLabels,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    jobs: IntGaugeVec,
    jobs_finished: IntCounterVec,
    job_seconds: HistogramVec,
    tasks: IntCounterVec,
    batch_tasks: Histogram,
    leases_lost: IntCounter,
    queue_depth: IntGaugeVec,
    queue_oldest_age_seconds: GaugeVec,
    step_seconds: HistogramVec,
    device_memory_bytes: IntGaugeVec,
    device_utilization: GaugeVec,
    device_busy: IntGaugeVec,
    device_up: IntGaugeVec,
    worker_restarts: IntCounterVec,
    model_load_seconds: HistogramVec,
    model_hits: IntCounter,
    model_misses: IntCounter,
    model_evictions: IntCounterVec,
    quota_refusals: IntCounterVec,
    upkeep: IntCounterVec,
    callbacks: CallbackMetrics,
    providers: ProviderMetrics,
}

impl Metrics {
    /// Every metric at zero, and the process's own (memory, file descriptors, processor time).
    pub fn new(version: &str) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let make = Maker { registry: &registry };
        let build_info = make.gauges("framewright_build_info", "1, labelled with the version", &["version"])?;
        build_info.with_label_values(&[version]).set(1);
        let metrics = Self {
            scrape: Mutex::new(()),
            models: ModelLabels::default(),
            requests: make.counters("framewright_http_requests_total", "Answered requests", &["route", "method", "status"])?,
            request_seconds: make.histograms(
                "framewright_http_request_seconds",
                "Time to the beginning of an answer",
                &REQUEST_BUCKETS,
                &["route", "method"],
            )?,
            jobs: make.gauges("framewright_jobs", "Jobs that this server sees waiting, and runs", &["state"])?,
            jobs_finished: make.counters("framewright_jobs_finished_total", "Jobs that ended", &["model", "state"])?,
            job_seconds: make.histograms(
                "framewright_job_seconds",
                "Time that jobs waited and ran",
                &JOB_BUCKETS,
                &["model", "phase"],
            )?,
            tasks: make.counters(
                "framewright_tasks_total",
                "Tasks that left a device, by how: returned ones went back to the queue",
                &["kind", "outcome"],
            )?,
            batch_tasks: make.histogram(
                "framewright_batch_tasks",
                "Tasks that shared evaluations on a device, counted when some began",
                &BATCH_BUCKETS,
            )?,
            leases_lost: make.counter("framewright_leases_lost_total", "Tasks that turned out to be another server's")?,
            queue_depth: make.gauges("framewright_queue_depth", "Tasks that wait for a device", &["kind", "priority"])?,
            queue_oldest_age_seconds: make.real_gauges(
                "framewright_queue_oldest_age_seconds",
                "Time since the oldest waiting task was accepted; 0 when none waits",
                &["kind", "priority"],
            )?,
            step_seconds: make.histograms(
                "framewright_step_duration_seconds",
                "Time of one model evaluation",
                &STEP_BUCKETS,
                &["device"],
            )?,
            device_memory_bytes: make.gauges(
                "framewright_device_memory_bytes",
                "Memory of a device: used (by whomever) and free",
                &["device", "state"],
            )?,
            device_utilization: make.real_gauges(
                "framewright_device_utilization_ratio",
                "Busy share of a device's last second, where the device tells",
                &["device"],
            )?,
            device_busy: make.gauges("framewright_device_busy", "1 while a device runs tasks of this server", &["device"])?,
            device_up: make.gauges(
                "framewright_device_up",
                "1 while a device's worker runs and is ready for tasks",
                &["device"],
            )?,
            worker_restarts: make.counters(
                "framewright_worker_restarts_total",
                "How often a device's worker was started again",
                &["device"],
            )?,
            model_load_seconds: make.histograms(
                "framewright_model_load_duration_seconds",
                "Time to read and pack a model's weights",
                &JOB_BUCKETS,
                &["model"],
            )?,
            model_hits: make.counter("framewright_model_cache_hits_total", "Tasks that found their model loaded")?,
            model_misses: make.counter("framewright_model_cache_misses_total", "Tasks whose model had to be loaded")?,
            model_evictions: make.counters(
                "framewright_model_evictions_total",
                "Models that made room or were idle, by what they left",
                &["tier"],
            )?,
            quota_refusals: make.counters(
                "framewright_quota_refusals_total",
                "Requests refused because a quota has not enough left",
                &["meter"],
            )?,
            upkeep: make.counters("framewright_upkeep_total", "What the upkeep dealt with, by step", &["step"])?,
            callbacks: CallbackMetrics::new(&make)?,
            providers: ProviderMetrics::new(&make)?,
            registry,
        };
        metrics.begin_at_zero();
        Ok(metrics)
    }

    /// Shows every series whose labels are known beforehand: a rate over a counter that is not there yet is no data, not zero.
    fn begin_at_zero(&self) {
        for outcome in JobState::ALL.into_iter().filter(|state| state.is_terminal()).map(JobState::as_str).chain([RETURNED]) {
            self.tasks.with_label_values(&[IMAGE, outcome]).inc_by(0);
        }
        for tier in WeightsTier::ALL {
            self.model_evictions.with_label_values(&[tier.as_str()]).inc_by(0);
        }
        for meter in Meter::ALL {
            self.quota_refusals.with_label_values(&[meter.as_str()]).inc_by(0);
        }
    }

    /// An answered request. `route` is the pattern that matched.
    pub fn observe_request(&self, route: &str, method: &str, status: u16, elapsed: Duration) {
        let method = labels::method(method);
        self.requests.with_label_values(&[route, method, &status.to_string()]).inc();
        self.request_seconds.with_label_values(&[route, method]).observe(elapsed.as_secs_f64());
    }

    /// Everything as text.
    pub fn render(&self, readings: &Readings) -> Result<String, MetricsError> {
        let families = {
            let _scrape = self.scrape.lock();
            self.take_queue(&readings.queue);
            readings.devices.iter().for_each(|device| self.take_device(device));
            self.take_jobs(readings);
            self.providers.take(readings);
            self.callbacks.take(readings.callbacks);
            let families = self.registry.gather();
            self.providers.forget_strangers(readings);
            families
        };
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn take_jobs(&self, readings: &Readings) {
        let Readings { queue, devices, providers, .. } = readings;
        let queued = queue.iter().map(|reading| reading.tasks).chain(providers.each.iter().map(|reading| reading.tasks_waiting));
        let running =
            devices.iter().map(|device| device.jobs).chain(providers.each.iter().map(|reading| reading.tasks_in_flight));
        self.jobs.with_label_values(&[JobState::Queued.as_str()]).set(whole(queued.sum()));
        self.jobs.with_label_values(&[JobState::Running.as_str()]).set(whole(running.sum()));
    }

    fn take_queue(&self, queue: &[QueueReading]) {
        let mut classes: BTreeMap<&str, (u64, i64)> = PRIORITY_CLASSES.into_iter().map(|class| (class, (0, 0))).collect();
        for reading in queue {
            let (tasks, oldest_age_ms) = classes.entry(priority_class(reading.priority)).or_default();
            *tasks += reading.tasks;
            *oldest_age_ms = (*oldest_age_ms).max(reading.oldest_age_ms);
        }
        for (class, (tasks, oldest_age_ms)) in classes {
            self.queue_depth.with_label_values(&[IMAGE, class]).set(whole(tasks));
            self.queue_oldest_age_seconds.with_label_values(&[IMAGE, class]).set(oldest_age_ms as f64 / 1e3);
        }
    }

    fn take_device(&self, reading: &DeviceReading) {
        let device = reading.name.as_str();
        self.device_busy.with_label_values(&[device]).set((reading.jobs > 0).into());
        self.device_up.with_label_values(&[device]).set(reading.is_up.into());
        // What is not known any more has no series: the last reading would pass for the present one. That there is none to remove is
        // no error either.
        if let Some(memory) = &reading.memory {
            let used_bytes = memory.total_bytes.saturating_sub(memory.free_bytes);
            self.device_memory_bytes.with_label_values(&[device, "used"]).set(whole(used_bytes));
            self.device_memory_bytes.with_label_values(&[device, "free"]).set(whole(memory.free_bytes));
        } else {
            for state in ["used", "free"] {
                self.device_memory_bytes.remove_label_values(&[device, state]).ok();
            }
        }
        if let Some(utilization) = reading.utilization {
            self.device_utilization.with_label_values(&[device]).set(utilization.clamp(0.0, 1.0));
        } else {
            self.device_utilization.remove_label_values(&[device]).ok();
        }
        let restarts = self.worker_restarts.with_label_values(&[device]);
        restarts.inc_by(reading.restarts.saturating_sub(restarts.get()));
    }
}

impl JobObserver for Metrics {
    fn job_started(&self, model: &ModelId, waited_seconds: f64) {
        self.job_seconds.with_label_values(&[self.models.of(model), "wait"]).observe(waited_seconds);
    }

    fn job_finished(&self, model: &ModelId, state: JobState, ran_seconds: f64) {
        let model = self.models.of(model);
        self.tasks.with_label_values(&[IMAGE, state.as_str()]).inc();
        self.jobs_finished.with_label_values(&[model, state.as_str()]).inc();
        self.job_seconds.with_label_values(&[model, "run"]).observe(ran_seconds);
    }

    fn job_returned(&self, _: &ModelId) {
        self.tasks.with_label_values(&[IMAGE, RETURNED]).inc();
    }

    fn batch_formed(&self, tasks: usize) {
        self.batch_tasks.observe(tasks as f64);
    }

    fn step_done(&self, device: &str, seconds: f64) {
        self.step_seconds.with_label_values(&[device]).observe(seconds);
    }

    fn model_loaded(&self, model: &ModelId, seconds: f64) {
        self.model_load_seconds.with_label_values(&[self.models.of(model)]).observe(seconds);
    }

    fn model_wanted(&self, is_hit: bool) {
        let counter = if is_hit { &self.model_hits } else { &self.model_misses };
        counter.inc();
    }

    fn model_evicted(&self, tier: WeightsTier) {
        self.model_evictions.with_label_values(&[tier.as_str()]).inc();
    }

    fn lease_lost(&self) {
        self.leases_lost.inc();
    }

    fn quota_refused(&self, meter: Meter) {
        self.quota_refusals.with_label_values(&[meter.as_str()]).inc();
    }

    fn callback_tried(&self, outcome: CallbackOutcome) {
        self.callbacks.tried(outcome);
    }

    fn callback_answered(&self, seconds: f64) {
        self.callbacks.answered(seconds);
    }

    fn provider_called(&self, provider: &ProviderId, call: WireCall, outcome: CallOutcome, seconds: f64) {
        self.providers.called(provider, call, outcome, seconds);
    }

    fn provider_task_ended(&self, provider: &ProviderId, end: ProviderTaskEnd, seconds: f64) {
        self.providers.task_ended(provider, end, seconds);
    }

    fn provider_left_alone(&self, provider: &ProviderId) {
        self.providers.left_alone(provider);
    }

    fn provider_settled(&self, provider: &ProviderId, currency: &str, cost_micros: i64) {
        self.providers.settled(provider, currency, cost_micros);
    }

    fn route_stage_ended(&self, stage: RouteStage<'_>, result: RouteStageResult) {
        self.providers.route_stage_ended(stage, result);
    }

    fn upkeep_done(&self, step: &'static str, count: u64) {
        self.upkeep.with_label_values(&[step]).inc_by(count);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests;
