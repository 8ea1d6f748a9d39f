//! A call to a provider, and its answer, as values. Whoever sends them is elsewhere.

use std::borrow::Cow;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::payload::{Part, Payload};

/// Most bytes of an answer that are read, unless its call says otherwise. Answers carry links and words: real ones have a few KiB.
pub const MOST_BODY_BYTES: usize = 1 << 20;
/// Most bytes of an answer that carries pictures, be it as base64. A picture of 4096x4096 pixels that cannot be compressed has 48 MiB.
pub const MOST_PICTURES_BODY_BYTES: usize = 64 << 20;

/// An HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads; may be repeated.
    Get,
    /// Makes something.
    Post,
    /// Sets something, and at some providers cancels.
    Put,
    /// Cancels, and at some providers removes.
    Delete,
}

impl Method {
    /// As HTTP writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// A header's value. A credential does not show itself in logs.
#[derive(Clone, Debug)]
pub enum HeaderText {
    /// What anybody may read.
    Plain(String),
    /// A credential.
    Secret(SecretString),
}

impl HeaderText {
    /// The value as it is sent.
    pub fn expose(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(text) => text.expose_secret(),
        }
    }
}

/// What is to be sent. Redirects must not be followed with it: its credential is for this host alone.
#[derive(Clone)]
pub struct WireRequest {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Names, in the provider's spelling, and values.
    pub headers: Vec<(Cow<'static, str>, HeaderText)>,
    /// The body, if there is one; `Content-Type` is among the headers then.
    pub body: Option<Payload>,
    /// Most bytes of the answer that are read.
    pub most_answer_bytes: usize,
}

impl WireRequest {
    /// A call without a body, with its credential in `Authorization`.
    pub(super) fn new(method: Method, url: Url, authorization: SecretString) -> Self {
        Self::unsigned(method, url).with_secret_header("Authorization", authorization)
    }

    /// A call without a body and without a credential.
    pub fn unsigned(method: Method, url: Url) -> Self {
        Self { method, url, headers: Vec::new(), body: None, most_answer_bytes: MOST_BODY_BYTES }
    }

    /// The call with a JSON body.
    #[must_use]
    pub fn with_body(self, body: Value) -> Self {
        self.with_payload(Payload::Json(body))
    }

    /// The call with a `multipart/form-data` body.
    #[must_use]
    pub fn with_parts(self, parts: Vec<Part>) -> Self {
        self.with_payload(Payload::Multipart(parts))
    }

    /// The call with a body.
    #[must_use]
    pub fn with_payload(mut self, payload: Payload) -> Self {
        let content_type = payload.content_type();
        self.body = Some(payload);
        self.with_header("Content-Type", content_type)
    }

    /// The call with one more header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), HeaderText::Plain(value.into())));
        self
    }

    /// The call with one more header that is a credential.
    #[must_use]
    pub fn with_secret_header(mut self, name: impl Into<Cow<'static, str>>, value: SecretString) -> Self {
        self.headers.push((name.into(), HeaderText::Secret(value)));
        self
    }

    /// The call with another bound of its answer, for one that carries pictures.
    #[must_use]
    pub fn with_most_answer_bytes(mut self, bytes: usize) -> Self {
        self.most_answer_bytes = bytes;
        self
    }

    /// The JSON body, if it has one.
    pub fn json(&self) -> Option<&Value> {
        match &self.body {
            Some(Payload::Json(value)) => Some(value),
            _ => None,
        }
    }

    /// The body's bytes; none for a call without one.
    pub fn body_bytes(&self) -> Vec<u8> {
        self.body.as_ref().map_or_else(Vec::new, Payload::bytes)
    }
}

impl fmt::Debug for WireRequest {
    /// Without the body: it may hold megabytes of pictures, and what users wrote. Without the query: some credentials stand there.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.url.clone();
        url.set_query(None);
        write!(formatter, "{} {url}", self.method.as_str())
    }
}

/// What came back.
#[derive(Clone, Copy, Debug)]
pub struct WireResponse<'a> {
    /// The HTTP status.
    pub status: u16,
    /// Names, in any case, and values.
    pub headers: &'a [(String, String)],
    /// The body. The sender stops reading a little behind [`WireRequest::most_answer_bytes`]; a longer one is not looked at.
    pub body: &'a [u8],
}

impl<'a> WireResponse<'a> {
    /// Whether the status says success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The media type that the answer says its body has, in lower case and without parameters.
    pub fn media_type(&self) -> Option<String> {
        let media_type = self.header("Content-Type")?.split(';').next()?.trim().to_ascii_lowercase();
        (!media_type.is_empty()).then_some(media_type)
    }

