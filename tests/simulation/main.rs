//! The real `plan()` in a simulated world; `docs/scheduler-simulation.md` says what is measured and how.
//!
//! The short form runs with the other tests. The long form is `FRAMEWRIGHT_LONG=1 cargo test --release --test simulation -- --nocapture
//! --test-threads 1`, and writes its figures below `target/simulation` for `scripts/bench/plot_simulation.py`.

#[cfg(test)]
mod bound;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod world;

use std::time::Duration;

use figures::{check, long_form};
use world::{Scenario, World};

/// The first load of every device is a larger part of a short run.
const SHORT_MOST_LOADS: f64 = 1.5;

#[test]
fn eight_devices() {
    let (backlog, most_loads) = if long_form() { (1_000_000, 1.2) } else { (12_000, SHORT_MOST_LOADS) };
    let scenario =
        Scenario { name: "eight", devices: 8, models: 24, backlog, heavy: 4, light: 12, pause_seconds: 600.0, seed: 1 };
    check(&scenario, most_loads);
}

#[test]
fn a_thousand_devices() {
    let (devices, models, backlog, most_loads) =
        if long_form() { (1_000, 100, 1_000_000, 1.2) } else { (60, 30, 10_000, SHORT_MOST_LOADS) };
    let scenario = Scenario { name: "thousand", devices, models, backlog, heavy: 20, light: 200, pause_seconds: 60.0, seed: 2 };
    check(&scenario, most_loads);
}

#[test]
fn one_call_with_100_000_queued() {
    let (backlog, most) =
        if cfg!(debug_assertions) { (20_000, Duration::from_millis(100)) } else { (100_000, Duration::from_millis(5)) };
    for devices in [8, 1_000] {
        let scenario =
            Scenario { name: "call", devices, models: 100, backlog, heavy: 20, light: 1_000, pause_seconds: 60.0, seed: 3 };
        let (first, freed) = World::new(scenario).time_plan();
        println!(
            "one call with {backlog} queued on {devices} devices: {freed:.1?} when one is freed; {first:.1?} when all are idle"
        );
        assert!(freed <= most, "{freed:?} on {devices} devices");
    }
}
