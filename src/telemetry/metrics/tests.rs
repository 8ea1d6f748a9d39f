//! What is counted is shown, under bounded labels; and the dashboard asks for nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::telemetry::readings::{CallbackReading, MemoryReading, ProviderReading, ProviderReadings, RouteReading};

/// Providers of these names, each with two keys, two tasks that run and one that waits.
fn providers(names: &[&str]) -> ProviderReadings {
    let reading = |name: &&str| ProviderReading {
        name: (*name).to_owned(),
        health: vec![("ready", false), ("busy", true)],
        keys: vec![("ready", 1), ("resting", 1)],
        key_usable: vec![("main".to_owned(), true), ("spare".to_owned(), false)],
        tasks_in_flight: 2,
        tasks_in_flight_limit: Some(2),
        tasks_waiting: 1,
    };
    let failure_classes = vec!["moderation", "transient"];
    ProviderReadings { each: names.iter().map(reading).collect(), failure_classes, currency: "USD".to_owned() }
}

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
    metrics.provider_called(&provider, WireCall::Create, CallOutcome::Answered, 0.3);
    metrics.provider_called(&provider, WireCall::Poll, CallOutcome::Failed("transient"), 60.0);
    metrics.provider_task_ended(&provider, ProviderTaskEnd::Finished, 45.0);
    metrics.provider_task_ended(&provider, ProviderTaskEnd::Failed("moderation"), 9.0);
    metrics.provider_left_alone(&provider);
    metrics.provider_settled(&provider, "USD", 240_000);
    metrics.provider_settled(&provider, "USD", -1);
    let route = "best".parse().unwrap();
    metrics.route_stage_ended(RouteStage { route: &route, provider: Some(&provider), model: &model }, RouteStageResult::PassedOn);
    metrics.route_stage_ended(
        RouteStage { route: &route, provider: None, model: &model },
        RouteStageResult::Ended(JobState::Completed),
    );
    metrics.upkeep_done("expired_leases", 2);
    metrics.upkeep_done("expired_leases", 0);
    metrics.callback_tried(CallbackOutcome::Retried);
    metrics.callback_answered(0.2);
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
        providers: providers(&["aliyun"]),
        routes: vec![
            RouteReading { route: "best".to_owned(), provider: Some("aliyun".to_owned()), model: "demo".to_owned() },
            RouteReading { route: "best".to_owned(), provider: None, model: "demo".to_owned() },
        ],
        callbacks: Some(CallbackReading { waiting: 3, overdue_ms: 1500 }),
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
        r#"framewright_jobs{state="queued"} 11"#,
        r#"framewright_jobs{state="running"} 4"#,
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
        r#"framewright_provider_health{provider="aliyun",state="busy"} 1"#,
        r#"framewright_provider_health{provider="aliyun",state="ready"} 0"#,
        r#"framewright_provider_keys{provider="aliyun",state="resting"} 1"#,
        r#"framewright_provider_key_usable{key="main",provider="aliyun"} 1"#,
        r#"framewright_provider_key_usable{key="spare",provider="aliyun"} 0"#,
        r#"framewright_provider_tasks_in_flight{provider="aliyun"} 2"#,
        r#"framewright_provider_tasks_in_flight_limit{provider="aliyun"} 2"#,
        r#"framewright_provider_tasks_waiting{provider="aliyun"} 1"#,
        r#"framewright_provider_calls_total{call="create",outcome="ok",provider="aliyun"} 1"#,
        r#"framewright_provider_calls_total{call="create",outcome="moderation",provider="aliyun"} 0"#,
        r#"framewright_provider_calls_total{call="poll",outcome="transient",provider="aliyun"} 1"#,
        r#"framewright_provider_call_duration_seconds_bucket{call="create",provider="aliyun",le="0.25"} 0"#,
        r#"framewright_provider_call_duration_seconds_bucket{call="create",provider="aliyun",le="0.5"} 1"#,
        r#"framewright_provider_tasks_total{outcome="finished",provider="aliyun"} 1"#,
        r#"framewright_provider_tasks_total{outcome="moderation",provider="aliyun"} 1"#,
        r#"framewright_provider_tasks_total{outcome="cancelled",provider="aliyun"} 0"#,
        r#"framewright_provider_task_duration_seconds_sum{provider="aliyun"} 45"#,
        r#"framewright_provider_breaker_openings_total{provider="aliyun"} 1"#,
        r#"framewright_provider_cost_total{currency="USD",provider="aliyun"} 0.24"#,
        r#"framewright_route_requests_total{model="demo",provider="aliyun",result="passed_on",route="best"} 1"#,
        r#"framewright_route_requests_total{model="demo",provider="aliyun",result="completed",route="best"} 0"#,
        r#"framewright_route_requests_total{model="demo",provider="local",result="completed",route="best"} 1"#,
        r#"framewright_callbacks_total{outcome="retried"} 1"#,
        "framewright_callbacks_waiting 3",
        "framewright_callbacks_overdue_seconds 1.5",
        "framewright_callback_duration_seconds_count 1",
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

