//! Done when: a job killed at step 30 of 40 repeats at most 3 steps and yields the same picture.

use super::{JOB_LIMIT, order, pictures, server};
use crate::support::events::Events;
use crate::support::server::Server;
use crate::support::{processes, trial};

const STEPS: u32 = 40;
const KILLED_AT: u64 = 30;
const MOST_REPEATED: u64 = 3;

#[test]
fn a_job_goes_on_where_its_server_was_killed() {
    resumes("server", |server| {
        server.kill();
        server.start();
    });
}

#[test]
fn a_job_goes_on_where_its_worker_was_killed() {
    resumes("worker", |server| {
        for worker in server.workers() {
            processes::kill(worker);
        }
    });
}

fn resumes(what: &str, kill: impl Fn(&mut Server)) {
    let _alone = trial::alone();
    let directory = tempfile::tempdir().unwrap();
    let mut server = server(&directory, "devices: [cpu]");
    let client = server.user("anna");
    let undisturbed = client.submit(&order(7, STEPS));
    let undisturbed = client.ended(&undisturbed, JOB_LIMIT);
    assert_eq!(undisturbed.fact("resumed_steps"), 0);

    let task = client.submit(&order(7, STEPS));
    let mut events = Events::open(&client, &format!("/api/v1/tasks/{task}/events"));
    let step = loop {
        let event = events.next().expect("the task ends with an event of its own");
        let step = event["step"].as_u64().unwrap_or(0);
        if step >= KILLED_AT {
            break step;
        }
        assert!(event["status"].as_str().is_none_or(|status| matches!(status, "queued" | "running")), "too late: {event}");
    };
    kill(&mut server);
    let resumed = client.ended(&task, JOB_LIMIT);
    assert!(pictures(&server, &resumed) == pictures(&server, &undisturbed), "another picture than without the kill");
    let kept = resumed.fact("resumed_steps");
    trial::say(&format!(
        "resume: the {what} was killed at step {step} of {STEPS}; {kept} steps were not done again; same picture"
    ));
    // It had gone on for a moment between its event and its end, so more may have been kept, and never fewer.
    assert!(kept + MOST_REPEATED >= step, "killed at step {step}, and only {kept} steps were kept");
    assert!(server.work_left().is_empty(), "a finished task leaves nothing");
}
