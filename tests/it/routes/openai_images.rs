//! `POST /v1/images/generations`.

use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use framewright::domain::{ErrorCode, JobState, Principal};
use framewright::execution::FakeFailure;
use framewright::media::decode::decode_image;
use insta::assert_json_snapshot;
use rstest::rstest;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::stable;
use crate::harness::{Options, TestServer, next_event};

const PATH: &str = "/v1/images/generations";

fn picture(b64_json: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(b64_json.as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn pictures_come_as_links_that_need_no_key() {
    let server = TestServer::start().await;
    let answer = server.post(PATH, &json!({"prompt": "x", "n": 2, "num_inference_steps": 1})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert!(answer.header("x-task-id").starts_with("job_"));
    stable().bind(|| assert_json_snapshot!(answer.json()));
    let link = answer.json()["data"][1]["url"].as_str().unwrap().strip_prefix("http://server:8000").unwrap().to_owned();
    assert!(server.get_openly(&link).await.body.starts_with(b"\x89PNG"));
    server.clock.advance_seconds(3600);
    assert_eq!(server.get_openly(&link).await.status, StatusCode::FORBIDDEN);
}

#[rstest]
#[case::png(json!({}), b"\x89PNG")]
#[case::jpeg(json!({"output_format": "jpeg", "output_compression": 40}), b"\xff\xd8\xff")]
#[case::webp(json!({"output_format": "webp"}), b"RIFF")]
#[tokio::test]
async fn pictures_come_as_base64_in_the_asked_format(#[case] fields: Value, #[case] magic: &[u8]) {
    let server = TestServer::start().await;
    let mut body = json!({"model": "demo-sdxl", "prompt": "x", "size": "136x72", "num_inference_steps": 1, "response_format": "b64_json", "quality": "high"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let answer = server.post(PATH, &body).await.json();
    let bytes = picture(&answer["data"][0]["b64_json"]);
    assert!(bytes.starts_with(magic), "{answer}");
    decode_image(&bytes).unwrap();
    assert_eq!(answer["size"], "136x72");
    assert_eq!(
        (&answer["size"], &answer["quality"], &answer["data"][0]["url"]),
        (&json!("136x72"), &json!("high"), &json!(null))
    );

    // The same file by link.
    body["response_format"] = json!("url");
    let answer = server.post(PATH, &body).await.json();
    let link = answer["data"][0]["url"].as_str().unwrap().strip_prefix("http://server:8000").unwrap().to_owned();
    let file = server.get_openly(&link).await;
    assert_eq!(file.status, StatusCode::OK);
    assert!(file.body.starts_with(magic), "{link}");
}

#[tokio::test]
async fn a_shape_is_a_size() {
    let server = TestServer::start().await;
    let answer = server.post(PATH, &json!({"prompt": "x", "size": "2:1", "num_inference_steps": 1})).await.json();
    let (width, height) = answer["size"].as_str().unwrap().split_once('x').unwrap();
    let (width, height): (u32, u32) = (width.parse().unwrap(), height.parse().unwrap());
    assert!(width % 8 == 0 && height % 8 == 0 && width > height, "{answer}");
}

#[rstest]
#[case(0, 5)]
#[case(1, 1)]
#[case(2, 20)]
#[case(3, 1)]
#[case(3, 2)]
#[case(3, 7)]
#[tokio::test]
async fn a_stream_has_exactly_the_asked_partial_pictures(#[case] partial_images: usize, #[case] steps: u32) {
    let server = TestServer::start().await;
    let body = json!({"prompt": "x", "stream": true, "partial_images": partial_images, "num_inference_steps": steps, "seed": 1, "size": "128x64"});
    let answer = server.post(PATH, &body).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "text/event-stream"));
    let events = answer.events();
    let (last, partials) = events.split_last().unwrap();
    assert_eq!(partials.len(), partial_images);
    for (index, event) in partials.iter().enumerate() {
        assert_eq!(event.name, "image_generation.partial_image");
        assert_eq!((&event.data["type"], &event.data["partial_image_index"]), (&json!(event.name), &json!(index)));
        let decoded = decode_image(&picture(&event.data["b64_json"])).unwrap();
        assert_eq!((decoded.width, decoded.height), (128, 64));
    }
    assert_eq!(last.name, "image_generation.completed");
    if partial_images == 2 {
        stable().bind(|| {
            assert_json_snapshot!("partial_image_event", partials[0].data, { ".b64_json" => "[base64]" });
            assert_json_snapshot!("completed_event", last.data, { ".b64_json" => "[base64]" });
        });
    }
}

#[tokio::test]
async fn a_failure_within_a_stream_is_an_error_event() {
    let server = TestServer::start().await;
    server.device.plan(FakeFailure::Fail { after_steps: 1, code: ErrorCode::DeviceFailed });
    let answer = server.post(PATH, &json!({"prompt": "x", "stream": true})).await;
    let events = answer.events();
    assert_eq!(events.last().unwrap().name, "error");
    stable().bind(|| assert_json_snapshot!(events.last().unwrap().data));
}

#[tokio::test]
async fn a_failed_job_is_a_server_error() {
    let server = TestServer::start().await;
    server.device.plan(FakeFailure::Fail { after_steps: 0, code: ErrorCode::DeviceFailed });
    let answer = server.post(PATH, &json!({"prompt": "x"})).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    stable().bind(|| assert_json_snapshot!(answer.json()));
}

async fn newest_task(server: &TestServer) -> Value {
    server.get("/api/v1/tasks").await.json()["tasks"][0].clone()
}

/// Hangs up after the job has begun to run, and gives how it ended.
async fn state_after_hanging_up(stream: bool, idempotency_key: Option<&str>) -> JobState {
    let server = TestServer::start().await;
    let before = server.occupy_device().await;
    server.device.plan(FakeFailure::Hang { after_steps: 1 });
    let body = json!({"prompt": "x", "stream": stream, "partial_images": u8::from(stream), "num_inference_steps": 2});
    let mut request = server.request(Method::POST, PATH, Some(&body));
    if let Some(key) = idempotency_key {
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    }
    let call = server.router.clone().oneshot(request);
    if stream {
        let mut events = call.await.unwrap().into_body().into_data_stream();
        server.free_device(&before).await;
        assert_eq!(next_event(&mut events).await.unwrap().name, "image_generation.partial_image");
        drop(events);
    } else {
        let running = async {
            while newest_task(&server).await["task_id"] == json!(before) {
                tokio::task::yield_now().await;
            }
            server.free_device(&before).await;
            while newest_task(&server).await["status"] != "running" {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = call => panic!("a hanging job has an answer"),
            () = running => {}
        }
    }
    server.state.background.close();
    server.state.background.wait().await;
    let task = newest_task(&server).await["task_id"].as_str().unwrap().to_owned();
    let administrator = Principal { user: "admin".parse().unwrap(), project: None, admin: true, key: None };
    if idempotency_key.is_none() {
        server.wait(&task).await;
    }
    let state = server.state.jobs.get(&administrator, task.parse().unwrap()).await.unwrap().state;
    if state == JobState::Running {
        // The device hangs until it is told to stop.
        server.state.jobs.cancel(&administrator, task.parse().unwrap()).await.unwrap();
        server.wait(&task).await;
    }
    state
}

#[tokio::test]
async fn hanging_up_cancels_the_job() {
    assert_eq!(state_after_hanging_up(false, None).await, JobState::Cancelled);
    assert_eq!(state_after_hanging_up(true, None).await, JobState::Cancelled);
}

#[tokio::test]
async fn hanging_up_with_an_idempotency_key_leaves_the_job_for_the_next_try() {
    assert_eq!(state_after_hanging_up(false, Some("retry")).await, JobState::Running);
}

#[tokio::test]
async fn somebody_else_may_cancel() {
    let server = TestServer::start().await;
    server.device.plan(FakeFailure::Hang { after_steps: 0 });
    let body = json!({"prompt": "x"});
    let cancel = async {
        loop {
            let tasks = server.get("/api/v1/tasks").await.json();
            if let Some(id) = tasks["tasks"][0]["task_id"].as_str() {
                return server.send(server.request(Method::POST, &format!("/api/v1/tasks/{id}/cancel"), None)).await;
            }
            tokio::task::yield_now().await;
        }
    };
    let (answer, _) = tokio::join!(server.post(PATH, &body), cancel);
    assert_eq!((answer.status, answer.header("x-should-retry")), (StatusCode::CONFLICT, "false"));
    stable().bind(|| assert_json_snapshot!(answer.json()));
}

#[tokio::test]
async fn a_running_job_is_answered_while_the_server_stops_and_a_waiting_one_is_not() {
    let server = TestServer::start().await;
    server.device.plan(FakeFailure::Hang { after_steps: 0 });
    let body = json!({"prompt": "x"});
    let stop = async {
        while newest_task(&server).await["status"] != "running" {
            tokio::task::yield_now().await;
        }
        server.state.shutdown.cancel();
        let waiting = server.post(PATH, &body).await;
        assert_eq!(waiting.status, StatusCode::SERVICE_UNAVAILABLE, "{}", waiting.text());
        let tasks = server.get("/api/v1/tasks").await.json();
        server.free_device(tasks["tasks"][1]["task_id"].as_str().unwrap()).await;
    };
    let (running, ()) = tokio::join!(server.post(PATH, &body), stop);
    assert_eq!(running.status, StatusCode::CONFLICT, "it was waited for: {}", running.text());
}

#[tokio::test]
async fn a_full_queue_is_a_rate_limit() {
    let server = TestServer::start_with(Options { has_device: false, queue_limit: 0, ..Options::default() }).await;
    let answer = server.post(PATH, &json!({"prompt": "x"})).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "10"));
    stable().bind(|| assert_json_snapshot!(answer.json()));
}
