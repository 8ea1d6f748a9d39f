//! The client for a server that the operator named: a provider's API.
//!
//! Its own address is trusted, wherever it is. What it answers is not: the limits are the same, redirects are refused, and links in its
//! answers go through [`egress`](super::egress).

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};
use url::Url;

use super::answer::{Answer, NeededBody};
use super::deadline::Deadline;
use super::error::FetchError;
use super::limits::{CONNECT_TIMEOUT, Limits, USER_AGENT, default_headers};

/// The largest head of an answer, bytes.
const MAX_HEAD_BYTES: u32 = 64 << 10;

/// A server and the way to it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstream {
    base: Url,
    client: Client,
}

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Not an address of an API; what is shown of it.
    #[error(
        "{0} is not the address of an API; write https://host or https://host/path, without name, password, query and fragment"
    )]
    Base(String),
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] Box<reqwest::Error>),
}

impl Upstream {
    /// `base` is where the API's paths begin, such as `https://api.example.com/v1`.
    pub fn new(base: &str) -> Result<Self, UpstreamError> {
        let is_plain = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        };
        let base = Url::parse(base).map_err(|_| UpstreamError::Base("the text".to_owned()))?;
        if !is_plain(&base) {
            return Err(UpstreamError::Base(shown(&base)));
        }
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .default_headers(default_headers())
            .no_proxy()
            .redirect(Policy::none())
            // What is sent again is the caller's decision: a second POST may be a second charge.
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_max_header_list_size(MAX_HEAD_BYTES)
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .build();
        Ok(Self { base, client: client.map_err(|error| UpstreamError::Client(Box::new(error)))? })
    }

    /// The host, for logs and messages.
    pub fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// Asks for `path`, one text a segment, below the base. The body of a success comes whole; that of another status as far as it does.
    pub async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        headers: HeaderMap,
        limits: &Limits,
    ) -> Result<Answer, FetchError> {
        let mut url = self.at(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(self.client.get(url).headers(headers), limits).await
    }

    /// Sends JSON to `path`, one text a segment, below the base. The answer is as that of [`get`](Self::get).
    pub async fn post_json(&self, path: &[&str], headers: HeaderMap, json: Bytes, limits: &Limits) -> Result<Answer, FetchError> {
        let mut headers = headers;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.send(self.client.post(self.at(path)?).headers(headers).body(json), limits).await
    }

    /// The address of a path. Segments are encoded, so that an id that came from outside stays one segment of this server's; what the
    /// writer of links drops (`.`, `..`, line ends and the like) or what would be another path without it (nothing) is refused.
    fn at(&self, path: &[&str]) -> Result<Url, FetchError> {
        let is_segment = |text: &&str| !matches!(*text, "" | "." | "..") && !text.chars().any(char::is_control);
        if !path.iter().all(is_segment) {
            return Err(FetchError::PathSegment { host: self.host().to_owned() });
        }
        let mut url = self.base.clone();
        // Only addresses without a host have no segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        Ok(url)
    }

    async fn send(&self, request: RequestBuilder, limits: &Limits) -> Result<Answer, FetchError> {
        let host = self.host();
        let deadline = Deadline::of(limits);
        let sent = async { request.send().await.map_err(|error| FetchError::of_transport(host, error)) };
        Answer::read(deadline.bound(host, sent).await?, host, limits, deadline, NeededBody::OfSuccess).await
    }
}

/// What an error repeats of an address: keys and passwords that were written into it by mistake stay out of logs.
fn shown(base: &Url) -> String {
    match base.host_str() {
        Some(host) if matches!(base.scheme(), "http" | "https") => format!("'{}://{host}'", base.scheme()),
        _ => "the text".to_owned(),
    }
}
