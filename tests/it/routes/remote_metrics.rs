//! What operators see of providers, routes and callbacks in the metrics.

use axum::http::Method;
use framewright::domain::{AccountKey, ProviderEntry, ProviderKind, ProviderSettings};
use framewright::routes::{Route, RouteTarget, Strategy};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::remote::entry;
use crate::harness::{Options, TestServer, egress};
use crate::outside::{FRIEND, Outside, Reply};
use crate::providers::{AliyunCloud, Answer, Gate, MinimaxCloud, Mock};

/// What stands in no label.
const CANARY: &str = "sk-canary-of-the-metrics";

fn key(name: &str, max_concurrent: Option<u32>) -> AccountKey {
    AccountKey { id: name.parse().unwrap(), secret: SecretString::from(format!("{CANARY}-{name}")), max_concurrent }
}

/// MiniMax with these keys, and Aliyun with one.
fn providers(minimax: &Mock, aliyun: &Mock, keys: Vec<AccountKey>) -> ProviderSettings {
    let minimax = ProviderEntry { keys, ..entry(ProviderKind::Minimax, minimax, "0.05") };
    ProviderSettings {
        currency: "EUR".to_owned(),
        providers: [
            ("minimax".parse().unwrap(), minimax),
            ("aliyun".parse().unwrap(), entry(ProviderKind::Aliyun, aliyun, "0.24")),
        ]
        .into(),
    }
}

/// `best-video`: MiniMax, then Aliyun.
fn route() -> Route {
    let target = |provider: &str, model: &str| RouteTarget {
        provider: Some(provider.parse().unwrap()),
        model: model.parse().unwrap(),
        weight: 1,
    };
    Route {
        name: "best-video".parse().unwrap(),
        strategy: Strategy::Fallback,
        targets: vec![target("minimax", "MiniMax-Hailuo-02"), target("aliyun", "wan2.6-t2v")],
    }
}

async fn server(settings: ProviderSettings) -> TestServer {
    let options = Options {
        providers: settings,
        routes: vec![route()],
        egress: egress(&["127.0.0.1/32", &format!("{FRIEND}/32")]),
        ..Options::default()
    };
    TestServer::start_with(options).await
}

async fn submitted(server: &TestServer, model: &str) -> String {
    let body = json!({"model": model, "scenes": [{"id": "one", "prompt": "a canary", "duration": 10}]});
    let answer = server.post("/api/v1/videos/generate", &body).await;
    answer.json()["task_id"].as_str().unwrap_or_else(|| panic!("{}", answer.text())).to_owned()
}

/// Waits for a task; the state in which it ended.
async fn ended(server: &TestServer, task: &str) -> Value {
    server.wait(task).await;
    server.get(&format!("/api/v1/tasks/{task}")).await.json()["status"].clone()
}

/// The series whose names begin so.
async fn series(server: &TestServer, beginning: &str) -> Vec<String> {
    let text = server.administrate(Method::GET, "/metrics", None).await.text();
    text.lines().filter(|line| line.starts_with(beginning)).map(str::to_owned).collect()
}

async fn check(server: &TestServer, expected: &[&str]) {
    let shown = series(server, "framewright_").await;
    for line in expected {
        assert!(shown.iter().any(|shown| shown == line), "{line} is not in\n{}", shown.join("\n"));
    }
}

