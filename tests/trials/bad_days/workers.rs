//! Device workers that hang, lie, talk nonsense or die, and tasks that kill them.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{JOB_LIMIT, order};
use crate::support::server::Server;
use crate::support::{processes, trial};

fn server(directory: &tempfile::TempDir, pool: &str) -> Server {
    let mut server = Server::new(directory.path(), &format!("gpu_pool: {{{pool}}}\n"), &[]);
    server.start();
    server
}

/// Submits a task that does something to its worker, then a good one; gives the error class of the first, after checking that the
/// second completes, that the server is well, and that the device takes tasks again.
fn survived(pool: &str, prompt: &str) -> (String, String) {
    let _alone = trial::alone();
    let directory = tempfile::tempdir().unwrap();
    let server = server(&directory, pool);
    let client = server.user("anna");
    let bad = client.submit(&order(prompt));
    let good = client.submit(&order("a good one"));
    let bad = client.ended(&bad, JOB_LIMIT);
    assert!(client.ended(&good, JOB_LIMIT).is_completed(), "the next one completes");
    assert!(server.is_healthy());
    trial::wait_for("the device is ready again", JOB_LIMIT, || {
        let devices = client.get("/api/v1/devices").expect(200).json();
        (devices["devices"][0]["health"] == "ready").then_some(())
    });
    trial::say(&format!("bad days: '{prompt}' ended {} {:?}", bad.status, bad.error));
    bad.error.unwrap_or_default()
}

#[test]
fn a_worker_that_hangs_is_replaced_and_its_task_fails_with_the_reason() {
    let begun = Instant::now();
    let (code, message) = survived("devices: [fake], stall_seconds: 1, fake: {step_ms: 5}", "fake:hang_at=3");
    assert!(matches!(code.as_str(), "stalled" | "worker_lost"), "{code}: {message}");
    assert!(begun.elapsed() < Duration::from_mins(1));
}

#[test]
fn a_worker_that_talks_nonsense_is_replaced() {
    let (code, message) = survived("devices: [fake], fake: {step_ms: 5}", "fake:garbage_at=3");
    assert_eq!(code, "worker_lost", "{message}");
}

#[test]
fn a_worker_that_lies_about_memory_is_not_believed_for_long() {
    let (code, message) = survived("devices: [fake], fake: {step_ms: 5}", "fake:lie_memory");
    assert_eq!((code.as_str(), message.as_str()), ("", ""), "a lie about memory does not hurt the task");
}

#[test]
fn a_task_that_does_not_fit_fails_with_the_reason() {
    let (code, message) = survived("devices: [fake], fake: {step_ms: 5}", "fake:out_of_memory");
    assert_eq!(code, "out_of_memory", "{message}");
}

#[test]
fn a_poison_task_fails_alone_among_seven_batch_mates() {
    let _alone = trial::alone();
    let directory = tempfile::tempdir().unwrap();
    let server = server(&directory, "devices: [fake], max_batch: 8, fake: {step_ms: 20}");
    let client = server.user("anna");
    // Another size, so that nobody joins it: what follows waits, and starts together.
    let mut first = order("fake:step_ms=150");
    first["height"] = json!(128);
    let first = client.submit(&first);
    trial::wait_for("the first task runs", JOB_LIMIT, || (client.task(&first).status == "running").then_some(()));
    let mut mates: Vec<String> = (0..7).map(|index| client.submit(&order(&format!("mate {index}")))).collect();
    let poison = client.submit(&order("fake:crash_at=5"));
    mates.push(first);
    let poison = client.ended(&poison, JOB_LIMIT);
    assert_eq!(poison.error_code(), "worker_lost", "{poison:?}");
    let message = poison.error.unwrap().1;
    assert!(message.chars().any(|character| character.is_ascii_digit()), "it says how often it was tried: {message}");
    for mate in &mates {
        let task = client.ended(mate, JOB_LIMIT);
        assert!(task.is_completed(), "{task:?}");
    }
    let metrics = server.administrator().metrics();
    let shared = metrics.sum("framewright_batch_tasks_sum", "") - metrics.sum("framewright_batch_tasks_count", "");
    assert!(shared > 0.0, "they never shared an evaluation, so the trial shows nothing");
    let restarts = metrics.sum("framewright_worker_restarts_total", "");
    trial::say(&format!("bad days: the poison task among seven mates: '{message}'; {restarts} restarts, seven completed"));
}

#[test]
fn workers_end_with_their_server_and_a_killed_one_is_replaced() {
    let _alone = trial::alone();
    let directory = tempfile::tempdir().unwrap();
    let mut server = server(&directory, "devices: [fake, fake], fake: {step_ms: 5}");
    let client = server.user("anna");
    let workers =
        trial::wait_for("both devices have a worker", JOB_LIMIT, || Some(server.workers()).filter(|workers| workers.len() == 2));
    processes::kill(workers[0]);
    trial::wait_for("the killed worker has a successor", JOB_LIMIT, || {
        let now = server.workers();
        (now.len() == 2 && !now.contains(&workers[0])).then_some(())
    });
    let task = client.submit(&order("after a kill"));
    assert!(client.ended(&task, JOB_LIMIT).is_completed());
    let workers = server.workers();
    server.kill();
    trial::wait_for("the workers of a killed server end", Duration::from_secs(10), || {
        workers.iter().all(|pid| !processes::is_alive(*pid)).then_some(())
    });
}
