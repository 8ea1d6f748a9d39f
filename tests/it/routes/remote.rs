//! Models of providers, and routes to several, through the API.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use framewright::database::Database;
use framewright::domain::{
    AccountKey, JobState, Limits, ModelId, OfferedName, PollSettings, Price, ProviderEntry, ProviderKind, ProviderSettings,
    TenantPolicies, TenantPolicy, ToldModel,
};
use framewright::jobs;
use framewright::ledger::{CallFilter, CallState, ProviderCall};
use framewright::routes::{Route, RouteTarget, Strategy};
use rstest::rstest;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::harness::{NOW, Options, TestServer, egress};
use crate::providers::{AliyunCloud, Answer, Gate, MinimaxCloud, Mock};

/// What stands in no answer, error, log or row.
const CANARY: &str = "sk-canary-0123456789-of-the-provider";

pub(crate) fn entry(kind: ProviderKind, mock: &Mock, per_second: &str) -> ProviderEntry {
    let path = if kind == ProviderKind::Aliyun { "/api/v1" } else { "" };
    let key = AccountKey { id: "main".parse().unwrap(), secret: SecretString::from(CANARY), max_concurrent: None };
    ProviderEntry {
        is_enabled: true,
        base_url: Some(format!("{}{path}", mock.base())),
        keys: vec![key],
        prices: vec![Price { per_second: per_second.parse().unwrap(), ..Price::default() }],
        poll: PollSettings { first_pause_ms: Some(1), most_pause_ms: Some(2) },
        ..ProviderEntry::of_kind(kind)
    }
}

/// The providers' part of a server's options: MiniMax at 0.05, Aliyun at 0.24 a second.
fn providers(minimax: &Mock, aliyun: &Mock) -> ProviderSettings {
    ProviderSettings {
        currency: "EUR".to_owned(),
        providers: [
            ("minimax".parse().unwrap(), entry(ProviderKind::Minimax, minimax, "0.05")),
            ("aliyun".parse().unwrap(), entry(ProviderKind::Aliyun, aliyun, "0.24")),
        ]
        .into(),
    }
}

fn target(provider: Option<&str>, model: &str) -> RouteTarget {
    RouteTarget { provider: provider.map(|name| name.parse().unwrap()), model: model.parse().unwrap(), weight: 1 }
}

/// `best-video`: MiniMax, then Aliyun, then this server.
fn route(strategy: Strategy) -> Route {
    Route {
        name: "best-video".parse().unwrap(),
        strategy,
        targets: vec![
            target(Some("minimax"), "MiniMax-Hailuo-02"),
            target(Some("aliyun"), "wan2.6-t2v"),
            target(None, "demo-svd"),
        ],
    }
}

async fn server(minimax: &Mock, aliyun: &Mock, routes: Vec<Route>) -> TestServer {
    let options =
        Options { providers: providers(minimax, aliyun), routes, egress: egress(&["127.0.0.1/32"]), ..Options::default() };
    TestServer::start_with(options).await
}

