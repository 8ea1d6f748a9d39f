//! Why a link or an address is refused.

use std::error::Error;
use std::io;
use std::net::IpAddr;

use super::policy::PORTS;
use super::url::{MAX_HOST_CHARACTERS, MAX_URL_CHARACTERS};
use crate::net::address::Restriction;

/// Why a link is not called. What it says of the link is no more than scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefusal {
    /// Too long.
    #[error("the link has {characters} characters; at most {MAX_URL_CHARACTERS}")]
    TooLong {
        /// What it has.
        characters: usize,
    },
    /// Characters on which readers of links disagree.
    #[error("the link holds a space, a control character or a backslash; write them as %20 and the like")]
    Characters,
    /// Not a link, or one without a host, or with one that cannot be.
    #[error("not a link; write https://host/path, the host with at most {MAX_HOST_CHARACTERS} characters")]
    Malformed,
    /// Neither https nor http.
    #[error("links of the kind '{scheme}:' are not called; write https://")]
    Scheme {
        /// The scheme, or what was left of a long one.
        scheme: String,
    },
    /// A name or a password before the host.
    #[error("the link holds a user name or a password; leave it out")]
    UserInfo,
    /// Plain HTTP to the public internet: what is fetched could be read and changed on the way.
    #[error("'{host}' is not called without TLS; write https://, or have the operator open its network in egress.allow")]
    PlainHttp {
        /// The host.
        host: String,
    },
    /// A port that is not one of HTTPS.
    #[error("port {port} of '{host}' is not called; use {}, or have the operator open its network in egress.allow", ports())]
    Port {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// An address that is not of the public internet, written as such.
    #[error("'{host}' is not called, because it is {restriction}; the operator can open it in egress.allow")]
    Address {
        /// The address.
        host: String,
        /// What it is.
        restriction: Restriction,
    },
    /// An address of a network that the operator closed.
    #[error("'{host}' is not called by this server")]
    Closed {
        /// The address.
        host: String,
    },
    /// From a link with TLS to one without.
    #[error("'{host}' would be called without TLS after a link with TLS")]
    Downgrade {
        /// The host.
        host: String,
    },
}

fn ports() -> String {
    PORTS.map(|port| port.to_string()).join(" or ")
}

/// Why a name was not called. For the log: it names addresses.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The name service failed, or does not know the name.
    #[error("the name cannot be looked up")]
    Failed(#[source] io::Error),
    /// No addresses.
    #[error("the name has no addresses")]
    Empty,
    /// An address that is not of the public internet.
    #[error("the name leads to {address}, {restriction}")]
    Restricted {
        /// The address.
        address: IpAddr,
        /// What it is.
        restriction: Restriction,
    },
    /// An address of a network that the operator closed.
    #[error("the name leads to {address}, which egress.deny closes")]
    Closed {
        /// The address.
        address: IpAddr,
    },
    /// A public address, where only opened networks may be called: without TLS, or at another port.
    #[error(
        "the name leads to {address}, which egress.allow does not open, and the link is without TLS or has a port of its own"
    )]
    NotOpened {
        /// The address.
        address: IpAddr,
    },
}

impl LookupError {
    /// Whether the name has addresses that are refused.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Restricted { .. } | Self::Closed { .. } | Self::NotOpened { .. })
    }
}

/// The refusal of a name among an error's causes.
pub(in crate::net) fn lookup_error_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a LookupError> {
    std::iter::successors(Some(error), |error| (*error).source()).find_map(|error| error.downcast_ref())
}
