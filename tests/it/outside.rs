//! Other people's servers: what links and callbacks of users lead to.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::IntoResponse;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The machine that these tests open to users' links.
pub(crate) const FRIEND: &str = "127.83.22.8";
/// A machine that none of them opens.
pub(crate) const VICTIM: &str = "127.83.22.9";

/// What is done with a request.
pub(crate) enum Reply {
    /// This answer.
    Answer(Response<Body>),
    /// Nothing, for ever.
    Silence,
}

impl Reply {
    pub(crate) fn ok(body: impl Into<Body>) -> Self {
        Self::Answer(Response::new(body.into()))
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::Answer(StatusCode::from_u16(status).unwrap().into_response())
    }

    pub(crate) fn redirect(location: &str) -> Self {
        Self::Answer((StatusCode::TEMPORARY_REDIRECT, [("location", location)]).into_response())
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

type Handler = dyn Fn(usize, &Received) -> Reply + Send + Sync;

/// A running server; it ends when it is dropped.
pub(crate) struct Outside {
    address: SocketAddr,
    received: watch::Receiver<Vec<Received>>,
    _tasks: JoinSet<()>,
}

impl Outside {
    /// Serves at an address of this machine. `handler` gets the number of each request, from 0, and the request.
    pub(crate) async fn start(at: &str, handler: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((at, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, received) = watch::channel(Vec::new());
        let (sender, handler): (_, Arc<Handler>) = (Arc::new(sender), Arc::new(handler));
        let answer = move |request: Request| {
            let (sender, handler) = (sender.clone(), handler.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let received = Received { path: parts.uri.to_string(), headers: parts.headers, body };
                let number = sender.borrow().len();
                sender.send_modify(|all| all.push(received.clone()));
                match handler(number, &received) {
                    Reply::Answer(answer) => answer,
                    Reply::Silence => std::future::pending().await,
                }
            }
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
        Self { address, received, _tasks: tasks }
    }

    /// A link to this server by its address.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests that came.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.borrow().clone()
    }

    /// Waits until as many requests have come.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Received> {
        self.received.clone().wait_for(|all| all.len() >= count).await.unwrap().clone()
    }
}
