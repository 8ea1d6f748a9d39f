//! `POST /v1/chat/completions`.

use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use framewright::domain::{ErrorCode, JobState, Principal};
use framewright::execution::FakeFailure;
use framewright::media::encode::{PngText, encode_png};
use insta::assert_json_snapshot;
use rstest::rstest;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::stable;
use crate::harness::{Options, TestServer, next_event};

const PATH: &str = "/v1/chat/completions";

fn conversation(words: &str) -> Value {
    json!([{"role": "system", "content": "You draw."}, {"role": "user", "content": words}])
}

/// The address in `![picture](…)` or `[film](…)`, without the host.
fn link(content: &Value) -> String {
    let address = content.as_str().unwrap().split_once("](").unwrap().1.strip_suffix(')').unwrap();
    address.strip_prefix("http://server:8000").unwrap().to_owned()
}

#[tokio::test]
async fn a_conversation_is_answered_with_a_picture() {
    let server = TestServer::start().await;
    let body = json!({
        "model": "demo-sdxl", "messages": conversation("a red circle"), "num_inference_steps": 1, "seed": 3,
        "temperature": 0.7, "max_tokens": 100, "top_p": 1, "stop": null, "tools": [], "response_format": {"type": "text"}, "user": "anna",
    });
    let answer = server.post(PATH, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let task = answer.header("x-task-id").strip_prefix("job_").unwrap().to_owned();
    assert_eq!(answer.json()["id"], format!("chatcmpl-{task}"));
    stable().bind(|| assert_json_snapshot!(answer.json(), { ".id" => "chatcmpl-ID" }));
    let picture = server.get_openly(&link(&answer.json()["choices"][0]["message"]["content"])).await;
    assert!(picture.body.starts_with(b"\x89PNG"));
    let request = server.image_request(&answer).await;
    assert_eq!((request.prompt.as_str(), request.seed), ("a red circle", 3));
}

#[tokio::test]
async fn a_picture_in_the_message_is_begun_with() {
    let server = TestServer::start().await;
    let png = encode_png(136, 72, &vec![7; 136 * 72 * 3], &PngText::default()).unwrap();
    let url = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(&png));
    let parts = json!([{"type": "text", "text": "a blue star"}, {"type": "image_url", "image_url": {"url": url}}]);
    let body = json!({"messages": [{"role": "user", "content": parts}], "n": 2, "num_inference_steps": 4, "strength": 0.5});
    let answer = server.post(PATH, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let choices = answer.json()["choices"].clone();
    assert_eq!((choices[0]["index"].as_u64(), choices[1]["index"].as_u64()), (Some(0), Some(1)));
    assert_ne!(link(&choices[0]["message"]["content"]), link(&choices[1]["message"]["content"]));
    let request = server.image_request(&answer).await;
    assert_eq!((request.width, request.height, request.strength.to_bits()), (136, 72, 0.5_f32.to_bits()));
}

#[tokio::test]
async fn a_model_of_films_answers_with_a_film() {
    let server = TestServer::start().await;
    let body = json!({"model": "demo-svd", "messages": conversation("a red circle"), "size": "64x64", "seconds": "0.5", "fps": 8, "seed": 3});
    let answer = server.post(PATH, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let content = answer.json()["choices"][0]["message"]["content"].clone();
    assert!(content.as_str().unwrap().starts_with("[film](http"), "{content}");
    let film = server.get_openly(&link(&content)).await;
    assert_eq!((film.status, film.header("content-type")), (StatusCode::OK, "video/mp4"));
}

#[rstest]
#[case::plain(json!({}))]
#[case::with_usage(json!({"stream_options": {"include_usage": true}}))]
#[tokio::test]
async fn a_stream_says_the_role_the_link_and_the_end(#[case] options: Value) {
    let server = TestServer::start().await;
    let mut body = json!({"messages": conversation("x"), "stream": true, "num_inference_steps": 4});
    body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let answer = server.post(PATH, &body).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "text/event-stream"));
    let (chunks, is_done) = answer.data_lines();
    assert!(is_done, "{}", answer.text());
    assert!(!answer.text().contains("event:"), "clients look at events without a name");
    for line in answer.text().lines().filter(|line| !line.is_empty() && !line.starts_with("data: ")) {
        assert!(line.starts_with(": "), "only comments are beside the chunks: {line}");
    }
    let deltas: Vec<&Value> = chunks.iter().filter_map(|chunk| chunk["choices"].get(0)).collect();
    assert_eq!(deltas[0]["delta"], json!({"role": "assistant", "content": ""}));
    assert!(server.get_openly(&link(&deltas[1]["delta"]["content"])).await.body.starts_with(b"\x89PNG"));
    assert_eq!((&deltas[2]["delta"], &deltas[2]["finish_reason"]), (&json!({}), &json!("stop")));
    assert_eq!(deltas.len(), 3);
    let name = if options["stream_options"].is_null() { "chunks" } else { "chunks_with_usage" };
    stable().bind(|| assert_json_snapshot!(name, chunks, { "[].id" => "chatcmpl-ID" }));
}

