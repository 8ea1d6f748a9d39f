//! `GET /v1/tasks/{id}/stream`, and tasks that `/v1/images/generations` begins.

use axum::http::{Method, StatusCode};
use framewright::domain::ErrorCode;
use framewright::execution::FakeFailure;
use futures_util::StreamExt;
use insta::assert_json_snapshot;
use rstest::rstest;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::stable;
use crate::harness::{Options, TestServer, data_lines, next_event};

fn path(task: &str) -> String {
    format!("/v1/tasks/{task}/stream")
}

#[tokio::test]
async fn a_task_is_watched_to_its_end() {
    let server = TestServer::start().await;
    let before = server.occupy_device().await;
    let task = server.submit(&json!({"prompt": "x", "num_inference_steps": 4})).await;
    let response = server.router.clone().oneshot(server.request(Method::GET, &path(&task), None)).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    let first = next_event(&mut body).await.unwrap().data;
    assert_eq!((&first["status"], &first["progress"]), (&json!("processing"), &json!(0)));
    assert!(first["remark"].as_str().unwrap().starts_with("waiting"), "{first}");
    server.free_device(&before).await;
    let mut text = String::new();
    while let Some(chunk) = body.next().await {
        text.push_str(&String::from_utf8_lossy(&chunk.unwrap()));
    }
    let (data, is_done) = data_lines(&text);
    assert!(is_done, "{text}");
    let (last, before) = data.split_last().unwrap();
    let told: Vec<u64> = before.iter().map(|event| event["progress"].as_u64().unwrap()).collect();
    assert!(told.is_sorted() && told.iter().all(|percent| *percent < 100), "{told:?}");
    assert!(before.iter().all(|event| event.as_object().unwrap().len() == 3 && event["remark"].is_string()), "{data:#?}");
    stable().bind(|| assert_json_snapshot!("completed", last));
    let link = last["url"].as_str().unwrap().strip_prefix("http://server:8000").unwrap();
    assert!(server.get_openly(link).await.body.starts_with(b"\x89PNG"));
}

#[tokio::test]
async fn an_ended_task_is_told_at_once() {
    let server = TestServer::start().await;
    let task = server.submit(&json!({"prompt": "x", "num_images": 2, "num_inference_steps": 1})).await;
    server.wait(&task).await;
    let (data, is_done) = server.get(&path(&task)).await.data_lines();
    assert_eq!((data.len(), is_done, &data[0]["status"]), (1, true, &json!("completed")));
    assert_eq!(data[0]["urls"].as_array().unwrap().len(), 2);
    assert_eq!(data[0]["urls"][0], data[0]["url"]);

    server.device.plan(FakeFailure::Fail { after_steps: 0, code: ErrorCode::DeviceFailed });
    let task = server.submit(&json!({"prompt": "x"})).await;
    server.wait(&task).await;
    let (data, is_done) = server.get(&path(&task)).await.data_lines();
    assert!(is_done && data.len() == 1);
    stable().bind(|| assert_json_snapshot!("failed", data[0]));
}

#[tokio::test]
async fn a_cancelled_task_has_failed() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let task = server.submit(&json!({"prompt": "x"})).await;
    server.send(server.request(Method::POST, &format!("/api/v1/tasks/{task}/cancel"), None)).await;
    let (data, is_done) = server.get(&path(&task)).await.data_lines();
    assert_eq!((data, is_done), (vec![json!({"status": "failed", "error": format!("task {task} was cancelled")})], true));
}

#[tokio::test]
async fn only_the_owner_watches() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let task = server.submit(&json!({"prompt": "x"})).await;
    let stranger = server.key_of("berta", None).await;
    for (key, route) in [(&stranger, path(&task)), (&server.user_key, path("job_01a223a640df70a88725a01299966ae1"))] {
        let answer = server.send_as(key, Method::GET, &route, None).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (StatusCode::NOT_FOUND, &json!("task_not_found")));
    }
}

#[tokio::test]
async fn a_stopping_server_ends_the_watch_and_not_the_task() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let task = server.submit(&json!({"prompt": "x"})).await;
    server.state.shutdown.cancel();
    let (data, is_done) = server.get(&path(&task)).await.data_lines();
    assert!(!is_done && data.iter().all(|event| event["status"] == "processing"), "{data:#?}");
    assert_eq!(server.get(&format!("/api/v1/tasks/{task}")).await.json()["status"], "queued");
}

#[tokio::test]
async fn a_model_of_films_submits_a_task() {
    let server = TestServer::start().await;
    let body = json!({"model": "demo-svd", "prompt": "a red circle", "size": "1:1", "seed": 3, "num_inference_steps": 1, "n": 1});
    let answer = server.post("/v1/images/generations", &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    stable().bind(|| assert_json_snapshot!("submitted", answer.json()));
    let task = answer.json()["task_id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("x-task-id"), task);
    let (data, is_done) = server.get(&path(&task)).await.data_lines();
    assert!(is_done && data.last().unwrap()["status"] == "completed", "{data:#?}");
    let link = data.last().unwrap()["url"].as_str().unwrap().strip_prefix("http://server:8000").unwrap();
    assert_eq!(server.get_openly(link).await.header("content-type"), "video/mp4");
    let video = server.get(&format!("/v1/videos/{task}")).await.json();
    let (width, height) = video["size"].as_str().unwrap().split_once('x').unwrap();
    assert_eq!((&video["status"], width), (&json!("completed"), height), "a square");
}

#[rstest]
#[case::stream(json!({"stream": true}), "stream", "is not streamed here")]
#[case::many(json!({"n": 2}), "n", "makes one")]
#[case::sampler(json!({"sampler": "euler"}), "sampler", "a model of pictures")]
#[case::size(json!({"size": "101x64"}), "size", "even for h264")]
#[case::empty(json!({"prompt": ""}), "prompt", "is empty")]
#[tokio::test]
async fn what_a_film_cannot_have_is_refused(#[case] fields: Value, #[case] param: &str, #[case] words: &str) {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let mut body = json!({"model": "demo-svd", "prompt": "x"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let answer = server.post("/v1/images/generations", &body).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
    let error = &answer.json()["error"];
    assert_eq!(error["param"], param, "{error:#}");
    assert!(error["message"].as_str().unwrap().contains(words), "{error:#}");
}
