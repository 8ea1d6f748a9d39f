//! Downloads and signed links.

use axum::http::StatusCode;
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use super::stable;
use crate::harness::{Options, TestServer};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = b"\xff\xd8\xff";

async fn completed(server: &TestServer) -> (String, Value) {
    let id = server.submit(&json!({"prompt": "x", "num_inference_steps": 1, "num_images": 2, "seed": 3})).await;
    server.wait(&id).await;
    let task = server.get(&format!("/api/v1/tasks/{id}")).await.json();
    (id, task)
}

fn path_of(link: &Value) -> String {
    link.as_str().unwrap().strip_prefix("http://server:8000").unwrap().to_owned()
}

#[tokio::test]
async fn a_key_opens_every_file() {
    let server = TestServer::start().await;
    let (id, task) = completed(&server).await;
    for (path, media_type, magic) in [
        ("result?format=png", "image/png", PNG),
        ("result/0", "image/png", PNG),
        ("result/1", "image/png", PNG),
        ("result/1?format=jpeg&quality=50", "image/jpeg", JPEG),
        ("result?format=webp", "image/webp", b"RIFF"),
        ("thumbnail", "image/jpeg", JPEG),
        ("thumbnail/1", "image/jpeg", JPEG),
    ] {
        let answer = server.get(&format!("/api/v1/tasks/{id}/{path}")).await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, media_type), "{path}");
        assert!(answer.body.starts_with(magic), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    let picture = server.get(&format!("/api/v1/tasks/{id}/result/1")).await;
    assert_eq!(json!(picture.body.len()), task["result"]["outputs"][1]["bytes"]);
    assert_eq!(picture.header("content-disposition"), format!("inline; filename=\"{id}_1.png\""));
}

#[tokio::test]
async fn a_link_needs_no_key_until_it_expires() {
    let server = TestServer::start().await;
    let (_, task) = completed(&server).await;
    let result = &task["result"];
    for link in
        [&result["output_path"], &result["thumbnail"], &result["outputs"][1]["url"], &result["outputs"][1]["thumbnail_url"]]
    {
        assert_eq!(server.get_openly(&path_of(link)).await.status, StatusCode::OK, "{link}");
    }
    server.clock.advance_seconds(24 * 60 * 60 - 1);
    let path = path_of(&result["output_path"]);
    assert_eq!(server.get_openly(&path).await.status, StatusCode::OK);
    server.clock.advance_seconds(1);
    let over = server.get_openly(&path).await;
    assert_eq!(over.status, StatusCode::FORBIDDEN);
    stable().bind(|| assert_json_snapshot!(over.json()));
}

#[tokio::test]
async fn a_changed_link_opens_nothing() {
    let server = TestServer::start().await;
    let (id, task) = completed(&server).await;
    let path = path_of(&task["result"]["output_path"]);
    let changed = [
        path.replace("/result/0", "/result/1"),
        path.replace("/result/0", "/thumbnail/0"),
        path.replace("expires=1", "expires=2"),
        format!("{path}&format=jpeg"),
        format!("{path}A"),
        format!("{}AAAA", &path[..path.len() - 4]),
        format!("/api/v1/tasks/{id}/result/0?token="),
    ];
    for path in changed {
        let answer = server.get_openly(&path).await;
        assert_eq!((answer.status, &answer.json()["code"]), (StatusCode::FORBIDDEN, &json!("invalid_link")), "{path}");
    }
    let keyless = server.get_openly(&format!("/api/v1/tasks/{id}/result/0")).await;
    assert_eq!(keyless.status, StatusCode::UNAUTHORIZED);
    // A link is to a file, not to the task.
    assert_eq!(server.get_openly(&path.replace("/result/0", "")).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn links_begin_with_the_public_url() {
    let mut options = Options::default();
    options.settings.public_url = Some("https://pictures.example/base/".parse().unwrap());
    let server = TestServer::start_with(options).await;
    let (id, task) = completed(&server).await;
    let link = task["result"]["output_path"].as_str().unwrap();
    assert!(link.starts_with(&format!("https://pictures.example/base/api/v1/tasks/{id}/result/0?expires=")), "{link}");
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    let id = server.submit(&json!({"prompt": "x"})).await;
    let queued = server.get(&format!("/api/v1/tasks/{id}/result/0")).await;
    assert_eq!(queued.status, StatusCode::CONFLICT);
    stable().bind(|| assert_json_snapshot!(queued.json()));

    let server = TestServer::start().await;
    let (id, _) = completed(&server).await;
    for index in ["2", "-1", "99999999999999999999", "x", "..%2F..%2Fsecret"] {
        let answer = server.get(&format!("/api/v1/tasks/{id}/result/{index}")).await;
        assert_eq!((answer.status, &answer.json()["code"]), (StatusCode::NOT_FOUND, &json!("output_not_found")), "{index}");
    }
    for query in ["format=gif", "quality=0", "quality=101", "quality=x"] {
        let answer = server.get(&format!("/api/v1/tasks/{id}/result?{query}")).await;
        let field = query.split('=').next();
        assert_eq!((answer.status, answer.json()["field"].as_str()), (StatusCode::UNPROCESSABLE_ENTITY, field), "{query}");
    }
}
