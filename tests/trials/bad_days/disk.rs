//! A disk that is full: what is asked for meanwhile is refused or fails with the reason, nothing half-written stays, and when there is
//! room again, everything goes on.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::{JOB_LIMIT, order};
use crate::support::disk::SmallDisk;
use crate::support::picture::Picture;
use crate::support::server::Server;
use crate::support::trial;

fn large_order(prompt: &str) -> Value {
    // Noise enough that its file is no trifle.
    json!({"prompt": prompt, "width": 256, "height": 256, "num_inference_steps": 5})
}

#[test]
fn a_full_storage_fails_the_job_with_the_reason_and_no_other() {
    let _alone = trial::alone();
    let Some(disk) = SmallDisk::mount() else { return };
    let directory = tempfile::tempdir().unwrap();
    let outputs = disk.path().join("outputs");
    let yaml = format!(
        "gpu_pool: {{devices: [fake], fake: {{step_ms: 2}}}}\nstorage: {{type: local, base_path: {}}}\n",
        outputs.display()
    );
    let mut server = Server::new(directory.path(), &yaml, &[]);
    server.write("users/anna.yaml", "quotas: {images_per_day: 100}\n");
    server.start();
    let (client, administrator) = (server.user("anna"), server.administrator());
    let before = client.submit(&large_order("before"));
    assert!(client.ended(&before, JOB_LIMIT).is_completed());
    disk.fill();
    let during = client.submit(&large_order("while the disk is full"));
    let during = client.ended(&during, JOB_LIMIT);
    assert_eq!((during.status.as_str(), during.error_code()), ("failed", "storage_failed"), "{during:?}");
    assert!(server.is_healthy(), "a full storage is no reason to stop answering");
    disk.clear();
    let after = client.submit(&large_order("after"));
    let after = client.ended(&after, JOB_LIMIT);
    assert!(after.is_completed(), "{after:?}");
    Picture::read(&outputs.join(&after.outputs[0].path));
    let pictures = || fs::read_dir(outputs.join("images")).unwrap().flatten().count();
    trial::wait_for("no half of a picture is left", JOB_LIMIT, || (pictures() == 2).then_some(()));
    assert_eq!(administrator.usage("user=anna")["images"], 2, "who got no picture pays for none");
    trial::say(&format!("bad days: on a full storage: {:?}", during.error));
}

#[test]
fn a_full_data_directory_refuses_and_recovers() {
    let _alone = trial::alone();
    let Some(disk) = SmallDisk::mount() else { return };
    let yaml = "gpu_pool: {devices: [fake, fake], fake: {step_ms: 50}}\n";
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(directory.path(), yaml, &[]).with_data(disk.path().join("data"));
    server.start();
    let client = server.user("anna");
    let mut accepted: Vec<String> = (0..4).map(|index| client.submit(&order(&format!("before {index}")))).collect();
    disk.fill();
    // Whatever is accepted now is as good as what was accepted before; the rest is refused, and says so.
    let mut refused = 0;
    for index in 0..30 {
        let answer =
            client.try_call("POST", "/api/v1/images/generate", None, Some(&order(&format!("full {index}")))).expect("an answer");
        match answer.status {
            202 => accepted.push(answer.json()["task_id"].as_str().unwrap().to_owned()),
            500..600 => refused += 1,
            other => panic!("{other}: {}", answer.text()),
        }
    }
    std::thread::sleep(Duration::from_secs(1));
    disk.clear();
    let after = client.submit(&order("after"));
    assert!(client.ended(&after, JOB_LIMIT).is_completed());
    // A server that was killed on a full disk must be able to read what it wrote there.
    disk.fill();
    server.kill();
    disk.clear();
    server.start();
    for task in &accepted {
        let task = client.ended(task, JOB_LIMIT);
        assert!(task.is_completed() || matches!(task.error_code(), "storage_failed" | "internal"), "{task:?}");
    }
    assert_eq!(client.tasks().len(), accepted.len() + 1, "what was refused is not there");
    trial::say(&format!(
        "bad days: with a full data directory {refused} of 30 were refused, {} accepted jobs ended",
        accepted.len() + 1
    ));
}
