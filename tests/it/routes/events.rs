//! `/api/v1/tasks/{id}/events`.

use axum::http::{Method, StatusCode};
use framewright::execution::FakeFailure;
use serde_json::json;
use tower::ServiceExt;

use crate::harness::{Options, TestServer, next_event};

#[tokio::test]
async fn a_watcher_sees_the_task_to_its_end() {
    let server = TestServer::start().await;
    let before = server.occupy_device().await;
    let id = server.submit(&json!({"prompt": "x", "num_inference_steps": 8})).await;
    let request = server.request(Method::GET, &format!("/api/v1/tasks/{id}/events"), None);
    let response = server.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    server.free_device(&before).await;
    let mut events = Vec::new();
    while let Some(event) = next_event(&mut body).await {
        events.push(event);
    }

    let first = events.first().unwrap();
    assert_eq!((first.name.as_str(), first.data["task_id"].as_str()), ("state", Some(id.as_str())));
    let last = events.last().unwrap();
    assert_eq!((last.name.as_str(), &last.data["status"]), ("state", &json!("completed")));
    assert!(last.data["result"]["output_path"].as_str().unwrap().starts_with("http://server:8000/api/v1/tasks/"));

    let progress: Vec<_> = events.iter().filter(|event| event.name == "progress").collect();
    assert_eq!(progress.last().unwrap().data, json!({"step": 8, "steps": 8, "fraction": 1.0}));
    assert!(progress.windows(2).all(|pair| pair[0].data["step"].as_u64() < pair[1].data["step"].as_u64()));

    let preview = events.iter().find(|event| event.name == "preview").unwrap();
    assert_eq!((&preview.data["index"], &preview.data["steps"]), (&json!(0), &json!(8)));
    assert!(preview.data["image"].as_str().unwrap().starts_with("data:image/png;base64,iVBOR"));

    // Ids are `epoch-n`, and n grows.
    let numbers: Vec<u64> =
        events.iter().filter_map(|event| event.id.as_deref()).map(|id| id.split_once('-').unwrap().1.parse().unwrap()).collect();
    assert!(numbers.len() >= progress.len() && numbers.is_sorted(), "{numbers:?}");
}

#[tokio::test]
async fn an_ended_task_is_one_event() {
    let server = TestServer::start().await;
    let id = server.submit(&json!({"prompt": "x", "num_inference_steps": 1})).await;
    server.wait(&id).await;
    let mut request = server.request(Method::GET, &format!("/api/v1/tasks/{id}/events"), None);
    request.headers_mut().insert("last-event-id", "1-99".parse().unwrap());
    let events = server.send(request).await.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].data["status"], "completed");
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let id = server.submit(&json!({"prompt": "x"})).await;
    let request = server.request(Method::GET, &format!("/api/v1/tasks/{id}/events"), None);
    let mut body = server.router.clone().oneshot(request).await.unwrap().into_body().into_data_stream();
    assert_eq!(next_event(&mut body).await.unwrap().data["status"], "queued");
    server.state.shutdown.cancel();
    assert!(next_event(&mut body).await.is_none());
}

#[tokio::test]
async fn a_cancelled_task_ends_its_stream() {
    let server = TestServer::start().await;
    server.device.plan(FakeFailure::Hang { after_steps: 1 });
    let id = server.submit(&json!({"prompt": "x"})).await;
    let request = server.request(Method::GET, &format!("/api/v1/tasks/{id}/events"), None);
    let mut body = server.router.clone().oneshot(request).await.unwrap().into_body().into_data_stream();
    assert_eq!(next_event(&mut body).await.unwrap().name, "state");
    server.send(server.request(Method::POST, &format!("/api/v1/tasks/{id}/cancel"), None)).await;
    let mut last = None;
    while let Some(event) = next_event(&mut body).await {
        last = Some(event);
    }
    assert_eq!(last.unwrap().data["status"], "cancelled");
}

#[tokio::test]
async fn an_unknown_task_has_no_events() {
    let server = TestServer::start().await;
    assert_eq!(server.get("/api/v1/tasks/nonsense/events").await.status, StatusCode::NOT_FOUND);
}
