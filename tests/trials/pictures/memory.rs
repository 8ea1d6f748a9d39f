//! Done when: two workers of one model take its memory once.

use super::{JOB_LIMIT, order, server};
use crate::support::{processes, trial};

/// What the workers of a pool of CPUs take with the demo model loaded on each, bytes.
fn workers_take(devices: usize) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let names = vec!["cpu"; devices].join(", ");
    let server = server(&directory, &format!("devices: [{names}], max_batch: 1"));
    let client = server.user("anna");
    // As many at once as there are devices, so that each of them loads the model.
    let tasks: Vec<String> = (0..devices as u64).map(|seed| client.submit(&order(seed, 20))).collect();
    for task in tasks {
        assert!(client.ended(&task, JOB_LIMIT).is_completed());
    }
    let documents = client.get("/api/v1/devices").expect(200).json();
    for device in documents["devices"].as_array().unwrap() {
        assert_eq!(device["models"][0]["model"], "demo-sdxl", "{documents}");
    }
    let workers = server.workers();
    assert_eq!(workers.len(), devices);
    processes::proportional_bytes(&workers)
}

#[test]
fn two_workers_share_the_weights_of_a_model() {
    let _alone = trial::alone();
    let weights: u64 = ["unet", "vae", "text_encoder", "text_encoder_2"]
        .into_iter()
        .map(|part| {
            let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo-sdxl").join(part);
            let files = std::fs::read_dir(directory).unwrap().flatten();
            files.map(|file| file.metadata().unwrap().len()).sum::<u64>()
        })
        .sum();
    let (one, two) = (workers_take(1), workers_take(2));
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    trial::say(&format!(
        "memory: one worker takes {:.1} MB, two take {:.1} MB together; the model's files have {:.1} MB",
        megabytes(one),
        megabytes(two),
        megabytes(weights)
    ));
    // Each process has memory of its own beside the weights; the second one's weights may cost a tenth of their size at most.
    assert!(two < 2 * one - weights * 9 / 10, "the second worker has weights of its own");
}
