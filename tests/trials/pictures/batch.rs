//! Done when: batched and single runs of the demo model are identical, and eight queued pictures finish sooner batched than one by one.

use std::time::Instant;

use super::{JOB_LIMIT, order, pictures, server};
use crate::support::picture::Picture;
use crate::support::trial;

const PICTURES: u64 = 8;
const STEPS: u32 = 20;

/// The pictures of eight tasks that were submitted at once, and how long they took, loading excluded.
fn eight(max_batch: u32) -> (Vec<Vec<Picture>>, f64, u64) {
    let directory = tempfile::tempdir().unwrap();
    let server = server(&directory, &format!("devices: [cpu], max_batch: {max_batch}"));
    let client = server.user("anna");
    let warm = client.submit(&order(1, 2));
    assert!(client.ended(&warm, JOB_LIMIT).is_completed());
    let begun = Instant::now();
    let tasks: Vec<String> = (0..PICTURES)
        .map(|index| {
            let mut body = order(100 + index, STEPS);
            // Only model and size must be the same.
            body["prompt"] = format!("a small green square, number {index}").into();
            body["guidance_scale"] = (2.0 + index as f64 / 4.0).into();
            client.submit(&body)
        })
        .collect();
    let tasks: Vec<_> = tasks.iter().map(|id| client.ended(id, JOB_LIMIT)).collect();
    let seconds = begun.elapsed().as_secs_f64();
    let mates = tasks.iter().map(|task| task.fact("batched_with")).max().unwrap_or(0);
    (tasks.iter().map(|task| pictures(&server, task)).collect(), seconds, mates)
}

#[test]
fn batched_pictures_are_the_same_and_sooner_done() {
    let _alone = trial::alone();
    let (single, single_seconds, alone) = eight(1);
    let (batched, batched_seconds, mates) = eight(8);
    trial::say(&format!(
        "batching: {PICTURES} queued pictures one by one {single_seconds:.2} s, batched {batched_seconds:.2} s: {:.2} times as fast; at \
         most {mates} shared an evaluation",
        single_seconds / batched_seconds
    ));
    assert_eq!(alone, 1);
    assert!(mates >= 4, "they were hardly batched");
    assert!(single == batched, "a picture depends on its batch mates");
    assert!(batched_seconds < single_seconds, "batching is slower");
}
