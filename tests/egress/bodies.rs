//! Bodies that are too large, too slow, cut off or lied about.

use std::time::Duration;

use framewright::net::retry::Failure;
use framewright::net::{FetchError, Limits};

use crate::names::Names;
use crate::server::{Reply, Server, response};
use crate::{FRIEND, LIMITS, causes, egress};

const CAP: u64 = 1000;

/// What becomes of an answer, in memory, of which at most [`CAP`] bytes are read.
async fn fetch(reply: Reply, limits: Limits) -> Result<Vec<u8>, FetchError> {
    let server = Server::start((FRIEND, 0), move |_| reply.clone()).await.unwrap();
    let egress = egress(&["127.83.21.8/32"], &Names::of(&[]));
    let url = egress.policy().check(&server.url("/picture?signature=abc")).unwrap();
    let fetched = egress.get(&url, &limits).await;

    // A file is the same, and what failed leaves none.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("picture");
    let saved = egress.get_to_file(&url, &limits, &path).await;
    match (&fetched, &saved) {
        (Ok(fetched), Ok(saved)) => {
            assert_eq!(std::fs::read(&path).unwrap(), fetched.bytes);
            assert_eq!((saved.length_bytes, &saved.content_type), (fetched.bytes.len() as u64, &fetched.content_type));
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        }
        (Err(one), Err(other)) => {
            assert_eq!(std::mem::discriminant(one), std::mem::discriminant(other), "{one:?} {other:?}");
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "{one:?}");
        }
        _ => panic!("{fetched:?} {saved:?}"),
    }
    if let Err(error) = &fetched {
        let shown = error.to_string();
        assert!(shown.starts_with("'127.83.21.8' ") && !shown.contains('\n'), "{shown}");
        assert!(!causes(error).contains("signature"), "{}", causes(error));
    }
    fetched.map(|download| download.bytes.to_vec())
}

fn capped() -> Limits {
    Limits { max_bytes: CAP, ..LIMITS }
}

fn bytes(count: u64) -> Vec<u8> {
    (0..count).map(|index| (index % 251) as u8).collect()
}

fn chunked(parts: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        body.extend_from_slice(part);
        body.extend_from_slice(b"\r\n");
    }
    body
}

const CHUNKED: &str = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked";
const UNTIL_CLOSED: &str = "HTTP/1.1 200 OK\nConnection: close";

#[tokio::test]
async fn bodies_up_to_the_limit_come_whole() {
    for length in [0, 1, CAP - 1, CAP] {
        let body = bytes(length);
        assert_eq!(fetch(Reply::ok(&body), capped()).await.unwrap(), body);
        assert_eq!(fetch(Reply::new(UNTIL_CLOSED, &body), capped()).await.unwrap(), body);
        let (first, second) = body.split_at(body.len() / 2);
        let parts: Vec<&[u8]> = [first, second].into_iter().filter(|part| !part.is_empty()).chain([b"".as_slice()]).collect();
        assert_eq!(fetch(Reply::new(CHUNKED, chunked(&parts)), capped()).await.unwrap(), body);
    }
    // The name for "as it is".
    let head = "HTTP/1.1 200 OK\nContent-Encoding: Identity\nContent-Length: 3";
    assert_eq!(fetch(Reply::new(head, "abc"), capped()).await.unwrap(), b"abc");
    assert_eq!(fetch(Reply::new("HTTP/1.1 204 No Content", ""), capped()).await.unwrap(), b"");
}

