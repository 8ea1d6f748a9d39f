//! A server that answers as a cloud does, or as a test says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    /// Which of the cloud's routes it was for: `create`, `poll`, `file`.
    pub(crate) route: &'static str,
    /// The method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Bytes,
}

impl Recorded {
    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// A header; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The path.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The fields of the query, decoded, in their order.
    pub(crate) fn query(&self) -> Vec<(String, String)> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }
}

/// What a request is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// JSON with a status.
    Json(u16, Value),
    /// JSON with a status and a header.
    JsonWith(u16, &'static str, String, Value),
    /// Bytes of a media type with a status.
    Bytes(u16, &'static str, Vec<u8>),
    /// A redirect.
    Redirect(String),
    /// A body that says it is long, of which only the beginning comes.
    Broken(u16, Vec<u8>),
    /// A body without an end.
    Flood(u16),
    /// Another answer, once the gate is opened.
    Gated(Gate, Box<Self>),
    /// What the cloud answers by itself, once the gate is opened.
    GatedUsual(Gate),
    /// What the cloud answers by itself.
    Usual,
    /// The first half of what the cloud answers by itself: what was asked for is done, and nobody hears of it.
    UsualCutOff,
}

/// Holds an answer back until a test opens it.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    open: watch::Sender<bool>,
    reached: Arc<Notify>,
}

impl Gate {
    pub(crate) fn closed() -> Self {
        Self { open: watch::Sender::new(false), reached: Arc::new(Notify::new()) }
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until a request stands before the gate.
    pub(crate) async fn reached(&self) {
        self.reached.notified().await;
    }

    async fn pass(&self) {
        self.reached.notify_one();
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}

/// How a cloud behaves where no test says otherwise.
pub(crate) trait Cloud: Send + Sync + 'static {
    /// The route that a request is for.
    fn route(&self, method: &str, path: &str) -> Option<&'static str>;

    /// What it answers there; `base` is its own address.
    fn answer(&self, request: &Recorded, tasks: &mut Tasks, base: &str) -> Answer;

    /// How it turns a request away, whatever a test has scripted: one that is not signed as it must be, or that the provider's documents do
    /// not allow. None for one that it lets in.
    fn refusal(&self, _request: &Recorded) -> Option<Answer> {
        None
    }
}

/// The tasks of a cloud: each is looked at so often before it has ended.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    looks: BTreeMap<String, u32>,
    made: u32,
    ids: BTreeSet<String>,
}

impl Tasks {
    /// A new task's number.
    pub(crate) fn make(&mut self) -> u32 {
        self.made += 1;
        self.made
    }

    /// A new task's id, which begins so.
    pub(crate) fn make_id(&mut self, beginning: &str) -> String {
        let id = format!("{beginning}{}", self.make());
        self.ids.insert(id.clone());
        id
    }

    /// Whether there is a task of this id.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    /// How often a task was looked at before.
    pub(crate) fn look(&mut self, id: &str) -> u32 {
        let looks = self.looks.entry(id.to_owned()).or_default();
        *looks += 1;
        *looks - 1
    }
}

struct Inside {
    cloud: Box<dyn Cloud>,
    base: String,
    tasks: Mutex<Tasks>,
    recorded: Mutex<Vec<Recorded>>,
    script: Mutex<BTreeMap<&'static str, VecDeque<Answer>>>,
    always: Mutex<BTreeMap<&'static str, Answer>>,
    counted: watch::Sender<usize>,
}

