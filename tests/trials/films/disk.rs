//! A disk that fills while a film is made: the film fails with the reason and keeps what is made; the server goes on.

use serde_json::{Value, json};

use super::{JOB_LIMIT, SCENES, Studio, goes_away, order, tells};
use crate::support::database::Store;
use crate::support::disk::SmallDisk;
use crate::support::events::Events;
use crate::support::records::TaskRecord;
use crate::support::trial;

fn completed(tasks: &[TaskRecord]) -> impl Iterator<Item = &TaskRecord> {
    tasks.iter().filter(|task| task.state == "completed")
}

#[test]
fn a_disk_that_fills_fails_the_film_with_the_reason_and_keeps_its_scenes() {
    let _alone = trial::alone();
    let Some(disk) = SmallDisk::mount() else { return };
    let outputs = disk.path().join("outputs");
    let studio = Studio::with(Store::Sqlite, "devices: [fake, fake], fake: {step_ms: 10}", Some(&outputs), &[]);
    let client = &studio.client;
    // Large enough that joining its scenes takes a while.
    let mut body = order(20);
    body["video_config"] = json!({"fps": 24, "width": 256, "height": 256});

    // While devices work, and then while the film is encoded: each time the next try goes on from what was there.
    let mut film = client.submit_film(&body);
    for (task, scene) in [("clip", Some(SCENES[2])), ("film", None)] {
        let mut events = Events::open(client, &format!("/api/v1/tasks/{film}/events"));
        let is_time = |event: &Value| tells(event, task, scene, "running");
        assert!(events.any(|event| is_time(&event)), "the {task} never ran");
        disk.fill();
        let failed = client.ended(&film, JOB_LIMIT);
        assert_eq!((failed.status.as_str(), failed.error_code()), ("failed", "storage_failed"), "{failed:?}");
        let message = failed.error.unwrap().1;
        assert!(message.contains("the disk is full"), "{message}");
        assert!(studio.server.is_healthy(), "a full storage is no reason to stop answering");
        studio.stands_still(&film);
        goes_away(|| studio.half_files());
        disk.clear();
        let kept = completed(&studio.records(&film)).count();
        trial::say(&format!("films: the disk was full while a {task} was made: '{message}'; {kept} tasks are kept"));
        let scenes = studio.made_scenes(&film);
        let retry = client.retry(&film, &json!({}));
        assert_eq!(completed(&studio.records(&retry)).filter(|task| task.attempt == 0).count(), kept);
        assert_eq!(studio.made_scenes(&retry), scenes);
        film = retry;
    }
    let ended = client.ended(&film, JOB_LIMIT);
    studio.film(&ended);
    let attempts = studio.attempts(&film);
    assert!(attempts[..attempts.len() - 1].iter().all(|attempt| *attempt == 0), "only the joining was left to do: {attempts:?}");
    studio.remove_all();
    assert_eq!(studio.server.administrator().usage("user=anna")["storage_bytes"], 0);
}
