//! Who gets in.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use framewright::tenants::NewKey;
use hmac::{Hmac, KeyInit, Mac};
use insta::assert_json_snapshot;
use secrecy::ExposeSecret;
use serde_json::json;
use sha2::Sha256;

use super::stable;
use crate::harness::{Answer, MASTER_KEY, NOW, Options, SECRET_KEY, TestServer};

async fn with_header(server: &TestServer, path: &str, name: &str, value: &str) -> Answer {
    server.send(Request::get(path).header(name, value).body(Body::empty()).unwrap()).await
}

fn token(algorithm: &str, secret: &str, expires: i64) -> String {
    let header = BASE64_URL_SAFE_NO_PAD.encode(json!({"alg": algorithm, "typ": "JWT"}).to_string());
    let claims = BASE64_URL_SAFE_NO_PAD.encode(json!({"sub": "carla", "scope": "admin", "exp": expires}).to_string());
    let mut hash = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    hash.update(format!("{header}.{claims}").as_bytes());
    format!("{header}.{claims}.{}", BASE64_URL_SAFE_NO_PAD.encode(hash.finalize().into_bytes()))
}

#[tokio::test]
async fn every_kind_of_key_opens() {
    let server = TestServer::start().await;
    let keys = [server.user_key.clone(), MASTER_KEY.to_owned(), token("HS256", SECRET_KEY, NOW.seconds() + 60)];
    for key in keys {
        for (name, value) in [("authorization", format!("Bearer {key}")), ("x-api-key", key.clone())] {
            for path in ["/api/v1/models", "/v1/models"] {
                assert_eq!(with_header(&server, path, name, &value).await.status, StatusCode::OK, "{name}: {value} {path}");
            }
        }
    }
}

#[tokio::test]
async fn nothing_else_does() {
    let server = TestServer::start().await;
    let (record, revoked) = server.state.keys.create(NewKey::for_administrator("dora".parse().unwrap())).await.unwrap();
    assert!(server.state.keys.revoke(record.id).await.unwrap().is_some());
    let keys = [
        revoked.expose_secret().to_owned(),
        format!("{}x", server.user_key),
        "fw_".to_owned(),
        token("none", SECRET_KEY, NOW.seconds() + 60),
        token("HS256", "another secret", NOW.seconds() + 60),
        token("HS256", SECRET_KEY, NOW.seconds()),
    ];
    for key in keys {
        let answer = with_header(&server, "/api/v1/models", "authorization", &format!("Bearer {key}")).await;
        assert_eq!((answer.status, &answer.json()["code"]), (StatusCode::UNAUTHORIZED, &json!("invalid_api_key")), "{key}");
    }
}

#[tokio::test]
async fn refusals_are_in_the_surfaces_envelope() {
    let server = TestServer::start().await;
    let native = server.get_openly("/api/v1/tasks").await;
    assert_eq!((native.status, native.header("www-authenticate")), (StatusCode::UNAUTHORIZED, "Bearer"));
    assert_eq!(native.header("content-type"), "application/problem+json");
    let openai = with_header(&server, "/v1/models", "authorization", "Bearer sk-wrong").await;
    assert_eq!(openai.status, StatusCode::UNAUTHORIZED);
    stable().bind(|| {
        assert_json_snapshot!("missing_key_native", native.json());
        assert_json_snapshot!("wrong_key_openai", openai.json());
    });
}

#[tokio::test]
async fn a_body_is_not_read_for_strangers() {
    let server = TestServer::start().await;
    let request =
        Request::post("/api/v1/images/generate").header("content-type", "application/json").body(Body::from("{")).unwrap();
    assert_eq!(server.send(request).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn some_routes_need_no_key() {
    let server = TestServer::start().await;
    for path in ["/api/v1/health", "/docs", "/docs/openapi.json", "/docs/swagger-ui.css", "/metrics"] {
        assert_eq!(server.get_openly(path).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn metrics_off_loopback_are_the_administrators() {
    let mut options = Options::default();
    options.settings.loopback = false;
    let server = TestServer::start_with(options).await;
    assert_eq!(server.get_openly("/metrics").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(server.get("/metrics").await.status, StatusCode::FORBIDDEN);
    let administrator = with_header(&server, "/metrics", "authorization", &format!("Bearer {MASTER_KEY}")).await;
    assert_eq!(administrator.status, StatusCode::OK);
}

#[tokio::test]
async fn without_authentication_everybody_is_the_local_administrator() {
    let mut options = Options::default();
    options.settings.auth_enabled = false;
    let server = TestServer::start_with(options).await;
    assert_eq!(server.get_openly("/api/v1/tasks").await.status, StatusCode::OK);
}