async fn submitted(server: &TestServer, body: &Value) -> String {
    let answer = server.post("/api/v1/videos/generate", body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    answer.json()["task_id"].as_str().unwrap().to_owned()
}

/// The document of a film that was made.
async fn made(server: &TestServer, body: &Value) -> Value {
    let task = submitted(server, body).await;
    server.wait(&task).await;
    let task = server.get(&format!("/api/v1/tasks/{task}")).await.json();
    assert_eq!(task["status"], "completed", "{task:#}");
    task
}

async fn calls(server: &TestServer) -> Vec<ProviderCall> {
    let mut calls = server.state.ledger.page(&CallFilter::default(), None, 1000).await.unwrap();
    calls.reverse();
    calls
}

fn scenes(model: &str) -> Value {
    json!({"model": model, "scenes": [{"id": "one", "prompt": "a ship", "duration": 10}]})
}

#[tokio::test]
async fn a_provider_makes_a_film_as_this_server_would() {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    let server = server(&minimax, &aliyun, Vec::new()).await;
    let models = server.get("/api/v1/models").await.json();
    let listed = |id: &str| models["models"].as_array().unwrap().iter().find(|model| model["id"] == id).cloned().unwrap();
    assert_eq!(listed("MiniMax-Hailuo-02")["provider"], "minimax");
    assert_eq!(listed("demo-svd")["provider"], "local");

    let estimate = server.post("/api/v1/estimate", &scenes("MiniMax-Hailuo-02")).await.json();
    assert_eq!((&estimate["allowed"], &estimate["cost"]), (&json!(true), &json!(0.5)), "{estimate:#}");
    let task = made(&server, &scenes("MiniMax-Hailuo-02")).await;
    let manifest = &task["result"]["manifest"];
    assert_eq!((&manifest["provider"], &manifest["cost"]["amount"]), (&json!("minimax"), &json!("0.5")));
    assert_eq!(manifest["cost"]["currency"], "EUR");
    let path = task["result"]["outputs"][0]["local_path"].as_str().unwrap();
    assert!(path.starts_with("videos/minimax_20260102_030405_0_") && path.strip_suffix(".mp4").is_some(), "{path}");
    assert_eq!(minimax.recorded("create")[0].json()["duration"], 10);

    // On OpenAI's surface too, where the length is a text.
    let video = server.post("/v1/videos", &json!({"model": "MiniMax-Hailuo-02", "prompt": "a ship", "seconds": "6"})).await;
    assert_eq!(video.status, StatusCode::OK, "{}", video.text());
    let id = video.json()["id"].as_str().unwrap().to_owned();
    server.wait(&id).await;
    // What nobody asked for is shown as the provider is told it.
    let unsaid = server.post("/v1/videos", &json!({"model": "MiniMax-Hailuo-02", "prompt": "a ship"})).await.json();
    assert_eq!((&unsaid["seconds"], &unsaid["size"]), (&json!("6"), &json!("768P")), "{unsaid:#}");
    server.wait(unsaid["id"].as_str().unwrap()).await;
    let sent = minimax.recorded("create").pop().unwrap().json();
    assert_eq!((&sent["duration"], &sent["resolution"]), (&json!(6), &json!("768P")), "{sent:#}");
    let video = server.get(&format!("/v1/videos/{id}")).await.json();
    assert_eq!((&video["status"], &video["model"]), (&json!("completed"), &json!("MiniMax-Hailuo-02")), "{video:#}");
    let content = server.get(&format!("/v1/videos/{id}/content")).await;
    assert_eq!((content.status, content.header("content-type")), (StatusCode::OK, "video/mp4"));
}

#[tokio::test]
async fn a_model_answers_to_its_other_names_as_long_as_it_is_offered() {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    let mut settings = providers(&minimax, &aliyun);
    let named = |name: &str| OfferedName { id: name.parse().unwrap(), name: name.to_owned(), told: ToldModel::default() };
    let aliyun_entry = settings.providers.get_mut(&"aliyun".parse().unwrap()).unwrap();
    aliyun_entry.models = vec![named("wanx2.1-t2v-turbo")];
    aliyun_entry.prices.push(Price {
        model: Some("wanx2.1-t2v-turbo".to_owned()),
        per_second: "0.1".parse().unwrap(),
        ..Price::default()
    });
    let server = TestServer::start_with(Options {
        providers: settings,
        routes: vec![Route { targets: vec![target(Some("aliyun"), "wan2.1-t2v-turbo")], ..route(Strategy::Fallback) }],
        egress: egress(&["127.0.0.1/32"]),
        ..Options::default()
    })
    .await;
    let listed = server.get("/api/v1/models").await.text();
    assert!(listed.contains("\"wanx2.1-t2v-turbo\"") && !listed.contains("\"wan2.1-t2v-turbo\""), "{listed}");
    for model in ["wan2.1-t2v-turbo", "best-video"] {
        let body = json!({"model": model, "scenes": [{"id": "one", "prompt": "a ship"}]});
        let task = made(&server, &body).await;
        assert_eq!(task["result"]["manifest"]["cost"]["amount"], "0.5", "the price is the model's: {task:#}");
        let sent = aliyun.recorded("create").pop().unwrap().json();
        assert_eq!(sent["model"], "wanx2.1-t2v-turbo", "the name that this region has");
    }
    let unlisted = server.post("/v1/videos", &json!({"model": "wan2.1-t2v-plus", "prompt": "x"})).await;
    assert_eq!(unlisted.status, StatusCode::NOT_FOUND, "{}", unlisted.text());
}

#[rstest]
#[case::length(json!({"model": "MiniMax-Hailuo-02", "scenes": [{"id": "a", "prompt": "x", "duration": 7}]}), "7")]
#[case::steps(json!({"model": "MiniMax-Hailuo-02", "num_inference_steps": 4, "scenes": [{"id": "a", "prompt": "x"}]}), "num_inference_steps")]
#[case::scenes(json!({"model": "MiniMax-Hailuo-02", "scenes": [{"id": "a", "prompt": "x"}, {"id": "b", "prompt": "y"}]}), "scenes")]
#[case::prompt(json!({"model": "MiniMax-Hailuo-02", "scenes": [{"id": "a", "prompt": "x".repeat(2001), "duration": 6}]}), "prompt")]
#[tokio::test]
async fn what_a_provider_cannot_do_is_refused_before_anything_is_sent(#[case] body: Value, #[case] named: &str) {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    let server = server(&minimax, &aliyun, Vec::new()).await;
    let answer = server.post("/api/v1/videos/generate", &body).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text());
    assert!(answer.json()["detail"].as_str().unwrap().contains(named), "{}", answer.text());
    assert!(minimax.recorded("create").is_empty() && calls(&server).await.is_empty());
}

