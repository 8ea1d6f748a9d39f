//! `POST /api/v1/images/generate`.

use axum::http::{Method, StatusCode};
use framewright::media::encode::{PngText, encode_png};
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use super::stable;
use crate::harness::{Options, TestServer};

/// A PNG of one colour, in base64.
pub(super) fn picture_base64(width: u32, height: u32) -> String {
    use base64::Engine;
    let rgb = [200, 30, 40].repeat((width * height) as usize);
    base64::prelude::BASE64_STANDARD.encode(encode_png(width, height, &rgb, &PngText::default()).unwrap())
}

#[tokio::test]
async fn a_task_is_accepted_and_completes() {
    let server = TestServer::start().await;
    let answer = server.post("/api/v1/images/generate", &json!({"prompt": "a red circle", "seed": 7, "num_images": 2})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    stable().bind(|| assert_json_snapshot!(answer.json()));

    let id = answer.json()["task_id"].as_str().unwrap().to_owned();
    server.wait(&id).await;
    let task = server.get(&format!("/api/v1/tasks/{id}")).await;
    assert_eq!(task.status, StatusCode::OK);
    stable().bind(|| {
        assert_json_snapshot!(task.json(), {
            ".result.manifest" => "[manifest]",
            ".result.outputs[].sha256" => "[sha256]",
            ".result.outputs[].bytes" => "[bytes]",
            ".result.outputs[].local_path" => "[path]",
        });
    });
}

#[tokio::test]
async fn a_seed_is_chosen_and_reported_when_absent() {
    let server = TestServer::start().await;
    let mut seeds = Vec::new();
    for _ in 0..2 {
        let id = server.submit(&json!({"prompt": "x", "num_inference_steps": 1})).await;
        server.wait(&id).await;
        seeds.push(server.get(&format!("/api/v1/tasks/{id}")).await.json()["result"]["outputs"][0]["seed"].as_u64().unwrap());
    }
    assert_ne!(seeds[0], seeds[1]);
}

#[tokio::test]
async fn an_initial_picture_gives_its_size() {
    let server = TestServer::start().await;
    for init_image in [picture_base64(136, 100), format!("data:image/png;base64,{}", picture_base64(136, 100))] {
        let body = json!({"prompt": "x", "num_inference_steps": 2, "init_image": init_image, "strength": 0.5});
        let id = server.submit(&body).await;
        server.wait(&id).await;
        let task = server.get(&format!("/api/v1/tasks/{id}")).await.json();
        // A fake device's pictures are small; what a real one would have been asked for is in the manifest.
        let request = &task["result"]["manifest"]["request"];
        assert_eq!((&request["width"], &request["height"]), (&json!(136), &json!(96)), "{task}");
    }
}

#[tokio::test]
async fn a_mask_is_kept_with_its_task_and_lost_with_it() {
    let server = TestServer::start().await;
    let body = json!({
        "prompt": "x", "num_inference_steps": 4, "init_image": picture_base64(136, 100), "strength": 0.5,
        "mask": format!("data:image/png;base64,{}", picture_base64(50, 70)),
    });
    let id = server.submit(&body).await;
    server.wait(&id).await;
    let task = server.get(&format!("/api/v1/tasks/{id}")).await.json();
    let request = &task["result"]["manifest"]["request"];
    assert_eq!(request["mask"], json!(format!("inputs/{id}-mask.png")), "{task}");
    assert_eq!((&request["width"], &request["height"]), (&json!(136), &json!(96)), "the mask has no say in the size");
}

#[tokio::test]
async fn models_say_that_they_take_masks() {
    let server = TestServer::start().await;
    let models = server.get("/api/v1/models").await.json();
    let models = models["models"].as_array().unwrap();
    assert!(!models.is_empty());
    for model in models {
        let expected = match model["kind"].as_str() {
            Some("image") => (json!(true), json!(4), json!(false)),
            _ => (json!(false), Value::Null, json!(false)),
        };
        let told = (model["inpainting"].clone(), model["input_channels"].clone(), model["mask_required"].clone());
        assert_eq!(told, expected, "{model}");
    }
}

#[tokio::test]
async fn the_same_idempotency_key_gives_the_same_task() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let send = async |prompt: &str| {
        let mut request = server.request(Method::POST, "/api/v1/images/generate", Some(&json!({"prompt": prompt})));
        request.headers_mut().insert("idempotency-key", "order-1".parse().unwrap());
        server.send(request).await
    };
    let (first, again, other) = (send("a").await, send("a").await, send("b").await);
    assert_eq!(first.json()["task_id"], again.json()["task_id"]);
    assert_eq!(other.status, StatusCode::CONFLICT);
    stable().bind(|| assert_json_snapshot!(other.json()));
}

#[tokio::test]
async fn an_idempotency_key_stands_for_its_seed_too() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let send = async |key: &'static str, body: Value| {
        let mut request = server.request(Method::POST, "/api/v1/images/generate", Some(&body));
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        server.send(request).await
    };
    let first = send("seeded", json!({"prompt": "a", "seed": 1})).await.json()["task_id"].clone();
    assert_eq!(send("seeded", json!({"prompt": "a", "seed": 1})).await.json()["task_id"], first);
    assert_eq!(send("seeded", json!({"prompt": "a", "seed": 2})).await.status, StatusCode::CONFLICT);
    assert_eq!(send("seeded", json!({"prompt": "a"})).await.status, StatusCode::CONFLICT);
    let unseeded = send("unseeded", json!({"prompt": "a"})).await.json()["task_id"].clone();
    assert_eq!(send("unseeded", json!({"prompt": "a"})).await.json()["task_id"], unseeded);
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    let server = TestServer::start_with(Options { has_device: false, queue_limit: 1, ..Options::default() }).await;
    server.submit(&json!({"prompt": "a"})).await;
    let answer = server.post("/api/v1/images/generate", &json!({"prompt": "b"})).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.header("retry-after"), "10");
    stable().bind(|| assert_json_snapshot!(answer.json()));
}
