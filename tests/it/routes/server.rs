//! Health, metrics, documentation, and what surrounds every route.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use insta::assert_json_snapshot;
use serde_json::json;

use super::stable;
use crate::harness::{Options, TestServer};

#[tokio::test]
async fn health_counts_what_waits() {
    let server = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    server.submit(&json!({"prompt": "x"})).await;
    let health = server.get_openly("/api/v1/health").await;
    assert_eq!(health.status, StatusCode::OK);
    stable().bind(|| assert_json_snapshot!(health.json()));

    server.state.shutdown.cancel();
    let stopping = server.get_openly("/api/v1/health").await;
    assert_eq!((stopping.status, &stopping.json()["status"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("stopping")));
}

#[tokio::test]
async fn metrics_count_requests_and_jobs() {
    let server = TestServer::start().await;
    let id = server.submit(&json!({"prompt": "x", "num_inference_steps": 3})).await;
    server.wait(&id).await;
    server.get("/no/such/route").await;
    let metrics = server.get_openly("/metrics").await;
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = metrics.text();
    for line in [
        r#"framewright_build_info{version="0.0.0-test"} 1"#,
        r#"framewright_http_requests_total{method="POST",route="/api/v1/images/generate",status="202"} 1"#,
        r#"framewright_http_requests_total{method="GET",route="unmatched",status="404"} 1"#,
        r#"framewright_tasks_total{kind="image",outcome="completed"} 1"#,
        r#"framewright_jobs{state="queued"} 0"#,
        r#"framewright_step_duration_seconds_count{device="fake"} 3"#,
    ] {
        assert!(text.lines().any(|seen| seen == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains(&id), "a label holds an id");
}

#[tokio::test]
async fn a_device_that_stopped_is_seen_in_the_metrics() {
    let server = TestServer::start_with(Options { memory_bytes: Some(1_000_000_000), ..Options::default() }).await;
    let of_device = async || {
        let text = server.get_openly("/metrics").await.text();
        let is_reading = |line: &&str| line.starts_with("framewright_device_up") || line.starts_with("framewright_device_memory");
        text.lines().filter(is_reading).map(str::to_owned).collect::<Vec<_>>()
    };
    let free = r#"framewright_device_memory_bytes{device="fake",state="free"} 1000000000"#;
    let used = r#"framewright_device_memory_bytes{device="fake",state="used"} 0"#;
    let up = r#"framewright_device_up{device="fake"} 1"#;
    assert_eq!(of_device().await, [free, used, up]);
    server.state.scheduler.shut_down(std::time::Duration::ZERO).await;
    // The device's thread ends a moment later.
    let left = loop {
        let left = of_device().await;
        if !left.iter().any(|line| line == up) {
            break left;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(left, [r#"framewright_device_up{device="fake"} 0"#]);
}

#[tokio::test]
async fn the_openapi_document_is_reviewed_when_it_changes() {
    let server = TestServer::start().await;
    let document = server.get_openly("/docs/openapi.json").await;
    stable().bind(|| assert_json_snapshot!(document.json(), { ".info.version" => "[version]" }));
}

#[tokio::test]
async fn the_page_loads_its_parts() {
    let server = TestServer::start().await;
    let page = server.get_openly("/docs").await;
    assert!(page.header("content-type").starts_with("text/html"));
    let text = page.text();
    let parts: Vec<&str> = text.split('"').filter(|part| part.starts_with("/docs/")).collect();
    assert_eq!(parts.len(), 5);
    for part in parts {
        assert_eq!(server.get_openly(part).await.status, StatusCode::OK, "{part}");
    }
    assert_eq!(server.get_openly("/docs/nothing.js").await.status, StatusCode::NOT_FOUND);
    assert!(server.get_openly("/docs/swagger-initializer.js").await.text().contains("/docs/openapi.json"));
}

#[tokio::test]
async fn a_path_that_is_no_text_has_the_surfaces_envelope() {
    let server = TestServer::start().await;
    for path in ["/api/v1/models/%FF", "/api/v1/tasks/x/thumbnail/%FF", "/v1/models/%FF", "/docs/%FF"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        let body = answer.json();
        let code = if path.starts_with("/v1") { &body["error"]["code"] } else { &body["code"] };
        assert_eq!(code, "route_not_found", "{path}");
    }
}

#[tokio::test]
async fn unknown_routes_and_methods_have_the_surfaces_envelope() {
    let server = TestServer::start().await;
    let requests = [
        ("route_native", Method::GET, "/api/v1/nothing", StatusCode::NOT_FOUND),
        ("route_openai", Method::POST, "/v1/nothing", StatusCode::NOT_FOUND),
        ("method_native", Method::DELETE, "/api/v1/images/generate", StatusCode::METHOD_NOT_ALLOWED),
        ("method_openai", Method::GET, "/v1/images/generations", StatusCode::METHOD_NOT_ALLOWED),
    ];
    for (name, method, path, status) in requests {
        let answer = server.send(server.request(method, path, None)).await;
        assert_eq!(answer.status, status, "{path}");
        stable().bind(|| assert_json_snapshot!(name, answer.json()));
    }
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let server = TestServer::start().await;
    assert_eq!(server.get_openly("/api/v1/health").await.header("x-request-id").len(), 32);
    let request = Request::get("/nothing").header("x-request-id", "mine-1").body(Body::empty()).unwrap();
    assert_eq!(server.send(request).await.header("x-request-id"), "mine-1");
}

#[tokio::test]
async fn browsers_get_in_only_from_listed_origins() {
    let preflight = |origin: &str| {
        Request::options("/v1/models")
            .header("origin", origin)
            .header("access-control-request-method", "GET")
            .body(Body::empty())
            .unwrap()
    };
    let mut options = Options::default();
    options.settings.cors_origins = vec!["https://page.example".to_owned()];
    let server = TestServer::start_with(options).await;
    let listed = server.send(preflight("https://page.example")).await;
    assert_eq!(listed.header("access-control-allow-origin"), "https://page.example");
    assert_eq!(server.send(preflight("https://evil.example")).await.header("access-control-allow-origin"), "");
    let closed = TestServer::start().await;
    assert_eq!(closed.send(preflight("https://page.example")).await.header("access-control-allow-origin"), "");
}
