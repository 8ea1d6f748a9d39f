//! How fast the server was, and how large, over time.

use std::time::Duration;

use crate::support::{processes, trial};

/// Rows of the table.
const ROWS: usize = 20;
/// What memory may grow by after the first fifth of a run: a tenth, and what allocators keep for a busy moment.
const SLACK_BYTES: u64 = 16 << 20;

/// One look.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    completed: usize,
    server_bytes: u64,
    workers_bytes: u64,
}

/// Looks in their order.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<Sample>);

impl Samples {
    pub(super) fn take(&mut self, at: Duration, completed: usize, server: u32, workers: &[u32]) {
        let server_bytes = processes::resident_bytes(server);
        let workers_bytes = workers.iter().map(|pid| processes::resident_bytes(*pid)).sum();
        self.0.push(Sample { at, completed, server_bytes, workers_bytes });
    }

    /// A table of some of the looks.
    pub(super) fn print(&self) {
        trial::say("    seconds      jobs    jobs/s   server MB  workers MB");
        let mut last = Sample { at: Duration::ZERO, completed: 0, server_bytes: 0, workers_bytes: 0 };
        let most = self.0.last().map_or(0, |sample| sample.completed);
        for row in 1..=ROWS {
            let Some(sample) = self.0.iter().find(|sample| sample.completed >= most * row / ROWS) else { continue };
            let seconds = sample.at.saturating_sub(last.at).as_secs_f64();
            if seconds > 0.0 {
                let rate = (sample.completed - last.completed) as f64 / seconds;
                let [server, workers] = [sample.server_bytes, sample.workers_bytes].map(|bytes| bytes as f64 / 1e6);
                trial::say(&format!(
                    "{:11.1} {:9} {rate:9.0} {server:11.1} {workers:11.1}",
                    sample.at.as_secs_f64(),
                    sample.completed
                ));
                last = *sample;
            }
        }
    }

    /// Memory at the end is what it was after the first fifth.
    pub(super) fn check_flat(&self) {
        let Some(last) = self.0.last() else { return };
        let early = self.0.iter().find(|sample| sample.completed >= last.completed / 5).expect("the last one is one");
        for (what, early, late) in
            [("server", early.server_bytes, last.server_bytes), ("workers", early.workers_bytes, last.workers_bytes)]
        {
            assert!(late <= early + early / 10 + SLACK_BYTES, "the {what} grew from {early} to {late} bytes");
        }
    }
}
