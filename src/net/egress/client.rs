//! The client for what users name.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, StatusCode};

use super::error::UrlRefusal;
use super::policy::{EgressPolicy, Reach};
use super::resolver::{NameLookup, SystemLookup, VettedResolver};
use super::url::UserUrl;
use crate::net::answer::{Answer, NeededBody};
use crate::net::body::BoundedBody;
use crate::net::deadline::Deadline;
use crate::net::error::{FetchError, retry_after_of};
use crate::net::limits::{CONNECT_TIMEOUT, Limits, USER_AGENT, default_headers};
use crate::net::partial_file::PartialFile;

/// Redirects that are followed.
pub const MAX_REDIRECTS: usize = 3;
/// The longest `Content-Type` that is handed on.
const MAX_CONTENT_TYPE_CHARACTERS: usize = 256;

/// Fetches what users name. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Egress {
    policy: EgressPolicy,
    /// For links of [`Reach::World`].
    world: Client,
    /// For links of [`Reach::Opened`].
    opened: Client,
}

/// What a link led to.
#[derive(Clone, PartialEq, Eq)]
pub struct Download {
    /// The whole body.
    pub bytes: Bytes,
    /// What the server calls it; nothing that it must be.
    pub content_type: Option<String>,
}

impl fmt::Debug for Download {
    /// Without the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Download({} bytes, {:?})", self.bytes.len(), self.content_type)
    }
}

/// What a link led to, in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedDownload {
    /// The file's length.
    pub length_bytes: u64,
    /// What the server calls it; nothing that it must be.
    pub content_type: Option<String>,
}

impl Egress {
    /// A client with the system's name service.
    pub fn new(policy: EgressPolicy) -> Result<Self, FetchError> {
        Self::with_lookup(policy, Arc::new(SystemLookup::default()))
    }

    /// A client with another name service.
    pub fn with_lookup(policy: EgressPolicy, lookup: Arc<dyn NameLookup>) -> Result<Self, FetchError> {
        let client = |reach, lookup| {
            let resolver = VettedResolver { policy: policy.clone(), reach, lookup };
            build(resolver, reach).map_err(|error| FetchError::Client(Box::new(error)))
        };
        Ok(Self { world: client(Reach::World, lookup.clone())?, opened: client(Reach::Opened, lookup)?, policy })
    }

    /// The rules, to judge links that are to be called later.
    pub fn policy(&self) -> &EgressPolicy {
        &self.policy
    }

    /// Fetches a link into memory, following redirects. Any status but success is an error.
    pub async fn get(&self, url: &UserUrl, limits: &Limits) -> Result<Download, FetchError> {
        let fetch = async {
            let (body, content_type) = self.open(url, limits).await?;
            Ok(Download { bytes: body.read().await?, content_type })
        };
        Deadline::of(limits).bound(url.host(), fetch).await
    }

    /// Fetches a link into a file, following redirects. The file gets its name once it is whole and on the disk; until then it has another
    /// one that ends in `.partial`, and an error removes it.
    pub async fn get_to_file(&self, url: &UserUrl, limits: &Limits, path: &Path) -> Result<SavedDownload, FetchError> {
        let deadline = Deadline::of(limits);
        let (mut body, content_type) = deadline.bound(url.host(), self.open(url, limits)).await?;
        // Not bounded: given up half-way, it would leave a file.
        let mut file = PartialFile::create(path).await.map_err(FetchError::Disk)?;
        let fill = async {
            while let Some(part) = body.next().await? {
                file.write(&part).await.map_err(FetchError::Disk)?;
            }
            Ok(())
        };
        deadline.bound(url.host(), fill).await?;
        Ok(SavedDownload { length_bytes: file.keep().await.map_err(FetchError::Disk)?, content_type })
    }

    /// Sends JSON, with headers such as a webhook's. Redirects are refused; any other status is the caller's to judge, and stands
    /// whatever becomes of the body.
    pub async fn post_json(&self, url: &UserUrl, headers: HeaderMap, json: Bytes, limits: &Limits) -> Result<Answer, FetchError> {
        let url = self.policy.check_url(url.url().clone())?;
        let deadline = Deadline::of(limits);
        let mut headers = headers;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let request = self.client(&url).post(url.url().clone()).headers(headers).body(json);
        let response = deadline.bound(url.host(), send(request, &url)).await?;
        Answer::read(response, url.host(), limits, deadline, NeededBody::Never).await
    }

    /// The body that a link leads to, over at most [`MAX_REDIRECTS`] redirects, and its type.
    async fn open(&self, url: &UserUrl, limits: &Limits) -> Result<(BoundedBody, Option<String>), FetchError> {
        // Judged again: a link may have been kept for long, and the rules may have changed.
        let mut next = self.policy.check_url(url.url().clone())?;
        for _ in 0..=MAX_REDIRECTS {
            // Each request is a new one: nothing that one host was sent or said goes to another.
            let response = send(self.client(&next).get(next.url().clone()), &next).await?;
            if !is_followed(response.status()) {
                return body_of(response, next.host(), limits);
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let judged = location.ok_or(UrlRefusal::Malformed).and_then(|text| self.policy.check_redirect(&next, text));
            next = judged.map_err(|reason| FetchError::Redirect { host: next.host().to_owned(), reason })?;
        }
        Err(FetchError::TooManyRedirects { host: url.host().to_owned(), limit: MAX_REDIRECTS })
    }

    fn client(&self, url: &UserUrl) -> &Client {
        match url.reach() {
            Reach::World => &self.world,
            Reach::Opened => &self.opened,
        }
    }
}

fn build(resolver: VettedResolver, reach: Reach) -> reqwest::Result<Client> {
    Client::builder()
        .user_agent(USER_AGENT)
        .default_headers(default_headers())
        .dns_resolver(resolver)
        .no_proxy()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .https_only(reach == Reach::World)
        // Fewer ways to surprise; what users name is rarely asked twice.
        .http1_only()
        .pool_max_idle_per_host(0)
        .connect_timeout(CONNECT_TIMEOUT)
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        .build()
}

async fn send(request: RequestBuilder, url: &UserUrl) -> Result<Response, FetchError> {
    request.send().await.map_err(|error| FetchError::of_transport(url.host(), error))
}

fn is_followed(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn body_of(response: Response, host: &str, limits: &Limits) -> Result<(BoundedBody, Option<String>), FetchError> {
    let status = response.status();
    if !status.is_success() {
        return Err(FetchError::Status {
            host: host.to_owned(),
            status: status.as_u16(),
            retry_after: retry_after_of(&response),
        });
    }
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.filter(|value| value.len() <= MAX_CONTENT_TYPE_CHARACTERS).map(ToOwned::to_owned);
    Ok((BoundedBody::new(response, host, limits)?, content_type))
}
