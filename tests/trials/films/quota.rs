//! A film whose device time runs out keeps what is made, and its retry goes on from there.

use std::time::Duration;

use serde_json::{Value, json};

use super::{JOB_LIMIT, Studio, order};
use crate::support::database::Store;
use crate::support::picture::png_base64;
use crate::support::trial;

/// Files are looked at every second or two.
const TAKEN_WITHIN: Duration = Duration::from_secs(15);

#[test]
fn a_film_out_of_device_time_keeps_its_scenes_and_its_retry_goes_on() {
    let _alone = trial::alone();
    // A clip takes 0.8 s; the third one takes more than is left. The last scene's keyframe is slow, so that it is under way then.
    let mut body = order(40);
    for scene in &mut body["scenes"].as_array_mut().unwrap()[..3] {
        scene["image"] = json!(png_base64(64, 64));
    }
    body["scenes"][3]["prompt"] = json!("fake:step_ms=150");
    let files = [("users/anna.yaml", "quotas: {gpu_seconds_per_day: 2}\n")];
    let studio = Studio::with(Store::Sqlite, "devices: [fake, fake], max_batch: 1, fake: {step_ms: 20}", None, &files);
    let client = &studio.client;
    let film = client.submit_film(&body);
    let failed = client.ended(&film, JOB_LIMIT);
    assert_eq!((failed.status.as_str(), failed.error_code()), ("failed", "quota_exceeded"), "{failed:?}");
    studio.stands_still(&film);
    let kept = studio.made_scenes(&film);
    assert!(kept.len() >= 2, "{kept:?}");
    let completed = studio.records(&film).iter().filter(|task| task.state == "completed").count();
    let used = studio.server.administrator().usage("user=anna");
    assert_eq!((used["videos"], used["video_ms"]), (0, 0), "who got no film pays for none: {used:?}");
    assert!(used["gpu_ms"] >= 2000, "the devices have worked: {used:?}");

    let refused = client.post(&format!("/api/v1/tasks/{film}/retry"), &json!({})).expect(429);
    assert!(refused.text().contains("gpu_seconds_per_day"), "{}", refused.text());
    studio.server.write("users/anna.yaml", "quotas: {gpu_seconds_per_day: 1000}\n");
    let retry = trial::wait_for("the larger quota is in force", TAKEN_WITHIN, || {
        let answer = client.post(&format!("/api/v1/tasks/{film}/retry"), &json!({}));
        (answer.status == 202).then(|| answer.json()["task_id"].as_str().unwrap().to_owned())
    });
    assert!(client.ended(&retry, JOB_LIMIT).is_completed());
    let scenes = client.document(&retry)["scenes"].clone();
    let taken: Vec<&str> =
        scenes.as_array().unwrap().iter().filter(|scene| scene["taken_over"] == json!(true)).map(name).collect();
    assert_eq!(taken, kept, "{scenes:#}");
    let attempts = studio.attempts(&retry);
    assert_eq!(attempts.iter().filter(|attempt| **attempt == 0).count(), completed, "{attempts:?}");
    assert!(attempts.iter().all(|attempt| *attempt <= 1), "{attempts:?}");
    trial::say(&format!("films: out of quota: '{}'; the retry took {completed} tasks over", failed.error.unwrap().1));
    studio.remove_all();
    assert_eq!(studio.server.administrator().usage("user=anna")["storage_bytes"], 0);
}

fn name(scene: &Value) -> &str {
    scene["id"].as_str().expect("a scene has a name")
}