/// Looks until a line is there: what changes the numbers tells nobody.
async fn until(server: &TestServer, wanted: &str) {
    while !series(server, "framewright_").await.iter().any(|line| line == wanted) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_providers_do_is_counted_and_nobody_is_named() {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    let server = server(providers(&minimax, &aliyun, vec![key("main", None)])).await;
    check(
        &server,
        &[
            r#"framewright_provider_calls_total{call="create",outcome="rate_limit",provider="aliyun"} 0"#,
            r#"framewright_provider_cost_total{currency="EUR",provider="aliyun"} 0"#,
            r#"framewright_route_requests_total{model="wan2.6-t2v",provider="aliyun",result="passed_on",route="best-video"} 0"#,
        ],
    )
    .await;
    let task = submitted(&server, "best-video").await;
    assert_eq!(ended(&server, &task).await, "completed");
    check(
        &server,
        &[
            r#"framewright_provider_health{provider="minimax",state="ready"} 1"#,
            r#"framewright_provider_health{provider="minimax",state="failing"} 0"#,
            r#"framewright_provider_keys{provider="minimax",state="ready"} 1"#,
            r#"framewright_provider_keys{provider="minimax",state="disabled"} 0"#,
            r#"framewright_provider_key_usable{key="main",provider="minimax"} 1"#,
            r#"framewright_provider_tasks_in_flight{provider="minimax"} 0"#,
            r#"framewright_provider_calls_total{call="create",outcome="ok",provider="minimax"} 1"#,
            r#"framewright_provider_calls_total{call="poll",outcome="ok",provider="minimax"} 3"#,
            r#"framewright_provider_calls_total{call="fetch",outcome="ok",provider="minimax"} 1"#,
            r#"framewright_provider_calls_total{call="download",outcome="ok",provider="minimax"} 1"#,
            r#"framewright_provider_calls_total{call="cancel",outcome="ok",provider="minimax"} 0"#,
            r#"framewright_provider_call_duration_seconds_count{call="poll",provider="minimax"} 3"#,
            r#"framewright_provider_tasks_total{outcome="finished",provider="minimax"} 1"#,
            r#"framewright_provider_task_duration_seconds_count{provider="minimax"} 1"#,
            r#"framewright_provider_cost_total{currency="EUR",provider="minimax"} 0.5"#,
            r#"framewright_provider_breaker_openings_total{provider="minimax"} 0"#,
            r#"framewright_route_requests_total{model="MiniMax-Hailuo-02",provider="minimax",result="completed",route="best-video"} 1"#,
        ],
    )
    .await;
    assert!(series(&server, "framewright_provider_tasks_in_flight_limit").await.is_empty(), "no key has a bound");

    let refused = json!({"task_id": "", "base_resp": {"status_code": 1026, "status_msg": "sensitive"}});
    minimax.script("create", [Answer::Json(200, refused)]);
    let task = submitted(&server, "MiniMax-Hailuo-02").await;
    assert_eq!(ended(&server, &task).await, "failed");
    aliyun
        .always("poll", Answer::Json(200, json!({"output": {"task_id": "x", "task_status": "FAILED", "code": "InternalError"}})));
    let task_of_aliyun = submitted(&server, "wan2.6-t2v").await;
    assert_eq!(ended(&server, &task_of_aliyun).await, "failed");
    check(
        &server,
        &[
            r#"framewright_provider_calls_total{call="create",outcome="moderation",provider="minimax"} 1"#,
            r#"framewright_provider_tasks_total{outcome="moderation",provider="minimax"} 0"#,
            r#"framewright_provider_calls_total{call="poll",outcome="ok",provider="aliyun"} 1"#,
            r#"framewright_provider_tasks_total{outcome="task_failed",provider="aliyun"} 1"#,
        ],
    )
    .await;
    let text = server.administrate(Method::GET, "/metrics", None).await.text();
    for hidden in ["canary", task.as_str(), "106916112211"] {
        assert!(!text.contains(hidden), "{hidden}");
    }
}

#[tokio::test]
async fn what_runs_and_waits_is_shown_beside_the_limit() {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    let gate = Gate::closed();
    minimax.script("create", [Answer::GatedUsual(gate.clone())]);
    let server = server(providers(&minimax, &aliyun, vec![key("only", Some(1))])).await;
    let first = submitted(&server, "MiniMax-Hailuo-02").await;
    gate.reached().await;
    let second = submitted(&server, "MiniMax-Hailuo-02").await;
    until(&server, r#"framewright_provider_tasks_waiting{provider="minimax"} 1"#).await;
    check(
        &server,
        &[
            r#"framewright_provider_health{provider="minimax",state="busy"} 1"#,
            r#"framewright_provider_health{provider="minimax",state="ready"} 0"#,
            r#"framewright_provider_tasks_in_flight{provider="minimax"} 1"#,
            r#"framewright_provider_tasks_in_flight_limit{provider="minimax"} 1"#,
            r#"framewright_jobs{state="running"} 1"#,
            r#"framewright_jobs{state="queued"} 1"#,
        ],
    )
    .await;
    gate.open();
    for task in [first, second] {
        assert_eq!(ended(&server, &task).await, "completed");
    }
    check(
        &server,
        &[
            r#"framewright_provider_tasks_in_flight{provider="minimax"} 0"#,
            r#"framewright_provider_tasks_waiting{provider="minimax"} 0"#,
        ],
    )
    .await;
}

#[tokio::test]
async fn a_task_that_is_cancelled_is_no_failure() {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    let gate = Gate::closed();
    let pending = json!({"output": {"task_id": "x", "task_status": "PENDING"}});
    aliyun.script("poll", [Answer::Gated(gate.clone(), Box::new(Answer::Json(200, pending)))]);
    let server = server(providers(&minimax, &aliyun, vec![key("main", None)])).await;
    let task = submitted(&server, "wan2.6-t2v").await;
    gate.reached().await;
    let cancelled = server.post(&format!("/api/v1/tasks/{task}/cancel"), &json!({})).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text());
    gate.open();
    assert_eq!(ended(&server, &task).await, "cancelled");
    assert_eq!(aliyun.recorded("cancel").len(), 1);
    check(
        &server,
        &[
            r#"framewright_provider_calls_total{call="poll",outcome="ok",provider="aliyun"} 1"#,
            r#"framewright_provider_calls_total{call="cancel",outcome="ok",provider="aliyun"} 1"#,
            r#"framewright_provider_tasks_total{outcome="cancelled",provider="aliyun"} 1"#,
            r#"framewright_provider_tasks_total{outcome="finished",provider="aliyun"} 0"#,
            r#"framewright_provider_cost_total{currency="EUR",provider="aliyun"} 0"#,
        ],
    )
    .await;
    let failed = series(&server, "framewright_provider_tasks_total").await;
    let counted = failed.iter().filter(|line| line.contains("aliyun") && !line.ends_with(" 0")).count();
    assert_eq!(counted, 1, "{failed:#?}");
}

#[tokio::test]
async fn a_provider_that_is_down_is_seen_and_so_is_who_took_its_work() {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    let server = server(providers(&minimax, &aliyun, vec![key("main", None)])).await;
    drop(minimax);
    for _ in 0..2 {
        let task = submitted(&server, "best-video").await;
        assert_eq!(ended(&server, &task).await, "completed");
    }
    check(
        &server,
        &[
            r#"framewright_provider_health{provider="minimax",state="failing"} 1"#,
            r#"framewright_provider_breaker_openings_total{provider="minimax"} 1"#,
            r#"framewright_provider_calls_total{call="create",outcome="transient",provider="minimax"} 5"#,
            r#"framewright_provider_calls_total{call="create",outcome="ok",provider="minimax"} 0"#,
            r#"framewright_route_requests_total{model="MiniMax-Hailuo-02",provider="minimax",result="passed_on",route="best-video"} 2"#,
            r#"framewright_route_requests_total{model="wan2.6-t2v",provider="aliyun",result="completed",route="best-video"} 2"#,
            r#"framewright_provider_tasks_total{outcome="finished",provider="aliyun"} 2"#,
        ],
    )
    .await;
}

#[tokio::test]
async fn what_this_server_refuses_to_fetch_is_no_call() {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    let output = json!({"task_id": "x", "task_status": "SUCCEEDED", "video_url": "http://10.0.0.7/film.mp4"});
    aliyun.always("poll", Answer::Json(200, json!({"output": output})));
    let server = server(providers(&minimax, &aliyun, vec![key("main", None)])).await;
    let task = submitted(&server, "wan2.6-t2v").await;
    assert_eq!(ended(&server, &task).await, "failed");
    check(&server, &[r#"framewright_provider_calls_total{call="poll",outcome="ok",provider="aliyun"} 1"#]).await;
    let downloads = series(&server, r#"framewright_provider_calls_total{call="download""#).await;
    assert!(downloads.len() == 2 && downloads.iter().all(|line| line.ends_with(" 0")), "{downloads:#?}");
}

#[tokio::test]
async fn routes_are_counted_by_the_names_that_lists_show() {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    let server = server(providers(&minimax, &aliyun, vec![key("main", None)])).await;
    let before = series(&server, "framewright_route_requests_total").await;
    assert!(before.iter().any(|line| line.contains("wan2.6-t2v")), "{before:#?}");
    let (provider, model) = (Some("aliyun".parse().unwrap()), "wan2.1-t2v-turbo".parse().unwrap());
    let changed = Route { targets: vec![RouteTarget { provider, model, weight: 1 }], ..route() };
    server.state.routes.replace([(changed.name.clone(), changed)].into());
    let body = json!({"model": "best-video", "scenes": [{"id": "one", "prompt": "a lake", "duration": 5}]});
    let answer = server.post("/api/v1/videos/generate", &body).await;
    let task = answer.json()["task_id"].as_str().unwrap_or_else(|| panic!("{}", answer.text())).to_owned();
    assert_eq!(ended(&server, &task).await, "completed");
    let completed = r#"framewright_route_requests_total{model="wanx2.1-t2v-turbo",provider="aliyun",result="completed",route="best-video"} 1"#;
    // What was counted of the targets before is shown once more.
    check(&server, &[completed]).await;
    let after = series(&server, "framewright_route_requests_total").await;
    assert!(after.iter().any(|line| line == completed), "{after:#?}");
    assert!(after.len() == 4 && after.iter().all(|line| line.contains(r#"model="wanx2.1-t2v-turbo""#)), "{after:#?}");
}

#[tokio::test]
async fn what_leaves_the_settings_leaves_the_metrics() {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    let mut settings = providers(&minimax, &aliyun, vec![key("old", Some(3)), key("kept", Some(3))]);
    let server = server(settings.clone()).await;
    assert!(server.state.remote.switch_key(&"minimax".parse().unwrap(), &"old".parse().unwrap(), false));
    check(
        &server,
        &[
            r#"framewright_provider_keys{provider="minimax",state="switched_off"} 1"#,
            r#"framewright_provider_key_usable{key="old",provider="minimax"} 0"#,
            r#"framewright_provider_tasks_in_flight_limit{provider="minimax"} 6"#,
        ],
    )
    .await;
    settings.providers.get_mut(&"minimax".parse().unwrap()).unwrap().keys.remove(0);
    server.state.remote.replace(&settings).unwrap();
    assert_eq!(
        series(&server, "framewright_provider_key_usable").await,
        [
            r#"framewright_provider_key_usable{key="kept",provider="minimax"} 1"#,
            r#"framewright_provider_key_usable{key="main",provider="aliyun"} 1"#,
        ]
    );

    // One that is gone finishes its task, and is seen as long as that takes.
    let gate = Gate::closed();
    minimax.script("poll", [Answer::GatedUsual(gate.clone())]);
    let task = submitted(&server, "best-video").await;
    gate.reached().await;
    settings.providers.remove(&"minimax".parse().unwrap());
    server.state.remote.replace(&settings).unwrap();
    server.state.routes.replace([].into());
    check(
        &server,
        &[
            r#"framewright_provider_health{provider="minimax",state="off"} 1"#,
            r#"framewright_provider_tasks_in_flight{provider="minimax"} 1"#,
        ],
    )
    .await;
    gate.open();
    assert_eq!(ended(&server, &task).await, "completed");
    let last = series(&server, "framewright_").await;
    let of_minimax = |shown: &[String]| shown.iter().filter(|line| line.contains("minimax")).count();
    let finished = r#"framewright_provider_tasks_total{outcome="finished",provider="minimax"} 1"#;
    assert!(last.iter().any(|line| line == finished), "what it did last is seen: {last:#?}");
    assert!(!last.iter().any(|line| line.starts_with("framewright_provider_health{provider=\"minimax\"")));
    let after = series(&server, "framewright_").await;
    assert_eq!(of_minimax(&after), 0, "{after:#?}");
    assert!(!after.iter().any(|line| line.contains("best-video")), "{after:#?}");
    assert!(after.iter().any(|line| line.contains("aliyun")), "{after:#?}");
}

#[tokio::test]
async fn callbacks_that_wait_are_seen_and_a_planned_try_is_not_overdue() {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    let server = server(providers(&minimax, &aliyun, vec![key("main", None)])).await;
    let receiver = Outside::start(FRIEND, |number, _| if number == 0 { Reply::status(500) } else { Reply::status(204) }).await;
    let body =
        json!({"prompt": "x", "num_inference_steps": 1, "callback_url": receiver.url("/"), "callback_events": ["completed"]});
    let task = server.submit(&body).await;
    assert_eq!(ended(&server, &task).await, "completed");
    receiver.wait_for(1).await;
    until(&server, r#"framewright_callbacks_total{outcome="retried"} 1"#).await;
    until(&server, "framewright_callbacks_waiting 1").await;
    server.clock.advance_seconds(4);
    // What was counted before the first try has it due.
    until(&server, "framewright_callbacks_overdue_seconds 0").await;
    check(&server, &["framewright_callbacks_waiting 1", "framewright_callback_duration_seconds_count 1"]).await;
    server.clock.advance_seconds(3);
    server.state.webhooks.wake();
    until(&server, r#"framewright_callbacks_total{outcome="delivered"} 1"#).await;
    until(&server, "framewright_callbacks_waiting 0").await;
    check(&server, &["framewright_callbacks_overdue_seconds 0", "framewright_callback_duration_seconds_count 2"]).await;
}
