//! What is counted is shown, under bounded labels; and the dashboard asks for nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::telemetry::readings::MemoryReading;

/// Metrics after everything has happened once, as text.
fn everything() -> String {
    let metrics = Metrics::new("1.2.3").unwrap();
    let model: ModelId = "demo".parse().unwrap();
    metrics.observe_request("/api/v1/tasks/{id}", "GET", 200, Duration::from_millis(3));
    metrics.observe_request("unmatched", "BREW", 405, Duration::ZERO);
    metrics.job_started(&model, 0.2);
    metrics.job_finished(&model, JobState::Completed, 4.0);
    metrics.job_returned(&model);
    metrics.batch_formed(3);
    metrics.step_done("cpu", 0.3);
    metrics.model_loaded(&model, 1.5);
    metrics.model_wanted(true);
    metrics.model_wanted(false);
    metrics.model_evicted(WeightsTier::Device);
    metrics.lease_lost();
    metrics.quota_refused(Meter::Images);
    let provider = "aliyun".parse().unwrap();
    metrics.provider_called(&provider, "taken");
    metrics.provider_settled(&provider, 240_000);
    metrics.provider_settled(&provider, -1);
    metrics.upkeep_done("expired_leases", 2);
    metrics.upkeep_done("expired_leases", 0);
    metrics.callback_tried("retried");
    let waiting = |priority, tasks, oldest_age_ms| QueueReading { priority, tasks, oldest_age_ms };
    let readings = Readings {
        queue: vec![waiting(-5, 1, 500), waiting(0, 4, 1500), waiting(10, 2, 100), waiting(20, 3, 2500)],
        devices: vec![DeviceReading {
            name: "cuda:0".to_owned(),
            is_up: true,
            jobs: 2,
            memory: Some(MemoryReading { total_bytes: 100, free_bytes: 30 }),
            utilization: Some(0.75),
            restarts: 4,
        }],
    };
    metrics.render(&readings).unwrap();
    metrics.render(&readings).unwrap()
}

#[test]
fn numbers_are_rendered_as_text() {
    let text = everything();
    for line in [
        r#"framewright_build_info{version="1.2.3"} 1"#,
        r#"framewright_http_requests_total{method="GET",route="/api/v1/tasks/{id}",status="200"} 1"#,
        r#"framewright_http_requests_total{method="other",route="unmatched",status="405"} 1"#,
        r#"framewright_http_request_seconds_bucket{method="GET",route="/api/v1/tasks/{id}",le="0.005"} 1"#,
        r#"framewright_jobs{state="queued"} 10"#,
        r#"framewright_jobs{state="running"} 2"#,
        r#"framewright_jobs_finished_total{model="demo",state="completed"} 1"#,
        r#"framewright_job_seconds_count{model="demo",phase="wait"} 1"#,
        r#"framewright_tasks_total{kind="image",outcome="completed"} 1"#,
        r#"framewright_tasks_total{kind="image",outcome="failed"} 0"#,
        r#"framewright_tasks_total{kind="image",outcome="returned"} 1"#,
        r#"framewright_batch_tasks_bucket{le="2"} 0"#,
        r#"framewright_batch_tasks_bucket{le="3"} 1"#,
        r#"framewright_queue_depth{kind="image",priority="low"} 1"#,
        r#"framewright_queue_depth{kind="image",priority="normal"} 4"#,
        r#"framewright_queue_depth{kind="image",priority="high"} 5"#,
        r#"framewright_queue_oldest_age_seconds{kind="image",priority="high"} 2.5"#,
        r#"framewright_step_duration_seconds_sum{device="cpu"} 0.3"#,
        r#"framewright_device_memory_bytes{device="cuda:0",state="used"} 70"#,
        r#"framewright_device_memory_bytes{device="cuda:0",state="free"} 30"#,
        r#"framewright_device_utilization_ratio{device="cuda:0"} 0.75"#,
        r#"framewright_device_busy{device="cuda:0"} 1"#,
        r#"framewright_device_up{device="cuda:0"} 1"#,
        r#"framewright_worker_restarts_total{device="cuda:0"} 4"#,
        r#"framewright_model_load_duration_seconds_sum{model="demo"} 1.5"#,
        "framewright_model_cache_hits_total 1",
        "framewright_model_cache_misses_total 1",
        r#"framewright_model_evictions_total{tier="device"} 1"#,
        r#"framewright_model_evictions_total{tier="packed"} 0"#,
        "framewright_leases_lost_total 1",
        r#"framewright_quota_refusals_total{meter="images"} 1"#,
        r#"framewright_provider_calls_total{outcome="taken",provider="aliyun"} 1"#,
        r#"framewright_provider_cost_micros_total{provider="aliyun"} 240000"#,
        r#"framewright_upkeep_total{step="expired_leases"} 2"#,
    ] {
        assert!(text.lines().any(|seen| seen == line), "{line} is not in\n{text}");
    }
    assert!(text.contains("process_resident_memory_bytes"), "{text}");
}

