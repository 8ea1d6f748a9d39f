//! `server:` — where the server listens and how the outside reaches it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::Deserialize;
use url::Url;

use super::{ConfigError, refuse};

/// Where `serve` listens unless told otherwise: loopback only.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);

/// The HTTP server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The address to bind.
    pub listen: SocketAddr,
    /// The address that clients see, for links; the request's host when absent.
    pub public_url: Option<Url>,
    /// Origins that browsers may call from; `*` alone means any.
    pub cors_origins: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServerSection {
    listen: Option<Listen>,
    public_url: Option<PublicUrl>,
    cors_origins: Vec<Origin>,
    #[serde(deserialize_with = "refuse::tls")]
    tls: (),
}

impl ServerSection {
    /// `listen_flag` is `--listen`, which goes before the file.
    pub(super) fn resolve(self, listen_flag: Option<&str>) -> Result<ServerConfig, ConfigError> {
        let listen = match listen_flag {
            Some(text) => parse_listen(text).map_err(|reason| ConfigError::setting("--listen", reason))?,
            None => self.listen.map_or(DEFAULT_LISTEN, |listen| listen.0),
        };
        Ok(ServerConfig {
            listen,
            public_url: self.public_url.map(|url| url.0),
            cors_origins: self.cors_origins.into_iter().map(|origin| origin.0).collect(),
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Listen(SocketAddr);

impl TryFrom<String> for Listen {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        parse_listen(&text).map(Self).map_err(|reason| format!("server.listen: {reason}"))
    }
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("'{text}' is not an IP address and a port; write 127.0.0.1:8000, 0.0.0.0:8000 or [::1]:8000"))
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct PublicUrl(Url);

impl TryFrom<String> for PublicUrl {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let refused = |why: &str| format!("server.public_url: '{text}' {why}; write it as https://pictures.example.org");
        let url = Url::parse(&text).map_err(|error| refused(&format!("is not a URL ({error})")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(refused("is not an http or https URL"));
        }
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err(refused("must have no user, query or fragment"));
        }
        Ok(Self(url))
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Origin(String);

impl TryFrom<String> for Origin {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let is_origin = Url::parse(&text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text.trim_end_matches('/')
        });
        if text == "*" {
            Ok(Self(text))
        } else if is_origin {
            Ok(Self(text.trim_end_matches('/').to_owned()))
        } else {
            Err(format!("server.cors_origins: '{text}' is not an origin; write https://host, http://host:port or \"*\""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_takes_addresses_with_ports_only() {
        assert_eq!(ServerSection::default().resolve(None).unwrap().listen, DEFAULT_LISTEN);
        for text in ["0.0.0.0:80", "[::1]:8000", "10.0.0.7:65535"] {
            assert_eq!(ServerSection::default().resolve(Some(text)).unwrap().listen, text.parse().unwrap());
        }
        for text in ["", "8000", "localhost:8000", "127.0.0.1", "127.0.0.1:65536"] {
            let message = ServerSection::default().resolve(Some(text)).unwrap_err().to_string();
            assert!(message.starts_with("--listen: "), "{message}");
        }
    }

    #[test]
    fn origins_have_no_path() {
        for good in ["*", "https://a.example", "http://localhost:5173", "http://localhost:5173/"] {
            assert!(Origin::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "a.example", "https://a.example/path", "ftp://a.example"] {
            assert!(Origin::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
