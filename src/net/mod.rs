//! The way out: every request to another machine that a user can cause.
//!
//! - [`egress`]: what users name (pictures by link, callbacks, links to results) is fetched only from the public internet, or from networks
//!   that the operator opened.
//! - [`upstream`]: APIs that the operator named are called where they are, within the same limits.
//! - [`exchange`]: calls to such APIs that were written elsewhere, as they were written.
//! - [`address`]: what the public internet is.
//! - [`retry`]: which requests are sent again, and when.
//! - [`keyed_hash`]: how what comes back is known to be ours.
//! - [`webhook_signature`]: how receivers of callbacks know them to be ours.
//!
//! What is globally routable counts as public, also where it is ours: this machine's own public address, and neighbours that have global
//! IPv6 addresses, are not refused. Services there that are not for all need a firewall of their own.
//!
//! Nothing here knows what is fetched, or for which job. Nothing is sent again, redirected or unpacked behind a caller's back. Memory and
//! disk grow with bytes that have come, up to the caller's limit, never with a length that a server states.

pub mod address;
mod answer;
mod body;
mod deadline;
pub mod egress;
mod error;
pub mod exchange;
pub mod keyed_hash;
mod limits;
mod partial_file;
pub mod retry;
pub mod upstream;
pub mod webhook_signature;

pub use answer::Answer;
pub use error::FetchError;
pub use limits::Limits;
pub use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

#[cfg(test)]
mod address_tests;
