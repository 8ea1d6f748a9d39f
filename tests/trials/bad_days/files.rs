//! Configuration files that are changed, broken and mended while the server runs.

use std::time::Duration;

use super::order;
use crate::support::client::Client;
use crate::support::server::Server;
use crate::support::trial;

/// Files are looked at every second or two.
const TAKEN_WITHIN: Duration = Duration::from_secs(15);

fn limit(administrator: &Client, user: &str) -> Option<i64> {
    let usage = administrator.get(&format!("/api/v1/admin/usage?user={user}")).expect(200).json();
    let quotas = usage["quotas"].as_array().unwrap().iter();
    quotas.filter(|quota| quota["setting"] == "images_per_day").find_map(|quota| quota["limit"].as_i64())
}

#[test]
fn a_file_that_is_broken_while_the_server_runs_leaves_the_old_in_force() {
    let _alone = trial::alone();
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(directory.path(), "gpu_pool: {devices: [fake], fake: {step_ms: 1}}\n", &[]);
    server.write("users/anna.yaml", "quotas:\n  images_per_day: 2\n");
    server.start();
    let (administrator, anna) = (server.administrator(), server.user("anna"));
    let takes = |expected: i64| {
        trial::wait_for(&format!("a limit of {expected} is in force"), TAKEN_WITHIN, || {
            (limit(&administrator, "anna") == Some(expected)).then_some(())
        });
    };
    takes(2);
    server.write("users/anna.yaml", "quotas:\n  images_per_day: 1\n");
    takes(1);
    anna.submit(&order("the last one"));
    anna.post("/api/v1/images/generate", &order("one too many")).expect(429);

    let place = "anna.yaml:2:";
    assert!(!server.log().contains(place));
    server.write("users/anna.yaml", "quotas:\n  images_per_day: many\n");
    trial::wait_for("the log names the place in the broken file", TAKEN_WITHIN, || server.log().contains(place).then_some(()));
    assert_eq!(limit(&administrator, "anna"), Some(1), "the old file is in force");
    // Neither does a broken file let others' changes in, nor does it lift anybody's limits.
    server.write("users/boris.yaml", "quotas:\n  images_per_day: 7\n");
    anna.post("/api/v1/images/generate", &order("still too many")).expect(429);

    server.write("users/anna.yaml", "quotas:\n  images_per_day: 3\n");
    takes(3);
    assert_eq!(limit(&administrator, "boris"), Some(7));
    anna.submit(&order("allowed again"));
    let log = server.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(place)).collect();
    assert_eq!(lines.len(), 1, "what is broken is said once: {lines:?}");
    assert!(lines[0].contains("images_per_day") || lines[0].contains("many"), "{}", lines[0]);
    trial::say(&format!("bad days: {}", lines[0]));
}

#[test]
fn a_server_does_not_start_with_a_broken_file() {
    let _alone = trial::alone();
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::new(directory.path(), "gpu_pool: {devices: [fake]}\n", &[]);
    server.write("projects/film.yaml", "quotas: {images_per_day: 1}\nquota: {}\n");
    server.spawn();
    let status = trial::wait_for("the server ends", TAKEN_WITHIN, || server.ended());
    assert_eq!(status.code(), Some(2));
    assert!(server.log().contains("film.yaml:2:"), "{}", server.log());
}
