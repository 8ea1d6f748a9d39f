//! A server that answers byte for byte what a test wants, and counts who connects.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What is done with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// These bytes, then nothing, with the connection open.
    Stall(Vec<u8>),
    /// These bytes, then one more every few milliseconds, for ever.
    Drip(Vec<u8>),
    /// These bytes, then others as fast as they are taken, for ever.
    Flood(Vec<u8>),
}

impl Reply {
    /// A response with a head of these lines, and a body.
    pub(crate) fn new(head: &str, body: impl AsRef<[u8]>) -> Self {
        Self::Bytes(response(head, body.as_ref()))
    }

    /// A redirect.
    pub(crate) fn redirect(status: u16, location: &str) -> Self {
        Self::new(&format!("HTTP/1.1 {status} Elsewhere\nLocation: {location}\nSet-Cookie: session=1\nContent-Length: 0"), "")
    }

    /// A whole answer of status 200.
    pub(crate) fn ok(body: impl AsRef<[u8]>) -> Self {
        Self::new(&format!("HTTP/1.1 200 OK\nContent-Type: image/png\nContent-Length: {}", body.as_ref().len()), body)
    }
}

/// The bytes of a response: the lines of its head, and a body.
pub(crate) fn response(head: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = head.replace('\n', "\r\n").into_bytes();
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(body);
    bytes
}

type Handler = dyn Fn(&str) -> Reply + Send + Sync;

/// A running server; it ends when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    peers: watch::Receiver<Vec<SocketAddr>>,
    probes: AtomicUsize,
    requests: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Serves at an address; port 0 is any. `handler` gets each request's target, such as `/a?b`.
    pub(crate) async fn start(
        at: impl Into<SocketAddr>,
        handler: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(at.into()).await?;
        let address = listener.local_addr()?;
        let (peers_sender, peers) = watch::channel(Vec::new());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (handler, log): (Arc<Handler>, _) = (Arc::new(handler), requests.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, peer)) = listener.accept().await {
                peers_sender.send_modify(|peers| peers.push(peer));
                connections.spawn(serve(stream, handler.clone(), log.clone()));
            }
        });
        Ok(Self { address, peers, probes: AtomicUsize::new(0), requests, _tasks: tasks })
    }

    /// Two servers at two addresses and one port.
    pub(crate) async fn pair([first, second]: [IpAddr; 2], handlers: [fn(&str) -> Reply; 2]) -> [Self; 2] {
        for _ in 0..100 {
            let first = Self::start((first, 0), handlers[0]).await.unwrap();
            if let Ok(second) = Self::start((second, first.address.port()), handlers[1]).await {
                return [first, second];
            }
        }
        panic!("no port is free at both addresses");
    }

    /// How many connections there were. Connections are accepted in their order, so that after one of ours all earlier ones are counted.
    pub(crate) async fn connections(&self) -> usize {
        let probe = TcpStream::connect(self.address).await.unwrap();
        let own = probe.local_addr().unwrap();
        let probes = self.probes.fetch_add(1, Ordering::SeqCst) + 1;
        self.peers.clone().wait_for(|peers| peers.contains(&own)).await.unwrap().len() - probes
    }

    /// The requests that came, heads and bodies.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }

    /// A link to this server by its address.
    pub(crate) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }
}

async fn serve(mut stream: TcpStream, handler: Arc<Handler>, log: Arc<Mutex<Vec<String>>>) {
    let Some(request) = read_request(&mut stream).await else { return };
    let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
    log.lock().push(request);
    // A client that has enough ends the connection, which is as it should be.
    let _ = match handler(&target) {
        Reply::Bytes(bytes) => stream.write_all(&bytes).await,
        Reply::Stall(bytes) => {
            let _ = stream.write_all(&bytes).await;
            std::future::pending().await
        }
        Reply::Drip(bytes) => repeat(stream, bytes, b"x", Some(Duration::from_millis(5))).await,
        Reply::Flood(bytes) => repeat(stream, bytes, &[b'x'; 8192], None).await,
    };
}

async fn repeat(mut stream: TcpStream, first: Vec<u8>, more: &[u8], pace: Option<Duration>) -> std::io::Result<()> {
    stream.write_all(&first).await?;
    loop {
        if let Some(pace) = pace {
            tokio::time::sleep(pace).await;
        }
        stream.write_all(more).await?;
    }
}

/// A request's head, and as much of a body as it states.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.ok().filter(|count| *count > 0)?;
        request.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().filter_map(|line| line.split_once(": ")).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        if body.len() >= length.map_or(0, |(_, value)| value.parse().unwrap()) {
            return Some(text);
        }
    }
}
