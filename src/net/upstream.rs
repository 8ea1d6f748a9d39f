//! The client for a server that the operator named: a provider's API.
//!
//! Its own address is trusted, wherever it is. What it answers is not: the limits are the same, redirects are refused, and links in its
//! answers go through [`egress`](super::egress).

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};
use url::Url;

use super::answer::Answer;
use super::error::FetchError;
use super::limits::{CONNECT_TIMEOUT, Limits, USER_AGENT};

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
    /// Not an address of an API.
    #[error(
        "'{0}' is not the address of an API; write https://host or https://host/path, without name, password, query and fragment"
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
        // A password that was written into the address by mistake is not repeated.
        let shown = || UpstreamError::Base(base.rsplit('@').next().unwrap_or_default().chars().take(200).collect());
        let base = Url::parse(base).ok().filter(is_plain).ok_or_else(shown)?;
        let client = Client::builder()
            .user_agent(USER_AGENT)
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

    /// Asks for `path`, one text a segment, below the base.
    pub async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        headers: HeaderMap,
        limits: &Limits,
    ) -> Result<Answer, FetchError> {
        let mut url = self.at(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(self.client.get(url).headers(headers), limits).await
    }

    /// Sends JSON to `path`, one text a segment, below the base.
    pub async fn post_json(&self, path: &[&str], headers: HeaderMap, json: Bytes, limits: &Limits) -> Result<Answer, FetchError> {
        let request = self.client.post(self.at(path)).headers(headers);
        self.send(request.header(CONTENT_TYPE, HeaderValue::from_static("application/json")).body(json), limits).await
    }

    /// The address of a path. Segments are encoded, so that an id that came from outside stays one segment of this server's.
    fn at(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // Only addresses without a host have no segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    async fn send(&self, request: RequestBuilder, limits: &Limits) -> Result<Answer, FetchError> {
        let host = self.host();
        let exchange = async {
            let response = request.send().await.map_err(|error| FetchError::of_transport(host, error))?;
            Answer::read(response, host, limits).await
        };
        let slow = |_| FetchError::Slow { host: host.to_owned(), limit: limits.total };
        tokio::time::timeout(limits.total, exchange).await.map_err(slow)?
    }
}
