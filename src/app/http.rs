//! The connections of clients: how many there may be, how long they may be silent, and how they end.
//!
//! HTTP/1.1, as behind every reverse proxy. A connection costs nothing to open and needs no key, so none may hold a file descriptor for
//! ever: a request's head has [`SILENCE`] to come, counted from the connection's beginning or the answer before; so has each part of its
//! body; and an answer that nobody takes ends its connection after [`UNTAKEN`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::timeout::RequestBodyTimeoutLayer;

/// How long a client may take for a request's head, and be silent within its body.
const SILENCE: Duration = Duration::from_secs(30);
/// How long sent bytes may wait for the client to take them.
const UNTAKEN: Duration = Duration::from_mins(1);
/// The most connections at once; a proxy in front of the server is the place for more.
const MOST_CONNECTIONS: u64 = 16_384;
/// Without these nobody could look at what is wrong.
const FEWEST_CONNECTIONS: u64 = 16;
/// Files that a connection may have open: its socket and the picture that it sends.
const FILES_PER_CONNECTION: u64 = 2;
/// Files that everything else may have open: the database, workers, logs, results that are being written.
const OTHER_FILES: u64 = 256;
/// How often the log says that there are too many connections.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// What clients may take up.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionLimits {
    most: usize,
    silence: Duration,
}

impl ConnectionLimits {
    /// As many connections as the process's limit of open files has room for. The soft limit is raised as far as that needs and the hard
    /// limit allows: it is low by custom, for the sake of programs that call `select`, which this one does not.
    pub(super) fn of_process() -> Self {
        Self { most: most_connections(open_files(OTHER_FILES + MOST_CONNECTIONS * FILES_PER_CONNECTION)), silence: SILENCE }
    }
}

/// How many connections a limit of open files has room for.
fn most_connections(open_files: u64) -> usize {
    let room = open_files.saturating_sub(OTHER_FILES) / FILES_PER_CONNECTION;
    room.clamp(FEWEST_CONNECTIONS, MOST_CONNECTIONS) as usize
}

/// How many files this process may have open, after asking for `wanted`.
#[cfg(unix)]
fn open_files(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // `None` is no limit.
    let current = limit.current.unwrap_or(wanted);
    let allowed = limit.maximum.unwrap_or(wanted).min(wanted);
    if current >= allowed {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum: limit.maximum }) {
        Ok(()) => allowed,
        Err(error) => {
            tracing::warn!(%error, "The limit of open files stays at {current}: {error}");
            current
        }
    }
}

#[cfg(not(unix))]
fn open_files(_: u64) -> u64 {
    OTHER_FILES + 512 * FILES_PER_CONNECTION
}