#[test]
fn a_queue_that_empties_falls_back_to_zero() {
    let metrics = Metrics::new("1").unwrap();
    let full = Readings { queue: vec![QueueReading { priority: 0, tasks: 2, oldest_age_ms: 9000 }], ..Readings::default() };
    metrics.render(&full).unwrap();
    let text = metrics.render(&Readings::default()).unwrap();
    for line in [
        r#"framewright_jobs{state="queued"} 0"#,
        r#"framewright_queue_depth{kind="image",priority="normal"} 0"#,
        r#"framewright_queue_oldest_age_seconds{kind="image",priority="normal"} 0"#,
    ] {
        assert!(text.lines().any(|seen| seen == line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_device_that_died_shows_no_readings_of_its_life() {
    let metrics = Metrics::new("1").unwrap();
    let memory = Some(MemoryReading { total_bytes: 100, free_bytes: 30 });
    let device = |device| Readings { devices: vec![device], ..Readings::default() };
    let name = "cuda:0".to_owned();
    let alive = DeviceReading { name: name.clone(), is_up: true, memory, utilization: Some(0.5), ..DeviceReading::default() };
    let series = |text: &str| -> Vec<String> {
        let of_device = |line: &&str| line.starts_with("framewright_device_") && !line.contains("device_busy");
        text.lines().filter(of_device).map(|line| line.trim_start_matches("framewright_device_").to_owned()).collect()
    };
    let living = [
        r#"memory_bytes{device="cuda:0",state="free"} 30"#,
        r#"memory_bytes{device="cuda:0",state="used"} 70"#,
        r#"up{device="cuda:0"} 1"#,
        r#"utilization_ratio{device="cuda:0"} 0.5"#,
    ];
    assert_eq!(series(&metrics.render(&device(alive.clone())).unwrap()), living);
    let dead = device(DeviceReading { name, ..DeviceReading::default() });
    for _ in 0..2 {
        assert_eq!(series(&metrics.render(&dead).unwrap()), [r#"up{device="cuda:0"} 0"#]);
    }
    assert_eq!(series(&metrics.render(&device(alive)).unwrap()), living, "and it comes back");
}

/// Names of this server's metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    text.match_indices("framewright_")
        .filter(|(at, _)| !text[..*at].ends_with(is_part))
        .map(|(at, _)| text[at..].chars().take_while(|&character| is_part(character)).collect())
        .collect()
}

/// Every query of a dashboard, wherever it stands.
fn queries(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_str() {
                    Some(text) if matches!(name.as_str(), "expr" | "definition") => found.push(text.to_owned()),
                    _ => queries(field, found),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_are_there() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/grafana/framewright.json");
    let dashboard: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut asked = Vec::new();
    queries(&dashboard, &mut asked);
    assert!(asked.len() > 15, "{asked:?}");
    let text = everything();
    // Series, not families: a histogram's are its buckets, its sum and its count.
    let series: BTreeSet<String> = text.lines().filter(|line| !line.starts_with('#')).flat_map(names).collect();
    let asked: BTreeSet<String> = asked.iter().flat_map(|query| names(query)).collect();
    let missing: Vec<&String> = asked.difference(&series).collect();
    assert!(missing.is_empty(), "the dashboard asks for {missing:?}");
    for family in ["queue_depth", "tasks_total", "device_memory_bytes", "model_cache_hits_total", "quota_refusals_total"] {
        assert!(asked.contains(&format!("framewright_{family}")), "the dashboard does not show {family}");
    }
}
