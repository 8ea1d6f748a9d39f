//! `/api/v1/tasks`.

use axum::http::{Method, StatusCode};
use framewright::domain::ErrorCode;
use framewright::execution::FakeFailure;
use insta::assert_json_snapshot;
use serde_json::json;

use super::stable;
use crate::harness::{MASTER_KEY, Options, TestServer};

#[tokio::test]
async fn a_queued_task_can_be_cancelled_once() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let id = server.submit(&json!({"prompt": "x"})).await;
    let cancelled = server.post(&format!("/api/v1/tasks/{id}/cancel"), &json!({})).await;
    assert_eq!(cancelled.status, StatusCode::OK);
    stable().bind(|| assert_json_snapshot!(cancelled.json()));
}

#[tokio::test]
async fn a_completed_task_cannot_be_cancelled() {
    let server = TestServer::start().await;
    let id = server.submit(&json!({"prompt": "x", "num_inference_steps": 1})).await;
    server.wait(&id).await;
    let answer = server.send(server.request(Method::POST, &format!("/api/v1/tasks/{id}/cancel"), None)).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    stable().bind(|| assert_json_snapshot!(answer.json()));
}

#[tokio::test]
async fn a_running_task_stops() {
    let server = TestServer::start().await;
    server.device.plan(FakeFailure::Hang { after_steps: 1 });
    let id = server.submit(&json!({"prompt": "x"})).await;
    server.send(server.request(Method::POST, &format!("/api/v1/tasks/{id}/cancel"), None)).await;
    server.wait(&id).await;
    assert_eq!(server.get(&format!("/api/v1/tasks/{id}")).await.json()["status"], "cancelled");
}

#[tokio::test]
async fn a_failed_task_says_why() {
    let server = TestServer::start().await;
    server.device.plan(FakeFailure::Fail { after_steps: 0, code: ErrorCode::InvalidRequest });
    let id = server.submit(&json!({"prompt": "x"})).await;
    server.wait(&id).await;
    let task = server.get(&format!("/api/v1/tasks/{id}")).await;
    stable().bind(|| assert_json_snapshot!(task.json()));
}

#[tokio::test]
async fn lists_are_paged_newest_first() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(server.submit(&json!({"prompt": "x"})).await);
    }
    let first = server.get("/api/v1/tasks?limit=2").await.json();
    assert_eq!(first["tasks"][0]["task_id"], json!(ids[2]));
    assert_eq!(first["next"], json!(ids[1]));
    let second = server.get(&format!("/api/v1/tasks?limit=2&before={}", ids[1])).await.json();
    assert_eq!(second["tasks"].as_array().unwrap().len(), 1);
    assert_eq!(second["tasks"][0]["task_id"], json!(ids[0]));
    assert_eq!(second["next"], json!(null));
}

#[tokio::test]
async fn others_tasks_are_not_there() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let id = server.submit(&json!({"prompt": "x"})).await;
    let (_, other_key) = server.state.keys.create(&"bert".parse().unwrap(), false).await.unwrap();
    for path in ["", "/events", "/result", "/result/0", "/thumbnail"] {
        let mut request = server.request(Method::GET, &format!("/api/v1/tasks/{id}{path}"), None);
        let key = format!("Bearer {}", secrecy::ExposeSecret::expose_secret(&other_key));
        request.headers_mut().insert("authorization", key.parse().unwrap());
        assert_eq!(server.send(request).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let mut request = server.request(Method::GET, &format!("/api/v1/tasks/{id}"), None);
    request.headers_mut().insert("authorization", format!("Bearer {MASTER_KEY}").parse().unwrap());
    assert_eq!(server.send(request).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_trailing_slash_makes_no_difference() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let answer = server.post("/api/v1/images/generate/", &json!({"prompt": "x"})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let id = answer.json()["task_id"].as_str().unwrap().to_owned();
    assert_eq!(server.get(&format!("/api/v1/tasks/{id}/")).await.status, StatusCode::OK);
    assert_eq!(server.get("/api/v1/tasks/?limit=5").await.status, StatusCode::OK);
    assert_eq!(server.get("/v1/models/").await.status, StatusCode::OK);
    assert_eq!(server.get("/docs/").await.status, StatusCode::OK);
}
