//! `/v1/images/edits` and `/v1/images/variations`.

use axum::http::StatusCode;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use framewright::domain::ErrorCode;
use framewright::execution::FakeFailure;
use framewright::media::decode::decode_image;
use framewright::media::encode::{PngText, encode_png};
use insta::assert_json_snapshot;
use rstest::rstest;
use serde_json::{Value, json};

use super::stable;
use crate::harness::{Answer, Options, TestServer, egress};
use crate::outside::{FRIEND, Outside, Reply};

const EDITS: &str = "/v1/images/edits";
const VARIATIONS: &str = "/v1/images/variations";

/// A picture of one colour.
fn png(width: u32, height: u32) -> Vec<u8> {
    encode_png(width, height, &vec![90; (width * height * 3) as usize], &PngText::default()).unwrap()
}

fn data_url(picture: &[u8]) -> String {
    format!("data:image/png;base64,{}", BASE64_STANDARD.encode(picture))
}

#[tokio::test]
async fn a_form_with_a_picture_becomes_a_picture_of_its_size() {
    let server = TestServer::start().await;
    let fields = [("prompt", "a red circle"), ("n", "2"), ("num_inference_steps", "4"), ("seed", "7"), ("quality", "high")];
    let answer = server.send(server.form(EDITS, &fields, &[("image[]", &png(138, 73))])).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    stable().bind(|| assert_json_snapshot!("edited", answer.json()));
    let link = answer.json()["data"][1]["url"].as_str().unwrap().strip_prefix("http://server:8000").unwrap().to_owned();
    decode_image(&server.get_openly(&link).await.body).unwrap();
    let request = server.image_request(&answer).await;
    assert!(request.init_image.is_some());
    assert_eq!((request.width, request.height, request.seed), (136, 72, 7));
    assert_eq!(request.strength.to_bits(), 0.75_f32.to_bits(), "the model's default");
}

#[rstest]
#[case::json(json!({"images": [{"image_url": ""}]}))]
#[case::shape(json!({"images": [{"image_url": ""}], "size": "16:9", "strength": 0.5, "response_format": "b64_json", "input_fidelity": "high", "stream": false}))]
#[tokio::test]
async fn json_with_a_data_url_does_the_same(#[case] mut body: Value) {
    let server = TestServer::start().await;
    body["images"][0]["image_url"] = json!(data_url(&png(128, 64)));
    body["prompt"] = json!("x");
    body["num_inference_steps"] = json!(2);
    let answer = server.post(EDITS, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let size = if body["size"].is_null() { "128x64" } else { "168x96" };
    assert_eq!(answer.json()["size"], size);
    assert_eq!(answer.json()["data"][0]["b64_json"].is_string(), body["response_format"] == "b64_json");
    let strength = body["strength"].as_f64().unwrap_or(0.75) as f32;
    assert_eq!(server.image_request(&answer).await.strength.to_bits(), strength.to_bits());
}

#[tokio::test]
async fn an_edit_streams_events_of_its_own() {
    let server = TestServer::start().await;
    let fields = [("prompt", "x"), ("stream", "true"), ("partial_images", "2"), ("num_inference_steps", "8"), ("size", "128x64")];
    let answer = server.send(server.form(EDITS, &fields, &[("image", &png(64, 64))])).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "text/event-stream"), "{}", answer.text());
    let events = answer.events();
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["image_edit.partial_image", "image_edit.partial_image", "image_edit.completed"]);
    for event in &events {
        let picture = BASE64_STANDARD.decode(event.data["b64_json"].as_str().unwrap()).unwrap();
        decode_image(&picture).unwrap();
    }
    stable().bind(|| {
        assert_json_snapshot!("edit_partial_image_event", events[0].data, { ".b64_json" => "[base64]" });
        assert_json_snapshot!("edit_completed_event", events[2].data, { ".b64_json" => "[base64]" });
    });
}