#[rstest]
#[case::native("/api/v1/videos/generate", json!({"scenes": [{"id": "a", "prompt": "x", "duration": 7}]}), "scenes[0].duration", "'7'")]
#[case::native_halves("/api/v1/videos/generate", json!({"scenes": [{"id": "a", "prompt": "x", "duration": 5.5}]}), "scenes[0].duration", "is 5.5")]
#[case::native_size("/api/v1/videos/generate", json!({"prompt": "x", "video_config": {"resolution": "2K"}}), "resolution", "'2K'")]
#[case::openai("/v1/videos", json!({"prompt": "x", "seconds": "7"}), "seconds", "'7'")]
#[case::openai_size("/v1/videos", json!({"prompt": "x", "size": "64x64"}), "size", "'64x64'")]
#[case::openai_tier("/v1/videos", json!({"prompt": "x", "size": "2K"}), "size", "'2K'")]
#[case::unified("/api/v1/tasks/", json!({"parameters": {"prompt": "x", "duration": 7}}), "duration", "'7'")]
#[case::unified_size("/api/v1/tasks/", json!({"parameters": {"prompt": "x", "size": "64*64"}}), "size", "'64x64'")]
#[case::unified_tier("/api/v1/tasks/", json!({"parameters": {"prompt": "x", "resolution": "2K"}}), "resolution", "'2K'")]
#[case::unified_shape("/api/v1/tasks/", json!({"parameters": {"prompt": "x", "aspect_ratio": "9:16"}}), "aspect_ratio", "'9:16'")]
#[case::unified_words("/api/v1/tasks/", json!({"parameters": {"prompt": "x", "negative_prompt": "y"}}), "negative_prompt", "'y'")]
#[tokio::test]
async fn refusals_of_a_provider_name_the_fields_that_were_sent(
    #[case] path: &str,
    #[case] mut body: Value,
    #[case] field: &str,
    #[case] words: &str,
) {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    let server = server(&minimax, &aliyun, Vec::new()).await;
    body["model"] = json!("MiniMax-Hailuo-02");
    let answer = server.post(path, &body).await;
    assert!(answer.status.is_client_error(), "{}", answer.text());
    let document = answer.json();
    // The native document, the envelope of unified tasks, and OpenAI's.
    let (name, message) = match &document["error"] {
        Value::Null => (&document["field"], document.get("message").unwrap_or(&document["detail"])),
        error => (&error["param"], &error["message"]),
    };
    assert_eq!(name, field, "{document:#}");
    assert!(message.as_str().unwrap().starts_with(&format!("{field} {words}")), "{document:#}");
}

#[tokio::test]
async fn whoever_of_a_route_is_left_makes_the_film_and_the_ledger_adds_up() {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    let server = server(&minimax, &aliyun, vec![route(Strategy::Fallback)]).await;
    let first = made(&server, &scenes("best-video")).await;
    assert_eq!(first["model"], "best-video");
    drop(minimax);
    let second = made(&server, &scenes("best-video")).await;
    let third = made(&server, &scenes("best-video")).await;
    drop(aliyun);
    let fourth = made(&server, &scenes("best-video")).await;
    let makers: Vec<&str> =
        [&first, &second, &third].map(|task| task["result"]["manifest"]["provider"].as_str().unwrap_or_default()).into();
    assert_eq!(makers, ["minimax", "aliyun", "aliyun"]);
    assert_eq!(fourth["result"]["manifest"]["scenes"][0]["id"], "one", "made here: {fourth:#}");

    // 10 s at 0.05, twice the 5 s at 0.24 that Aliyun says it made, nothing here: to the millionth.
    let calls = calls(&server).await;
    let settled: i64 = calls.iter().map(|call| call.settled.unwrap().get()).sum();
    assert_eq!(settled, 500_000 + 2 * 1_200_000, "{calls:#?}");
    let costs = [&first, &second, &third].map(|task| task["result"]["manifest"]["cost"]["micros"].as_i64().unwrap());
    assert_eq!(costs.iter().sum::<i64>(), settled);
    let usage = server.get("/api/v1/usage").await.json();
    let cost = usage["quotas"].as_array().unwrap().iter().find(|quota| quota["meter"] == "cost_micros").cloned();
    assert_eq!(cost.map(|cost| cost["used"].clone()), Some(json!(2_900_000)), "{usage:#}");
}

