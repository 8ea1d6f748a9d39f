//! Done when: four scenes take two devices at most 0.6 of the time that they take one.

use std::time::Instant;

use serde_json::{Value, json};

use super::{JOB_LIMIT, Studio, order};
use crate::support::database::Store;
use crate::support::events::Events;
use crate::support::trial;

/// Steps of a clip; as many as a keyframe has.
const STEPS: u32 = 20;
/// What two devices may take of one device's time.
const SHARE: f64 = 0.6;

/// A film whose few frames cost the server's own processor next to nothing: they are its clips' frames as they are.
fn plain_order() -> Value {
    let mut body = order(STEPS);
    body["video_config"]["fps"] = json!(7);
    for scene in body["scenes"].as_array_mut().expect("a list") {
        scene["prompt"] = json!("no camera");
        scene["duration"] = json!(0.3);
        scene["transition"] = json!("cut");
    }
    body
}

/// How long a film takes on this pool, seconds, from its request to its end.
fn seconds(devices: &str) -> f64 {
    // Alone on their devices, as on GPUs where a batch takes as long as its pictures one by one.
    let studio = Studio::open(Store::Sqlite, &format!("devices: [{devices}], max_batch: 1, fake: {{step_ms: 70}}"));
    let begun = Instant::now();
    let film = studio.client.submit_film(&plain_order());
    // To the end of the stream.
    Events::open(&studio.client, &format!("/api/v1/tasks/{film}/events")).count();
    let taken = begun.elapsed().as_secs_f64();
    studio.film(&studio.client.ended(&film, JOB_LIMIT));
    taken
}

#[test]
fn two_devices_share_the_scenes_of_a_film() {
    let _alone = trial::alone();
    let (one, two) = (seconds("fake"), seconds("fake, fake"));
    let share = two / one;
    trial::say(&format!("films: four scenes take one device {one:.2} s, two devices {two:.2} s: {share:.2} of it"));
    assert!(share <= SHARE, "two devices take {share:.2} of one device's time; at most {SHARE} is allowed");
}
