//! APIs that the operator named: called where they are, believed as little as others.

use framewright::net::retry::Failure;
use framewright::net::upstream::Upstream;
use framewright::net::{FetchError, HeaderMap, Limits};

use crate::server::{Reply, Server, response};
use crate::{FRIEND, LIMITS, VICTIM, causes};

fn key() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", "Bearer key".parse().unwrap());
    headers
}

#[tokio::test]
async fn an_operators_own_address_is_trusted_with_paths_below_it() {
    let server = Server::start((FRIEND, 0), |_| Reply::ok(r#"{"ok":true}"#)).await.unwrap();
    let upstream = Upstream::new(&server.url("/v1/")).unwrap();
    assert_eq!(upstream.host(), "127.83.21.8");
    for (path, query, expected) in [
        (vec!["tasks", "1"], vec![], "/v1/tasks/1"),
        (vec![], vec![], "/v1"),
        (vec!["query"], vec![("task_id", "a b&c"), ("x", "")], "/v1/query?task_id=a+b%26c&x="),
        // Ids from outside stay what they are.
        (vec!["tasks", "../../admin"], vec![], "/v1/tasks/..%2F..%2Fadmin"),
        (vec!["tasks", "...", ".a"], vec![], "/v1/tasks/.../.a"),
        (vec!["tasks", "..\\..", "admin"], vec![], "/v1/tasks/..%5C../admin"),
        (vec!["tasks", "a?b#c"], vec![], "/v1/tasks/a%3Fb%23c"),
        (vec!["tasks", "%2e%2e"], vec![], "/v1/tasks/%252e%252e"),
        (vec!["//evil.test/"], vec![], "/v1/%2F%2Fevil.test%2F"),
    ] {
        let answer = upstream.get(&path, &query, key(), &LIMITS).await.unwrap();
        assert!(answer.json::<serde_json::Value>().unwrap()["ok"].as_bool().unwrap());
        let request = server.requests().pop().unwrap();
        assert!(request.starts_with(&format!("GET {expected} HTTP/1.1\r\n")), "{expected}: {request}");
        assert!(request.contains("Bearer key"), "{request}");
    }
    upstream.post_json(&["video_generation"], key(), "{}".into(), &LIMITS).await.unwrap();
    let request = server.requests().pop().unwrap();
    assert!(request.starts_with("POST /v1/video_generation HTTP/1.1\r\n") && request.ends_with("\r\n\r\n{}"), "{request}");
}

#[tokio::test]
async fn ids_that_lead_to_another_path_are_refused() {
    let server = Server::start((FRIEND, 0), |_| Reply::ok("{}")).await.unwrap();
    let upstream = Upstream::new(&server.url("/v1/")).unwrap();
    for id in ["", ".", "..", "..\n", "\t..", ".\r.", "\n", "a\r\nHost: evil.test", "a\0", "a\u{85}"] {
        let errors = [
            upstream.get(&["tasks", id], &[], key(), &LIMITS).await.unwrap_err(),
            upstream.post_json(&["tasks", id, "cancel"], key(), "{}".into(), &LIMITS).await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, FetchError::PathSegment { .. }), "{id:?}: {error:?}");
            assert_eq!(error.failure(), Failure::Refused);
        }
    }
    assert_eq!(server.connections().await, 0);
}

#[tokio::test]
async fn errors_keep_their_status_whatever_becomes_of_the_body() {
    let limits = Limits { max_bytes: 100, ..LIMITS };
    for reply in [
        Reply::Flood(response("HTTP/1.1 402 X\nConnection: close", b"")),
        Reply::new("HTTP/1.1 402 X\nContent-Length: 90", "{"),
        Reply::new("HTTP/1.1 402 X\nContent-Length: 101", "{"),
        Reply::new("HTTP/1.1 402 X\nContent-Encoding: gzip\nContent-Length: 2", "{}"),
    ] {
        let server = Server::start((FRIEND, 0), move |_| reply.clone()).await.unwrap();
        let upstream = Upstream::new(&server.url("/v1")).unwrap();
        for answer in [
            upstream.get(&["tasks"], &[], key(), &limits).await.unwrap(),
            upstream.post_json(&["tasks"], key(), "{}".into(), &limits).await.unwrap(),
        ] {
            assert_eq!((answer.status, answer.is_whole), (402, false));
            assert_eq!(answer.failure(), Some(Failure::Answered { status: 402 }));
        }
    }
}

