//! What a request may take.

use std::time::Duration;

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
