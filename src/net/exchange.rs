//! The client for calls that were written elsewhere, to servers that the operator named: providers' APIs.
//!
//! A call goes out once, as it was written, to the address in it. Redirects are answers: they are never followed with a credential.
//! Whoever writes calls sees to it that credentials go to their own hosts alone; links in answers go through [`egress`](super::egress).

use std::path::Path;

use bytes::Bytes;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use url::Url;

use super::body::BoundedBody;
use super::deadline::Deadline;
use super::error::FetchError;
use super::limits::{CONNECT_TIMEOUT, Limits, USER_AGENT, default_headers};
use super::partial_file::PartialFile;

/// The largest head of an answer, bytes.
const MAX_HEAD_BYTES: u32 = 64 << 10;
/// Headers of an answer that are handed on.
const MAX_HEADERS: usize = 100;
/// The longest header that is handed on, bytes.
const MAX_HEADER_BYTES: usize = 8 << 10;
/// Characters of a redirect's link that are looked at.
const MAX_LOCATION_CHARACTERS: usize = 4096;

/// A way to send calls. Cheap to clone; connections are shared.
#[derive(Clone, Debug)]
pub struct Exchange {
    client: Client,
}

/// A method of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallMethod {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
}

/// A call.
pub struct OutgoingCall {
    /// The method.
    pub method: CallMethod,
    /// Where to: http or https.
    pub url: Url,
    /// The headers; credentials are marked as sensitive.
    pub headers: HeaderMap,
    /// The body.
    pub body: Option<Bytes>,
}

/// What came back.
pub struct Reply {
    /// The HTTP status, a redirect's too.
    pub status: u16,
    /// Names and values, those that are texts of a usual length.
    pub headers: Vec<(String, String)>,
    /// The body, as far as it came within its limits.
    pub body: Bytes,
    /// Whether the body is the whole one.
    pub is_whole: bool,
}

/// What came back of a call whose answer's body is a file.
#[derive(Debug)]
pub enum SavedReply {
    /// The body is in the file, which is so many bytes long.
    Saved {
        /// Its length.
        length_bytes: u64,
    },
    /// A redirect, to here: to be opened by [`egress`](super::egress), without the call's credential.
    Elsewhere(String),
    /// Another status than success.
    Refused(Reply),
}

impl std::fmt::Debug for OutgoingCall {
    /// Without query, headers and body: any of them may hold credentials, and what users wrote.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "OutgoingCall({:?} {}{})", self.method, self.url.host_str().unwrap_or_default(), self.url.path())
    }
}

impl std::fmt::Debug for Reply {
    /// Without the body: it may hold links with signatures.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Reply({}, {} bytes)", self.status, self.body.len())
    }
}

impl Exchange {
    /// A client without the surroundings' proxies, with no redirects and no second tries of its own.
    pub fn new() -> Result<Self, FetchError> {
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
        Ok(Self { client: client.map_err(|error| FetchError::Client(Box::new(error)))? })
    }

    /// Sends a call and reads what comes, whatever its status. Fails only where no answer came.
    pub async fn send(&self, call: OutgoingCall, limits: &Limits) -> Result<Reply, FetchError> {
        Ok(self.send_in_turn(call, limits, usize::MAX, std::future::ready(())).await?.0)
    }

    /// The same; before more than `small_bytes` of a body are taken, `turn` is waited for, which takes nothing of the time, and what it gave
    /// is handed on. Whoever sends such calls bounds with it how many large bodies there are at once.
    pub async fn send_in_turn<T>(
        &self,
        call: OutgoingCall,
        limits: &Limits,
        small_bytes: usize,
        turn: impl Future<Output = T>,
    ) -> Result<(Reply, Option<T>), FetchError> {
        let host = host_of(&call.url);
        let deadline = Deadline::of(limits);
        let response = deadline.bound(&host, self.open(call, &host)).await?;
        Ok(reply(response, &host, limits, deadline, small_bytes, turn).await)
    }

    /// Sends a call whose answer's body is a file, as [`egress`](super::egress) fetches links into files: it gets its name once it is whole.
    pub async fn send_to_file(&self, call: OutgoingCall, limits: &Limits, path: &Path) -> Result<SavedReply, FetchError> {
        let host = host_of(&call.url);
        let deadline = Deadline::of(limits);
        let asked = call.url.clone();
        let response = deadline.bound(&host, self.open(call, &host)).await?;
        if response.status().is_redirection()
            && let Some(location) = location_of(&response, &asked)
        {
            return Ok(SavedReply::Elsewhere(location));
        }
        if !response.status().is_success() {
            let limits = Limits { max_bytes: u64::from(MAX_HEAD_BYTES), ..*limits };
            let turn = std::future::ready(());
            return Ok(SavedReply::Refused(reply(response, &host, &limits, deadline, usize::MAX, turn).await.0));
        }
        let mut body = BoundedBody::new(response, &host, limits)?;
        // Not bounded: given up half-way, it would leave a file.
        let mut file = PartialFile::create(path).await.map_err(FetchError::Disk)?;
        let fill = async {
            while let Some(part) = body.next().await? {
                file.write(&part).await.map_err(FetchError::Disk)?;
            }
            Ok(())
        };
        deadline.bound(&host, fill).await?;
        Ok(SavedReply::Saved { length_bytes: file.keep().await.map_err(FetchError::Disk)? })
    }

    async fn open(&self, call: OutgoingCall, host: &str) -> Result<Response, FetchError> {
        let request = match call.method {
            CallMethod::Get => self.client.get(call.url),
            CallMethod::Post => self.client.post(call.url),
            CallMethod::Put => self.client.put(call.url),
            CallMethod::Delete => self.client.delete(call.url),
        };
        let request = request.headers(call.headers);
        let request = match call.body {
            Some(body) => request.body(body),
            None => request,
        };
        request.send().await.map_err(|error| FetchError::of_transport(host, error))
    }
}

fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

/// Where a redirect leads, as a whole link.
fn location_of(response: &Response, asked: &Url) -> Option<String> {
    let location = response.headers().get(LOCATION)?.to_str().ok().filter(|text| text.len() <= MAX_LOCATION_CHARACTERS)?;
    asked.join(location).ok().map(Into::into)
}

async fn reply<T>(
    response: Response,
    host: &str,
    limits: &Limits,
    deadline: Deadline,
    small_bytes: usize,
    turn: impl Future<Output = T>,
) -> (Reply, Option<T>) {
    let status = response.status().as_u16();
    let text = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
        let value = value.to_str().ok().filter(|value| value.len() <= MAX_HEADER_BYTES)?;
        Some((name.as_str().to_owned(), value.to_owned()))
    };
    let headers = response.headers().iter().filter_map(text).take(MAX_HEADERS).collect();
    let (body, is_whole, taken) = match BoundedBody::new(response, host, limits) {
        Ok(body) => body.read_in_turn(deadline, small_bytes, turn).await,
        Err(_) => (Bytes::new(), false, None),
    };
    (Reply { status, headers, body, is_whole }, taken)
}
