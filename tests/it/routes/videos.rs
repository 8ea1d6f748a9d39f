//! `POST /api/v1/videos/generate`, and what becomes of films.

use axum::http::{Method, StatusCode};
use framewright::execution::FakeFailure;
use rstest::rstest;
use serde_json::{Value, json};

use super::images::picture_base64;
use crate::harness::{Answer, Options, TestServer};

/// A film of two short scenes, small enough for a debug build.
fn two_scenes() -> Value {
    json!({
        "scenes": [
            {"id": "dawn", "prompt": "a red circle [Zoom in]", "duration": 0.5, "transition": "crossfade"},
            {"id": "noon", "prompt": "a green star", "duration": 0.75},
        ],
        "video_config": {"fps": 8, "width": 64, "height": 64},
        "seed": 5,
    })
}

async fn submit(server: &TestServer, body: &Value) -> String {
    let answer = server.post("/api/v1/videos/generate", body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    answer.json()["task_id"].as_str().unwrap().to_owned()
}

async fn task(server: &TestServer, id: &str) -> Value {
    server.get(&format!("/api/v1/tasks/{id}")).await.json()
}

/// The path and query of a link of this server.
fn path_of(link: &Value) -> &str {
    link.as_str().unwrap().strip_prefix("http://server:8000").unwrap()
}

async fn made(server: &TestServer, body: &Value) -> (String, Value) {
    let id = submit(server, body).await;
    server.wait(&id).await;
    let document = task(server, &id).await;
    assert_eq!(document["status"], "completed", "{document:#}");
    (id, document)
}

#[tokio::test]
async fn a_film_has_the_frames_the_rate_and_the_size_that_were_asked_for() {
    let server = TestServer::start().await;
    let (id, document) = made(&server, &two_scenes()).await;
    let film = &document["result"]["outputs"][0];
    assert_eq!((&film["media_type"], &film["width"], &film["height"]), (&json!("video/mp4"), &json!(64), &json!(64)));
    let facts = &film["video"];
    assert_eq!((&facts["frames"], &facts["frame_rate"], &facts["codec"]), (&json!(10), &json!("8"), &json!("h264")));
    assert!(film["local_path"].as_str().unwrap().starts_with("videos/local_"), "{film}");
    let scenes = document["scenes"].as_array().unwrap();
    let shown: Vec<_> = scenes.iter().map(|scene| (&scene["id"], &scene["status"], &scene["frames"], &scene["seed"])).collect();
    assert_eq!(
        shown,
        [
            (&json!("dawn"), &json!("completed"), &json!(4), &json!(5)),
            (&json!("noon"), &json!("completed"), &json!(6), &json!(6))
        ]
    );
    let manifest = &document["result"]["manifest"];
    assert_eq!(manifest["scenes"][0]["scene"]["camera"]["commands"], "[Zoom in]");
    assert_eq!(manifest["film"]["encoder"], "libx264");
    assert!(manifest["warnings"].as_array().unwrap().iter().any(|text| text.as_str().unwrap().contains("no camera input")));

    let file = server.get_openly(path_of(&document["result"]["output_path"])).await;
    assert_eq!((file.status, file.header("content-type")), (StatusCode::OK, "video/mp4"));
    assert_eq!(file.header("accept-ranges"), "bytes");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("film.mp4");
    std::fs::write(&path, &file.body).unwrap();
    let probed = framewright::media::video::probe(&path, &|| false).unwrap();
    assert_eq!((probed.frames, probed.width, probed.height, probed.codec.as_str()), (10, 64, 64, "h264"));

    let part = |range: &'static str| {
        let mut request = server.request(Method::GET, &format!("/api/v1/tasks/{id}/result"), None);
        request.headers_mut().insert("range", range.parse().unwrap());
        server.send(request)
    };
    let middle = part("bytes=4-11").await;
    assert_eq!((middle.status, &middle.body[..]), (StatusCode::PARTIAL_CONTENT, &file.body[4..12]));
    assert_eq!(middle.header("content-range"), format!("bytes 4-11/{}", file.body.len()));
    assert_eq!(part("bytes=999999999-").await.status, StatusCode::RANGE_NOT_SATISFIABLE);

    for link in [&film["thumbnail_url"], &facts["sprite_sheet_url"], &scenes[1]["thumbnail_url"]] {
        let picture = server.get_openly(path_of(link)).await;
        assert_eq!((picture.status, picture.header("content-type")), (StatusCode::OK, "image/jpeg"), "{link}");
        assert_eq!(picture.body[..2], [0xff, 0xd8]);
    }
}