#[test]
fn a_provider_that_is_not_there_any_more_is_forgotten() {
    let metrics = Metrics::new("1").unwrap();
    let [gone, kept]: [ProviderId; 2] = ["gone", "kept"].map(|name| name.parse().unwrap());
    let model: ModelId = "m".parse().unwrap();
    let count = |provider: &ProviderId| {
        metrics.provider_called(provider, WireCall::Create, CallOutcome::Answered, 0.1);
        metrics.provider_task_ended(provider, ProviderTaskEnd::Finished, 1.0);
        metrics.provider_left_alone(provider);
        metrics.provider_settled(provider, "USD", 1);
        metrics.route_stage_ended(
            RouteStage { route: &model, provider: Some(provider), model: &model },
            RouteStageResult::Ended(JobState::Completed),
        );
    };
    let routes = |names: &[&str]| -> Vec<RouteReading> {
        let target =
            |name: &&str| RouteReading { route: "m".to_owned(), provider: Some((*name).to_owned()), model: "m".to_owned() };
        names.iter().map(target).collect()
    };
    let both = Readings { providers: providers(&["gone", "kept"]), routes: routes(&["gone", "kept"]), ..Readings::default() };
    let one = Readings { providers: providers(&["kept"]), routes: routes(&["kept"]), ..Readings::default() };
    let of = |text: &str, name: &str| text.lines().filter(|line| line.contains(&format!("provider=\"{name}\""))).count();
    [&gone, &kept].into_iter().for_each(count);
    let before = metrics.render(&both).unwrap();
    assert!(of(&before, "gone") > 20 && of(&before, "gone") == of(&before, "kept"));
    let last = metrics.render(&one).unwrap();
    assert!(
        last.contains(r#"framewright_provider_tasks_total{outcome="finished",provider="gone"} 1"#),
        "shown once more: {last}"
    );
    assert!(!last.contains(r#"framewright_provider_keys{provider="gone""#), "{last}");
    let after = metrics.render(&one).unwrap();
    assert_eq!((of(&after, "gone"), of(&after, "kept")), (0, of(&before, "kept")), "{after}");
    // A call that ends late is shown, and forgotten again.
    count(&gone);
    assert!(of(&metrics.render(&one).unwrap(), "gone") > 0);
    assert_eq!(of(&metrics.render(&one).unwrap(), "gone"), 0);
    // One that comes back begins anew.
    let text = metrics.render(&both).unwrap();
    assert!(text.contains(r#"framewright_provider_tasks_total{outcome="finished",provider="gone"} 0"#), "{text}");
}

#[test]
fn another_model_of_a_route_and_another_currency_take_the_place_of_those_before() {
    let metrics = Metrics::new("1").unwrap();
    let (route, provider): (ModelId, ProviderId) = ("best".parse().unwrap(), "kept".parse().unwrap());
    for model in ["old", "new"] {
        let model: ModelId = model.parse().unwrap();
        let stage = RouteStage { route: &route, provider: Some(&provider), model: &model };
        metrics.route_stage_ended(stage, RouteStageResult::PassedOn);
    }
    metrics.provider_settled(&provider, "USD", 2_000_000);
    metrics.provider_settled(&provider, "EUR", 3_000_000);
    let target = RouteReading { route: "best".to_owned(), provider: Some("kept".to_owned()), model: "new".to_owned() };
    let providers = ProviderReadings { currency: "EUR".to_owned(), ..providers(&["kept"]) };
    let readings = Readings { providers, routes: vec![target], ..Readings::default() };
    let first = metrics.render(&readings).unwrap();
    let gone = [r#"framewright_provider_cost_total{currency="USD",provider="kept"} 2"#, r#"model="old""#];
    assert!(gone.iter().all(|text| first.contains(text)), "shown once more: {first}");
    let after = metrics.render(&readings).unwrap();
    assert!(!after.contains(r#"currency="USD""#) && !after.contains(r#"model="old""#), "{after}");
    for line in [
        r#"framewright_provider_cost_total{currency="EUR",provider="kept"} 3"#,
        r#"framewright_route_requests_total{model="new",provider="kept",result="passed_on",route="best"} 1"#,
    ] {
        assert!(after.lines().any(|seen| seen == line), "{line} is not in\n{after}");
    }
}

#[test]
fn callbacks_that_could_not_be_counted_show_no_number() {
    let metrics = Metrics::new("1").unwrap();
    let waiting = Readings { callbacks: Some(CallbackReading { waiting: 2, overdue_ms: 9 }), ..Readings::default() };
    assert!(metrics.render(&waiting).unwrap().contains("framewright_callbacks_waiting 2"));
    let text = metrics.render(&Readings::default()).unwrap();
    assert!(!text.contains("framewright_callbacks_waiting") && !text.contains("framewright_callbacks_overdue"), "{text}");
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