#[tokio::test]
async fn one_byte_more_is_refused() {
    let body = bytes(CAP + 1);
    for reply in [
        Reply::ok(&body),
        Reply::new(UNTIL_CLOSED, &body),
        Reply::new(CHUNKED, chunked(&[&body, b""])),
        Reply::new(CHUNKED, chunked(&[&body[..600], &body[..600]])),
        // What states too much is not waited for.
        Reply::Stall(response("HTTP/1.1 200 OK\nContent-Length: 1001", b"")),
        Reply::Stall(response("HTTP/1.1 200 OK\nContent-Length: 9223372036854775807", b"")),
        Reply::Flood(response(UNTIL_CLOSED, b"")),
        Reply::Flood(response(CHUNKED, b"7fffffff\r\n")),
    ] {
        let error = fetch(reply.clone(), capped()).await.unwrap_err();
        assert!(matches!(error, FetchError::TooLarge { .. }), "{error:?}");
        assert_eq!(error.to_string(), "'127.83.21.8' sends more than 1000 bytes");
        assert_eq!(error.failure(), Failure::Unusable);
    }
}

#[tokio::test]
async fn a_stated_length_is_no_promise() {
    // Less than comes: the rest is of no answer.
    assert_eq!(fetch(Reply::new("HTTP/1.1 200 OK\nContent-Length: 3", "abcdef"), capped()).await.unwrap(), b"abc");
    // More than comes, an end without its mark, and no end of a head.
    for reply in [
        Reply::new("HTTP/1.1 200 OK\nContent-Length: 900", "abc"),
        Reply::new(CHUNKED, chunked(&[b"abc"])),
        Reply::new(CHUNKED, "fff\r\nabc"),
        Reply::new(CHUNKED, "not a number\r\nabc"),
        Reply::new("HTTP/1.1 200 OK\nContent-Length: 3\nContent-Length: 5", "abcde"),
        Reply::new("HTTP/1.1 200 OK\nContent-Length: -3", "abc"),
        Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
        Reply::Bytes(b"".to_vec()),
        Reply::Bytes(b"220 mail.example.com ESMTP\r\n".to_vec()),
        Reply::Bytes(b"\x00\x01\x02\x03".to_vec()),
        Reply::Bytes(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(1 << 20)).into_bytes()),
        Reply::Bytes(format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: a\r\n".repeat(5000)).into_bytes()),
    ] {
        let error = fetch(reply.clone(), capped()).await.unwrap_err();
        assert!(matches!(error, FetchError::Interrupted { .. }), "{error:?}");
        assert_eq!(error.to_string(), "'127.83.21.8' broke off, or did not speak HTTP");
        assert_eq!(error.failure(), Failure::OutcomeUnknown);
    }
}

#[tokio::test]
async fn compressed_bodies_are_not_unpacked() {
    // `gzip` of a million zeros, its first bytes: whatever it holds, it is not looked into.
    let bomb =
        [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3, 0xed, 0xc1, 0x01, 0x0d, 0, 0, 0, 0xc2, 0xa0, 0xf7, 0x4f, 0x6d, 0x0e, 0x37, 0xa0, 0];
    for encoding in ["gzip", "x-gzip", "deflate", "br", "zstd", "identity, gzip", "gzip, gzip"] {
        let reply = Reply::new(&format!("HTTP/1.1 200 OK\nContent-Encoding: {encoding}\nContent-Length: {}", bomb.len()), bomb);
        let error = fetch(reply, capped()).await.unwrap_err();
        assert!(matches!(error, FetchError::Encoded { .. }), "{encoding}: {error:?}");
        assert_eq!(error.to_string(), "'127.83.21.8' sends a compressed body, though none was asked for");
    }
    // Without the header it is a file like others.
    assert_eq!(fetch(Reply::ok(bomb), capped()).await.unwrap(), bomb);
}