#[tokio::test]
async fn a_watcher_hears_of_every_task_of_a_film() {
    let server = TestServer::start().await;
    let before = server.occupy_device().await;
    let id = submit(&server, &two_scenes()).await;
    let path = format!("/api/v1/tasks/{id}/events");
    let watching = server.get(&path);
    let (events, ()) = tokio::join!(watching, server.free_device(&before));
    let events = events.events();
    let told: Vec<String> = events
        .iter()
        .filter(|event| event.name == "task" && event.data["state"] == "completed")
        .map(|event| format!("{} {}", event.data["task"].as_str().unwrap(), event.data["scene"].as_str().unwrap_or("-")))
        .collect();
    for wanted in ["keyframe dawn", "clip dawn", "scene dawn", "keyframe noon", "clip noon", "scene noon"] {
        assert!(told.contains(&wanted.to_owned()), "{told:?}");
    }
    let progress: Vec<u64> =
        events.iter().filter(|event| event.name == "progress").map(|event| event.data["step"].as_u64().unwrap()).collect();
    assert!(progress.is_sorted(), "{progress:?}");
    let last = events.last().unwrap();
    assert_eq!((&last.data["status"], &last.data["progress"]), (&json!("completed"), &json!(1.0)));
}

#[tokio::test]
async fn one_scene_is_made_anew_and_the_others_are_taken_over() {
    let server = TestServer::start().await;
    let (first, before) = made(&server, &two_scenes()).await;
    let again = server.post(&format!("/api/v1/tasks/{first}/retry"), &json!({"scene": "noon", "seed": 99})).await;
    assert_eq!(again.status, StatusCode::ACCEPTED, "{}", again.text());
    let second = again.json()["task_id"].as_str().unwrap().to_owned();
    server.wait(&second).await;
    let after = task(&server, &second).await;
    assert_eq!((&after["status"], &after["retry_of"]), (&json!("completed"), &json!(first)), "{after:#}");
    let taken: Vec<&Value> = after["scenes"].as_array().unwrap().iter().map(|scene| &scene["taken_over"]).collect();
    assert_eq!(taken, [&json!(true), &json!(false)]);
    assert_eq!(after["scenes"][1]["seed"], 99);
    assert_ne!(before["result"]["outputs"][0]["sha256"], after["result"]["outputs"][0]["sha256"]);

    let refused = server.post(&format!("/api/v1/tasks/{first}/retry"), &json!({"scene": "dusk"})).await;
    assert_eq!(
        (refused.status, &refused.json()["field"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("scene")),
        "{}",
        refused.text()
    );
    assert_eq!(refused.json()["detail"], format!("scene 'dusk' is not in task {first}; it has dawn, noon"));
    let completed = server.post(&format!("/api/v1/tasks/{first}/retry"), &json!({})).await;
    assert_eq!(completed.status, StatusCode::CONFLICT);

    let gone = server.send(server.request(Method::DELETE, &format!("/api/v1/tasks/{first}"), None)).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(server.get(&format!("/api/v1/tasks/{first}")).await.status, StatusCode::NOT_FOUND);
    let file = server.get(&format!("/api/v1/tasks/{second}/result/0")).await;
    assert_eq!(file.status, StatusCode::OK, "what was taken over is its own");
}

#[tokio::test]
async fn a_failed_film_keeps_its_finished_scenes_and_goes_on_from_them() {
    let server = TestServer::start().await;
    // The third task of the only device is the first clip or the second keyframe's follower; whichever it is fails.
    for _ in 0..2 {
        server.device.plan(FakeFailure::Fail { after_steps: 99, code: framewright::domain::ErrorCode::Internal });
    }
    server.device.plan(FakeFailure::Fail { after_steps: 0, code: framewright::domain::ErrorCode::DeviceFailed });
    let id = submit(&server, &two_scenes()).await;
    server.wait(&id).await;
    let failed = task(&server, &id).await;
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("device_failed")), "{failed:#}");
    let done = |document: &Value| -> u64 {
        document["scenes"].as_array().unwrap().iter().map(|scene| scene["tasks_completed"].as_u64().unwrap()).sum()
    };
    // A task beside the one that failed is stopped if it has not ended by then.
    let kept = done(&failed);
    assert!((1..=2).contains(&kept), "{failed:#}");
    let again =
        server.post(&format!("/api/v1/tasks/{id}/retry"), &json!({})).await.json()["task_id"].as_str().unwrap().to_owned();
    assert!(done(&task(&server, &again).await) >= kept, "what was finished is there from the beginning");
    server.wait(&again).await;
    assert_eq!(task(&server, &again).await["status"], "completed");
}

