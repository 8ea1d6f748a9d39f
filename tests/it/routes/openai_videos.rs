//! `/v1/videos`.

use axum::http::{Method, StatusCode};
use framewright::media::encode::{PngText, encode_png};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Answer, Options, TestServer};

async fn created(server: &TestServer, body: &Value) -> Value {
    let answer = server.post("/v1/videos", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

async fn completed(server: &TestServer, video: &Value) -> Value {
    let id = video["id"].as_str().unwrap();
    server.wait(id).await;
    let answer = server.get(&format!("/v1/videos/{id}")).await;
    assert_eq!(answer.header("openai-poll-after-ms"), "1000");
    answer.json()
}

#[tokio::test]
async fn a_video_is_created_looked_at_downloaded_and_removed() {
    let server = TestServer::start().await;
    let body = json!({"prompt": "a red circle", "seconds": "0.5", "size": "64x64", "fps": 8, "seed": 3});
    let video = created(&server, &body).await;
    assert_eq!(
        (&video["object"], &video["model"], &video["seconds"], &video["size"]),
        (&json!("video"), &json!("demo-svd"), &json!("0.5"), &json!("64x64"))
    );
    let video = completed(&server, &video).await;
    assert_eq!(
        (&video["status"], &video["progress"], &video["error"]),
        (&json!("completed"), &json!(100), &Value::Null),
        "{video:#}"
    );
    assert_eq!(video["prompt"], "a red circle");
    let id = video["id"].as_str().unwrap();
    for (variant, media_type) in [
        ("", "video/mp4"),
        ("?variant=video", "video/mp4"),
        ("?variant=thumbnail", "image/jpeg"),
        ("?variant=spritesheet", "image/jpeg"),
    ] {
        let file = server.get(&format!("/v1/videos/{id}/content{variant}")).await;
        assert_eq!((file.status, file.header("content-type")), (StatusCode::OK, media_type), "{variant}");
        assert!(!file.body.is_empty());
    }
    assert_eq!(server.get(&format!("/v1/videos/{id}/content?variant=sound")).await.status, StatusCode::BAD_REQUEST);
    let removed = server.send(server.request(Method::DELETE, &format!("/v1/videos/{id}"), None)).await;
    assert_eq!(removed.json(), json!({"id": id, "object": "video.deleted", "deleted": true}));
    assert_eq!(server.get(&format!("/v1/videos/{id}")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_form_with_a_file_is_a_request_too() {
    let server = TestServer::start().await;
    let png = encode_png(64, 64, &[7; 64 * 64 * 3], &PngText::default()).unwrap();
    let answer = server
        .send(server.form(
            "/v1/videos",
            &[("num_frames", "3"), ("fps", "6"), ("model", "demo-svd"), ("prompt", "x")],
            &[("input_reference", &png)],
        ))
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let video = completed(&server, &answer.json()).await;
    assert_eq!((&video["status"], &video["seconds"]), (&json!("completed"), &json!("0.5")), "{video:#}");
    let lying =
        server.send(server.form("/v1/videos", &[("prompt", "x")], &[("input_reference", b"\x89PNG\r\n\x1a\nlies")])).await;
    assert_eq!(
        (lying.status, &lying.json()["error"]["param"]),
        (StatusCode::BAD_REQUEST, &json!("input_reference")),
        "{}",
        lying.text()
    );
}

#[tokio::test]
async fn lists_are_in_order_and_in_pages() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    server.submit(&json!({"prompt": "a picture is no video"})).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(created(&server, &json!({"prompt": "x"})).await["id"].as_str().unwrap().to_owned());
    }
    let listed = async |query: &str| -> (Vec<String>, bool) {
        let list = server.get(&format!("/v1/videos{query}")).await.json();
        assert_eq!(list["object"], "list");
        let ids = list["data"].as_array().unwrap().iter().map(|video| video["id"].as_str().unwrap().to_owned());
        (ids.collect(), list["has_more"].as_bool().unwrap())
    };
    let newest_first: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(listed("").await, (newest_first.clone(), false));
    assert_eq!(listed("?limit=2").await, (newest_first[..2].to_vec(), true));
    assert_eq!(listed(&format!("?after={}", newest_first[1])).await, (newest_first[2..].to_vec(), false));
    assert_eq!(listed("?order=asc&limit=2").await, (ids[..2].to_vec(), true));
    assert_eq!(listed(&format!("?order=asc&after={}", ids[0])).await, (ids[1..].to_vec(), false));
    assert_eq!(server.get("/v1/videos?order=up").await.status, StatusCode::BAD_REQUEST);
    let removed = server.send(server.request(Method::DELETE, &format!("/v1/videos/{}", ids[0]), None)).await;
    assert_eq!(removed.status, StatusCode::OK, "one that waits is cancelled first: {}", removed.text());
}

#[tokio::test]
async fn a_video_is_remixed_and_extended() {
    let server = TestServer::start().await;
    let body = json!({"prompt": "a red circle", "seconds": 0.5, "size": "64x64", "fps": 8});
    let first = completed(&server, &created(&server, &body).await).await;
    let id = first["id"].as_str().unwrap();
    let remix = server.post(&format!("/v1/videos/{id}/remix"), &json!({"prompt": "a blue star"})).await;
    assert_eq!(remix.status, StatusCode::OK, "{}", remix.text());
    let remix = completed(&server, &remix.json()).await;
    assert_eq!(
        (&remix["status"], &remix["remixed_from_video_id"], &remix["prompt"]),
        (&json!("completed"), &json!(id), &json!("a blue star")),
        "{remix:#}"
    );

    let longer =
        server.post("/v1/videos/extensions", &json!({"prompt": "it goes on", "seconds": "1", "video": {"id": id}})).await;
    assert_eq!(longer.status, StatusCode::OK, "{}", longer.text());
    let longer = completed(&server, &longer.json()).await;
    assert_eq!((&longer["status"], &longer["seconds"]), (&json!("completed"), &json!("1.5")), "{longer:#}");
    let task = server.get(&format!("/api/v1/tasks/{}", longer["id"].as_str().unwrap())).await.json();
    let taken: Vec<&Value> = task["scenes"].as_array().unwrap().iter().map(|scene| &scene["taken_over"]).collect();
    assert_eq!(taken, [&json!(true), &json!(false)], "the old scene is not made again");
}

fn check_refusal(answer: &Answer, param: &str, words: &str) {
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
    let error = &answer.json()["error"];
    assert_eq!(error["param"], param, "{error:#}");
    assert!(error["message"].as_str().unwrap().contains(words), "{error:#}");
}

#[rstest]
#[case::seconds(json!({"prompt": "x", "seconds": "-4"}), "seconds", "above 0")]
#[case::text(json!({"prompt": "x", "seconds": "long"}), "seconds", "a number")]
#[case::size(json!({"prompt": "x", "size": "101x64"}), "size", "even for h264")]
#[case::model(json!({"prompt": "x", "model": "demo-sdxl"}), "model", "makes pictures, not films")]
#[case::nothing(json!({}), "prompt", "needs a prompt or an image")]
#[case::file_id(json!({"prompt": "x", "input_reference": {"file_id": "file_1"}}), "input_reference", "keeps no files")]
#[case::reference(json!({"prompt": "x", "input_reference": 7}), "input_reference", "must be a data URL, a link, or {\"image_url\": one of these}")]
#[case::unknown(json!({"prompt": "x", "lenght": 1}), "lenght", "unknown field")]
#[tokio::test]
async fn refusals_are_in_openais_words(#[case] body: Value, #[case] param: &str, #[case] words: &str) {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    check_refusal(&server.post("/v1/videos", &body).await, param, words);
}
