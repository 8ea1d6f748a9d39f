//! What is refused, on both surfaces: with a 4xx, the field's name, and the server serving on.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use insta::assert_json_snapshot;
use rstest::rstest;
use serde_json::{Value, json};

use super::images::picture_base64;
use super::stable;
use crate::harness::{Options, TestServer};

const NATIVE: &str = "/api/v1/images/generate";
const OPENAI: &str = "/v1/images/generations";

/// A request that is fine but for `fields`.
fn body(fields: &Value) -> Value {
    let mut body = json!({"prompt": "a red circle", "num_inference_steps": 1});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

async fn refused(path: &str, body: &Value) -> (StatusCode, Value) {
    let server = TestServer::start().await;
    let answer = server.post(path, body).await;
    let good = server.post(OPENAI, &json!({"prompt": "x", "num_inference_steps": 1})).await;
    assert_eq!(good.status, StatusCode::OK, "a good request fails afterwards: {}", good.text());
    (answer.status, answer.json())
}

#[rstest]
#[case::width_zero("width", json!({"width": 0}))]
#[case::width_huge("width", json!({"width": 1e300}))]
#[case::width_odd("width", json!({"width": 100}))]
#[case::width_negative("width", json!({"width": -128}))]
#[case::width_text("width", json!({"width": "128"}))]
#[case::height_fraction("height", json!({"height": 128.5}))]
#[case::prompt_long("prompt", json!({"prompt": "x".repeat(10 << 20)}))]
#[case::prompt_null("prompt", json!({"prompt": null}))]
#[case::negative_prompt_long("negative_prompt", json!({"negative_prompt": "x".repeat(10 << 20)}))]
#[case::guidance_text("guidance_scale", json!({"guidance_scale": "NaN"}))]
#[case::guidance_large("guidance_scale", json!({"guidance_scale": 1e9}))]
#[case::steps_zero("num_inference_steps", json!({"num_inference_steps": 0}))]
#[case::steps_many("num_inference_steps", json!({"num_inference_steps": 10_000}))]
#[case::steps_of_sampler("num_inference_steps", json!({"sampler": "lcm", "num_inference_steps": 51}))]
#[case::strength_below_a_step("strength", json!({"strength": 0.75, "init_image": picture_base64(64, 64)}))]
#[case::seed_negative("seed", json!({"seed": -1}))]
#[case::seed_large("seed", json!({"seed": 18_446_744_073_709_551_616.0}))]
#[case::model_unknown("model", json!({"model": "sdxl-nope"}))]
#[case::model_path("model", json!({"model": "../../etc"}))]
#[case::sampler_unknown("sampler", json!({"sampler": "magic"}))]
#[case::field_unknown("stepz", json!({"stepz": 3}))]
#[case::images_many("num_images", json!({"num_images": 1000}))]
#[case::strength_alone("strength", json!({"strength": 0.5}))]
#[case::strength_zero("strength", json!({"strength": 0, "init_image": picture_base64(64, 64)}))]
#[case::init_image_text("init_image", json!({"init_image": "aGVsbG8gd29ybGQ="}))]
#[case::init_image_link("init_image", json!({"init_image": "https://example.com/a.png"}))]
#[case::init_image_number("init_image", json!({"init_image": 3}))]
#[case::mask_text("mask", json!({"mask": "aGVsbG8gd29ybGQ=", "init_image": picture_base64(64, 64)}))]
#[case::mask_number("mask", json!({"mask": 3}))]
#[case::mask_alone("mask", json!({"mask": picture_base64(64, 64)}))]
#[case::project_path("project_id", json!({"project_id": "../x"}))]
#[case::project_number("project_id", json!({"project_id": 3}))]
#[case::character_id("character_id", json!({"character_id": "x"}))]
#[case::style("style", json!({"style": "xianxia"}))]
#[case::loras("loras", json!({"loras": []}))]
#[case::controls("controls", json!({"controls": [{}]}))]
#[case::callback_url("callback_url", json!({"callback_url": "http://localhost/"}))]
#[case::callback_number("callback_url", json!({"callback_url": 3}))]
#[case::callback_events_alone("callback_events", json!({"callback_events": ["completed"]}))]
#[case::callback_events_none("callback_events", json!({"callback_url": "https://example.com/", "callback_events": []}))]
#[case::callback_events_unknown("callback_events", json!({"callback_url": "https://example.com/", "callback_events": ["paused"]}))]
#[case::priority("priority", json!({"priority": 101}))]
#[tokio::test]
async fn native(#[case] field: &str, #[case] fields: Value) {
    let (status, problem) = refused(NATIVE, &body(&fields)).await;
    let expected = if field == "model" { StatusCode::NOT_FOUND } else { StatusCode::UNPROCESSABLE_ENTITY };
    assert_eq!((status, problem["field"].as_str()), (expected, Some(field)), "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(field) && detail.len() < 1000, "{detail}");
}

#[rstest]
#[case::width("width", json!({"width": 100}))]
#[case::unknown_field("field", json!({"stepz": 3}))]
#[case::wrong_type("type", json!({"seed": "x"}))]
#[case::later("later", json!({"controls": "x"}))]
#[tokio::test]
async fn native_wording(#[case] name: &str, #[case] fields: Value) {
    let (_, problem) = refused(NATIVE, &body(&fields)).await;
    stable().bind(|| assert_json_snapshot!(format!("native_{name}"), problem));
}

#[rstest]
#[case::size_zero("size", json!({"size": "0x0"}))]
#[case::size_huge("size", json!({"size": "99999999x99999999"}))]
#[case::size_odd("size", json!({"size": "100x128"}))]
#[case::size_thin("size", json!({"size": "100000:1"}))]
#[case::size_text("size", json!({"size": "large"}))]
#[case::prompt_empty("prompt", json!({"prompt": ""}))]
#[case::prompt_long("prompt", json!({"prompt": "x".repeat(10 << 20)}))]
#[case::n_zero("n", json!({"n": 0}))]
#[case::n_many("n", json!({"n": 11}))]
#[case::steps_many("num_inference_steps", json!({"num_inference_steps": 10_000}))]
#[case::steps_of_sampler("num_inference_steps", json!({"sampler": "lcm", "num_inference_steps": 51}))]
#[case::seed_negative("seed", json!({"seed": -1}))]
#[case::sampler_unknown("sampler", json!({"sampler": "magic"}))]
#[case::field_unknown("input_fidelity", json!({"input_fidelity": "high"}))]
#[case::quality("quality", json!({"quality": "best"}))]
#[case::style("style", json!({"style": "dull"}))]
#[case::moderation("moderation", json!({"moderation": "none"}))]
#[case::background("background", json!({"background": "transparent"}))]
#[case::response_format("response_format", json!({"response_format": "file"}))]
#[case::stream_as_url("response_format", json!({"response_format": "url", "stream": true}))]
#[case::output_format("output_format", json!({"output_format": "gif"}))]
#[case::compression_range("output_compression", json!({"output_format": "jpeg", "output_compression": 101}))]
#[case::compression_of_png("output_compression", json!({"output_compression": 50}))]
#[case::partials_many("partial_images", json!({"partial_images": 4, "stream": true}))]
#[case::partials_alone("partial_images", json!({"partial_images": 1}))]
#[case::stream_text("stream", json!({"stream": "yes"}))]
#[case::user_number("user", json!({"user": 3}))]
#[tokio::test]
async fn openai(#[case] param: &str, #[case] fields: Value) {
    let (status, envelope) = refused(OPENAI, &body(&fields)).await;
    let error = &envelope["error"];
    assert_eq!((status, error["param"].as_str()), (StatusCode::BAD_REQUEST, Some(param)), "{envelope}");
    assert_eq!(error["type"], "invalid_request_error");
    assert!(error["message"].as_str().unwrap().len() < 1000);
}

#[rstest]
#[case::size(json!({"size": "100x128"}))]
#[case::model(json!({"model": "dall-e-3"}))]
#[case::prompt(json!({"prompt": null}))]
#[case::background(json!({"background": "transparent"}))]
#[tokio::test]
async fn openai_wording(#[case] fields: Value) {
    let name = format!("openai_{}", fields.as_object().unwrap().keys().next().unwrap());
    let (_, envelope) = refused(OPENAI, &body(&fields)).await;
    stable().bind(|| assert_json_snapshot!(name, envelope));
}

#[tokio::test]
async fn a_missing_prompt_is_named() {
    let server = TestServer::start().await;
    let native = server.post(NATIVE, &json!({})).await;
    assert_eq!((native.status, &native.json()["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("missing_field")));
    let openai = server.post(OPENAI, &json!({})).await;
    assert_eq!((openai.status, &openai.json()["error"]["param"]), (StatusCode::BAD_REQUEST, &json!("prompt")));
}

#[rstest]
#[case::broken("application/json", r#"{"prompt": "#, StatusCode::BAD_REQUEST)]
#[case::nan("application/json", r#"{"prompt": "x", "guidance_scale": NaN}"#, StatusCode::BAD_REQUEST)]
#[case::infinite("application/json", r#"{"prompt": "x", "guidance_scale": 1e999}"#, StatusCode::BAD_REQUEST)]
#[case::empty("application/json", "", StatusCode::BAD_REQUEST)]
#[case::array("application/json", "[]", StatusCode::BAD_REQUEST)]
#[case::binary("application/json", "\u{0}\u{1}", StatusCode::BAD_REQUEST)]
#[case::form("application/x-www-form-urlencoded", "prompt=x", StatusCode::UNSUPPORTED_MEDIA_TYPE)]
#[case::untyped("", r#"{"prompt": "x"}"#, StatusCode::UNSUPPORTED_MEDIA_TYPE)]
#[tokio::test]
async fn bodies(#[case] media_type: &'static str, #[case] text: &'static str, #[case] status: StatusCode) {
    let server = TestServer::start().await;
    for path in [NATIVE, OPENAI] {
        let request = Request::post(path).header("authorization", format!("Bearer {}", server.user_key));
        let request = if media_type.is_empty() { request } else { request.header("content-type", media_type) };
        let answer = server.send(request.body(Body::from(text)).unwrap()).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.json()["error"].is_object(), path == OPENAI);
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_not_read() {
    let mut options = Options::default();
    options.settings.max_body_bytes = 1000;
    let server = TestServer::start_with(options).await;
    for path in [NATIVE, OPENAI] {
        let answer = server.post(path, &json!({"prompt": "x".repeat(1000)})).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", answer.text());
    }
}

#[tokio::test]
async fn a_decompression_bomb_is_refused_by_its_size() {
    // 100,000 × 100,000 pixels announced, with right checksums, and a few bytes of data.
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, 100_000, 100_000);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_chunk(png::chunk::IDAT, &[0x78, 0x9c, 0x63, 0x00, 0x00]).unwrap();
    drop(writer);
    let bomb = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &png);
    let (status, problem) = refused(NATIVE, &body(&json!({"init_image": bomb}))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    stable().bind(|| assert_json_snapshot!(problem));
}

#[rstest]
#[case("limit=0", "limit")]
#[case("limit=101", "limit")]
#[case("limit=-1", "limit")]
#[case("before=nonsense", "before")]
#[tokio::test]
async fn queries(#[case] query: &str, #[case] field: &str) {
    let server = TestServer::start().await;
    let answer = server.get(&format!("/api/v1/tasks?{query}")).await;
    assert_eq!(
        (answer.status, answer.json()["field"].as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some(field)),
        "{}",
        answer.text()
    );
}
