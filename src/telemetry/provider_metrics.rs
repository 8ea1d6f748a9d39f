//! Numbers of providers, and of the routes that lead to them.
//!
//! Providers, keys and routes come and go with the settings, and so do their series: gauges are set anew whenever somebody asks, and what
//! was counted of those that have gone is shown once more, and then forgotten.

use std::collections::HashMap;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{CounterVec, HistogramVec, IntCounterVec, IntGaugeVec};

use super::maker::{Maker, whole};
use super::metrics::MetricsError;
use super::readings::{ProviderReading, ProviderReadings, Readings, RouteReading};
use crate::domain::{CallOutcome, LOCAL_PROVIDER, ProviderId, ProviderTaskEnd, RouteStage, RouteStageResult, WireCall};

/// Seconds that calls take: a look's milliseconds to a large film's download.
const CALL_BUCKETS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1200.0];
/// Seconds that tasks take: a picture's to an hour, as long as most may take.
const TASK_BUCKETS: [f64; 13] = [1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 3600.0];

/// The numbers of providers and routes.
pub(super) struct ProviderMetrics {
    health: IntGaugeVec,
    keys: IntGaugeVec,
    key_usable: IntGaugeVec,
    tasks_in_flight: IntGaugeVec,
    tasks_in_flight_limit: IntGaugeVec,
    tasks_waiting: IntGaugeVec,
    calls: IntCounterVec,
    call_seconds: HistogramVec,
    tasks: IntCounterVec,
    task_seconds: HistogramVec,
    breaker_openings: IntCounterVec,
    cost: CounterVec,
    route_requests: IntCounterVec,
}

