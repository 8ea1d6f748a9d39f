//! What users and projects may do: quotas, limits, rates, models, projects, and what clients are told of them.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use framewright::domain::{Limits, ProjectPolicy, Quotas, TenantPolicies, TenantPolicy};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Answer, Options, TestServer};

const NATIVE: &str = "/api/v1/images/generate";
const OPENAI: &str = "/v1/images/generations";

fn default_user(policy: TenantPolicy) -> TenantPolicies {
    TenantPolicies { default_user: policy, ..TenantPolicies::default() }
}

fn two_pictures() -> TenantPolicy {
    TenantPolicy { quotas: Quotas { images_per_day: Some(2), ..Quotas::default() }, ..TenantPolicy::default() }
}

fn with_projects() -> TenantPolicies {
    let film = ProjectPolicy { policy: two_pictures(), default_engine: Some("demo-sdxl".to_owned()), ..ProjectPolicy::default() };
    let projects = [("film".parse().unwrap(), film), ("game".parse().unwrap(), ProjectPolicy::default())];
    TenantPolicies { projects: projects.into(), ..TenantPolicies::default() }
}

async fn idle_server(policies: TenantPolicies) -> TestServer {
    TestServer::start_with(Options { has_device: false, policies, ..Options::default() }).await
}

/// The fields that tell refusals apart.
fn refusal(answer: &Answer) -> (StatusCode, Value, Value) {
    let body = answer.json();
    (answer.status, body["code"].clone(), body["field"].clone())
}

