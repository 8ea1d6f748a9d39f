//! Done when: however often servers, device workers and PostgreSQL are killed, every accepted job ends in exactly one terminal state,
//! every artifact exists once, and the quota ledger equals the jobs.
//!
//! People submit, cancel, hang up and submit again; meanwhile processes are killed at random moments. In the end everything is started
//! again, comes to rest, and is compared with what was accepted. A run prints its seed; the same seed makes the same choices, though
//! not at the same instants. Long form: `FRAMEWRIGHT_LONG=1 scripts/postgres.sh run cargo test --test trials chaos`.

mod cluster;
mod history;
mod kills;
mod orders;
mod verdict;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::support::database::Store;
use crate::support::random::Random;
use crate::support::trial;
use cluster::Cluster;
use history::History;
use kills::Tally;
use orders::Book;

/// Callers that submit at the same time.
const CALLERS: usize = 3;
/// Jobs that may be under way: enough to keep every device busy, so that kills hit work.
const MOST_UNDER_WAY: usize = 24;
/// How long the servers have to end what was accepted, once they are left alone.
const REST_LIMIT: Duration = Duration::from_mins(3);

/// How much is done, at least.
#[derive(Clone, Copy, Debug)]
struct Scale {
    jobs: usize,
    kills: usize,
    database_kills: usize,
    limit: Duration,
}

impl Scale {
    fn wanted(store: &Store) -> Self {
        let scale = if trial::is_long() {
            Self { jobs: 400, kills: 250, database_kills: 6, limit: Duration::from_mins(20) }
        } else {
            Self { jobs: 60, kills: 40, database_kills: 1, limit: Duration::from_mins(3) }
        };
        // SQLite has no process of its own to kill.
        Self { database_kills: if matches!(store, Store::Sqlite) { 0 } else { scale.database_kills }, ..scale }
    }
}

#[test]
fn nothing_is_lost_or_done_twice_on_sqlite() {
    let _alone = trial::alone();
    run(Store::Sqlite);
}

#[test]
fn nothing_is_lost_or_done_twice_on_postgresql_with_two_servers() {
    let _alone = trial::alone();
    if let Some(store) = Store::postgres("chaos on PostgreSQL") {
        run(store);
    }
}

fn run(store: Store) {
    let (seed, scale) = (Random::seed(), Scale::wanted(&store));
    trial::say(&format!("chaos on {store}: FRAMEWRIGHT_SEED={seed}, {scale:?}"));
    let mut random = Random::new(seed);
    let run = Run {
        cluster: Cluster::start(store, scale.jobs),
        book: Mutex::new(Book::new(Random::new(random.next()))),
        history: History::default(),
        tally: Tally::default(),
        over: AtomicBool::new(false),
        scale,
        begun: Instant::now(),
    };
    thread::scope(|scope| {
        // Whatever happens here, the others shall not wait for more.
        let _over = Over(&run.over);
        scope.spawn(|| run.watch());
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(|| run.submit())).collect();
        kills::go_on(&run, &mut random, || callers.iter().all(thread::ScopedJoinHandle::is_finished));
        let killed_for = run.begun.elapsed();
        run.cluster.start_all();
        let accepted = run.book.lock().accepted();
        trial::say(&format!("  {accepted} jobs accepted, {} within {:.0} s", run.tally, killed_for.as_secs_f64()));
        trial::wait_for("every accepted job has ended", REST_LIMIT, || (run.history.ended() >= accepted).then_some(()));
    });
    assert!(run.is_enough(), "the limit of {:?} was too short", scale.limit);
    trial::say(&format!("  at rest after {:.0} s", run.begun.elapsed().as_secs_f64()));
    verdict::check(&run, &mut random);
    trial::say(&format!("  everything as it should be after {:.0} s", run.begun.elapsed().as_secs_f64()));
}

/// What the threads of a run share.
#[derive(Debug)]
struct Run {
    cluster: Cluster,
    book: Mutex<Book>,
    history: History,
    tally: Tally,
    over: AtomicBool,
    scale: Scale,
    begun: Instant,
}

impl Run {
    /// Whether enough was accepted, and enough was killed meanwhile.
    fn is_enough(&self) -> bool {
        let is_killed = self.tally.kills() >= self.scale.kills && self.tally.database_kills() >= self.scale.database_kills;
        is_killed && self.book.lock().accepted() >= self.scale.jobs
    }

    /// Submits for as long as there are kills to come, so that every kill meets work.
    fn submit(&self) {
        while !self.is_enough() && !self.over.load(Ordering::Relaxed) && self.begun.elapsed() < self.scale.limit {
            if self.book.lock().accepted() >= self.history.ended() + MOST_UNDER_WAY {
                thread::sleep(Duration::from_millis(20));
                continue;
            }
            let order = self.book.lock().next();
            let task = order.place(&self.cluster);
            self.book.lock().file(order, task);
        }
    }

    fn watch(&self) {
        while !self.over.load(Ordering::Relaxed) {
            self.history.look(&self.cluster.administrator);
            thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Ends the threads of a run when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
