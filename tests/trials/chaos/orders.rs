//! What people ask for, and what came of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::cluster::{Cluster, PROJECT, USERS};
use crate::support::random::Random;

/// What is to be expected of a job that is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It completes.
    Plain,
    /// Whoever runs it dies.
    Poison,
    /// It fails.
    Fails,
    /// Somebody stops it after a while, if it is not done by then.
    Cancelled(Duration),
}

/// A request, to be made until it is answered.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) user: &'static str,
    pub(super) fate: Fate,
    pub(super) images: u64,
    pub(super) body: Value,
    pub(super) idempotency_key: String,
    /// The caller hangs up before the first answer.
    hangs_up: bool,
}

/// Every order and the task it became; none for a refused one.
#[derive(Debug)]
pub(super) struct Book {
    random: Random,
    made: u64,
    pub(super) filed: Vec<(Order, Option<String>)>,
}

impl Book {
    pub(super) fn new(random: Random) -> Self {
        Self { random, made: 0, filed: Vec::new() }
    }

    /// Makes up the next order.
    pub(super) fn next(&mut self) -> Order {
        let random = &mut self.random;
        self.made += 1;
        let images = random.between(1, 4);
        let steps = random.between(5, 30);
        let (fate, word) = match random.between(0, 100) {
            0..4 => (Fate::Poison, format!("fake:crash_at={}", random.between(1, steps))),
            4..8 => (Fate::Fails, format!("fake:fail_at={}", random.between(1, steps))),
            8..18 => (Fate::Cancelled(Duration::from_millis(random.between(0, 1500))), String::new()),
            _ => (Fate::Plain, String::new()),
        };
        let mut body = json!({
            "prompt": format!("order {} {word}", self.made),
            "width": 64,
            "height": *random.pick(&[64, 64, 128]),
            "num_inference_steps": steps,
            "num_images": images,
            "seed": random.between(0, 1 << 32),
            "priority": random.between(0, 5),
        });
        if random.percent(30) {
            body["project_id"] = PROJECT.into();
        }
        Order {
            user: USERS[random.between(0, USERS.len() as u64) as usize],
            fate,
            images,
            body,
            idempotency_key: format!("order-{}", self.made),
            hangs_up: random.percent(20),
        }
    }

    /// Writes down what came of an order.
    pub(super) fn file(&mut self, order: Order, task: Option<String>) {
        self.filed.push((order, task));
    }

    pub(super) fn accepted(&self) -> usize {
        self.filed.iter().filter(|(_, task)| task.is_some()).count()
    }
}

impl Order {
    /// The same order, made again by somebody who waits for the answer and stops nothing.
    pub(super) fn repeated(&self) -> Self {
        Self { fate: Fate::Plain, hangs_up: false, ..self.clone() }
    }

    /// Submits it, through whatever outages, until it is accepted or refused; then stops it, if that is its fate.
    pub(super) fn place(&self, cluster: &Cluster) -> Option<String> {
        let client = &cluster.clients[self.user];
        if self.hangs_up {
            client.hang_up("POST", "/api/v1/images/generate", &self.idempotency_key, &self.body);
        }
        let answer = client.call("POST", "/api/v1/images/generate", Some(&self.idempotency_key), Some(&self.body));
        let task = match answer.status {
            202 => answer.json()["task_id"].as_str().expect("an accepted task has an id").to_owned(),
            429 => {
                let text = answer.text();
                assert!(text.contains("images_per_day"), "only quotas run out here: {text}");
                assert!(answer.header("retry-after").is_some(), "a refusal says when to come back: {text}");
                return None;
            }
            other => panic!("{other}: {}", answer.text()),
        };
        if let Fate::Cancelled(after) = self.fate {
            std::thread::sleep(after);
            let answer = client.post(&format!("/api/v1/tasks/{task}/cancel"), &json!({}));
            assert!(matches!(answer.status, 200 | 409), "{}: {}", answer.status, answer.text());
        }
        Some(task)
    }
}
