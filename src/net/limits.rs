//! What a request may take.

use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};

/// How much of an answer is read, and how long it may take. Each holds whatever the other side says or does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body. What a server states in `Content-Length` is believed only where it is too much.
    pub max_bytes: u64,
    /// From the first look for an address to the last byte, redirects included.
    pub total: Duration,
    /// Between two parts of a body.
    pub idle: Duration,
}

/// How long a connection may take, TLS and the look for an address included.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What requests call themselves.
pub(super) const USER_AGENT: &str = concat!("framewright/", env!("CARGO_PKG_VERSION"));

/// Headers of every request. A server that is not told what is taken may take its choice (RFC 9110, 12.5.3); bodies are never unpacked here.
pub(super) fn default_headers() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))])
}
