//! Done when: the queue takes ten thousand jobs by default, refuses the next with a time to come back, and a server that is killed with
//! a full queue is healthy again within ten seconds.

use std::thread;
use std::time::{Duration, Instant};

use super::order;
use crate::support::http::{Connection, request};
use crate::support::server::Server;
use crate::support::trial;

const QUEUED: usize = 10_000;
const CALLERS: usize = 8;
const HEALTHY_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn a_killed_server_with_a_full_queue_is_healthy_within_ten_seconds() {
    let _alone = trial::alone();
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(directory.path(), "gpu_pool: {devices: [fake], max_batch: 1, fake: {step_ms: 60000}}\n", &[]);
    server.start();
    let administrator = server.administrator();
    let key = administrator.make_key("anna");
    let client = administrator.with_key(&key);
    // The only device is kept busy, so that the queue is exactly as long as what is submitted from here on.
    let busy = client.submit(&order("keeps the device busy"));
    trial::wait_for("the first task runs", Duration::from_secs(30), || (client.task(&busy).status == "running").then_some(()));
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let mut connection = Connection::open(server.address(), Duration::from_mins(1)).expect("a connection");
                let bytes = request("POST", "/api/v1/images/generate", Some(&key), None, Some(&order("one of many")));
                for _ in 0..QUEUED / CALLERS {
                    connection.call(&bytes).expect("an answer").expect(202);
                }
            });
        }
    });
    let filled = begun.elapsed();
    let refused = client.post("/api/v1/images/generate", &order("one too many")).expect(429);
    assert!(refused.header("retry-after").is_some(), "{}", refused.text());
    server.kill();
    let healthy_after = server.start();
    let waiting = administrator.get("/api/v1/health").expect(200).json()["jobs"].clone();
    let all = waiting["queued"].as_u64().unwrap() + waiting["running"].as_u64().unwrap();
    assert_eq!(all as usize, QUEUED + 1, "{waiting}");
    trial::say(&format!(
        "full queue: {QUEUED} jobs within {:.1} s; killed, and healthy again after {:.2} s",
        filled.as_secs_f64(),
        healthy_after.as_secs_f64()
    ));
    assert!(healthy_after < HEALTHY_WITHIN, "{healthy_after:?}");
    // It does not only say so.
    trial::wait_for("a task runs again", HEALTHY_WITHIN, || {
        let jobs = administrator.get("/api/v1/health").expect(200).json();
        (jobs["jobs"]["running"] == 1).then_some(())
    });
}