    /// Whether the body is a page for people: where a provider should answer with JSON, what stands before it keeps programs out.
    pub(super) fn is_page(&self) -> bool {
        let start: Vec<u8> = self.body.iter().copied().skip_while(u8::is_ascii_whitespace).take(9).collect();
        let start = start.to_ascii_lowercase();
        self.media_type().as_deref() == Some("text/html") || start.starts_with(b"<!doctype") || start.starts_with(b"<html")
    }

    /// Seconds of a `Retry-After` that is a number, an hour at most. A date is taken for none: the clocks may differ.
    pub fn retry_after_seconds(&self) -> Option<u32> {
        let seconds: u32 = self.header("Retry-After")?.trim().parse().ok()?;
        Some(seconds.min(3600))
    }
}

/// Where an account's calls go, and what proves whose they are. Tasks are polled with the account that made them.
#[derive(Clone, Debug)]
pub struct Account {
    base_url: Url,
    key: SecretString,
}

/// Why an account cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// No http(s) URL with a host, or one with a query, a fragment or a user.
    #[error("base_url: '{0}' is no address of an API; write https://host/path, without a query")]
    BaseUrl(String),
    /// An empty key, or one that no header can carry.
    #[error("the key must be 1 to 4096 visible ASCII characters")]
    Key,
    /// A key that tokens cannot be signed with.
    #[error("the key has not the form id.secret, which signed tokens need; use the key itself")]
    KeyForm,
    /// No access key beside a secret key.
    #[error("access_key: is missing; say it, or write each key as access_key.secret_key")]
    AccessKey,
    /// A name that becomes part of a header, a host or a query.
    #[error("{field}: only letters, digits, '-' and '_' are allowed, 1 to 128 of them")]
    Name {
        /// The setting.
        field: &'static str,
    },
}

impl Account {
    /// An account at `base_url`. Fails with [`AccountError`].
    pub fn new(base_url: &str, key: SecretString) -> Result<Self, AccountError> {
        let refused = || AccountError::BaseUrl(base_url.chars().take(200).collect());
        let parsed = Url::parse(base_url).map_err(|_| refused())?;
        let plain = matches!(parsed.scheme(), "https" | "http")
            && parsed.has_host()
            && parsed.query().is_none()
            && parsed.fragment().is_none()
            && parsed.username().is_empty()
            && parsed.password().is_none();
        if !plain {
            return Err(refused());
        }
        let text = key.expose_secret();
        if text.is_empty() || text.len() > 4096 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AccountError::Key);
        }
        Ok(Self { base_url: parsed, key })
    }

    /// The base URL with `path`, which begins with `/` and is made of constants and of identifiers that were checked when they were read.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.base_url.clone();
        url.set_path(&format!("{}{path}", self.base_url.path().trim_end_matches('/')));
        url
    }

    /// Whether an address that an answer told is the account's own, so that the key may go there: on the host of the base URL or below
    /// it, over the same scheme and port.
    pub(super) fn owns(&self, url: &Url) -> bool {
        let (Some(own), Some(host)) = (self.base_url.host_str(), url.host_str()) else { return false };
        let below = || host.strip_suffix(own).is_some_and(|front| front.ends_with('.'));
        // Below an IP address there is nothing.
        let is_name = matches!(self.base_url.host(), Some(url::Host::Domain(_)));
        (host == own || (is_name && below()))
            && url.scheme() == self.base_url.scheme()
            && url.port_or_known_default() == self.base_url.port_or_known_default()
            && url.username().is_empty()
            && url.password().is_none()
    }

    /// The key itself.
    pub(super) fn key(&self) -> &SecretString {
        &self.key
    }

    /// `Bearer` and the key.
    pub(super) fn bearer(&self) -> SecretString {
        SecretString::from(format!("Bearer {}", self.key.expose_secret()))
    }
}

