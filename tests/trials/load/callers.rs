//! Those who submit and those who look.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde_json::json;

use crate::support::http::{Connection, request};
use crate::support::server::Server;

/// Connections that submit, one job after the other.
const SUBMITTING: usize = 16;
/// Connections that look.
const LOOKING: usize = 4;
/// Each of them looks so often, whether or not the last answer was quick: a slow answer delays the next look, and that counts too.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// When the queue is full. Shorter than the server asks for: the queue shall stay full.
const PAUSE: Duration = Duration::from_millis(20);
const ANSWER_LIMIT: Duration = Duration::from_mins(1);

/// The load.
#[derive(Debug)]
pub(super) struct Callers {
    address: SocketAddr,
    keys: Vec<String>,
    jobs: usize,
    submitted: AtomicUsize,
    /// Some of the tasks that were accepted last: what people look at.
    recent: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Callers {
    /// Callers with keys of four users, who submit `jobs` in all.
    pub(super) fn new(server: &Server, jobs: usize) -> Self {
        let administrator = server.administrator();
        Self {
            address: server.address(),
            keys: ["anna", "boris", "chloe", "dora"].map(|user| administrator.make_key(user)).to_vec(),
            jobs,
            submitted: AtomicUsize::new(0),
            recent: Mutex::default(),
            over: AtomicBool::new(false),
        }
    }

    /// Submits and looks until `done` returns; gives how long the looks took, microseconds.
    pub(super) fn run(&self, done: impl FnOnce()) -> Histogram<u64> {
        thread::scope(|scope| {
            let _over = Over(&self.over);
            for index in 0..SUBMITTING {
                scope.spawn(move || self.submit(index));
            }
            let looking: Vec<_> = (0..LOOKING).map(|index| scope.spawn(move || self.look(index))).collect();
            done();
            self.over.store(true, Ordering::Relaxed);
            let mut all = histogram();
            for thread in looking {
                all.add(thread.join().expect("it looked")).expect("histograms of one kind");
            }
            all
        })
    }

    fn submit(&self, index: usize) {
        let mut connection = Connection::open(self.address, ANSWER_LIMIT).expect("a connection");
        let key = &self.keys[index % self.keys.len()];
        let body = json!({"prompt": "load", "width": 64, "height": 64, "num_inference_steps": 1, "seed": index});
        let bytes = request("POST", "/api/v1/images/generate", Some(key), None, Some(&body));
        while !self.over.load(Ordering::Relaxed) && self.submitted.fetch_add(1, Ordering::Relaxed) < self.jobs {
            let answer = loop {
                let answer = connection.call(&bytes).expect("an answer");
                if answer.status != 429 {
                    break answer.expect(202);
                }
                thread::sleep(PAUSE);
            };
            // One of sixteen is enough to look at.
            if index == 0 {
                let id = answer.json()["task_id"].as_str().expect("an accepted task has an id").to_owned();
                let mut recent = self.recent.lock();
                if recent.len() >= 256 {
                    recent.clear();
                }
                recent.push(id);
            }
        }
    }

    fn look(&self, index: usize) -> Histogram<u64> {
        let mut connection = Connection::open(self.address, ANSWER_LIMIT).expect("a connection");
        // The first connection's tasks are the first user's.
        let key = &self.keys[0];
        let mut histogram = histogram();
        let mut due = Instant::now() + LOOK_EVERY * index as u32 / LOOKING as u32;
        let mut turn = index;
        while !self.over.load(Ordering::Relaxed) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let task = {
                let recent = self.recent.lock();
                turn += 1;
                recent.get(turn % recent.len().max(1)).cloned()
            };
            if let Some(task) = task {
                let bytes = request("GET", &format!("/api/v1/tasks/{task}"), Some(key), None, None);
                connection.call(&bytes).expect("an answer").expect(200);
                histogram.saturating_record(due.elapsed().as_micros() as u64);
            }
            due += LOOK_EVERY;
        }
        histogram
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("a range that histograms have")
}

/// Ends the threads when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
