//! Films that networks finish, whose weights the operator has named.

use std::path::Path;

use axum::http::StatusCode;
use framewright::execution::film::{FilmTools, NetworkFile};
use framewright::media::video::EncoderPreference;
use framewright_engine::ops::Precision;
use serde_json::{Value, json};

use crate::harness::{Options, TestServer};

/// Networks of random weights.
fn networks() -> FilmTools {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/engine/tests/fixtures");
    let file = |name: &str| Some(NetworkFile::look_at(&fixtures.join(name)).unwrap());
    FilmTools {
        interpolation_model: file("interpolate/saved/flownet.pkl"),
        upscaling_model: file("upscale/saved/compact.pth"),
        ..FilmTools::default()
    }
}

/// A server that promises what `promised` has, and has `films`.
async fn server(promised: &FilmTools, films: FilmTools) -> TestServer {
    let mut options = Options { films, ..Options::default() };
    options.settings.networks = promised.installed();
    TestServer::start_with(options).await
}

/// Two scenes at 24 frames a second, larger than the model's clips.
fn film(video_config: &Value) -> Value {
    let mut config = json!({"fps": 24, "width": 192, "height": 160});
    config.as_object_mut().unwrap().extend(video_config.as_object().unwrap().clone());
    json!({
        "scenes": [
            {"id": "dawn", "prompt": "a red circle", "duration": 0.5, "transition": {"type": "crossfade", "duration": 0.125}},
            {"id": "noon", "prompt": "a green star", "duration": 0.25},
        ],
        "video_config": config,
        "seed": 5,
    })
}

async fn made(server: &TestServer, body: &Value) -> Value {
    let answer = server.post("/api/v1/videos/generate", body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    let id = answer.json()["task_id"].as_str().unwrap().to_owned();
    server.wait(&id).await;
    server.get(&format!("/api/v1/tasks/{id}")).await.json()
}

/// How each scene says that it was interpolated and scaled.
fn finishing(document: &Value) -> Vec<(Value, Value)> {
    let scenes = document["result"]["manifest"]["scenes"].as_array().unwrap();
    scenes.iter().map(|scene| (scene["scene"]["interpolation"].clone(), scene["scene"]["scaling"].clone())).collect()
}

#[tokio::test]
async fn what_is_configured_is_used_unless_something_else_was_asked_for() {
    let server = server(&networks(), networks()).await;
    for (asked, expected) in [
        (json!({}), ("rife", "real_esrgan")),
        (json!({"interpolation": "rife", "upscale": "lanczos"}), ("rife", "lanczos")),
        (json!({"interpolation": "minterpolate", "upscale": "realesrgan"}), ("blend", "real_esrgan")),
    ] {
        let document = made(&server, &film(&asked)).await;
        assert_eq!(document["status"], "completed", "{document:#}");
        let output = &document["result"]["outputs"][0];
        assert_eq!((&output["width"], &output["height"], &output["video"]["frames"]), (&json!(192), &json!(160), &json!(18)));
        for (interpolation, scaling) in finishing(&document) {
            assert_eq!(scaling, expected.1, "{document:#}");
            // The filter needs three frames to see a motion, which short scenes have or have not.
            let is_expected = interpolation == expected.0 || (expected.0 == "blend" && interpolation == "minterpolate");
            assert!(is_expected, "{document:#}");
        }
        let link = output["url"].as_str().or(document["result"]["output_path"].as_str()).unwrap();
        let file = server.get_openly(link.strip_prefix("http://server:8000").unwrap()).await;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("film.mp4");
        std::fs::write(&path, &file.body).unwrap();
        let probed = framewright::media::video::probe(&path, &|| false).unwrap();
        assert_eq!((probed.frames, probed.width, probed.height), (18, 192, 160));
    }
    let said = made(&server, &film(&json!({}))).await;
    let scene = &said["result"]["manifest"]["scenes"][0]["scene"];
    assert_eq!(scene["interpolation_network"]["file"], "flownet.pkl");
    assert_eq!(scene["scaling_network"]["network"], "SRVGGNetCompact 8×1, 4×");
}

#[tokio::test]
async fn what_is_not_configured_is_refused_and_never_replaced() {
    let plain = server(&FilmTools::default(), FilmTools::default()).await;
    for (field, value) in [("interpolation", "rife"), ("upscale", "realesrgan")] {
        let refused = plain.post("/api/v1/videos/generate", &film(&json!({field: value}))).await;
        assert_eq!((refused.status, &refused.json()["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(field)));
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("is not configured on this server; allowed: auto, "), "{detail}");
    }
    // One server of several has taken it, and another one without the network makes it.
    let other = server(&networks(), FilmTools::default()).await;
    let failed = made(&other, &film(&json!({}))).await;
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("model_unavailable")), "{failed:#}");
    assert!(failed["error"]["message"].as_str().unwrap().contains("is not configured on this server"), "{failed:#}");
    // Or one that has another: here the same weights in another precision.
    let in_bf16 = server(&networks(), FilmTools { precision: Precision::Bf16, ..networks() }).await;
    let failed = made(&in_bf16, &film(&json!({}))).await;
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("model_unavailable")), "{failed:#}");
    assert!(
        failed["error"]["message"].as_str().unwrap().contains("is another one than the film was accepted with"),
        "{failed:#}"
    );
}

#[tokio::test]
async fn an_encoder_that_is_preferred_is_named_or_its_absence_is() {
    let films = FilmTools { encoder: EncoderPreference::Hardware, ..FilmTools::default() };
    let server = server(&FilmTools::default(), films).await;
    let document = made(&server, &film(&json!({}))).await;
    assert_eq!(document["status"], "completed", "{document:#}");
    let manifest = &document["result"]["manifest"];
    let warned = manifest["warnings"].to_string().contains("the GPU's encoder did not open");
    let encoder = manifest["film"]["encoder"].as_str().unwrap();
    assert!((encoder, warned) == ("h264_nvenc", false) || (encoder, warned) == ("libx264", true), "{manifest:#}");
}
