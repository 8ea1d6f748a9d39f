//! Counters, gauges and histograms, in Prometheus' text format.
//!
//! Every label is bounded: routes are patterns, methods and states are known words, models and devices are what is installed.

use std::fmt;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::domain::{JobObserver, JobState, ModelId};

/// The media type of [`Metrics::render`]'s text.
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Seconds that requests take: from a look at a task to a picture that is waited for.
const REQUEST_BUCKETS: [f64; 12] = [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1800.0];
/// Seconds that one evaluation takes: a GPU's milliseconds to a CPU's minute.
const STEP_BUCKETS: [f64; 11] = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];
/// Seconds that jobs wait and run and models load.
const JOB_BUCKETS: [f64; 11] = [0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0, 3600.0];

/// A metric that could not be made or written.
#[derive(Debug, thiserror::Error)]
#[error("metrics failed")]
pub struct MetricsError(#[from] prometheus::Error);

/// The server's numbers. Made once and shared.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    jobs: IntGaugeVec,
    queue_depth: GaugeVec,
    jobs_finished: IntCounterVec,
    job_seconds: HistogramVec,
    step_seconds: HistogramVec,
    model_load_seconds: HistogramVec,
}

impl Metrics {
    /// Every metric at zero, and the process's own (memory, file descriptors, processor time).
    pub fn new(version: &str) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let build_info = IntGaugeVec::new(Opts::new("framewright_build_info", "1, labelled with the version"), &["version"])?;
        build_info.with_label_values(&[version]).set(1);
        registered(&registry, build_info)?;
        let histogram = |name: &str, help: &str, buckets: &[f64], labels: &[&str]| -> Result<HistogramVec, MetricsError> {
            registered(&registry, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?)
        };
        let metrics = Self {
            requests: registered(
                &registry,
                IntCounterVec::new(
                    Opts::new("framewright_http_requests_total", "Answered requests"),
                    &["route", "method", "status"],
                )?,
            )?,
            request_seconds: histogram(
                "framewright_http_request_seconds",
                "Time to the beginning of an answer",
                &REQUEST_BUCKETS,
                &["route", "method"],
            )?,
            jobs: registered(&registry, IntGaugeVec::new(Opts::new("framewright_jobs", "Stored jobs by state"), &["state"])?)?,
            queue_depth: registered(
                &registry,
                GaugeVec::new(Opts::new("framewright_queue_depth", "Jobs that wait for a device, by kind"), &["kind"])?,
            )?,
            jobs_finished: registered(
                &registry,
                IntCounterVec::new(Opts::new("framewright_jobs_finished_total", "Jobs that ended"), &["model", "state"])?,
            )?,
            job_seconds: histogram(
                "framewright_job_seconds",
                "Time that jobs waited and ran",
                &JOB_BUCKETS,
                &["model", "phase"],
            )?,
            step_seconds: histogram("framewright_step_seconds", "Time of one model evaluation", &STEP_BUCKETS, &["device"])?,
            model_load_seconds: histogram(
                "framewright_model_load_seconds",
                "Time to read and pack a model's weights",
                &JOB_BUCKETS,
                &["model"],
            )?,
            registry,
        };
        for state in JobState::ALL {
            metrics.jobs.with_label_values(&[state.as_str()]).set(0);
        }
        Ok(metrics)
    }

    /// An answered request. `route` is the pattern that matched.
    pub fn observe_request(&self, route: &str, method: &str, status: u16, elapsed: Duration) {
        let method = known_method(method);
        self.requests.with_label_values(&[route, method, &status.to_string()]).inc();
        self.request_seconds.with_label_values(&[route, method]).observe(elapsed.as_secs_f64());
    }

    /// Everything as text; `counts` are the jobs in the store at this moment.
    pub fn render(&self, counts: &[(JobState, u64)]) -> Result<String, MetricsError> {
        for state in JobState::ALL {
            let number = counts.iter().find(|(counted, _)| *counted == state).map_or(0, |(_, number)| *number);
            self.jobs.with_label_values(&[state.as_str()]).set(i64::try_from(number).unwrap_or(i64::MAX));
            if state == JobState::Queued {
                self.queue_depth.with_label_values(&["image"]).set(number as f64);
            }
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl JobObserver for Metrics {
    fn job_started(&self, model: &ModelId, waited_seconds: f64) {
        self.job_seconds.with_label_values(&[model.as_str(), "wait"]).observe(waited_seconds);
    }

    fn job_finished(&self, model: &ModelId, state: JobState, ran_seconds: f64) {
        self.jobs_finished.with_label_values(&[model.as_str(), state.as_str()]).inc();
        self.job_seconds.with_label_values(&[model.as_str(), "run"]).observe(ran_seconds);
    }

    fn step_done(&self, device: &str, seconds: f64) {
        self.step_seconds.with_label_values(&[device]).observe(seconds);
    }

    fn model_loaded(&self, model: &ModelId, seconds: f64) {
        self.model_load_seconds.with_label_values(&[model.as_str()]).observe(seconds);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

fn registered<M: Collector + Clone + 'static>(registry: &Registry, metric: M) -> Result<M, MetricsError> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// A method as a label: HTTP lets clients invent methods.
fn known_method(method: &str) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rendered_as_text() {
        let metrics = Metrics::new("1.2.3").unwrap();
        let model: ModelId = "demo".parse().unwrap();
        metrics.observe_request("/api/v1/tasks/{id}", "GET", 200, Duration::from_millis(3));
        metrics.observe_request("unmatched", "BREW", 405, Duration::ZERO);
        metrics.job_started(&model, 0.2);
        metrics.job_finished(&model, JobState::Completed, 4.0);
        metrics.step_done("cpu", 0.3);
        metrics.model_loaded(&model, 1.5);
        let text = metrics.render(&[(JobState::Queued, 7)]).unwrap();
        for line in [
            r#"framewright_build_info{version="1.2.3"} 1"#,
            r#"framewright_http_requests_total{method="GET",route="/api/v1/tasks/{id}",status="200"} 1"#,
            r#"framewright_http_requests_total{method="OTHER",route="unmatched",status="405"} 1"#,
            r#"framewright_http_request_seconds_bucket{method="GET",route="/api/v1/tasks/{id}",le="0.005"} 1"#,
            r#"framewright_jobs{state="queued"} 7"#,
            r#"framewright_jobs{state="failed"} 0"#,
            r#"framewright_queue_depth{kind="image"} 7"#,
            r#"framewright_jobs_finished_total{model="demo",state="completed"} 1"#,
            r#"framewright_job_seconds_count{model="demo",phase="wait"} 1"#,
            r#"framewright_step_seconds_sum{device="cpu"} 0.3"#,
            r#"framewright_model_load_seconds_sum{model="demo"} 1.5"#,
        ] {
            assert!(text.lines().any(|seen| seen == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }

    #[test]
    fn a_state_that_empties_falls_back_to_zero() {
        let metrics = Metrics::new("1").unwrap();
        metrics.render(&[(JobState::Running, 2)]).unwrap();
        assert!(metrics.render(&[]).unwrap().contains(r#"framewright_jobs{state="running"} 0"#));
    }
}
