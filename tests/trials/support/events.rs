//! Server-sent events, as they come.

use std::time::Duration;

use serde_json::Value;

use super::client::Client;
use super::http::{Connection, request};

/// A stream of events.
#[derive(Debug)]
pub(crate) struct Events {
    connection: Connection,
    buffer: String,
}

impl Events {
    pub(crate) fn open(client: &Client, path: &str) -> Self {
        let mut connection = Connection::open(client.address(), Duration::from_mins(1)).expect("a connection");
        connection.send(&request("GET", path, Some(client.key()), None, None)).expect("the request is sent");
        let (status, _) = connection.head().expect("an answer");
        assert_eq!(status, 200, "{path}");
        Self { connection, buffer: String::new() }
    }
}

impl Iterator for Events {
    type Item = Value;

    /// The data of the next event; none at the end of the stream.
    fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let data = event
                    .lines()
                    .find_map(|line| line.strip_prefix("data: "))
                    .map(|data| serde_json::from_str(data).expect("JSON"));
                self.buffer = rest.to_owned();
                if data.is_some() {
                    return data;
                }
            } else {
                let chunk = self.connection.chunk().ok()??;
                self.buffer.push_str(&String::from_utf8(chunk).expect("text"));
            }
        }
    }
}
