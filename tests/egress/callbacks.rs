//! Callbacks: sent once, signed, never redirected.

use std::time::Duration;

use framewright::domain::UnixMs;
use framewright::net::retry::{Failure, Repetition};
use framewright::net::webhook_signature::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, WebhookSecret};
use framewright::net::{Answer, FetchError, HeaderMap, Limits};

use crate::names::Names;
use crate::server::{Reply, Server, response};
use crate::{FRIEND, LIMITS, egress};

const BODY: &str = r#"{"task_id":"x","status":"completed"}"#;

async fn post(server: &Server, headers: HeaderMap, limits: &Limits) -> Result<Answer, FetchError> {
    let egress = egress(&["127.83.21.8/32"], &Names::of(&[]));
    let url = egress.policy().check(&server.url("/hook?token=abc")).unwrap();
    egress.post_json(&url, headers, BODY.into(), limits).await
}

#[tokio::test]
async fn a_receiver_gets_the_body_and_can_tell_who_sent_it() {
    let server = Server::start((FRIEND, 0), |_| Reply::ok(r#"{"challenge":"1a3b"}"#)).await.unwrap();
    let secret = WebhookSecret::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
    let signature = secret.sign("msg_1", 1_700_000_000, BODY.as_bytes()).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "text/plain".parse().unwrap());
    for (name, value) in [(ID_HEADER, "msg_1"), (TIMESTAMP_HEADER, "1700000000"), (SIGNATURE_HEADER, &signature)] {
        headers.insert(name, value.parse().unwrap());
    }
    let answer = post(&server, headers, &LIMITS).await.unwrap();
    assert!(answer.is_success() && answer.failure().is_none());
    assert_eq!(answer.json::<serde_json::Value>().unwrap()["challenge"], "1a3b");

    let requests = server.requests();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /hook?token=abc HTTP/1.1\r\n"), "{head}");
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(given, _)| given.eq_ignore_ascii_case(name)).unwrap_or_else(|| panic!("{name}: {head}")).1
    };
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(head.to_ascii_lowercase().matches("content-type").count(), 1, "{head}");
    assert_eq!(header("accept-encoding"), "identity");
    assert!(header("user-agent").starts_with("framewright/"));
    let verified = secret.verify(
        header(ID_HEADER),
        header(TIMESTAMP_HEADER),
        header(SIGNATURE_HEADER),
        body.as_bytes(),
        UnixMs(1_700_000_030_000),
    );
    assert_eq!(verified, Ok(()));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    for status in [300, 301, 302, 303, 304, 307, 308] {
        let server = Server::start((FRIEND, 0), move |_| Reply::redirect(status, "/elsewhere")).await.unwrap();
        let error = post(&server, HeaderMap::new(), &LIMITS).await.unwrap_err();
        assert!(matches!(error, FetchError::UnexpectedRedirect { .. }), "{error:?}");
        assert!(!error.failure().may_be_sent_again(Repetition::Harmful));
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn what_became_of_a_post_decides_whether_it_is_sent_again() {
    let limits = Limits { max_bytes: 100, ..LIMITS };
    for (reply, harmless, harmful) in [
        (Reply::new("HTTP/1.1 429 X\nRetry-After: 1\nContent-Length: 0", ""), true, true),
        (Reply::new("HTTP/1.1 503 X\nContent-Length: 0", ""), true, false),
        // Proxies write this for a server that took the request, too.
        (Reply::new("HTTP/1.1 503 X\nRetry-After: 1\nContent-Length: 0", ""), true, false),
        (Reply::new("HTTP/1.1 400 X\nContent-Length: 0", ""), false, false),
        // No answer, and half a head.
        (Reply::Bytes(Vec::new()), true, false),
        (Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()), true, false),
    ] {
        let server = Server::start((FRIEND, 0), move |_| reply.clone()).await.unwrap();
        let failure = match post(&server, HeaderMap::new(), &limits).await {
            Ok(answer) => answer.failure().unwrap(),
            Err(error) => error.failure(),
        };
        assert_eq!(failure.may_be_sent_again(Repetition::Harmless), harmless, "{failure:?}");
        assert_eq!(failure.may_be_sent_again(Repetition::Harmful), harmful, "{failure:?}");
        assert_eq!(server.requests().len(), 1, "nothing is sent again by itself: {failure:?}");
    }
    let server = Server::start((FRIEND, 0), |_| Reply::Stall(Vec::new())).await.unwrap();
    let short = Limits { total: Duration::from_millis(100), ..LIMITS };
    let failure = post(&server, HeaderMap::new(), &short).await.unwrap_err().failure();
    assert!(!failure.may_be_sent_again(Repetition::Harmful), "{failure:?}");
}

#[tokio::test]
async fn the_status_stands_whatever_becomes_of_the_body() {
    let limits = Limits { max_bytes: 100, total: Duration::from_secs(2), ..LIMITS };
    let bodies: [fn(u16) -> Reply; 6] = [
        |status| Reply::Flood(response(&format!("HTTP/1.1 {status} X\nRetry-After: 7\nConnection: close"), b"")),
        |status| Reply::new(&format!("HTTP/1.1 {status} X\nRetry-After: 7\nContent-Length: 90"), "{}"),
        |status| Reply::new(&format!("HTTP/1.1 {status} X\nRetry-After: 7\nContent-Length: 900"), "{}"),
        |status| Reply::new(&format!("HTTP/1.1 {status} X\nRetry-After: 7\nContent-Encoding: gzip\nContent-Length: 2"), "{}"),
        |status| Reply::Stall(response(&format!("HTTP/1.1 {status} X\nRetry-After: 7\nContent-Length: 90"), b"{}")),
        |status| Reply::new(&format!("HTTP/1.1 {status} X\nRetry-After: 7\nTransfer-Encoding: chunked"), "2\r\n{}\r\nno number"),
    ];
    for (number, body) in bodies.into_iter().enumerate() {
        for (status, failure) in [(200, None), (410, Some(410)), (429, Some(429)), (500, Some(500))] {
            let server = Server::start((FRIEND, 0), move |_| body(status)).await.unwrap();
            let answer = post(&server, HeaderMap::new(), &limits).await.unwrap();
            assert_eq!((answer.status, answer.is_whole), (status, false), "{number}");
            assert_eq!(answer.failure(), failure.map(|status| Failure::Answered { status }), "{number}");
            assert_eq!(answer.retry_after(UnixMs(0)), Some(Duration::from_secs(7)), "{number}");
            assert!(answer.body.len() <= 100, "{number}");
            let error = answer.json::<serde_json::Value>().unwrap_err();
            assert!(matches!(error, FetchError::NotWhole { .. }), "{number}: {error:?}");
            assert_eq!(error.failure(), Failure::Unusable);
            assert!(!format!("{answer:?}").contains("{}"), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn answers_that_are_not_json_are_said_to_be_so() {
    for body in ["", "<html>", "{\"a\":", "{} {}", "[[[[", &"[".repeat(100_000)] {
        let body = body.to_owned();
        let server = Server::start((FRIEND, 0), move |_| Reply::ok(&body)).await.unwrap();
        let error = post(&server, HeaderMap::new(), &LIMITS).await.unwrap().json::<serde_json::Value>().unwrap_err();
        assert_eq!(error.to_string(), "'127.83.21.8' answered with something else than the expected JSON");
        assert_eq!(error.failure(), Failure::Unusable);
    }
}