#[tokio::test]
async fn variations_differ_by_their_seeds() {
    let server = TestServer::start().await;
    let fields = [("n", "2"), ("num_inference_steps", "5"), ("response_format", "b64_json"), ("user", "anna")];
    let answer = server.send(server.form(VARIATIONS, &fields, &[("image", &png(128, 128))])).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    stable().bind(|| assert_json_snapshot!("variations", answer.json(), { ".data[].b64_json" => "[base64]" }));
    let task = server.get(&format!("/api/v1/tasks/{}", answer.header("x-task-id"))).await.json();
    let outputs = &task["result"]["outputs"];
    assert_ne!(outputs[0]["seed"], outputs[1]["seed"]);
    let request = server.image_request(&answer).await;
    assert_eq!((request.strength.to_bits(), request.prompt.as_str()), (0.6_f32.to_bits(), ""));
    let one_step = [("num_inference_steps", "1")];
    let answer = server.send(server.form(VARIATIONS, &one_step, &[("image", &png(128, 128))])).await;
    assert_eq!(answer.status, StatusCode::OK, "the one step is done: {}", answer.text());
}

/// A picture that is transparent in its left half.
fn mask(width: u32, height: u32) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgba);
    let pixels: Vec<u8> = (0..width * height).flat_map(|at| [9, 9, 9, if at % width < width / 2 { 0 } else { 255 }]).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    file
}

#[tokio::test]
async fn a_mask_is_transparent_where_to_repaint() {
    let server = TestServer::start().await;
    let (picture, mask) = (png(64, 64), mask(64, 64));
    let fields = [("prompt", "x"), ("num_inference_steps", "4")];
    let answer = server.send(server.form(EDITS, &fields, &[("image", &picture), ("mask", &mask)])).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let key = server.image_request(&answer).await.mask.unwrap();
    let kept = decode_image(&server.state.storage.get(&key).await.unwrap()).unwrap();
    assert_eq!((&kept.rgb[..3], &kept.rgb[63 * 3..64 * 3]), (&[255; 3][..], &[0; 3][..]), "white where to repaint");

    let body = json!({
        "prompt": "x", "num_inference_steps": 4,
        "images": [{"image_url": data_url(&picture)}], "mask": {"image_url": data_url(&mask)},
    });
    let answer = server.post(EDITS, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert!(server.image_request(&answer).await.mask.is_some());
    // Without transparency it says nothing of where.
    check_refusal(
        &server.send(server.form(EDITS, &fields, &[("image", &picture), ("mask", &picture)])).await,
        "mask",
        "mask cannot be used",
    );
}

#[tokio::test]
async fn a_failed_edit_is_a_server_error() {
    let server = TestServer::start().await;
    server.device.plan(FakeFailure::Fail { after_steps: 0, code: ErrorCode::DeviceFailed });
    let answer = server.send(server.form(EDITS, &[("prompt", "x")], &[("image", &png(64, 64))])).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    let error = &answer.json()["error"];
    assert_eq!((&error["type"], &error["code"], &error["param"]), (&json!("server_error"), &json!("task_failed"), &json!(null)));
}

fn check_refusal(answer: &Answer, param: &str, words: &str) {
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
    let error = &answer.json()["error"];
    let keys: Vec<&String> = error.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["code", "message", "param", "type"], "all four are there");
    assert_eq!(error["param"], param, "{error:#}");
    assert!(error["message"].as_str().unwrap().contains(words), "{error:#}");
}

#[rstest]
#[case::no_picture(EDITS, &[("prompt", "x")], 0, "image", "is missing")]
#[case::two_pictures(EDITS, &[("prompt", "x")], 2, "image", "image has 2 pictures")]
#[case::no_prompt(EDITS, &[], 1, "prompt", "is missing")]
#[case::empty_prompt(EDITS, &[("prompt", "")], 1, "prompt", "is empty")]
#[case::strength(EDITS, &[("prompt", "x"), ("strength", "1.5")], 1, "strength", "above 0, at most 1")]
#[case::size(EDITS, &[("prompt", "x"), ("size", "7x7")], 1, "size", "multiples of 8")]
#[case::size_word(EDITS, &[("prompt", "x"), ("size", "720p")], 1, "size", "is '720p'")]
#[case::number(EDITS, &[("prompt", "x"), ("n", "many")], 1, "n", "a whole number")]
#[case::count(EDITS, &[("prompt", "x"), ("n", "99")], 1, "n", "allowed: 1 to")]
#[case::unknown(EDITS, &[("prompt", "x"), ("strenght", "1")], 1, "strenght", "unknown field")]
#[case::film(EDITS, &[("prompt", "x"), ("model", "demo-svd")], 1, "model", "makes films, not pictures")]
#[case::url_in_stream(EDITS, &[("prompt", "x"), ("stream", "true"), ("response_format", "url")], 1, "response_format", "cannot carry")]
#[case::transparent(EDITS, &[("prompt", "x"), ("background", "transparent")], 1, "background", "cannot make")]
#[case::fidelity(EDITS, &[("prompt", "x"), ("input_fidelity", "some")], 1, "input_fidelity", "allowed: low, high")]
#[case::nothing_to_vary(VARIATIONS, &[], 0, "image", "is missing")]
#[case::words_for_a_variation(VARIATIONS, &[("prompt", "x")], 1, "prompt", "unknown field")]
#[tokio::test]
async fn refusals_of_forms(
    #[case] path: &str,
    #[case] fields: &[(&str, &str)],
    #[case] pictures: usize,
    #[case] param: &str,
    #[case] words: &str,
) {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let picture = png(64, 64);
    let files = vec![("image", picture.as_slice()); pictures];
    check_refusal(&server.send(server.form(path, fields, &files)).await, param, words);
}

