//! A film that is cancelled on its way stops everywhere, at once.

use std::time::Instant;

use serde_json::{Value, json};

use super::{AT_ONCE, JOB_LIMIT, Studio, order};
use crate::support::database::Store;
use crate::support::events::Events;
use crate::support::trial;

#[test]
fn a_cancelled_film_stops_on_every_device_on_sqlite() {
    let _alone = trial::alone();
    cancelled(Store::Sqlite);
}

#[test]
fn a_cancelled_film_stops_on_every_device_on_postgresql() {
    let _alone = trial::alone();
    if let Some(store) = Store::postgres("a cancelled film on PostgreSQL") {
        cancelled(store);
    }
}

fn cancelled(store: Store) {
    // Clips of several seconds.
    let studio = Studio::open(store, "devices: [fake, fake], fake: {step_ms: 40}");
    let client = &studio.client;
    let film = client.submit_film(&order(150));
    let mut events = Events::open(client, &format!("/api/v1/tasks/{film}/events"));
    let is_clip = |event: &Value| event["task"] == "clip" && event["state"] == "running";
    assert_eq!(events.by_ref().filter(is_clip).take(2).count(), 2, "a clip runs on each device");
    let begun = Instant::now();
    client.post(&format!("/api/v1/tasks/{film}/cancel"), &json!({})).expect(200);
    let ended = client.ended(&film, AT_ONCE);
    assert_eq!(ended.status, "cancelled");
    studio.stands_still(&film);
    let stopped = begun.elapsed();
    assert!(!events.any(|event| event["state"] == "running"), "something began after the cancel");
    let picture = client.submit(&json!({"prompt": "next", "width": 64, "height": 64, "num_inference_steps": 2}));
    assert!(client.ended(&picture, JOB_LIMIT).is_completed());
    let on = &studio.store;
    trial::say(&format!(
        "films: cancelled on {on} with clips on two devices: all stood still after {:.2} s",
        stopped.as_secs_f64()
    ));
    let log = studio.server.log();
    let complaints: Vec<&str> = log.lines().filter(|line| line.contains(" ERROR ")).collect();
    assert!(complaints.is_empty(), "a cancel is no error: {complaints:#?}");
    studio.remove_all();
}
