//! `/api/v1/tasks`.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method, StatusCode};
use framewright::domain::ErrorCode;
use framewright::execution::FakeFailure;
use insta::assert_json_snapshot;
use serde_json::json;

use super::stable;
use crate::harness::{Options, TestServer};

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
    let other_key = server.key_of("bert", None).await;
    for path in ["", "/events", "/result", "/result/0", "/thumbnail"] {
        let answer = server.send_as(&other_key, Method::GET, &format!("/api/v1/tasks/{id}{path}"), None).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(server.administrate(Method::GET, &format!("/api/v1/tasks/{id}"), None).await.status, StatusCode::OK);
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

#[tokio::test]
async fn lists_are_filtered_by_status() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let waiting = server.submit(&json!({"prompt": "x"})).await;
    let stopped = server.submit(&json!({"prompt": "x"})).await;
    server.free_device(&stopped).await;
    for (query, expected) in [
        ("queued", vec![&waiting]),
        ("cancelled", vec![&stopped]),
        ("queued,cancelled", vec![&stopped, &waiting]),
        ("failed", vec![]),
    ] {
        let list = server.get(&format!("/api/v1/tasks?status={query}")).await.json();
        let ids: Vec<&str> = list["tasks"].as_array().unwrap().iter().map(|task| task["task_id"].as_str().unwrap()).collect();
        assert_eq!(ids, expected, "{query}");
    }
    let refused = server.get("/api/v1/tasks?status=queued,done").await;
    assert_eq!((refused.status, &refused.json()["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("status")));
}

#[tokio::test]
async fn a_waiting_task_knows_its_place() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let first = server.submit(&json!({"prompt": "x"})).await;
    let second = server.submit(&json!({"prompt": "x"})).await;
    for (id, place) in [(first, 1), (second, 2)] {
        // The scheduler hears of a task a moment after it is stored.
        let task = loop {
            let task = server.get(&format!("/api/v1/tasks/{id}")).await.json();
            if !task["queue_position"].is_null() {
                break task;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!((&task["queue_position"], &task["priority"], &task["user_id"]), (&json!(place), &json!(0), &json!("anna")));
    }
}

#[tokio::test]
async fn an_ended_task_is_tried_again() {
    let server = TestServer::start().await;
    server.device.plan(FakeFailure::Fail { after_steps: 0, code: ErrorCode::InvalidRequest });
    let failed = server.submit(&json!({"prompt": "x", "seed": 7, "num_inference_steps": 1})).await;
    server.wait(&failed).await;
    let accepted = server.send(server.request(Method::POST, &format!("/api/v1/tasks/{failed}/retry"), None)).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.text());
    let again = accepted.json()["task_id"].as_str().unwrap().to_owned();
    server.wait(&again).await;
    let task = server.get(&format!("/api/v1/tasks/{again}")).await.json();
    assert_eq!((&task["status"], &task["retry_of"]), (&json!("completed"), &json!(failed)), "{task}");
    assert_eq!(task["result"]["outputs"][0]["seed"], 7);
    assert!(task["started_at"].is_string() && task["finished_at"].is_string(), "{task}");

    let mut nothing = server.request(Method::POST, &format!("/api/v1/tasks/{again}/retry"), None);
    nothing.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let refused = server.send(nothing).await;
    assert_eq!((refused.status, &refused.json()["code"]), (StatusCode::CONFLICT, &json!("not_retryable")));
}