impl ProviderMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Result<Self, MetricsError> {
        Ok(Self {
            health: make.gauges(
                "framewright_provider_health",
                "1 for the state that a provider is in, 0 for the others",
                &["provider", "state"],
            )?,
            keys: make.gauges("framewright_provider_keys", "Keys of a provider, by their states", &["provider", "state"])?,
            key_usable: make.gauges(
                "framewright_provider_key_usable",
                "1 while a key neither rests nor is disabled; labelled with its name",
                &["provider", "key"],
            )?,
            tasks_in_flight: make.gauges(
                "framewright_provider_tasks_in_flight",
                "Tasks that hold a key of a provider",
                &["provider"],
            )?,
            tasks_in_flight_limit: make.gauges(
                "framewright_provider_tasks_in_flight_limit",
                "Most tasks that may hold a key of a provider, where each key has a bound",
                &["provider"],
            )?,
            tasks_waiting: make.gauges(
                "framewright_provider_tasks_waiting",
                "Tasks that this server sees waiting for a provider",
                &["provider"],
            )?,
            calls: make.counters(
                "framewright_provider_calls_total",
                "Calls to providers, by what they were for and what became of them: ok, or the class of the failure",
                &["provider", "call", "outcome"],
            )?,
            call_seconds: make.histograms(
                "framewright_provider_call_duration_seconds",
                "Time of one call to a provider",
                &CALL_BUCKETS,
                &["provider", "call"],
            )?,
            tasks: make.counters(
                "framewright_provider_tasks_total",
                "Tasks that providers took, or may have taken, by how they ended: finished, cancelled, or the class of the failure",
                &["provider", "outcome"],
            )?,
            task_seconds: make.histograms(
                "framewright_provider_task_duration_seconds",
                "Time from asking a provider to having its results, of tasks that gave some",
                &TASK_BUCKETS,
                &["provider"],
            )?,
            breaker_openings: make.counters(
                "framewright_provider_breaker_openings_total",
                "How often a provider failed so often that it was left alone for a while",
                &["provider"],
            )?,
            cost: make.real_counters(
                "framewright_provider_cost_total",
                "What ended calls to a provider cost, in units of the currency",
                &["provider", "currency"],
            )?,
            route_requests: make.counters(
                "framewright_route_requests_total",
                "What became of requests at a target of their route: passed_on to the next one, or the state in which the job ended",
                &["route", "provider", "model", "result"],
            )?,
        })
    }

    pub(super) fn called(&self, provider: &ProviderId, call: WireCall, outcome: CallOutcome, seconds: f64) {
        self.calls.with_label_values(&[provider.as_str(), call.as_str(), outcome.as_str()]).inc();
        self.call_seconds.with_label_values(&[provider.as_str(), call.as_str()]).observe(seconds);
    }

    pub(super) fn task_ended(&self, provider: &ProviderId, end: ProviderTaskEnd, seconds: f64) {
        self.tasks.with_label_values(&[provider.as_str(), end.as_str()]).inc();
        if end == ProviderTaskEnd::Finished {
            self.task_seconds.with_label_values(&[provider.as_str()]).observe(seconds);
        }
    }

    pub(super) fn left_alone(&self, provider: &ProviderId) {
        self.breaker_openings.with_label_values(&[provider.as_str()]).inc();
    }

    pub(super) fn settled(&self, provider: &ProviderId, currency: &str, cost_micros: i64) {
        self.cost.with_label_values(&[provider.as_str(), currency]).inc_by(cost_micros.max(0) as f64 / 1e6);
    }

    pub(super) fn route_stage_ended(&self, stage: RouteStage<'_>, result: RouteStageResult) {
        let provider = stage.provider.map_or(LOCAL_PROVIDER, ProviderId::as_str);
        let labels = [stage.route.as_str(), provider, stage.model.as_str(), result.as_str()];
        self.route_requests.with_label_values(&labels).inc();
    }

    /// Shows how things stand, and every series whose labels are known beforehand.
    pub(super) fn take(&self, readings: &Readings) {
        for gauges in
            [&self.health, &self.keys, &self.key_usable, &self.tasks_in_flight, &self.tasks_in_flight_limit, &self.tasks_waiting]
        {
            gauges.reset();
        }
        for provider in &readings.providers.each {
            self.take_provider(provider);
            self.begin_at_zero(&provider.name, &readings.providers);
        }
        for RouteReading { route, provider, model } in &readings.routes {
            let provider = provider.as_deref().unwrap_or(LOCAL_PROVIDER);
            for result in RouteStageResult::all() {
                self.route_requests.with_label_values(&[route.as_str(), provider, model, result.as_str()]).inc_by(0);
            }
        }
    }

    fn take_provider(&self, reading: &ProviderReading) {
        let provider = reading.name.as_str();
        for (state, is_in) in &reading.health {
            self.health.with_label_values(&[provider, state]).set((*is_in).into());
        }
        for (state, keys) in &reading.keys {
            self.keys.with_label_values(&[provider, state]).set(whole(*keys));
        }
        for (key, is_usable) in &reading.key_usable {
            self.key_usable.with_label_values(&[provider, key]).set((*is_usable).into());
        }
        self.tasks_in_flight.with_label_values(&[provider]).set(whole(reading.tasks_in_flight));
        if let Some(limit) = reading.tasks_in_flight_limit {
            self.tasks_in_flight_limit.with_label_values(&[provider]).set(whole(limit));
        }
        self.tasks_waiting.with_label_values(&[provider]).set(whole(reading.tasks_waiting));
    }

    fn begin_at_zero(&self, provider: &str, ProviderReadings { failure_classes, currency, .. }: &ProviderReadings) {
        let failures = || failure_classes.iter().copied();
        for call in WireCall::ALL {
            self.calls.with_label_values(&[provider, call.as_str(), CallOutcome::Answered.as_str()]).inc_by(0);
        }
        for outcome in failures().map(CallOutcome::Failed) {
            self.calls.with_label_values(&[provider, WireCall::Create.as_str(), outcome.as_str()]).inc_by(0);
        }
        for end in failures().map(ProviderTaskEnd::Failed).chain([ProviderTaskEnd::Finished, ProviderTaskEnd::Cancelled]) {
            self.tasks.with_label_values(&[provider, end.as_str()]).inc_by(0);
        }
        self.breaker_openings.with_label_values(&[provider]).inc_by(0);
        self.cost.with_label_values(&[provider, currency.as_str()]).inc_by(0.0);
    }

    /// Forgets what was counted of providers and of targets of routes that are not there any more, and what was spent in another currency
    /// than that of today.
    pub(super) fn forget_strangers(&self, readings: &Readings) {
        let is_stranger = |labels: &Labels<'_>| {
            let name = labels.get("provider").copied().unwrap_or_default();
            !readings.providers.each.iter().any(|provider| provider.name == name)
        };
        forget(&self.calls, is_stranger);
        forget(&self.call_seconds, is_stranger);
        forget(&self.tasks, is_stranger);
        forget(&self.task_seconds, is_stranger);
        forget(&self.breaker_openings, is_stranger);
        let currency = readings.providers.currency.as_str();
        forget(&self.cost, |labels| is_stranger(labels) || labels.get("currency") != Some(&currency));
        let is_of = |RouteReading { route, provider, model }: &RouteReading, labels: &Labels<'_>| {
            let provider = provider.as_deref().unwrap_or(LOCAL_PROVIDER);
            [("route", route.as_str()), ("provider", provider), ("model", model.as_str())]
                .iter()
                .all(|(name, value)| labels.get(name) == Some(value))
        };
        forget(&self.route_requests, |labels| !readings.routes.iter().any(|target| is_of(target, labels)));
    }
}

/// A series' labels, by their names.
type Labels<'a> = HashMap<&'a str, &'a str>;

fn forget<B: MetricVecBuilder>(metrics: &MetricVec<B>, is_forgotten: impl Fn(&Labels<'_>) -> bool) {
    for family in metrics.collect() {
        for series in family.get_metric() {
            let labels = series.get_label().iter().map(|label| (label.name(), label.value())).collect();
            if is_forgotten(&labels) {
                // That another scrape has removed it already is no error.
                metrics.remove(&labels).ok();
            }
        }
    }
}