/// A running cloud; it ends when it is dropped.
pub(crate) struct Mock {
    inside: Arc<Inside>,
    server: JoinHandle<()>,
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Mock {
    /// Starts a cloud on this machine.
    pub(crate) async fn start(cloud: impl Cloud) -> Self {
        Self::start_boxed(Box::new(cloud)).await
    }

    /// Starts a cloud of any kind.
    #[expect(clippy::disallowed_methods, reason = "a test's server ends with the test")]
    pub(crate) async fn start_boxed(cloud: Box<dyn Cloud>) -> Self {
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let inside = Arc::new(Inside {
            cloud,
            base,
            tasks: Mutex::default(),
            recorded: Mutex::default(),
            script: Mutex::default(),
            always: Mutex::default(),
            counted: watch::Sender::new(0),
        });
        let router = Router::new().fallback(handle).with_state(inside.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { inside, server }
    }

    /// Its address.
    pub(crate) fn base(&self) -> &str {
        &self.inside.base
    }

    /// The next requests for a route are answered so, one after the other.
    pub(crate) fn script(&self, route: &'static str, answers: impl IntoIterator<Item = Answer>) {
        self.inside.script.lock().entry(route).or_default().extend(answers);
    }

    /// All requests for a route for which nothing is scripted are answered so.
    pub(crate) fn always(&self, route: &'static str, answer: Answer) {
        self.inside.always.lock().insert(route, answer);
    }

    /// The requests for a route.
    pub(crate) fn recorded(&self, route: &str) -> Vec<Recorded> {
        self.inside.recorded.lock().iter().filter(|request| request.route == route).cloned().collect()
    }

    /// Waits until so many requests have come for a route.
    pub(crate) async fn wait_for(&self, route: &str, count: usize) {
        let enough = |_: &usize| self.recorded(route).len() >= count;
        self.inside.counted.subscribe().wait_for(enough).await.unwrap();
    }
}

async fn handle(State(inside): State<Arc<Inside>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let method = parts.method.to_string();
    let Some(route) = inside.cloud.route(&method, parts.uri.path()) else {
        return rendered(Answer::Json(404, serde_json::json!({ "error": "no such route" })));
    };
    let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let recorded = Recorded { route, method, target, headers: parts.headers, body };
    inside.recorded.lock().push(recorded.clone());
    inside.counted.send_modify(|count| *count += 1);
    if let Some(refusal) = inside.cloud.refusal(&recorded) {
        return rendered(refusal);
    }
    let usual = || inside.cloud.answer(&recorded, &mut inside.tasks.lock(), &inside.base);
    let scripted = inside.script.lock().get_mut(route).and_then(VecDeque::pop_front);
    let answer = scripted.or_else(|| inside.always.lock().get(route).cloned()).unwrap_or(Answer::Usual);
    rendered(match answer {
        Answer::Usual => usual(),
        Answer::UsualCutOff => cut_off(usual()),
        Answer::GatedUsual(gate) => {
            gate.pass().await;
            usual()
        }
        Answer::Gated(gate, answer) => {
            gate.pass().await;
            *answer
        }
        answer => answer,
    })
}

/// The first half of an answer.
fn cut_off(answer: Answer) -> Answer {
    let (status, bytes) = match answer {
        Answer::Json(status, value) | Answer::JsonWith(status, _, _, value) => (status, value.to_string().into_bytes()),
        Answer::Bytes(status, _, bytes) => (status, bytes),
        other => panic!("{other:?} has no half"),
    };
    Answer::Broken(status, bytes[..bytes.len() / 2].to_vec())
}

fn rendered(answer: Answer) -> Response {
    let with = |status: u16, media_type: &str, body: Body| {
        let status = StatusCode::from_u16(status).unwrap();
        Response::builder().status(status).header("content-type", media_type).body(body).unwrap()
    };
    match answer {
        Answer::Json(status, value) => with(status, "application/json", Body::from(value.to_string())),
        Answer::JsonWith(status, name, header, value) => {
            let mut response = with(status, "application/json", Body::from(value.to_string()));
            response.headers_mut().insert(name, header.parse().unwrap());
            response
        }
        Answer::Bytes(status, media_type, bytes) => with(status, media_type, Body::from(bytes)),
        Answer::Redirect(location) => Response::builder().status(302).header("location", location).body(Body::empty()).unwrap(),
        Answer::Broken(status, bytes) => {
            let parts = [Ok(Bytes::from(bytes)), Err(std::io::Error::other("cut off"))];
            with(status, "application/json", Body::from_stream(futures_util::stream::iter(parts)))
        }
        Answer::Flood(status) => {
            let part = || Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 8192]));
            with(status, "application/json", Body::from_stream(futures_util::stream::repeat_with(part).boxed()))
        }
        Answer::Gated(..) | Answer::GatedUsual(_) | Answer::Usual | Answer::UsualCutOff => panic!("answers were resolved before"),
    }
}
