//! Somebody with a key who calls one server, or several that share a store, and does not give up when one is gone.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::http::{Answer, Connection, request};
use super::metrics::Metrics;
use super::task::Task;

/// How long one answer may take before the client tries again. Longer than any server is busy, shorter than a trial is patient.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// How long a client goes on trying.
const OUTAGE_LIMIT: Duration = Duration::from_secs(90);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// A caller.
#[derive(Debug)]
pub(crate) struct Client {
    addresses: Vec<SocketAddr>,
    turn: AtomicUsize,
    key: String,
    /// A connection is one caller's at a time.
    idle: Mutex<Vec<(SocketAddr, Connection)>>,
}

impl Client {
    pub(crate) fn new(addresses: &[SocketAddr], key: &str) -> Self {
        let (addresses, key) = (addresses.to_vec(), key.to_owned());
        Self { addresses, turn: AtomicUsize::new(0), key, idle: Mutex::default() }
    }

    /// The first server's address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The same servers with another key.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self::new(&self.addresses, key)
    }

    /// Calls the next server once.
    pub(crate) fn try_call(
        &self,
        method: &str,
        path: &str,
        idempotency_key: Option<&str>,
        body: Option<&Value>,
    ) -> io::Result<Answer> {
        let address = self.addresses[self.turn.fetch_add(1, Ordering::Relaxed) % self.addresses.len()];
        let kept = {
            let mut idle = self.idle.lock();
            idle.iter().position(|(of, _)| *of == address).map(|position| idle.swap_remove(position).1)
        };
        let bytes = request(method, path, Some(&self.key), idempotency_key, body);
        // A kept connection may be one of a server that has died meanwhile.
        let again = kept.and_then(|mut connection| connection.call(&bytes).ok().map(|answer| (connection, answer)));
        let (connection, answer) = if let Some(answered) = again {
            answered
        } else {
            let mut connection = Connection::open(address, ANSWER_LIMIT)?;
            let answer = connection.call(&bytes)?;
            (connection, answer)
        };
        if answer.header("connection") != Some("close") {
            self.idle.lock().push((address, connection));
        }
        Ok(answer)
    }

    /// Sends a request and hangs up before it can be answered.
    pub(crate) fn hang_up(&self, method: &str, path: &str, idempotency_key: &str, body: &Value) {
        let address = self.addresses[self.turn.fetch_add(1, Ordering::Relaxed) % self.addresses.len()];
        if let Ok(mut connection) = Connection::open(address, ANSWER_LIMIT) {
            let _ = connection.send(&request(method, path, Some(&self.key), Some(idempotency_key), Some(body)));
        }
    }

    /// Calls until somebody answers, other than that the server, its database or its disk fails.
    pub(crate) fn call(&self, method: &str, path: &str, idempotency_key: Option<&str>, body: Option<&Value>) -> Answer {
        let begun = Instant::now();
        loop {
            let outcome = self.try_call(method, path, idempotency_key, body);
            if let Ok(answer) = &outcome
                && answer.status < 500
            {
                return outcome.expect("it is an answer");
            }
            assert!(begun.elapsed() < OUTAGE_LIMIT, "{method} {path}: {outcome:?} for {OUTAGE_LIMIT:?}");
            std::thread::sleep(PAUSE);
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None, None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, None, Some(body))
    }

    /// Submits a request and gives its task's id.
    pub(crate) fn submit(&self, body: &Value) -> String {
        let answer = self.post("/api/v1/images/generate", body).expect(202).json();
        answer["task_id"].as_str().expect("an accepted task has an id").to_owned()
    }

    /// Submits a request for a film and gives its task's id.
    pub(crate) fn submit_film(&self, body: &Value) -> String {
        let answer = self.post("/api/v1/videos/generate", body).expect(202).json();
        answer["task_id"].as_str().expect("an accepted task has an id").to_owned()
    }

    /// Tries an ended task again and gives the new one's id.
    pub(crate) fn retry(&self, id: &str, body: &Value) -> String {
        let answer = self.post(&format!("/api/v1/tasks/{id}/retry"), body).expect(202).json();
        answer["task_id"].as_str().expect("an accepted task has an id").to_owned()
    }

    pub(crate) fn task(&self, id: &str) -> Task {
        Task::of(&self.document(id))
    }

    /// A task with all that the server says of it.
    pub(crate) fn document(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/tasks/{id}")).expect(200).json()
    }

    /// Waits until a task has ended.
    pub(crate) fn ended(&self, id: &str, limit: Duration) -> Task {
        super::trial::wait_for(&format!("{id} has ended"), limit, || Some(self.task(id)).filter(Task::is_terminal))
    }

    /// Every task that the key may see, newest first.
    pub(crate) fn tasks(&self) -> Vec<Task> {
        let mut tasks = Vec::new();
        let mut path = "/api/v1/tasks?limit=100".to_owned();
        loop {
            let page = self.get(&path).expect(200).json();
            tasks.extend(page["tasks"].as_array().expect("a page has tasks").iter().map(Task::of));
            match page["next"].as_str() {
                Some(next) => path = format!("/api/v1/tasks?limit=100&before={next}"),
                None => return tasks,
            }
        }
    }

    /// Makes a key for a user, with an administrator's.
    pub(crate) fn make_key(&self, user: &str) -> String {
        let answer = self.post("/api/v1/admin/keys", &json!({"user": user, "scope": "user"})).expect(201).json();
        answer["key"].as_str().expect("a new key is shown").to_owned()
    }

    /// What a holder (`user=NAME` or `project=NAME`) has used, by meter; asks with an administrator's key.
    pub(crate) fn usage(&self, holder: &str) -> BTreeMap<String, i64> {
        let answer = self.get(&format!("/api/v1/admin/usage?{holder}")).expect(200).json();
        let quotas = answer["quotas"].as_array().expect("usage has quotas").iter();
        quotas.map(|quota| (quota["meter"].as_str().unwrap().to_owned(), quota["used"].as_i64().unwrap())).collect()
    }

    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::of(&self.get("/metrics").expect(200).text())
    }
}
