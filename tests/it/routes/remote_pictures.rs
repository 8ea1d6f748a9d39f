//! Pictures of providers, which come in formats and sizes of their own, through the surfaces for pictures.

use axum::http::StatusCode;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use framewright::domain::{AccountKey, ProviderEntry, ProviderKind, ProviderSettings};
use framewright::media::decode::decode_image;
use framewright::media::encode::encode_jpeg;
use rstest::rstest;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::remote::entry;
use crate::harness::{Options, TestServer, egress};
use crate::providers::{Answer, Mock, StabilityCloud, ZhipuaiCloud, form_fields, secret_of_key};

const PNG: &[u8] = b"\x89PNG";
const JPEG: &[u8] = b"\xFF\xD8";
const WEBP: &[u8] = b"RIFF";

/// A server whose one provider makes JPEG files of 40x30 pixels.
async fn server() -> (Mock, TestServer) {
    let cloud = Mock::start(ZhipuaiCloud::default()).await;
    cloud.always("file", Answer::Bytes(200, "image/jpeg", encode_jpeg(40, 30, &[120; 40 * 30 * 3], 90).unwrap()));
    let providers = ProviderSettings {
        currency: "EUR".to_owned(),
        providers: [("zhipuai".parse().unwrap(), entry(ProviderKind::Zhipuai, &cloud, "0.01"))].into(),
    };
    let options = Options { providers, egress: egress(&["127.0.0.1/32"]), ..Options::default() };
    let server = TestServer::start_with(options).await;
    (cloud, server)
}