#[tokio::test]
async fn its_answers_are_not() {
    let victim = Server::start((VICTIM, 0), |_| Reply::ok("{}")).await.unwrap();
    let limits = Limits { max_bytes: 100, ..LIMITS };
    let location = victim.url("/");
    for reply in [
        Reply::redirect(302, &location),
        Reply::redirect(307, &location),
        Reply::Flood(response("HTTP/1.1 200 OK\nConnection: close", b"")),
        Reply::Stall(response("HTTP/1.1 200 OK\nContent-Length: 101", b"")),
        Reply::new("HTTP/1.1 200 OK\nContent-Length: 90", "{"),
        Reply::new("HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: 2", "{}"),
        Reply::Bytes(Vec::new()),
    ] {
        let server = Server::start((FRIEND, 0), move |_| reply.clone()).await.unwrap();
        let upstream = Upstream::new(&server.url("/v1")).unwrap();
        let error = upstream.get(&["tasks"], &[("key", "secret")], key(), &limits).await.unwrap_err();
        assert!(!causes(&error).contains("secret"), "{}", causes(&error));
        let error = upstream.post_json(&["tasks"], key(), "{}".into(), &limits).await.unwrap_err();
        let is_known = matches!(error.failure(), Failure::Unusable | Failure::OutcomeUnknown | Failure::Answered { .. });
        assert!(is_known, "{error:?}");
        assert_eq!(server.requests().len(), 2, "{error:?}");
    }
    assert_eq!(victim.connections().await, 0);
    for reply in [Reply::Stall(Vec::new()), Reply::Drip(response("HTTP/1.1 200 OK\nContent-Length: 90", b"{"))] {
        let server = Server::start((FRIEND, 0), move |_| reply.clone()).await.unwrap();
        let short = Limits { total: std::time::Duration::from_millis(100), ..LIMITS };
        let error = Upstream::new(&server.url("/")).unwrap().get(&[], &[], key(), &short).await.unwrap_err();
        assert!(matches!(error, FetchError::Slow { .. }), "{error:?}");
    }
    // Errors of an API come with what it said.
    let reply = Reply::new("HTTP/1.1 402 X\nContent-Length: 15", r#"{"code":"poor"}"#);
    let server = Server::start((FRIEND, 0), move |_| reply.clone()).await.unwrap();
    let answer = Upstream::new(&server.url("/")).unwrap().get(&[], &[], HeaderMap::new(), &LIMITS).await.unwrap();
    assert_eq!((answer.status, answer.is_success()), (402, false));
    assert_eq!(answer.json::<serde_json::Value>().unwrap()["code"], "poor");
}

#[test]
fn addresses_of_apis_are_plain() {
    for good in ["https://api.example.com", "https://api.example.com/v1", "http://localhost:8188/", "http://10.0.0.7:9000/a/b/"] {
        assert!(Upstream::new(good).is_ok(), "{good}");
    }
    let message = Upstream::new("https://u:p@h.test/v1?key=secret").unwrap_err().to_string();
    assert!(message.starts_with("'https://h.test' is not the address of an API; "), "{message}");
    for bad in [
        "",
        "api.example.com",
        "ftp://h/",
        "https://u:secret@h/",
        "https://u@h/",
        "https://h/?key=secret",
        "https://h/secret#x",
        "https://secret@",
        "secret://h/",
        "secret:x",
        "https://h/#x",
        "file:///x",
        "https://",
    ] {
        let message = Upstream::new(bad).unwrap_err().to_string();
        assert!(message.contains("is not the address of an API") && !message.contains("secret"), "{bad}: {message}");
    }
}