#[tokio::test]
async fn a_sent_picture_needs_no_prompt_and_gives_its_shape() {
    let server = TestServer::start().await;
    let (_, document) =
        made(&server, &json!({"image": picture_base64(160, 96), "num_frames": 4, "video_config": {"fps": 5}})).await;
    let film = &document["result"]["outputs"][0];
    assert_eq!((&film["video"]["frames"], &film["video"]["frame_rate"]), (&json!(4), &json!("5")));
    let (width, height) = (film["width"].as_f64().unwrap(), film["height"].as_f64().unwrap());
    assert!((width / height - 160.0 / 96.0).abs() < 0.1, "{width}x{height}");
    assert_eq!(document["result"]["manifest"]["scenes"][0]["first_frame"], "the image that was sent");
}

#[tokio::test]
async fn films_count_for_the_quotas_of_films() {
    let server = TestServer::start().await;
    made(&server, &two_scenes()).await;
    let usage = server.get("/api/v1/usage").await.text();
    let usage: Value = serde_json::from_str(&usage).unwrap();
    let counters = usage.to_string();
    assert!(counters.contains("videos"), "{usage:#}");
    let estimate = server.post("/api/v1/estimate", &two_scenes()).await;
    assert_eq!(estimate.status, StatusCode::OK, "{}", estimate.text());
    assert_eq!(estimate.json()["allowed"], true);
}

fn check_refusal(answer: &Answer, field: &str, words: &str) {
    assert!(answer.status.is_client_error(), "{}", answer.text());
    let problem = answer.json();
    assert_eq!(problem["field"], field, "{problem:#}");
    assert!(problem["detail"].as_str().unwrap().contains(words), "{problem:#}");
}

#[rstest]
#[case::no_scenes(json!({"scenes": []}), "scenes", "1 to 200 scenes")]
#[case::nothing(json!({}), "scenes", "is missing")]
#[case::both_forms(json!({"prompt": "x", "scenes": [{"prompt": "y", "duration": 1}]}), "prompt", "belongs into a scene")]
#[case::negative(json!({"prompt": "x", "duration": -1}), "scenes[0].duration", "above 0")]
#[case::enormous(json!({"prompt": "x", "duration": 1e300}), "scenes[0].duration", "at most 3600")]
#[case::fps_zero(json!({"prompt": "x", "duration": 1, "video_config": {"fps": 0}}), "fps", "1 to 120")]
#[case::fps_thousand(json!({"prompt": "x", "duration": 1, "video_config": {"fps": 1000}}), "fps", "1 to 120")]
#[case::odd(json!({"prompt": "x", "duration": 1, "video_config": {"width": 101, "height": 64}}), "width", "even for h264")]
#[case::thin(json!({"prompt": "x", "duration": 1, "video_config": {"resolution": "100:1"}}), "size", "too thin")]
#[case::camera(json!({"scenes": [{"prompt": "x", "duration": 1, "camera": "Fly away"}]}), "scenes[0].camera", "Pan left")]
#[case::liar(json!({"image": "iVBORw0KGgo="}), "scenes[0].image", "cannot be used")]
#[case::link(json!({"image": "http://169.254.169.254/a.png"}), "scenes[0].image", "'169.254.169.254' is not called")]
#[case::audio(json!({"prompt": "x", "video_config": {"audio": "bm90IGF1ZGlv"}}), "audio", "cannot be used")]
#[case::image_model(json!({"prompt": "x", "model": "demo-sdxl"}), "model", "makes pictures, not films")]
#[case::video_model(json!({"prompt": "x", "image_model": "demo-svd"}), "image_model", "makes films, not pictures")]
#[case::unknown(json!({"prompt": "x", "lenght": 3}), "lenght", "unknown field")]
#[case::unknown_in_scene(json!({"scenes": [{"promt": "x"}]}), "promt", "unknown field")]
#[case::later(json!({"scenes": [{"prompt": "x", "character_id": "hero"}]}), "scenes[0].character_id", "not supported yet")]
#[case::callback(json!({"prompt": "x", "callback_url": "http://x"}), "callback_url", "is not called: 'x' is not called without TLS")]
#[tokio::test]
async fn what_cannot_be_made_is_refused_before_work_begins(#[case] body: Value, #[case] field: &str, #[case] words: &str) {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    check_refusal(&server.post("/api/v1/videos/generate", &body).await, field, words);
}

#[tokio::test]
async fn ten_thousand_scenes_are_refused_and_an_image_route_knows_no_films() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let scenes: Vec<Value> = (0..10_000).map(|_| json!({"prompt": "x", "duration": 1})).collect();
    check_refusal(&server.post("/api/v1/videos/generate", &json!({"scenes": scenes})).await, "scenes", "has 10000");
    let answer = server.post("/api/v1/images/generate", &json!({"prompt": "x", "model": "demo-svd"})).await;
    check_refusal(&answer, "model", "makes films, not pictures");
}