/// A request with more fields.
fn asked(fields: &Value) -> Value {
    let mut body = json!({"model": "cogview-4", "prompt": "a kite"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

fn decoded(base64: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(base64.as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_download_is_labelled_as_what_it_is() {
    let (_cloud, server) = server().await;
    let task = server.submit(&asked(&json!({}))).await;
    server.wait(&task).await;
    for (query, media_type, magic, extension) in [
        ("", "image/jpeg", JPEG, ".jp"),
        ("?format=png", "image/png", PNG, ".png"),
        ("?format=jpeg&quality=50", "image/jpeg", JPEG, ".jpeg"),
        ("?format=webp", "image/webp", WEBP, ".webp"),
    ] {
        let answer = server.get(&format!("/api/v1/tasks/{task}/result/0{query}")).await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, media_type), "{query}");
        assert!(answer.body.starts_with(magic), "{query}");
        assert!(answer.header("content-disposition").contains(extension), "{query}: {}", answer.header("content-disposition"));
        assert_eq!(decode_image(&answer.body).unwrap().width, 40, "{query}");
    }
}

#[rstest]
#[case::unsaid(json!({}), "png", PNG)]
#[case::png(json!({"output_format": "png"}), "png", PNG)]
#[case::jpeg(json!({"output_format": "jpeg"}), "jpeg", JPEG)]
#[case::webp(json!({"output_format": "webp"}), "webp", WEBP)]
#[tokio::test]
async fn openais_clients_get_the_format_and_the_size_that_the_answer_names(
    #[case] fields: Value,
    #[case] format: &str,
    #[case] magic: &[u8],
) {
    let (_cloud, server) = server().await;
    let mut body = asked(&fields);
    for response_format in ["b64_json", "url"] {
        body["response_format"] = response_format.into();
        let answer = server.post("/v1/images/generations", &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let answer = answer.json();
        assert_eq!((&answer["output_format"], &answer["size"]), (&json!(format), &json!("40x30")));
        let picture = match answer["data"][0]["url"].as_str() {
            None => decoded(&answer["data"][0]["b64_json"]),
            Some(link) => server.get_openly(&link[link.find("/api/").unwrap()..]).await.body.to_vec(),
        };
        assert!(picture.starts_with(magic), "{response_format}");
    }
}

#[tokio::test]
async fn a_stream_shows_the_picture_at_the_size_that_the_provider_chose() {
    let (_cloud, server) = server().await;
    let body = asked(&json!({"stream": true, "partial_images": 2}));
    let answer = server.post("/v1/images/generations", &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let events = answer.events();
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    let partial = "image_generation.partial_image";
    assert_eq!(names, [partial, partial, "image_generation.completed"], "{}", answer.text());
    for event in &events {
        assert_eq!((&event.data["size"], &event.data["output_format"]), (&json!("40x30"), &json!("png")));
        let picture = decoded(&event.data["b64_json"]);
        let size = decode_image(&picture).map(|picture| (picture.width, picture.height)).unwrap();
        assert!(picture.starts_with(PNG) && size == (40, 30), "{size:?}");
    }
}

#[tokio::test]
async fn the_web_uis_clients_are_offered_models_of_this_server_alone() {
    let (cloud, server) = server().await;
    let models = server.get("/sdapi/v1/sd-models").await.json();
    let names: Vec<&str> = models.as_array().unwrap().iter().map(|model| model["model_name"].as_str().unwrap()).collect();
    assert_eq!(names, ["demo-sdxl"]);
    let chosen = json!({"prompt": "a kite", "override_settings": {"sd_model_checkpoint": "cogview-4"}});
    for (path, body) in [("/sdapi/v1/txt2img", chosen), ("/sdapi/v1/options", json!({"sd_model_checkpoint": "cogview-4"}))] {
        let answer = server.post(path, &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}: {}", answer.text());
        assert!(answer.text().contains("'cogview-4' is not run by this server itself"), "{path}: {}", answer.text());
    }
    assert!(cloud.recorded("create").is_empty());
    let tasks = server.get("/api/v1/tasks").await.json();
    assert_eq!(tasks["tasks"], json!([]));
}

/// A server whose one provider knows shapes and no sizes.
async fn shapes() -> (Mock, TestServer) {
    let cloud = Mock::start(StabilityCloud).await;
    let key = AccountKey { id: "a".parse().unwrap(), secret: SecretString::from(secret_of_key("a")), max_concurrent: None };
    let entry = ProviderEntry { keys: vec![key], ..entry(ProviderKind::Stability, &cloud, "0.01") };
    let providers = ProviderSettings { currency: "EUR".to_owned(), providers: [("stability".parse().unwrap(), entry)].into() };
    let server = TestServer::start_with(Options { providers, egress: egress(&["127.0.0.1/32"]), ..Options::default() }).await;
    (cloud, server)
}

#[rstest]
#[case::a_shape("/v1/images/generations", json!({"size": "16:9"}), "16:9")]
#[case::an_odd_shape("/v1/images/generations", json!({"size": "21:9"}), "21:9")]
#[case::a_size("/v1/images/generations", json!({"size": "1024x1024"}), "1:1")]
#[case::sides("/api/v1/images/generate", json!({"width": 1280, "height": 720}), "16:9")]
#[case::a_ratio("/api/v1/tasks", json!({"aspect_ratio": "9:16"}), "9:16")]
#[case::size_of_a_task("/api/v1/tasks", json!({"size": "832*1248"}), "2:3")]
#[tokio::test]
async fn a_model_that_knows_shapes_alone_is_told_one(#[case] path: &str, #[case] fields: Value, #[case] ratio: &str) {
    let (cloud, server) = shapes().await;
    let mut body = json!({"prompt": "a kite"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let body = if path == "/api/v1/tasks" {
        json!({"model": "stable-image-core", "parameters": body})
    } else {
        body["model"] = json!("stable-image-core");
        body
    };
    let answer = server.post(path, &body).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    cloud.wait_for("create", 1).await;
    let sent = form_fields(&cloud.recorded("create")[0]).unwrap();
    assert!(sent.contains(&("aspect_ratio".to_owned(), ratio.to_owned())), "{sent:?}");
}

#[rstest]
#[case::a_size("/v1/images/generations", json!({"size": "1000x700"}), "1000x700")]
#[case::a_shape("/v1/images/generations", json!({"size": "7:1"}), "7:1")]
#[tokio::test]
async fn other_shapes_are_refused_with_those_that_there_are(#[case] path: &str, #[case] mut body: Value, #[case] shown: &str) {
    let (cloud, server) = shapes().await;
    (body["model"], body["prompt"]) = (json!("stable-image-core"), json!("a kite"));
    let answer = server.post(path, &body).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
    let words = format!("size '{shown}' is not possible with stable-image-core; allowed: 16:9, 1:1, 21:9");
    assert!(answer.text().contains(&words), "{}", answer.text());
    assert!(cloud.recorded("create").is_empty());
}
