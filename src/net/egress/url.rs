//! A link that a user gave, once it was judged.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

use super::error::UrlRefusal;
use super::policy::Reach;

/// Characters a link may have.
pub const MAX_URL_CHARACTERS: usize = 4096;
/// Characters a name may have in the name service.
pub(super) const MAX_HOST_CHARACTERS: usize = 253;
/// Characters a part of a name may have.
const MAX_LABEL_CHARACTERS: usize = 63;
/// Characters of a scheme that are shown.
const SHOWN_SCHEME_CHARACTERS: usize = 20;

/// A link that the egress policy lets through as far as it can be judged without looking up its name. Where its name leads to is judged
/// when it is called.
#[derive(Clone, PartialEq, Eq)]
pub struct UserUrl {
    url: Url,
    reach: Reach,
}

impl UserUrl {
    pub(super) fn new(mut url: Url, reach: Reach) -> Self {
        // It is not sent, and nothing here looks at it.
        url.set_fragment(None);
        Self { url, reach }
    }

    /// The link in its normal form, to be kept and judged again later. It may hold signatures: not for logs.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// The host, for logs and messages.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Where the link may lead.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.url.scheme() == "https"
    }
}

impl fmt::Debug for UserUrl {
    /// Without path and query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserUrl({}://{}, {:?})", self.url.scheme(), self.host(), self.reach)
    }
}

/// Refuses texts on which readers of links disagree, before they are read.
pub(super) fn check_text(text: &str) -> Result<(), UrlRefusal> {
    let characters = text.chars().count();
    if characters > MAX_URL_CHARACTERS {
        return Err(UrlRefusal::TooLong { characters });
    }
    if text.chars().any(|character| character.is_whitespace() || character.is_control() || character == '\\') {
        return Err(UrlRefusal::Characters);
    }
    Ok(())
}

/// The parts of a link that a policy judges, once its form is right.
pub(super) struct Parts {
    pub(super) is_encrypted: bool,
    pub(super) host: String,
    /// Set if the host is an address, in whatever form it was written.
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
}

impl Parts {
    /// Takes a link apart. The reader has already brought octal, hexadecimal, short, percent-encoded and full-width forms of addresses to
    /// one.
    pub(super) fn of(url: &Url) -> Result<Self, UrlRefusal> {
        // Joining a short text can make a long link.
        if url.as_str().len() > MAX_URL_CHARACTERS {
            return Err(UrlRefusal::TooLong { characters: url.as_str().len() });
        }
        let is_encrypted = match url.scheme() {
            "https" => true,
            "http" => false,
            other => return Err(UrlRefusal::Scheme { scheme: other.chars().take(SHOWN_SCHEME_CHARACTERS).collect() }),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlRefusal::UserInfo);
        }
        let (host, address) = match url.host().ok_or(UrlRefusal::Malformed)? {
            Host::Domain(name) if is_name(name) => (name.to_owned(), None),
            Host::Domain(_) => return Err(UrlRefusal::Malformed),
            Host::Ipv4(address) => (address.to_string(), Some(address.into())),
            Host::Ipv6(address) => (address.to_string(), Some(address.into())),
        };
        let port = url.port_or_known_default().ok_or(UrlRefusal::Malformed)?;
        Ok(Self { is_encrypted, host, address, port })
    }
}

/// Whether a host can be a name of the name service. A dot at its end is fine.
fn is_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    name.len() <= MAX_HOST_CHARACTERS
        && name.split('.').all(|label| {
            let is_ordinary = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            (1..=MAX_LABEL_CHARACTERS).contains(&label.len()) && label.bytes().all(is_ordinary)
        })
}