#[tokio::test]
async fn of_a_route_those_make_the_film_that_the_caller_may_use() {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    let models: BTreeSet<ModelId> = ["wan2.6-t2v", "demo-svd", "demo-sdxl"].map(|model| model.parse().unwrap()).into();
    let limits = Limits { models: Some(models), ..Limits::default() };
    let options = Options {
        providers: providers(&minimax, &aliyun),
        routes: vec![route(Strategy::Fallback)],
        egress: egress(&["127.0.0.1/32"]),
        policies: TenantPolicies {
            default_user: TenantPolicy { limits, ..TenantPolicy::default() },
            ..TenantPolicies::default()
        },
        ..Options::default()
    };
    let server = TestServer::start_with(options).await;
    let key = server.key_of("bob", None).await;
    let answer = server.send_as(&key, Method::POST, "/api/v1/videos/generate", Some(&scenes("best-video"))).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    let task = answer.json()["task_id"].as_str().unwrap().to_owned();
    server.wait(&task).await;
    let task = server.send_as(&key, Method::GET, &format!("/api/v1/tasks/{task}"), None).await.json();
    assert_eq!(task["result"]["manifest"]["provider"], "aliyun", "{task:#}");
    assert!(minimax.recorded("create").is_empty());
}

#[rstest]
#[case(Strategy::Cheapest, "demo")]
#[case(Strategy::Fallback, "minimax")]
#[tokio::test]
async fn strategies_choose_whom_to_try_first(#[case] strategy: Strategy, #[case] expected: &str) {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    let server = server(&minimax, &aliyun, vec![route(strategy)]).await;
    let task = made(&server, &scenes("best-video")).await;
    let manifest = &task["result"]["manifest"];
    assert_eq!(manifest["provider"].as_str().unwrap_or("demo"), expected, "{manifest:#}");
}

#[tokio::test]
async fn a_prompt_that_one_provider_refused_is_carried_to_no_other() {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    let refused = json!({"task_id": "", "base_resp": {"status_code": 1026, "status_msg": "sensitive"}});
    minimax.always("create", Answer::Json(200, refused));
    let server = server(&minimax, &aliyun, vec![route(Strategy::Fallback)]).await;
    let task = submitted(&server, &scenes("best-video")).await;
    server.wait(&task).await;
    let task = server.get(&format!("/api/v1/tasks/{task}")).await.json();
    assert_eq!((&task["status"], &task["error"]["code"]), (&json!("failed"), &json!("moderation_blocked")), "{task:#}");
    assert!(aliyun.recorded("create").is_empty());
}

#[tokio::test]
async fn a_film_at_a_provider_is_cancelled_there() {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    let gate = Gate::closed();
    aliyun.script("poll", [Answer::GatedUsual(gate.clone())]);
    let server = server(&minimax, &aliyun, Vec::new()).await;
    let task = submitted(&server, &scenes("wan2.6-t2v")).await;
    gate.reached().await;
    let cancelled = server.send(server.request(Method::POST, &format!("/api/v1/tasks/{task}/cancel"), None)).await;
    assert_eq!(cancelled.status, StatusCode::OK, "{}", cancelled.text());
    gate.open();
    server.wait(&task).await;
    assert_eq!(server.get(&format!("/api/v1/tasks/{task}")).await.json()["status"], "cancelled");
    assert_eq!(calls(&server).await.len(), 1);
}

