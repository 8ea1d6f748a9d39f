//! A wall clock that jumps, forwards and backwards, under a running server.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{JOB_LIMIT, order};
use crate::support::database::Store;
use crate::support::server::Server;
use crate::support::{processes, trial};

/// Where Debian and Ubuntu have the library.
fn library() -> Option<PathBuf> {
    let entries = fs::read_dir("/usr/lib").ok()?.flatten();
    entries.map(|entry| entry.path().join("faketime/libfaketime.so.1")).find(|path| path.exists())
}

/// Gives a server a wall clock of its own, which `file` sets: `+2h`, `-90s`. Monotonic time, which jumps on no machine, stays true.
fn with_own_clock(server: Server, library: &Path, file: &Path) -> Server {
    set(file, "+0s");
    server
        .with_variable("LD_PRELOAD", &library.to_string_lossy())
        .with_variable("FAKETIME_TIMESTAMP_FILE", &file.to_string_lossy())
        .with_variable("FAKETIME_NO_CACHE", "1")
        .with_variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .with_variable("FAKETIME_DONT_RESET", "1")
}

fn set(file: &Path, offset: &str) {
    let written = file.with_extension("written");
    fs::write(&written, format!("{offset}\n")).unwrap();
    fs::rename(written, file).unwrap();
}

#[test]
fn jobs_survive_clocks_that_jump_on_sqlite() {
    let _alone = trial::alone();
    jump(&Store::Sqlite, 1);
}

#[test]
fn jobs_survive_clocks_that_jump_on_one_of_two_servers_on_postgresql() {
    let _alone = trial::alone();
    if let Some(store) = Store::postgres("clock jumps on PostgreSQL") {
        jump(&store, 2);
    }
}

fn jump(store: &Store, number: usize) {
    let Some(library) = library() else {
        return trial::skip("clock jumps", "libfaketime is not installed; scripts/setup.sh --test does that");
    };
    let directory = tempfile::tempdir().unwrap();
    let (clock, outputs) = (directory.path().join("clock"), directory.path().join("outputs"));
    let yaml = format!(
        "gpu_pool: {{devices: [fake, fake], max_batch: 2, fake: {{step_ms: 100}}}}\ndatabase: {{lease_seconds: 2}}\n\
         storage: {{type: local, base_path: {}}}\n",
        outputs.display()
    );
    let mut servers: Vec<Server> = (0..number)
        .map(|index| {
            let server = Server::new(&directory.path().join(format!("server-{index}")), &yaml, &store.variables());
            // Only the first one's clock is bad: servers of one store must agree all the same.
            if index == 0 { with_own_clock(server, &library, &clock) } else { server }
        })
        .collect();
    for server in &mut servers {
        server.start();
    }
    let client = servers[0].user("anna");
    let mut tasks = Vec::new();
    for offset in ["+2h", "-1h", "+3d", "+0s", "-2d", "+0s"] {
        let running: Vec<String> = (0..4).map(|index| client.submit(&order(&format!("{offset} {index}")))).collect();
        trial::wait_for("a task runs", JOB_LIMIT, || running.iter().any(|id| client.task(id).status == "running").then_some(()));
        set(&clock, offset);
        // A worker that dies now makes its task wait for a moment: of this clock or of the last one.
        if let Some(worker) = servers[0].workers().first() {
            processes::kill(*worker);
        }
        for id in &running {
            let task = client.ended(id, JOB_LIMIT);
            assert!(task.is_completed(), "after {offset}: {task:?}");
        }
        tasks.extend(running);
    }
    assert!(servers.iter().all(Server::is_healthy));
    let now = client.submit(&order("the clock is right again"));
    assert!(client.ended(&now, JOB_LIMIT).is_completed());
    tasks.push(now);
    let pictures = fs::read_dir(outputs.join("images")).unwrap().flatten().count();
    trial::wait_for("every task made one picture", Duration::from_secs(30), || (pictures == tasks.len()).then_some(()));
    trial::say(&format!("bad days: {} tasks completed on {store} while a clock jumped by hours and days", tasks.len()));
}
