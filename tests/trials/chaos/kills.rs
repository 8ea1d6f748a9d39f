//! What is killed, and when.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::Run;
use crate::support::database::Store;
use crate::support::random::Random;
use crate::support::server::Server;
use crate::support::{processes, trial};

/// What was killed so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    servers: AtomicUsize,
    workers: AtomicUsize,
    database: AtomicUsize,
}

impl Tally {
    /// Servers and workers.
    pub(super) fn kills(&self) -> usize {
        self.servers.load(Ordering::Relaxed) + self.workers.load(Ordering::Relaxed)
    }

    pub(super) fn database_kills(&self) -> usize {
        self.database.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [servers, workers, database] =
            [&self.servers, &self.workers, &self.database].map(|count| count.load(Ordering::Relaxed));
        write!(f, "{servers} servers, {workers} workers and {database} times the database killed")
    }
}

/// Kills at random moments, until `finished`. What was killed is started again, a moment later; the same is done for a server that
/// could not start because its database was gone.
pub(super) fn go_on(run: &Run, random: &mut Random, finished: impl Fn() -> bool) {
    let Run { cluster, tally, scale, .. } = run;
    // Spread evenly over the kills.
    let every = scale.kills / (scale.database_kills + 1) + 1;
    while !finished() {
        thread::sleep(Duration::from_millis(random.between(100, 900)));
        if let Store::Postgres(postgres, _) = &cluster.store
            && tally.kills() / every > tally.database_kills()
        {
            postgres.kill();
            thread::sleep(Duration::from_millis(random.between(50, 1500)));
            postgres.start();
            tally.database.fetch_add(1, Ordering::Relaxed);
        }
        let victim = random.pick(&cluster.servers);
        if random.percent(30) {
            kill_server(victim, random, tally);
        } else {
            let workers = victim.lock().workers();
            if !workers.is_empty() {
                processes::kill(*random.pick(&workers));
                tally.workers.fetch_add(1, Ordering::Relaxed);
            }
        }
        for server in &cluster.servers {
            let mut server = server.lock();
            if let Some(status) = server.ended() {
                let is_excused = matches!(cluster.store, Store::Postgres(..));
                assert!(is_excused, "a server that nobody killed ended with {status}");
                trial::say(&format!("  a server ended with {status} while its database was gone; started again"));
                server.spawn();
            }
        }
    }
}

fn kill_server(server: &Mutex<Server>, random: &mut Random, tally: &Tally) {
    let mut server = server.lock();
    let workers = server.workers();
    server.kill();
    tally.servers.fetch_add(1, Ordering::Relaxed);
    thread::sleep(Duration::from_millis(random.between(0, 500)));
    // Its workers end with it: what they were doing is done again by others.
    trial::wait_for("a killed server's workers are gone", Duration::from_secs(10), || {
        workers.iter().all(|pid| !processes::is_alive(*pid)).then_some(())
    });
    server.spawn();
    // A server that is killed before it is up does nothing for anybody: every other time it may be so.
    if random.percent(50) {
        server.wait_until_healthy();
    }
}
