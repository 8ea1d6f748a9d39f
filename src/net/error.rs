//! Why a request failed. What is shown names the host and the reason; it holds neither paths nor queries, which carry signatures, nor
//! addresses that a name led to. Those are in the cause, for the log.

use std::io;
use std::time::Duration;

use super::egress::UrlRefusal;
use super::retry::{self, Failure};
use crate::domain::UnixMs;

/// The longest `Retry-After` that is kept: a date has 29 characters.
const MAX_RETRY_AFTER_CHARACTERS: usize = 64;

/// Why nothing came of a request.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The link itself is refused. Nothing was sent.
    #[error(transparent)]
    Url(#[from] UrlRefusal),
    /// The name leads nowhere, or to where this server does not go; which of them is not for the user, who could look for internal names.
    #[error("'{host}' has no address that this server may call")]
    NoAddress {
        /// The name.
        host: String,
        /// Whether the name has addresses, and they are refused. For the log: it changes nothing of what a user sees.
        is_refused: bool,
        /// The cause, with addresses.
        #[source]
        source: Box<reqwest::Error>,
    },
    /// No connection, or no TLS over it.
    #[error("'{host}' cannot be reached")]
    Unreachable {
        /// The host.
        host: String,
        /// The cause.
        #[source]
        source: Box<reqwest::Error>,
    },
    /// The connection broke, or what came was not HTTP, or it ended early.
    #[error("'{host}' broke off, or did not speak HTTP")]
    Interrupted {
        /// The host.
        host: String,
        /// The cause.
        #[source]
        source: Box<reqwest::Error>,
    },
    /// The whole took too long.
    #[error("'{host}' did not answer in full within {:.0} s", limit.as_secs_f64())]
    Slow {
        /// The host that was asked first.
        host: String,
        /// The time it had.
        limit: Duration,
    },
    /// Nothing more came of a body.
    #[error("'{host}' sent nothing for {:.0} s", limit.as_secs_f64())]
    Stalled {
        /// The host.
        host: String,
        /// The time it had.
        limit: Duration,
    },
    /// Another status than success.
    #[error("'{host}' answered {status}{}", hint(*status))]
    Status {
        /// The host.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The header `Retry-After`.
        retry_after: Option<String>,
    },
    /// A redirect to a link that is refused.
    #[error("'{host}' redirects to where this server does not go: {reason}")]
    Redirect {
        /// The host that redirects.
        host: String,
        /// Why its link is refused.
        #[source]
        reason: UrlRefusal,
    },
    /// A redirect where none is followed.
    #[error("'{host}' answered {status}, a redirect, which is not followed here; give the final address")]
    UnexpectedRedirect {
        /// The host.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// Redirects without an end.
    #[error("'{host}' redirects more than {limit} times")]
    TooManyRedirects {
        /// The host that was asked first.
        host: String,
        /// Redirects that are followed.
        limit: usize,
    },
    /// More than was to be read.
    #[error("'{host}' sends more than {max_bytes} bytes")]
    TooLarge {
        /// The host.
        host: String,
        /// Bytes that would have been read.
        max_bytes: u64,
    },
    /// A body that was compressed unasked.
    #[error("'{host}' sends a compressed body, though none was asked for")]
    Encoded {
        /// The host.
        host: String,
    },
    /// A body that is needed, of which only a part came, or nothing.
    #[error("'{host}' answered with a body that could not be read whole")]
    NotWhole {
        /// The host.
        host: String,
    },
    /// A text that would lead to another path than the one that is meant. Nothing was sent.
    #[error("'{host}' is not asked for an id that is empty, '.', '..' or holds control characters")]
    PathSegment {
        /// The host.
        host: String,
    },
    /// An answer that should be JSON and is not, or not the JSON that was expected.
    #[error("'{host}' answered with something else than the expected JSON")]
    NotJson {
        /// The host.
        host: String,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// The file that was to hold a download cannot be written.
    #[error("the download cannot be written to disk")]
    Disk(#[source] io::Error),
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] Box<reqwest::Error>),
}

impl FetchError {
    /// How it failed, as far as sending the request again is concerned.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Url(_) | Self::PathSegment { .. } | Self::Client(_) => Failure::Refused,
            // Refused names too: who sees how often a link is tried could tell them from unknown ones.
            Self::NoAddress { .. } | Self::Unreachable { .. } => Failure::NotSent,
            Self::Interrupted { .. } | Self::Slow { .. } | Self::Stalled { .. } => Failure::OutcomeUnknown,
            Self::Status { status, .. } | Self::UnexpectedRedirect { status, .. } => Failure::Answered { status: *status },
            Self::Redirect { .. }
            | Self::TooManyRedirects { .. }
            | Self::TooLarge { .. }
            | Self::Encoded { .. }
            | Self::NotWhole { .. }
            | Self::NotJson { .. }
            | Self::Disk(_) => Failure::Unusable,
        }
    }

    /// The pause that the server asked for.
    pub fn retry_after(&self, now: UnixMs) -> Option<Duration> {
        match self {
            Self::Status { retry_after: Some(value), .. } => retry::retry_after(value, now),
            _ => None,
        }
    }

    /// A request or its body failed on the way.
    pub(super) fn of_transport(host: &str, error: reqwest::Error) -> Self {
        // Whatever the error says of the URL holds the query.
        let error = Box::new(error.without_url());
        let host = host.to_owned();
        match super::egress::lookup_error_in(&*error) {
            Some(lookup) => Self::NoAddress { host, is_refused: lookup.is_refused(), source: error },
            None if error.is_connect() => Self::Unreachable { host, source: error },
            None => Self::Interrupted { host, source: error },
        }
    }
}

/// What a user can do about a status.
fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 | 404 | 410 => "; the link may have expired, or need a login",
        429 => "; it is asked too often",
        _ => "",
    }
}

/// The header `Retry-After` of an answer, if it can be one.
pub(super) fn retry_after_of(response: &reqwest::Response) -> Option<String> {
    let value = response.headers().get(reqwest::header::RETRY_AFTER)?.to_str().ok()?;
    (value.len() <= MAX_RETRY_AFTER_CHARACTERS).then(|| value.to_owned())
}
