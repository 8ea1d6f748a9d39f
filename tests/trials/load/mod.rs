//! Done when: with fake devices that take no time, over HTTP keep-alive, the load generator on the same cores, the server takes, runs
//! and stores a thousand jobs a second on SQLite, answers `GET task` within 10 ms 99 times of 100 meanwhile, and its memory stays flat.
//!
//! The short form, of a dev build, has modest floors that only a regression misses. The long form: `scripts/bench/load.sh`.

mod callers;
mod samples;

use std::time::{Duration, Instant};

use crate::support::server::Server;
use crate::support::trial;
use callers::Callers;
use samples::Samples;

/// What is asked of the server, and what it must reach.
#[derive(Clone, Copy, Debug)]
struct Target {
    jobs: usize,
    jobs_per_second: f64,
    get_p99: Duration,
    limit: Duration,
}

impl Target {
    fn wanted() -> Self {
        if trial::is_long() {
            Self { jobs: 100_000, jobs_per_second: 1000.0, get_p99: Duration::from_millis(10), limit: Duration::from_mins(15) }
        } else {
            Self { jobs: 3000, jobs_per_second: 50.0, get_p99: Duration::from_millis(250), limit: Duration::from_mins(3) }
        }
    }
}

#[test]
fn a_thousand_jobs_a_second_leave_the_server_quick_and_small() {
    let _alone = trial::alone();
    let target = Target::wanted();
    let directory = tempfile::tempdir().unwrap();
    // The defaults, but for devices that take no time and a log that says only what is wrong.
    let yaml = "gpu_pool: {devices: [fake, fake, fake, fake], fake: {step_ms: 0}}\nlog: {filter: warn}\n";
    let mut server = Server::new(directory.path(), yaml, &[]);
    server.start();
    let callers = Callers::new(&server, target.jobs);
    let begun = Instant::now();
    let mut samples = Samples::default();
    let latencies = callers.run(|| {
        let administrator = server.administrator();
        let pid = server.pid().expect("the server runs");
        trial::wait_for("every job has completed", target.limit, || {
            let completed = administrator.metrics().sum("framewright_tasks_total", "outcome=\"completed\"") as usize;
            samples.take(begun.elapsed(), completed, pid, &server.workers());
            (completed >= target.jobs).then_some(())
        });
    });
    let seconds = begun.elapsed().as_secs_f64();
    let rate = target.jobs as f64 / seconds;
    let quantile = |q: f64| Duration::from_micros(latencies.value_at_quantile(q));
    samples.print();
    trial::say(&format!("load: {} jobs submitted and completed within {seconds:.1} s: {rate:.0} jobs/s", target.jobs));
    trial::say(&format!(
        "load: GET task {} times meanwhile: p50 {:.2} ms, p99 {:.2} ms, worst {:.2} ms",
        latencies.len(),
        quantile(0.5).as_secs_f64() * 1e3,
        quantile(0.99).as_secs_f64() * 1e3,
        latencies.max() as f64 / 1e3
    ));
    assert!(rate >= target.jobs_per_second, "{rate:.0} jobs/s; {} are wanted", target.jobs_per_second);
    assert!(quantile(0.99) < target.get_p99, "p99 of GET task is {:?}; {:?} is wanted", quantile(0.99), target.get_p99);
    samples.check_flat();
}
