//! Calls that were written elsewhere: sent as they are, once, to where they say.

use framewright::net::exchange::{CallMethod, Exchange, OutgoingCall, SavedReply};
use framewright::net::retry::Failure;
use framewright::net::{FetchError, HeaderMap, Limits};

use crate::server::{Reply, Server, response};
use crate::{FRIEND, LIMITS, VICTIM};

fn call(method: CallMethod, url: &str, body: Option<&'static str>) -> OutgoingCall {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", "Bearer secret".parse().unwrap());
    OutgoingCall { method, url: url.parse().unwrap(), headers, body: body.map(Into::into) }
}

#[tokio::test]
async fn a_call_is_sent_as_it_was_written() {
    let server =
        Server::start((FRIEND, 0), |_| Reply::new("HTTP/1.1 429 X\nRetry-After: 7\nContent-Length: 2", "{}")).await.unwrap();
    let exchange = Exchange::new().unwrap();
    for (method, word) in
        [(CallMethod::Get, "GET"), (CallMethod::Post, "POST"), (CallMethod::Put, "PUT"), (CallMethod::Delete, "DELETE")]
    {
        let body = (method != CallMethod::Get).then_some("{\"a\":1}");
        let call = call(method, &server.url("/v1/x?y=a%20b"), body);
        assert!(!format!("{call:?}").contains("a%20b") && !format!("{call:?}").contains("secret"), "{call:?}");
        let reply = exchange.send(call, &LIMITS).await.unwrap();
        assert_eq!((reply.status, &reply.body[..], reply.is_whole), (429, &b"{}"[..], true));
        assert!(reply.headers.contains(&("retry-after".to_owned(), "7".to_owned())), "{:?}", reply.headers);
        let request = server.requests().pop().unwrap();
        assert!(request.starts_with(&format!("{word} /v1/x?y=a%20b HTTP/1.1\r\n")), "{request}");
        assert!(request.contains("authorization: Bearer secret") && body.is_none_or(|body| request.ends_with(body)), "{request}");
    }
    assert_eq!(server.requests().len(), 4, "each once");
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let victim = Server::start((VICTIM, 0), |_| Reply::ok("{}")).await.unwrap();
    let location = victim.url("/film?Signature=s");
    let told = location.clone();
    let server = Server::start((FRIEND, 0), move |_| Reply::redirect(307, &told)).await.unwrap();
    let (exchange, directory) = (Exchange::new().unwrap(), tempfile::tempdir().unwrap());
    let reply = exchange.send(call(CallMethod::Post, &server.url("/"), Some("{}")), &LIMITS).await.unwrap();
    assert_eq!(reply.status, 307);
    let path = directory.path().join("film.mp4");
    let saved = exchange.send_to_file(call(CallMethod::Get, &server.url("/"), None), &LIMITS, &path).await.unwrap();
    assert!(matches!(&saved, SavedReply::Elsewhere(link) if *link == location), "{saved:?}");
    assert_eq!(victim.connections().await, 0, "whoever follows it does so without the credential");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn no_more_is_read_than_asked_for_and_no_answer_is_an_error() {
    let limits = Limits { max_bytes: 100, ..LIMITS };
    let (exchange, directory) = (Exchange::new().unwrap(), tempfile::tempdir().unwrap());
    for (reply, read) in [
        (Reply::Flood(response("HTTP/1.1 200 OK\nConnection: close", b"")), 0),
        (Reply::new("HTTP/1.1 200 OK\nContent-Length: 101", "{"), 0),
        (Reply::new("HTTP/1.1 200 OK\nContent-Length: 90", "{"), 1),
        (Reply::new("HTTP/1.1 500 X\nContent-Encoding: gzip\nContent-Length: 2", "{}"), 0),
    ] {
        let server = Server::start((FRIEND, 0), move |_| reply.clone()).await.unwrap();
        let reply = exchange.send(call(CallMethod::Get, &server.url("/"), None), &limits).await.unwrap();
        assert_eq!((reply.body.len(), reply.is_whole), (read, false));
        let path = directory.path().join("film.mp4");
        let saved = exchange.send_to_file(call(CallMethod::Get, &server.url("/"), None), &limits, &path).await;
        assert!(!matches!(saved, Ok(SavedReply::Saved { .. })), "{saved:?}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left");
    }
    let server = Server::start((FRIEND, 0), |_| Reply::Bytes(Vec::new())).await.unwrap();
    let error = exchange.send(call(CallMethod::Post, &server.url("/"), Some("{}")), &LIMITS).await.unwrap_err();
    assert_eq!(error.failure(), Failure::OutcomeUnknown, "{error:?}");
    let free = std::net::TcpListener::bind((FRIEND, 0)).unwrap().local_addr().unwrap();
    let error = exchange.send(call(CallMethod::Post, &format!("http://{free}/"), Some("{}")), &LIMITS).await.unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error:?}");
    assert_eq!(error.failure(), Failure::NotSent);
}

#[tokio::test]
async fn a_file_gets_its_name_once_it_is_whole() {
    let (exchange, directory) = (Exchange::new().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start((FRIEND, 0), |_| Reply::ok("a film")).await.unwrap();
    let path = directory.path().join("film.mp4");
    let saved = exchange.send_to_file(call(CallMethod::Get, &server.url("/"), None), &LIMITS, &path).await.unwrap();
    assert!(matches!(saved, SavedReply::Saved { length_bytes: 6 }), "{saved:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"a film");
}

#[tokio::test]
async fn a_large_body_waits_for_its_turn_and_a_small_one_does_not_ask() {
    let server = Server::start((FRIEND, 0), |_| Reply::ok("twelve bytes")).await.unwrap();
    let exchange = Exchange::new().unwrap();
    let (get, never) = (|| call(CallMethod::Get, &server.url("/"), None), std::future::pending::<()>);
    let (reply, turn) = exchange.send_in_turn(get(), &LIMITS, 12, never()).await.unwrap();
    assert_eq!((&reply.body[..], reply.is_whole, turn), (&b"twelve bytes"[..], true, None));

    let (give, given) = tokio::sync::oneshot::channel::<&str>();
    let mut sent = std::pin::pin!(exchange.send_in_turn(get(), &LIMITS, 11, given));
    let (asked, at_once) = (server.requests().len(), LIMITS.idle.min(std::time::Duration::from_millis(50)));
    assert!(tokio::time::timeout(at_once, &mut sent).await.is_err(), "it waits for its turn");
    assert_eq!(server.requests().len(), asked + 1);
    give.send("a place").unwrap();
    let (reply, turn) = sent.await.unwrap();
    assert_eq!((reply.body.len(), reply.is_whole, turn), (12, true, Some(Ok("a place"))));
}