#[tokio::test]
async fn a_failure_takes_the_place_of_the_link() {
    let server = TestServer::start().await;
    let body = json!({"messages": conversation("x"), "stream": true});
    server.device.plan(FakeFailure::Fail { after_steps: 1, code: ErrorCode::DeviceFailed });
    let (chunks, is_done) = server.post(PATH, &body).await.data_lines();
    assert!(is_done);
    let error = &chunks.last().unwrap()["error"];
    assert_eq!((&error["type"], &error["code"], &error["param"]), (&json!("server_error"), &json!("task_failed"), &json!(null)));
    server.device.plan(FakeFailure::Fail { after_steps: 1, code: ErrorCode::DeviceFailed });
    let answer = server.post(PATH, &json!({"messages": conversation("x")})).await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("task_failed")));
}

#[rstest]
#[case::patient(None, JobState::Cancelled)]
#[case::coming_back(Some("again"), JobState::Running)]
#[tokio::test]
async fn hanging_up_cancels_the_job_of_whoever_cannot_ask_again(#[case] key: Option<&str>, #[case] expected: JobState) {
    let server = TestServer::start().await;
    server.device.plan(FakeFailure::Hang { after_steps: 1 });
    let mut request = server.request(Method::POST, PATH, Some(&json!({"messages": conversation("x"), "stream": true})));
    if let Some(key) = key {
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    }
    let response = server.router.clone().oneshot(request).await.unwrap();
    let task = response.headers()["x-task-id"].to_str().unwrap().to_owned();
    let mut events = response.into_body().into_data_stream();
    assert_eq!(next_event(&mut events).await.unwrap().data["choices"][0]["delta"]["role"], "assistant");
    let administrator = Principal { user: "admin".parse().unwrap(), project: None, admin: true, key: None };
    let state = async || server.state.jobs.get(&administrator, task.parse().unwrap()).await.unwrap().state;
    while state().await == JobState::Queued {
        tokio::task::yield_now().await;
    }
    drop(events);
    server.state.background.close();
    server.state.background.wait().await;
    if key.is_none() {
        server.wait(&task).await;
    }
    assert_eq!(state().await, expected);
    if expected == JobState::Running {
        server.free_device(&task).await;
        server.wait(&task).await;
    }
}

#[rstest]
#[case::missing(json!({}), "messages", "is missing")]
#[case::empty(json!({"messages": []}), "messages", "nothing that a user says")]
#[case::two(json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "A"}}, {"type": "image_url", "image_url": {"url": "B"}}]}]}), "messages", "more than one picture")]
#[case::lie(json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]}), "messages", "image_url cannot be used")]
#[case::content(json!({"messages": [{"role": "user", "content": 7}]}), "messages[0].content", "must be a text or a list of parts")]
#[case::address(json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": 7}]}]}), "messages[0].content", "must be")]
#[case::tools(json!({"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function"}]}), "tools", "calls nothing")]
#[case::count(json!({"messages": [{"role": "user", "content": "x"}], "n": 99}), "n", "allowed: 1 to")]
#[case::films(json!({"model": "demo-svd", "messages": [{"role": "user", "content": "x"}], "n": 2}), "n", "a model of films makes one")]
#[case::seconds(json!({"messages": [{"role": "user", "content": "x"}], "seconds": 1}), "seconds", "only with a model of films")]
#[case::film_seconds(json!({"model": "demo-svd", "messages": [{"role": "user", "content": "x"}], "seconds": "-4"}), "seconds", "seconds ")]
#[case::size(json!({"messages": [{"role": "user", "content": "x"}], "size": "7x7"}), "size", "multiples of 8")]
#[case::model(json!({"model": "no-such", "messages": [{"role": "user", "content": "x"}]}), "model", "no model 'no-such'")]
#[tokio::test]
async fn refusals_name_the_field(#[case] body: Value, #[case] param: &str, #[case] words: &str) {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let answer = server.post(PATH, &body).await;
    let status = if param == "model" { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
    assert_eq!(answer.status, status, "{}", answer.text());
    let error = &answer.json()["error"];
    let keys: Vec<&String> = error.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["code", "message", "param", "type"], "all four are there");
    assert_eq!(error["param"], param, "{error:#}");
    assert!(error["message"].as_str().unwrap().contains(words), "{error:#}");
}
