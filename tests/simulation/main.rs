//! The real `plan()` in a simulated world; `docs/scheduler-simulation.md` says what is measured and how.
//!
//! The short form runs with the other tests. The long form is `FRAMEWRIGHT_LONG=1 cargo test --release --test simulation -- --nocapture`, and
//! writes its figures below `target/simulation` for `scripts/bench/plot_simulation.py`.

mod bound;
mod world;

use std::fmt::Write as _;
use std::time::Instant;

use framewright::scheduler::affinity;

use bound::fewest_loads;
use world::{LOAD_SECONDS, PLACES_EACH, Report, Scenario, World};

fn long_form() -> bool {
    #[expect(clippy::disallowed_methods, reason = "a test's own switch")]
    std::env::var_os("FRAMEWRIGHT_LONG").is_some()
}

/// A model is not exchanged more often than this for the sake of its turn: the window of the bound.
fn window_ms() -> i64 {
    (affinity::TURN_LOADS * LOAD_SECONDS * 1000.0) as i64
}

fn percentile(sorted: &[f64], part: f64) -> f64 {
    sorted.get(((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

fn check(scenario: Scenario) {
    let begun = Instant::now();
    let (name, devices) = (scenario.name, scenario.devices);
    let report = World::new(scenario.clone()).run();
    let wall = begun.elapsed();
    let span_ms = report.backlog_end_ms;
    let during = |stretch: &bound::Stretch| (stretch.end_ms.min(span_ms) - stretch.start_ms.min(span_ms)) as f64;
    let utilisation = report.stretches.iter().map(during).sum::<f64>() / (span_ms as f64 * devices as f64);
    let fewest = fewest_loads(&report.stretches, window_ms(), devices * PLACES_EACH);
    let loads_ratio = report.loads as f64 / fewest as f64;
    let mut ratios: Vec<f64> = report.light.iter().map(|&(took, reference)| took as f64 / reference as f64).collect();
    ratios.sort_by(f64::total_cmp);
    let took: i64 = report.light.iter().map(|light| light.0).sum();
    let reference: i64 = report.light.iter().map(|light| light.1).sum();
    let light_ratio = took as f64 / reference.max(1) as f64;
    let (least, most) =
        report.heavy_seconds.iter().fold((f64::MAX, 0.0_f64), |(a, b), &seconds| (a.min(seconds), b.max(seconds)));
    let plan_mean_us = report.plan_time.as_secs_f64() * 1e6 / report.plans as f64;
    println!(
        "{name}: {} jobs on {devices} devices, {:.1} simulated hours in {:.1} s; utilisation {:.2} %; loads {} = {loads_ratio:.3} × {fewest}; \
         light jobs {}: mean {light_ratio:.2}, median {:.2}, p95 {:.2}, p99 {:.2} × equal shares; heavy tenants {:.2} %; occupancy {:.2}; \
         {} plans, mean {plan_mean_us:.1} µs, longest {:.2} ms; {:.0} bytes a task",
        report.jobs,
        span_ms as f64 / 3.6e6,
        wall.as_secs_f64(),
        utilisation * 100.0,
        report.loads,
        report.light.len(),
        percentile(&ratios, 0.5),
        percentile(&ratios, 0.95),
        percentile(&ratios, 0.99),
        (most / least - 1.0) * 100.0,
        report.task_ms as f64 / report.evaluating_ms as f64,
        report.plans,
        report.longest_plan.as_secs_f64() * 1e3,
        report.bytes_per_task,
    );
    if long_form() {
        write(&scenario, &report, &ratios, utilisation, fewest, wall.as_secs_f64());
    }
    assert!(utilisation >= 0.95, "utilisation {utilisation}");
    assert!(loads_ratio <= 1.2, "{} loads, {fewest} would do", report.loads);
    assert!(light_ratio <= 2.0, "light tenants' jobs took {light_ratio} times what equal shares would");
}

fn write(scenario: &Scenario, report: &Report, ratios: &[f64], utilisation: f64, fewest: usize, wall_seconds: f64) {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/simulation");
    std::fs::create_dir_all(&directory).unwrap();
    let mut text = "hour,waiting,loads,evaluating\n".to_owned();
    for (hour, waiting, loads, evaluating) in &report.samples {
        writeln!(text, "{hour:.4},{waiting},{loads},{evaluating:.4}").unwrap();
    }
    std::fs::write(directory.join(format!("{}-samples.csv", scenario.name)), text).unwrap();
    let mut text = "ratio\n".to_owned();
    for ratio in ratios {
        writeln!(text, "{ratio:.4}").unwrap();
    }
    std::fs::write(directory.join(format!("{}-light.csv", scenario.name)), text).unwrap();
    let summary = serde_json::json!({
        "devices": scenario.devices, "models": scenario.models, "jobs": report.jobs, "hours": report.backlog_end_ms as f64 / 3.6e6,
        "utilisation": utilisation, "loads": report.loads, "fewest_loads": fewest, "heavy_seconds": report.heavy_seconds,
        "plans": report.plans, "plan_mean_us": report.plan_time.as_secs_f64() * 1e6 / report.plans as f64,
        "plan_longest_ms": report.longest_plan.as_secs_f64() * 1e3, "bytes_per_task": report.bytes_per_task, "wall_seconds": wall_seconds,
    });
    std::fs::write(directory.join(format!("{}.json", scenario.name)), summary.to_string()).unwrap();
}

#[test]
fn eight_devices() {
    let backlog = if long_form() { 1_000_000 } else { 8_000 };
    check(Scenario { name: "eight", devices: 8, models: 24, backlog, heavy: 4, light: 12, pause_seconds: 600.0, seed: 1 });
}

#[test]
fn a_thousand_devices() {
    let (devices, models, backlog) = if long_form() { (1_000, 100, 1_000_000) } else { (60, 30, 10_000) };
    check(Scenario { name: "thousand", devices, models, backlog, heavy: 20, light: 200, pause_seconds: 60.0, seed: 2 });
}