#[tokio::test]
async fn slow_answers_end_in_time() {
    let short = Duration::from_millis(100);
    let [total, idle] = [Limits { total: short, ..capped() }, Limits { idle: short, ..capped() }];
    for reply in [
        Reply::Stall(b"".to_vec()),
        Reply::Stall(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
        Reply::Stall(response("HTTP/1.1 200 OK\nContent-Length: 900", b"abc")),
        // Never still for long, and never done.
        Reply::Drip(response("HTTP/1.1 200 OK\nContent-Length: 900", b"abc")),
        Reply::Drip(response(UNTIL_CLOSED, b"")),
        Reply::Drip(b"HTTP/1.1 200 OK\r\nX: ".to_vec()),
    ] {
        let error = fetch(reply.clone(), total).await.unwrap_err();
        assert!(matches!(error, FetchError::Slow { .. }), "{error:?}");
        assert_eq!(error.failure(), Failure::OutcomeUnknown);
    }
    let error = fetch(Reply::Stall(response(UNTIL_CLOSED, b"abc")), idle).await.unwrap_err();
    assert!(matches!(error, FetchError::Stalled { .. }), "{error:?}");
    assert_eq!(error.failure(), Failure::OutcomeUnknown);
    let error = FetchError::Slow { host: "h".to_owned(), limit: Duration::from_millis(90_400) };
    assert_eq!(error.to_string(), "'h' did not answer in full within 90 s");
}

#[tokio::test]
async fn other_statuses_are_errors_with_a_hint() {
    for (status, hint) in [
        (403, "; the link may have expired, or need a login"),
        (404, "; the link may have expired, or need a login"),
        (500, ""),
        (304, ""),
    ] {
        let error = fetch(Reply::new(&format!("HTTP/1.1 {status} X\nContent-Length: 0"), ""), capped()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("'127.83.21.8' answered {status}{hint}"));
        assert_eq!(error.failure(), Failure::Answered { status });
    }
    let reply = Reply::new("HTTP/1.1 503 X\nRetry-After: 120\nContent-Length: 0", "");
    let error = fetch(reply, capped()).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Answered { status: 503 });
    assert_eq!(error.retry_after(framewright::domain::UnixMs(0)), Some(Duration::from_mins(2)));
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_the_disks_failure() {
    let server = Server::start((FRIEND, 0), |_| Reply::ok("picture")).await.unwrap();
    let egress = egress(&["127.83.21.8/32"], &Names::of(&[]));
    let url = egress.policy().check(&server.url("/")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let error = egress.get_to_file(&url, &LIMITS, &directory.path().join("absent/picture")).await.unwrap_err();
    assert!(matches!(error, FetchError::Disk(_)), "{error:?}");

    // What another try left or is about to write is its own, and an earlier file is replaced whole.
    let path = directory.path().join("picture");
    std::fs::write(&path, "earlier").unwrap();
    let other = directory.path().join("picture.partial");
    std::fs::write(&other, "another try's").unwrap();
    assert_eq!(egress.get_to_file(&url, &LIMITS, &path).await.unwrap().length_bytes, 7);
    assert_eq!(std::fs::read(&path).unwrap(), b"picture");
    assert_eq!(std::fs::read(&other).unwrap(), b"another try's");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn bodies_are_not_shown() {
    let server = Server::start((FRIEND, 0), |_| Reply::ok("picture")).await.unwrap();
    let egress = egress(&["127.83.21.8/32"], &Names::of(&[]));
    let download = egress.get(&egress.policy().check(&server.url("/")).unwrap(), &LIMITS).await.unwrap();
    assert_eq!(format!("{download:?}"), r#"Download(7 bytes, Some("image/png"))"#);
}

#[tokio::test]
async fn a_closed_port_is_nothing_sent() {
    let closed = {
        let server = Server::start((FRIEND, 0), |_| Reply::ok("")).await.unwrap();
        server.url("/?signature=abc")
    };
    let egress = egress(&["127.83.21.8/32"], &Names::of(&[]));
    let error = egress.get(&egress.policy().check(&closed).unwrap(), &LIMITS).await.unwrap_err();
    assert_eq!(error.to_string(), "'127.83.21.8' cannot be reached");
    assert_eq!(error.failure(), Failure::NotSent);
    assert!(!causes(&error).contains("signature"), "{}", causes(&error));
}
