//! `/api/v1/models` and `/v1/models`.

use axum::http::StatusCode;
use insta::assert_json_snapshot;
use serde_json::json;

use super::stable;
use crate::harness::TestServer;

#[tokio::test]
async fn models_are_described_with_their_limits() {
    let server = TestServer::start().await;
    let list = server.get("/api/v1/models").await;
    assert_eq!(list.status, StatusCode::OK);
    stable().bind(|| {
        assert_json_snapshot!(list.json(), {
            ".models[].created_at" => "[time]",
            ".models[].parameters" => "[number]",
            ".models[].weight_file_bytes" => "[number]",
            ".models[].limits.samplers" => "[samplers]",
            ".models[].limits.max_steps_by_sampler" => "[steps]",
        });
    });
    let limits = &list.json()["models"][0]["limits"];
    let steps = limits["max_steps_by_sampler"].as_object().unwrap();
    assert!(limits["samplers"].as_array().unwrap().iter().all(|name| steps.contains_key(name.as_str().unwrap())));
    assert_eq!((&steps["euler"], &steps["lcm"]), (&json!(150), &json!(50)));
    let one = server.get("/api/v1/models/demo-sdxl").await;
    assert_eq!(one.json(), list.json()["models"][0]);
}

#[tokio::test]
async fn openai_clients_see_the_same_models() {
    let server = TestServer::start().await;
    let list = server.get("/v1/models").await;
    stable().bind(|| assert_json_snapshot!(list.json(), { ".data[].created" => "[seconds]" }));
    assert_eq!(server.get("/v1/models/demo-sdxl").await.json(), list.json()["data"][0]);
}

#[tokio::test]
async fn an_unknown_model_is_named() {
    let server = TestServer::start().await;
    for (name, path) in [("native", "/api/v1/models/nope"), ("openai", "/v1/models/gpt-image-1")] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        stable().bind(|| assert_json_snapshot!(format!("unknown_model_{name}"), answer.json()));
    }
    let hostile = server.get("/api/v1/models/..%2F..%2Fetc").await;
    assert_eq!((hostile.status, &hostile.json()["code"]), (StatusCode::NOT_FOUND, &json!("model_not_found")));
}