/// Answers whoever connects, until `close`; then takes nobody any more and waits until the last open request is answered.
pub(super) async fn serve(mut listener: TcpListener, router: Router, limits: ConnectionLimits, close: CancellationToken) {
    tracing::info!(connections = limits.most, "Up to {} clients may be connected at once", limits.most);
    let router: Router = router.layer(RequestBodyTimeoutLayer::new(limits.silence)).with_state(());
    let mut places = Places { free: Arc::new(Semaphore::new(limits.most)), last_logged: None };
    let connections = TaskTracker::new();
    loop {
        let next = async {
            // Those who find no place wait in the listener's queue, which costs them nothing either.
            let place = places.take().await?;
            // Failures of the listener, such as no file descriptor left, are waited out.
            Some((place, Listener::accept(&mut listener).await.0))
        };
        let accepted = tokio::select! {
            () = close.cancelled() => None,
            accepted = next => accepted,
        };
        let Some((place, stream)) = accepted else { break };
        let (router, close) = (router.clone(), close.clone());
        connections.spawn(async move {
            answer(stream, router, limits.silence, &close).await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Answers the requests of a connection; after `close`, at most the one that is open.
async fn answer(stream: TcpStream, router: Router, silence: Duration, close: &CancellationToken) {
    if let Err(error) = prepare(&stream) {
        tracing::debug!(%error, "A client's socket takes no options: {error}");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(silence)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = close.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "A client's connection ended: {error}");
    }
}

/// Small answers leave at once, and those that nobody takes do not stay for ever.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    rustix::net::sockopt::set_tcp_user_timeout(stream, UNTAKEN.as_millis() as u32)?;
    Ok(())
}

/// Room for connections.
struct Places {
    free: Arc<Semaphore>,
    last_logged: Option<Instant>,
}

impl Places {
    /// Waits for a place; `None` never comes, since nobody closes them.
    async fn take(&mut self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = self.free.clone().try_acquire_owned() {
            return Some(place);
        }
        if self.last_logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            self.last_logged = Some(Instant::now());
            tracing::warn!("As many clients are connected as may be (see `ulimit -n`); others wait until one leaves");
        }
        self.free.clone().acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use axum::routing::{get, post};
    use rstest::rstest;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;

    /// Longer than everything that a test waits for.
    const LONG: Duration = Duration::from_mins(1);
    const SHORT: Duration = Duration::from_millis(50);

    struct TestServer {
        address: std::net::SocketAddr,
        /// Lets `/wait` answer.
        go: Arc<Notify>,
        /// `/wait` was asked.
        asked: Arc<Notify>,
        close: CancellationToken,
        ended: tokio::task::JoinHandle<()>,
    }

    async fn start(most: usize, silence: Duration) -> TestServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (go, asked, close) = (Arc::new(Notify::new()), Arc::new(Notify::new()), CancellationToken::new());
        let wait = {
            let (go, asked) = (go.clone(), asked.clone());
            || async move {
                asked.notify_one();
                go.notified().await;
                "waited"
            }
        };
        let router = Router::new()
            .route("/", get(|| async { "here" }))
            .route("/wait", get(wait))
            .route("/body", post(|body: Bytes| async move { format!("{} bytes", body.len()) }));
        let ended = TaskTracker::new().spawn(serve(listener, router, ConnectionLimits { most, silence }, close.clone()));
        TestServer { address, go, asked, close, ended }
    }

    impl TestServer {
        async fn connect(&self, text: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            stream
        }
    }

    /// Everything that the server says until it ends the connection.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut text = Vec::new();
        tokio::time::timeout(LONG, stream.read_to_end(&mut text)).await.expect("the server ends the connection").ok();
        String::from_utf8(text).unwrap()
    }

    /// An answer's text up to `end`.
    async fn read_until(stream: &mut TcpStream, end: &str) {
        let mut text = String::new();
        while !text.ends_with(end) {
            text.push(tokio::time::timeout(LONG, stream.read_u8()).await.expect("an answer").unwrap().into());
        }
    }

    const WHOLE: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    #[rstest]
    #[case::silent("")]
    #[case::half_a_head("GET / HTTP/1.1\r\nhost")]
    #[case::another_protocol("PRI * HTTP/2.0\r\n")]
    #[case::half_a_body("POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf")]
    #[tokio::test]
    async fn whoever_stops_in_the_middle_leaves(#[case] sent: &str) {
        let server = start(10, SHORT).await;
        let mut client = server.connect(sent).await;
        assert!(!rest(&mut client).await.contains(" 200 "));
    }

    #[tokio::test]
    async fn a_kept_connection_is_not_kept_for_ever() {
        let server = start(10, SHORT).await;
        let mut client = server.connect(WHOLE).await;
        assert!(rest(&mut client).await.ends_with("here"), "an answer, and then the end");
    }

    #[tokio::test]
    async fn an_answer_may_take_longer_than_a_question() {
        let server = start(10, SHORT).await;
        let mut client = server.connect("GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
        server.asked.notified().await;
        tokio::time::sleep(4 * SHORT).await;
        server.go.notify_one();
        read_until(&mut client, "waited").await;
    }

    #[tokio::test]
    async fn those_who_find_no_place_wait_until_somebody_leaves() {
        let server = start(2, LONG).await;
        let (mut first, mut second) = (server.connect(WHOLE).await, server.connect(WHOLE).await);
        read_until(&mut first, "here").await;
        read_until(&mut second, "here").await;
        let mut third = server.connect(WHOLE).await;
        let mut byte = [0];
        assert!(tokio::time::timeout(4 * SHORT, third.read(&mut byte)).await.is_err(), "no place, no answer");
        drop(first);
        read_until(&mut third, "here").await;
    }

    #[tokio::test]
    async fn at_the_end_open_requests_are_answered_and_idle_connections_closed() {
        let server = start(2, LONG).await;
        let mut idle = server.connect(WHOLE).await;
        read_until(&mut idle, "here").await;
        let mut open = server.connect("GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
        server.asked.notified().await;
        server.close.cancel();
        assert_eq!(rest(&mut idle).await, "");
        assert!(!server.ended.is_finished());
        server.go.notify_one();
        assert!(rest(&mut open).await.ends_with("waited"));
        tokio::time::timeout(LONG, server.ended).await.expect("the last is answered").unwrap();
        assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
    }

    #[rstest]
    #[case::tiny(64, 16)]
    #[case::of_old(1024, 384)]
    #[case::raised(33_024, 16_384)]
    #[case::without_end(u64::MAX, 16_384)]
    fn files_bound_connections(#[case] open_files: u64, #[case] most: usize) {
        assert_eq!(most_connections(open_files), most);
    }

    #[cfg(unix)]
    #[test]
    fn the_limit_of_open_files_is_raised_as_far_as_it_may_be() {
        let limit = || rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let (current, maximum) = (limit().current.unwrap_or(u64::MAX), limit().maximum.unwrap_or(u64::MAX));
        assert_eq!(open_files(current.saturating_add(1)), current.saturating_add(1).min(maximum));
        assert_eq!(limit().current.unwrap_or(u64::MAX), current.saturating_add(1).min(maximum));
        assert_eq!(open_files(1), limit().current.unwrap_or(u64::MAX), "never lowered");
    }
}