/// Whether `text` may stand in a header, a host's name or a query as it is.
pub(super) fn check_name(field: &'static str, text: &str) -> Result<(), AccountError> {
    let right = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if right { Ok(()) } else { Err(AccountError::Name { field }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(base_url: &str, key: &str) -> Result<Account, AccountError> {
        Account::new(base_url, SecretString::from(key))
    }

    #[test]
    fn accounts_are_addresses_with_keys_that_headers_can_carry() {
        for base_url in ["https://host/api/v1", "https://host/api/v1/", "http://127.0.0.1:9/api/v1"] {
            let url = account(base_url, "sk-1").unwrap().url("/tasks/7");
            assert_eq!(url.path(), "/api/v1/tasks/7", "{base_url}");
        }
        assert_eq!(account("https://host", "sk-1").unwrap().url("/v1/x").as_str(), "https://host/v1/x");
        for base_url in
            ["", "host", "ftp://host", "https://", "https://host?x=1", "https://host/#x", "https://u:p@host", "file:///x"]
        {
            assert!(matches!(account(base_url, "sk-1"), Err(AccountError::BaseUrl(_))), "{base_url}");
        }
        for key in ["", "a b", "a\r\nX: 1", "schlüssel", &"k".repeat(4097)] {
            assert_eq!(account("https://host", key).unwrap_err(), AccountError::Key, "{key}");
        }
    }

    #[test]
    fn the_key_goes_to_the_hosts_of_the_base_url_alone() {
        let own = account("https://queue.fal.run", "k").unwrap();
        for address in ["https://queue.fal.run/a/requests/7", "https://queue.fal.run:443/x", "https://eu.queue.fal.run/x"] {
            assert!(own.owns(&Url::parse(address).unwrap()), "{address}");
        }
        for address in [
            "http://queue.fal.run/x",
            "https://queue.fal.run:8443/x",
            "https://fal.run/x",
            "https://evilqueue.fal.run/x",
            "https://queue.fal.run.evil.example/x",
            "https://user@queue.fal.run/x",
            "https://queue.fal.run@evil.example/x",
            "data:,x",
        ] {
            assert!(!own.owns(&Url::parse(address).unwrap()), "{address}");
        }
        let own = account("http://127.0.0.1:9/api", "k").unwrap();
        assert!(own.owns(&Url::parse("http://127.0.0.1:9/other").unwrap()));
        assert!(!own.owns(&Url::parse("http://127.0.0.1:10/api").unwrap()));
    }

    #[test]
    fn names_carry_nothing_into_headers_hosts_or_queries() {
        assert_eq!(check_name("workspace", "ws-1_A"), Ok(()));
        for name in ["", "a.b", "a&b=c", "a b", "a\n", "ä", &"a".repeat(129)] {
            assert_eq!(check_name("workspace", name), Err(AccountError::Name { field: "workspace" }), "{name}");
        }
    }

    #[test]
    fn no_credential_and_no_body_shows_itself() {
        let account = account("https://host/v1", "sk-hidden").unwrap();
        let request = WireRequest::new(Method::Post, account.url("/x"), account.bearer())
            .with_body(serde_json::json!({ "prompt": "private" }));
        let shown = format!("{account:?} {request:?} {:?}", request.headers);
        assert!(!shown.contains("sk-hidden") && !shown.contains("private"), "{shown}");
        assert_eq!(request.headers[0].1.expose(), "Bearer sk-hidden");
        assert_eq!(request.body_bytes(), br#"{"prompt":"private"}"#);
        let mut request =
            WireRequest::unsigned(Method::Get, account.url("/x")).with_secret_header("X-Key", account.key().clone());
        request.url.set_query(Some("key=sk-hidden"));
        let shown = format!("{request:?} {:?}", request.headers);
        assert!(!shown.contains("sk-hidden"), "{shown}");
    }

    #[test]
    fn media_types_are_told_without_their_parameters() {
        for (value, media_type) in [("image/PNG", Some("image/png")), ("text/html; charset=utf-8", Some("text/html")), ("", None)]
        {
            let headers = [("content-type".to_owned(), value.to_owned())];
            let response = WireResponse { status: 200, headers: &headers, body: b"" };
            assert_eq!(response.media_type().as_deref(), media_type);
        }
    }

    #[test]
    fn pages_are_told_by_their_type_or_their_beginning() {
        let html = [("Content-Type".to_owned(), "text/html; charset=utf-8".to_owned())];
        for (headers, body, page) in [
            (&html[..], &b"x"[..], true),
            (&[], b" \n<!DOCTYPE html><html>", true),
            (&[], b"<HTML>", true),
            (&[], b"{\"a\":\"<html>\"}", false),
            (&[], b"", false),
        ] {
            assert_eq!(WireResponse { status: 403, headers, body }.is_page(), page);
        }
    }

    #[test]
    fn retry_after_is_a_bounded_number_of_seconds() {
        for (value, seconds) in
            [("7", Some(7)), (" 30 ", Some(30)), ("999999", Some(3600)), ("-1", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)]
        {
            let headers = [("retry-after".to_owned(), value.to_owned())];
            let response = WireResponse { status: 429, headers: &headers, body: b"" };
            assert_eq!(response.retry_after_seconds(), seconds, "{value}");
        }
    }
}
