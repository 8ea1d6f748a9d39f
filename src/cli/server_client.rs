//! A framewright server, as commands with `--server` talk to it.

use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::StreamExt;
use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::{Host, Url};

use super::failure::{Failure, OrFail, Outcome};

/// The longest answer that is read: a picture, or a task's JSON.
const MAX_ANSWER_BYTES: usize = 512 << 20;

/// A server and a way to talk to it.
#[derive(Debug)]
pub(super) struct Server {
    base: Url,
    key: Option<SecretString>,
    client: Client,
}

impl Server {
    /// `url` is the server's address; a path before the API's is kept.
    pub(super) fn new(url: &str, key: Option<SecretString>) -> Outcome<Self> {
        let refused = || Failure::input("--server", format!("'{url}' is not an http or https URL; write http://127.0.0.1:8000"));
        let base = Url::parse(url).ok().filter(|base| matches!(base.scheme(), "http" | "https")).ok_or_else(refused)?;
        let is_loopback = match base.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => return Err(refused()),
        };
        let mut builder = Client::builder().connect_timeout(Duration::from_secs(10)).read_timeout(Duration::from_mins(1));
        if is_loopback {
            // A proxy of the surroundings cannot reach this machine's loopback.
            builder = builder.no_proxy();
        }
        Ok(Self { base, key, client: builder.build().or_fail()? })
    }

    /// Its address, to be named in commands.
    pub(super) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The answer to a GET of a path of the API.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        self.send(self.client.get(self.at(path))).await
    }

    /// The answer to a GET of a link of the API that the server gave. It is opened where the server was reached, which may not be where it
    /// is seen from elsewhere; and the key goes nowhere else.
    pub(super) async fn get_link(&self, link: &str) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let path = path_of(link).context("the server gave a link that is none of its API")?;
        self.send(self.client.get(self.at(path))).await
    }

    /// The answer to a POST of JSON to a path of the API.
    pub(super) async fn post(&self, path: &str, json: Vec<u8>) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        self.send(self.client.post(self.at(path)).header("content-type", "application/json").body(json)).await
    }

    /// The answer to a DELETE of a path of the API.
    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        self.send(self.client.delete(self.at(path))).await
    }

    fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.address())
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key.expose_secret()),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let answer = self
            .signed(request)
            .send()
            .await
            .map_err(reqwest::Error::without_url)
            .with_context(|| format!("cannot reach {}", self.base))?;
        let status = answer.status();
        let mut bytes = Vec::new();
        let mut stream = answer.bytes_stream();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(reqwest::Error::without_url).context("the server's answer broke off")?);
            if bytes.len() > MAX_ANSWER_BYTES {
                bail!("the server's answer is longer than {MAX_ANSWER_BYTES} bytes");
            }
        }
        Ok((status, bytes))
    }
}

/// The path of the API in a link, with its query and without what stands before it.
fn path_of(link: &str) -> Option<&str> {
    link.find("/api/v1/").map(|start| &link[start + 1..])
}

/// The server's own words, which are one line, or its status.
pub(super) fn describe(status: StatusCode, answer: &[u8]) -> String {
    let body: Value = serde_json::from_slice(answer).unwrap_or_default();
    match message(&body) {
        Some(text) => format!("the server says: {text}"),
        None => format!("the server answered {status}"),
    }
}

/// What an answer says for people.
pub(super) fn message(value: &Value) -> Option<&str> {
    [&value["detail"], &value["message"], &value["error"]["message"], &value["title"], value].into_iter().find_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_path() {
        let at = |url: &str| Server::new(url, None).unwrap().at("api/v1/models");
        assert_eq!(at("http://127.0.0.1:8000"), "http://127.0.0.1:8000/api/v1/models");
        assert_eq!(at("https://example.org/pictures/"), "https://example.org/pictures/api/v1/models");
        for link in [
            "http://inside:8000/api/v1/tasks/job_1/result/0?signature=x",
            "https://example.org/p/api/v1/tasks/job_1/result/0?signature=x",
        ] {
            assert_eq!(path_of(link), Some("api/v1/tasks/job_1/result/0?signature=x"));
        }
        assert_eq!(path_of("https://example.org/elsewhere"), None);
        assert!(Server::new("ftp://x", None).is_err() && Server::new("127.0.0.1:8000", None).is_err());
    }
}