#[tokio::test]
async fn a_film_that_is_cancelled_between_two_servers_is_cancelled_at_its_provider_and_paid_for() {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    aliyun.always("poll", Answer::Json(200, json!({"output": {"task_id": "x", "task_status": "RUNNING"}})));
    aliyun.always("cancel", Answer::Json(400, json!({"code": "UnsupportedOperation", "message": "it runs"})));
    let first = server(&minimax, &aliyun, Vec::new()).await;
    let task = submitted(&first, &scenes("wan2.6-t2v")).await;
    aliyun.wait_for("poll", 1).await;
    let directory = first.stop().await;
    {
        let database = Database::open(directory.path().join("framewright.db").as_path()).await.unwrap();
        let store = jobs::store::open(&database);
        assert_eq!(store.request_cancel(task.parse().unwrap(), NOW).await.unwrap().1.state, JobState::Cancelled);
        database.close().await;
    }
    assert!(aliyun.recorded("cancel").is_empty());
    let options = Options {
        providers: providers(&minimax, &aliyun),
        egress: egress(&["127.0.0.1/32"]),
        directory: Some(directory),
        ..Options::default()
    };
    let second = TestServer::start_with(options).await;
    aliyun.wait_for("cancel", 1).await;
    while calls(&second).await.iter().any(|call| !call.state.is_ended()) {
        let refused = second.send(second.request(Method::DELETE, &format!("/api/v1/tasks/{task}"), None)).await;
        assert!([StatusCode::CONFLICT, StatusCode::NO_CONTENT].contains(&refused.status), "{}", refused.text());
    }
    let call = calls(&second).await.remove(0);
    assert_eq!((call.state, call.settled), (CallState::Cancelled, Some("2.4".parse().unwrap())));
    assert_eq!((aliyun.recorded("create").len(), aliyun.recorded("file").len()), (1, 0));
    let usage = second.get("/api/v1/usage").await.json();
    let cost = usage["quotas"].as_array().unwrap().iter().find(|quota| quota["meter"] == "cost_micros").cloned();
    assert_eq!(cost.map(|cost| cost["used"].clone()), Some(json!(2_400_000)), "what was given back is charged again: {usage:#}");
}

#[tokio::test]
async fn no_key_shows_itself() {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    let refused = json!({"task_id": "", "base_resp": {"status_code": 1004, "status_msg": format!("bad key {CANARY}")}});
    minimax.always("create", Answer::Json(200, refused));
    let server = server(&minimax, &aliyun, Vec::new()).await;
    let task = submitted(&server, &scenes("MiniMax-Hailuo-02")).await;
    server.wait(&task).await;
    let shown = server.get(&format!("/api/v1/tasks/{task}")).await.text();
    assert!(shown.contains("failed") && !shown.contains("canary"), "{shown}");
    let debug = format!("{:?}{:?}", server.state, calls(&server).await);
    assert!(!debug.contains("canary"));
    assert_eq!(minimax.recorded("create")[0].header("authorization"), format!("Bearer {CANARY}"));
}

#[tokio::test]
async fn an_idempotency_key_stands_for_what_was_said_not_for_whom_it_would_be_sent_to_now() {
    let (minimax, aliyun) = (Mock::start(MinimaxCloud).await, Mock::start(AliyunCloud).await);
    let server = server(&minimax, &aliyun, vec![route(Strategy::RoundRobin)]).await;
    let send = async |name: &'static str, body: &Value| {
        let mut request = server.request(Method::POST, "/api/v1/videos/generate", Some(body));
        request.headers_mut().insert("idempotency-key", name.parse().unwrap());
        server.send(request).await
    };
    let routed = send("routed", &scenes("best-video")).await.json()["task_id"].clone();
    let direct = send("direct", &scenes("MiniMax-Hailuo-02")).await.json()["task_id"].clone();
    assert!(routed.is_string() && direct.is_string());
    // It is another target's turn each time.
    for _ in 0..3 {
        assert_eq!(send("routed", &scenes("best-video")).await.json()["task_id"], routed);
    }
    // Other prices, another order, and fewer targets.
    let mut dearer = providers(&minimax, &aliyun);
    for entry in dearer.providers.values_mut() {
        entry.prices = vec![Price { per_second: "9.5".parse().unwrap(), ..Price::default() }];
    }
    server.state.remote.replace(&dearer).unwrap();
    let mut changed = route(Strategy::Cheapest);
    changed.targets.remove(0);
    server.state.routes.replace([(changed.name.clone(), changed)].into());
    assert_eq!(send("routed", &scenes("best-video")).await.json()["task_id"], routed);
    assert_eq!(send("direct", &scenes("MiniMax-Hailuo-02")).await.json()["task_id"], direct);
    // Whoever says another thing is refused.
    let mut longer = scenes("best-video");
    longer["scenes"][0]["duration"] = json!(5);
    for (name, body) in [("routed", &longer), ("direct", &scenes("best-video"))] {
        assert_eq!(send(name, body).await.status, StatusCode::CONFLICT, "{name}");
    }
    for task in [&routed, &direct] {
        server.wait(task.as_str().unwrap()).await;
    }
    assert_eq!(calls(&server).await.len(), 2, "each was made once");
}
