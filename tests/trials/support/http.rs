//! HTTP/1.1 over one kept connection, with nothing between the trial and the socket: requests can be cut off at any byte, and a load
//! generator that shares the server's cores costs next to nothing.

use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// The longest line of a head that is read.
const MOST_HEAD_BYTES: u64 = 64 << 10;

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// The bytes of a request.
pub(crate) fn request(
    method: &str,
    path: &str,
    key: Option<&str>,
    idempotency_key: Option<&str>,
    body: Option<&Value>,
) -> Vec<u8> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut lines = vec![format!("{method} {path} HTTP/1.1"), "Host: trial".to_owned()];
    lines.extend(key.map(|key| format!("Authorization: Bearer {key}")));
    lines.extend(idempotency_key.map(|key| format!("Idempotency-Key: {key}")));
    if method != "GET" {
        lines.push("Content-Type: application/json".to_owned());
        lines.push(format!("Content-Length: {}", body.len()));
    }
    format!("{}\r\n\r\n{body}", lines.join("\r\n")).into_bytes()
}

impl Connection {
    /// Connects; every later wait for the server is limited by `timeout` too.
    pub(crate) fn open(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Sends a request and waits for nothing.
    pub(crate) fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(request)
    }

    /// Sends a request and reads its answer.
    pub(crate) fn call(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.send(request)?;
        self.answer()
    }

    /// Reads the next answer.
    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        let (status, head) = self.head()?;
        let mut body = Vec::new();
        if is_chunked(&head) {
            while let Some(chunk) = self.chunk()? {
                body.extend(chunk);
            }
        } else {
            let length = header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            body.resize(length, 0);
            self.reader.read_exact(&mut body)?;
        }
        Ok(Answer { status, head, body })
    }

    /// Reads the head of an answer: its status and its header lines.
    pub(crate) fn head(&mut self) -> io::Result<(u16, String)> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|text| text.parse().ok());
        let status = status.ok_or_else(|| Error::new(ErrorKind::InvalidData, format!("not an answer: {first}")))?;
        let mut head = String::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok((status, head));
            }
            head.push_str(&line);
            head.push('\n');
        }
    }

    /// Reads the next piece of a chunked body; `None` at its end.
    pub(crate) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let length = usize::from_str_radix(&line, 16)
            .map_err(|_| Error::new(ErrorKind::InvalidData, format!("not the length of a chunk: {line}")))?;
        let mut bytes = vec![0; length + 2];
        self.reader.read_exact(&mut bytes)?;
        bytes.truncate(length);
        Ok((length > 0).then_some(bytes))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.by_ref().take(MOST_HEAD_BYTES).read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{}: {error} in {}", self.status, self.text()))
    }

    /// The value of a header line.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// The answer itself, if its status is the expected one.
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

fn is_chunked(head: &str) -> bool {
    header(head, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
}