#[tokio::test]
async fn a_spent_quota_says_what_and_until_when() {
    let server = idle_server(default_user(two_pictures())).await;
    server.submit(&json!({"prompt": "x", "num_images": 2})).await;
    let native = server.post(NATIVE, &json!({"prompt": "x"})).await;
    assert_eq!(refusal(&native), (StatusCode::TOO_MANY_REQUESTS, json!("quota_exceeded"), Value::Null));
    // 2026-01-02T03:04:05Z: the day has so many seconds to go.
    assert_eq!(native.header("retry-after"), (86_400 - (3 * 3600 + 4 * 60 + 5)).to_string());
    let detail = native.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("images_per_day") && detail.contains("2 of 2"), "{detail}");

    let openai = server.post(OPENAI, &json!({"prompt": "x"})).await;
    assert_eq!(openai.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(openai.json()["error"]["code"], "insufficient_quota");
    assert_eq!(openai.json()["error"]["type"], "insufficient_quota");
    assert_eq!(openai.header("x-should-retry"), "false");

    let metrics = server.get_openly("/metrics").await.text();
    assert!(metrics.contains(r#"framewright_quota_refusals_total{meter="images"} 2"#), "{metrics}");
}

#[tokio::test]
async fn a_cancelled_task_gives_its_quota_back() {
    let server = idle_server(default_user(two_pictures())).await;
    let id = server.submit(&json!({"prompt": "x", "num_images": 2})).await;
    server.free_device(&id).await;
    server.submit(&json!({"prompt": "x"})).await;
    let retry = server.send(server.request(Method::POST, &format!("/api/v1/tasks/{id}/retry"), None)).await;
    assert_eq!(refusal(&retry).0, StatusCode::TOO_MANY_REQUESTS, "a retry of two pictures needs more than the one that is left");
}

#[rstest]
#[case::pictures(json!({"num_images": 3}), "num_images", "n")]
#[case::resolution(json!({"width": 256, "height": 64}), "width", "size")]
#[tokio::test]
async fn what_no_quota_could_allow_is_forbidden(#[case] fields: Value, #[case] field: &str, #[case] openai_field: &str) {
    let mut policy = two_pictures();
    policy.quotas.max_resolution = Some((128, 128));
    let server = idle_server(default_user(policy)).await;
    let mut body = json!({"prompt": "x"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let native = server.post(NATIVE, &body).await;
    assert_eq!(refusal(&native), (StatusCode::FORBIDDEN, json!("forbidden"), json!(field)), "{}", native.text());
    let openai = if field == "width" { json!({"prompt": "x", "size": "256x64"}) } else { json!({"prompt": "x", "n": 3}) };
    let openai = server.post(OPENAI, &openai).await;
    assert_eq!((openai.status, &openai.json()["error"]["param"]), (StatusCode::FORBIDDEN, &json!(openai_field)));
    assert_eq!(server.get("/api/v1/tasks").await.json()["tasks"], json!([]), "nothing was accepted");
}

#[tokio::test]
async fn models_that_are_not_allowed_are_not_shown() {
    let limits = Limits { models: Some(BTreeSet::from(["another".parse().unwrap()])), ..Limits::default() };
    let server = idle_server(default_user(TenantPolicy { limits, ..TenantPolicy::default() })).await;
    assert_eq!(
        server.get("/api/v1/models").await.json(),
        json!({"models": [], "default_image_model": null, "default_video_model": null})
    );
    assert_eq!(server.get("/v1/models").await.json()["data"], json!([]));
    let hidden = server.get("/api/v1/models/demo-sdxl").await;
    assert_eq!(refusal(&hidden), (StatusCode::NOT_FOUND, json!("model_not_found"), json!("model")));
    assert_eq!(hidden.json()["detail"], "no model 'demo-sdxl'; installed: none");
    let refused = server.post(NATIVE, &json!({"prompt": "x", "model": "demo-sdxl"})).await;
    assert_eq!(refusal(&refused), (StatusCode::FORBIDDEN, json!("forbidden"), json!("model")), "{}", refused.text());
    let all = server.administrate(Method::GET, "/api/v1/models", None).await;
    assert_eq!(all.json()["models"][0]["id"], "demo-sdxl");
}

#[tokio::test]
async fn a_project_is_the_keys_or_the_requests() {
    let server = idle_server(with_projects()).await;
    let key = server.key_of("anna", Some("film")).await;
    let bound = server.send_as(&key, Method::POST, NATIVE, Some(&json!({"prompt": "x"}))).await;
    let named = server.post(NATIVE, &json!({"prompt": "x", "project_id": "game"})).await;
    let neither = server.post(NATIVE, &json!({"prompt": "x"})).await;
    let mut ids = Vec::new();
    for (answer, project) in [(bound, json!("film")), (named, json!("game")), (neither, Value::Null)] {
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        let id = answer.json()["task_id"].as_str().unwrap().to_owned();
        assert_eq!(server.get(&format!("/api/v1/tasks/{id}")).await.json()["project_id"], project);
        ids.push(id);
    }
    // A project's key sees that project's tasks alone.
    let seen = server.send_as(&key, Method::GET, "/api/v1/tasks", None).await.json();
    assert_eq!(seen["tasks"].as_array().unwrap().len(), 1);
    for (id, status) in [(&ids[0], StatusCode::OK), (&ids[1], StatusCode::NOT_FOUND), (&ids[2], StatusCode::NOT_FOUND)] {
        assert_eq!(server.send_as(&key, Method::GET, &format!("/api/v1/tasks/{id}"), None).await.status, status);
        assert_eq!(server.send_as(&key, Method::POST, &format!("/api/v1/tasks/{id}/cancel"), None).await.status, status);
    }
    let filtered = server.get("/api/v1/tasks?project_id=game").await.json();
    assert_eq!(filtered["tasks"][0]["task_id"], json!(ids[1]));
    assert_eq!(filtered["tasks"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn other_projects_are_refused() {
    let server = idle_server(with_projects()).await;
    let key = server.key_of("anna", Some("film")).await;
    let other = server.send_as(&key, Method::POST, NATIVE, Some(&json!({"prompt": "x", "project_id": "game"}))).await;
    assert_eq!(refusal(&other), (StatusCode::FORBIDDEN, json!("forbidden"), json!("project_id")));
    let unknown = server.post(NATIVE, &json!({"prompt": "x", "project_id": "nope"})).await;
    assert_eq!(refusal(&unknown), (StatusCode::NOT_FOUND, json!("project_not_found"), json!("project_id")));
    assert_eq!(unknown.json()["detail"], "no project 'nope'", "users do not learn which projects there are");
    let told = server.administrate(Method::POST, NATIVE, Some(&json!({"prompt": "x", "project_id": "nope"}))).await;
    assert_eq!(told.json()["detail"], "no project 'nope'; projects: film, game");
}

#[tokio::test]
async fn a_project_pays_too() {
    let server = idle_server(with_projects()).await;
    for (user, status) in
        [("anna", StatusCode::ACCEPTED), ("bert", StatusCode::ACCEPTED), ("carl", StatusCode::TOO_MANY_REQUESTS)]
    {
        let key = server.key_of(user, Some("film")).await;
        let answer = server.send_as(&key, Method::POST, NATIVE, Some(&json!({"prompt": "x"}))).await;
        assert_eq!(answer.status, status, "{user}: {}", answer.text());
    }
}

#[tokio::test]
async fn the_users_priority_is_added() {
    let limits = Limits { priority: 5, ..Limits::default() };
    let server = idle_server(default_user(TenantPolicy { limits, ..TenantPolicy::default() })).await;
    let id = server.submit(&json!({"prompt": "x", "priority": 10})).await;
    assert_eq!(server.get(&format!("/api/v1/tasks/{id}")).await.json()["priority"], 15);
}

#[tokio::test]
async fn requests_are_counted_and_refused() {
    let limits = Limits { requests_per_minute: Some(3), ..Limits::default() };
    let server = TestServer::start_with(Options {
        policies: TenantPolicies {
            users: [("anna".parse().unwrap(), TenantPolicy { limits, ..TenantPolicy::default() })].into(),
            ..TenantPolicies::default()
        },
        ..Options::default()
    })
    .await;
    let id = {
        let accepted = server.post(NATIVE, &json!({"prompt": "x", "num_inference_steps": 1})).await;
        assert_eq!((accepted.header("ratelimit-limit"), accepted.header("ratelimit-remaining")), ("3", "2"));
        accepted.json()["task_id"].as_str().unwrap().to_owned()
    };
    server.wait(&id).await;
    let task = server.get(&format!("/api/v1/tasks/{id}")).await;
    assert_eq!(task.header("ratelimit-remaining"), "1");
    let missing = server.get("/api/v1/tasks/nope").await;
    assert_eq!((missing.status, missing.header("ratelimit-remaining")), (StatusCode::NOT_FOUND, "0"), "refusals say it too");
    for (path, code) in [("/api/v1/models", "/code"), ("/v1/models", "/error/code")] {
        let refused = server.get(path).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.json().pointer(code), Some(&json!("rate_limit_exceeded")), "{}", refused.text());
        assert_eq!((refused.header("ratelimit-remaining"), refused.header("retry-after")), ("0", "20"));
        assert_eq!(refused.header("ratelimit-reset"), "20");
    }
    // A link is not a request of the user, and others have buckets of their own.
    let link = task.json()["result"]["output_path"].as_str().unwrap().replace("http://server:8000", "");
    let picture = server.get_openly(&link).await;
    assert_eq!((picture.status, picture.header("ratelimit-limit")), (StatusCode::OK, ""));
    assert_eq!(server.administrate(Method::GET, "/api/v1/models", None).await.status, StatusCode::OK);
    server.clock.advance_seconds(20);
    assert_eq!(server.get("/api/v1/models").await.status, StatusCode::OK);
}

#[tokio::test]
async fn usage_shows_what_is_left() {
    let server = idle_server(default_user(two_pictures())).await;
    server.submit(&json!({"prompt": "x"})).await;
    let usage = server.get("/api/v1/usage").await.json();
    assert_eq!(usage["user"], "anna");
    let images = usage["quotas"].as_array().unwrap().iter().find(|quota| quota["meter"] == "images").unwrap();
    assert_eq!(
        images,
        &json!({
            "holder": "user:anna", "meter": "images", "setting": "images_per_day", "used": 1, "limit": 2, "remaining": 1,
            "resets_at": "2026-01-03T00:00:00.000Z",
        })
    );
}

#[tokio::test]
async fn an_estimate_says_what_a_request_would_meet() {
    let server = idle_server(default_user(two_pictures())).await;
    let estimate = async |body: Value| server.post("/api/v1/estimate", &body).await;
    let fits = estimate(json!({"prompt": "x"})).await;
    assert_eq!(fits.status, StatusCode::OK, "{}", fits.text());
    let fits = fits.json();
    assert_eq!(
        (&fits["allowed"], &fits["refusal"], &fits["queue_position"], &fits["cost"]),
        (&json!(true), &Value::Null, &json!(1), &json!(0.0))
    );
    let images = fits["quotas"].as_array().unwrap().iter().find(|quota| quota["meter"] == "images").unwrap();
    assert_eq!((&images["used"], &images["needed"], &images["remaining"]), (&json!(0), &json!(1), &json!(2)));
    assert_eq!(server.get("/api/v1/tasks").await.json()["tasks"], json!([]), "nothing is accepted");

    let forbidden = estimate(json!({"prompt": "x", "num_images": 3})).await.json();
    assert_eq!((&forbidden["allowed"], &forbidden["refusal"]["status"]), (&json!(false), &json!(403)), "{forbidden}");
    server.submit(&json!({"prompt": "x", "num_images": 2})).await;
    let spent = estimate(json!({"prompt": "x"})).await.json();
    assert_eq!((&spent["refusal"]["status"], &spent["refusal"]["code"]), (&json!(429), &json!("quota_exceeded")), "{spent}");
    let impossible = estimate(json!({"prompt": "x", "width": 3})).await;
    assert_eq!((impossible.status, &impossible.json()["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("width")));
}