#[tokio::test]
async fn files_that_lie_are_refused_by_name() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let lie: &[u8] = b"\x89PNG\r\n\x1a\nlies";
    check_refusal(&server.send(server.form(EDITS, &[("prompt", "x")], &[("image", lie)])).await, "image", "image cannot be used");
    check_refusal(&server.send(server.form(VARIATIONS, &[], &[("image", lie)])).await, "image", "image cannot be used");
    let body = json!({"prompt": "x", "images": [{"image_url": "data:image/png;base64,AAAA"}]});
    check_refusal(&server.post(EDITS, &body).await, "images", "images cannot be used");
}

#[rstest]
#[case::none(json!({"prompt": "x"}), "images", "is missing")]
#[case::empty(json!({"prompt": "x", "images": []}), "images", "is missing")]
#[case::file_id(json!({"prompt": "x", "images": [{"file_id": "file_1"}]}), "images", "keeps no files")]
#[case::both(json!({"prompt": "x", "images": [{"file_id": "file_1", "image_url": "x"}]}), "images", "keeps no files")]
#[case::no_list(json!({"prompt": "x", "images": "x"}), "images", "must be")]
#[tokio::test]
async fn refusals_of_json(#[case] body: Value, #[case] param: &str, #[case] words: &str) {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    check_refusal(&server.post(EDITS, &body).await, param, words);
}

#[tokio::test]
async fn a_variation_is_no_json() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let answer = server.post(VARIATIONS, &json!({"image": "x"})).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(answer.json()["error"]["code"], "unsupported_media_type");
}

#[tokio::test]
async fn a_form_without_end_is_refused() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let fields = vec![("prompt", "x"); 65];
    let answer = server.send(server.form(EDITS, &fields, &[])).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (StatusCode::BAD_REQUEST, &json!("invalid_json")),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn a_form_that_is_too_long_is_not_read() {
    let mut options = Options { has_device: false, ..Options::default() };
    options.settings.max_body_bytes = 1000;
    let server = TestServer::start_with(options).await;
    for path in [EDITS, VARIATIONS] {
        let answer = server.send(server.form(path, &[], &[("image", &[0; 1000])])).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", answer.text());
    }
}

#[tokio::test]
async fn a_picture_may_be_a_link() {
    let egress = egress(&[&format!("{FRIEND}/32")]);
    let server = TestServer::start_with(Options { has_device: false, egress, ..Options::default() }).await;
    let outside = Outside::start(FRIEND, |_, request| match request.path.as_str() {
        "/gone" => Reply::status(404),
        _ => Reply::ok("this is no picture"),
    })
    .await;
    let said =
        |path: &str| json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": outside.url(path)}}]}]);
    for (path, words) in [("/gone", "answered 404"), ("/text", "cannot be used: not a PNG")] {
        let link = outside.url(path);
        let body = json!({"prompt": "x", "images": [{"image_url": link}]});
        check_refusal(&server.post(EDITS, &body).await, "images", words);
        check_refusal(&server.send(server.form(EDITS, &[("prompt", "x"), ("image", &link)], &[])).await, "image", words);
        check_refusal(&server.send(server.form(VARIATIONS, &[("image", &link)], &[])).await, "image", words);
        check_refusal(&server.post("/v1/chat/completions", &json!({"messages": said(path)})).await, "messages", words);
    }
    assert_eq!(outside.received().len(), 8, "each was fetched once");
}
