//! What a run comes to, and what it must come to.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::bound::{Stretch, fewest_loads};
use crate::world::{LOAD_SECONDS, PLACES_EACH, Report, Scenario, World};

/// The window of the bound, in loads, and others that are printed beside it.
const WINDOW_LOADS: i64 = 20;
const OTHER_WINDOWS_LOADS: [i64; 3] = [10, 40, 80];

pub(crate) fn long_form() -> bool {
    #[expect(clippy::disallowed_methods, reason = "a test's own switch")]
    std::env::var_os("FRAMEWRIGHT_LONG").is_some()
}

/// What the run comes to, while there is a backlog.
struct Figures {
    utilisation: f64,
    /// Window in loads, and the fewest loads of any schedule that serves every model alike in each window.
    fewest: Vec<(i64, usize)>,
    light_ratio: f64,
    /// Of each light job, sorted.
    ratios: Vec<f64>,
    wall: Duration,
}

impl Figures {
    fn of(report: &Report, scenario: &Scenario, wall: Duration) -> Self {
        let end_ms = report.backlog_end_ms;
        let during: Vec<Stretch> = report
            .stretches
            .iter()
            .filter(|stretch| stretch.start_ms < end_ms)
            .map(|stretch| Stretch { end_ms: stretch.end_ms.min(end_ms), ..*stretch })
            .collect();
        let evaluating_ms: i64 = during.iter().map(|stretch| stretch.end_ms - stretch.start_ms).sum();
        let places = scenario.devices * PLACES_EACH;
        let fewest = |loads: i64| (loads, fewest_loads(&during, loads * (LOAD_SECONDS * 1000.0) as i64, places));
        let mut ratios: Vec<f64> = report.light.iter().map(|&(took, reference)| took as f64 / reference as f64).collect();
        ratios.sort_by(f64::total_cmp);
        let (took, reference) = report.light.iter().fold((0, 0), |sum, light| (sum.0 + light.0, sum.1 + light.1));
        Self {
            utilisation: evaluating_ms as f64 / (end_ms as f64 * scenario.devices as f64),
            fewest: std::iter::once(WINDOW_LOADS).chain(OTHER_WINDOWS_LOADS).map(fewest).collect(),
            light_ratio: took as f64 / reference.max(1) as f64,
            ratios,
            wall,
        }
    }

    fn percentile(&self, part: f64) -> f64 {
        let at = (self.ratios.len() as f64 * part) as usize;
        self.ratios.get(at.min(self.ratios.len().saturating_sub(1))).copied().unwrap_or(0.0)
    }
}

/// `most_loads`: how many times the fewest loads are allowed.
pub(crate) fn check(scenario: &Scenario, most_loads: f64) {
    let begun = Instant::now();
    let report = World::new(scenario.clone()).run();
    let figures = Figures::of(&report, scenario, begun.elapsed());
    let loads = report.backlog_loads as f64;
    let ratio = |&(_, fewest): &(i64, usize)| loads / fewest as f64;
    let windows = figures.fewest.iter().map(|entry| format!("{} s: {:.3} x {}", entry.0 * 10, ratio(entry), entry.1));
    println!(
        "{}: {} jobs on {} devices, {:.1} simulated hours in {:.1} s; utilisation {:.2} %; loads {} ({}; run-out {}); \
         light jobs {}: mean {:.2}, median {:.2}, p95 {:.2}, p99 {:.2} x equal shares; heavy tenants within {:.2} %; \
         {} plans, mean {:.1} us, longest {:.2} ms; {:.0} bytes a task",
        scenario.name,
        report.jobs,
        scenario.devices,
        report.end_ms as f64 / 3.6e6,
        figures.wall.as_secs_f64(),
        figures.utilisation * 100.0,
        report.backlog_loads,
        windows.collect::<Vec<_>>().join(", "),
        report.loads - report.backlog_loads,
        report.light.len(),
        figures.light_ratio,
        figures.percentile(0.5),
        figures.percentile(0.95),
        figures.percentile(0.99),
        heavy_spread(&report) * 100.0,
        report.plans,
        report.plan_time.as_secs_f64() * 1e6 / report.plans as f64,
        report.longest_plan.as_secs_f64() * 1e3,
        report.bytes_per_task,
    );
    if long_form() {
        write(scenario, &report, &figures);
    }
    assert!(figures.utilisation >= 0.95, "utilisation {}", figures.utilisation);
    assert!(ratio(&figures.fewest[0]) <= most_loads, "{loads} loads, {} would do", figures.fewest[0].1);
    assert!(figures.light_ratio <= 2.0, "light tenants' jobs took {} times what equal shares would", figures.light_ratio);
    assert!(heavy_spread(&report) <= 0.05, "heavy tenants were not served alike: {:?}", report.heavy_seconds);
}

/// By how much the heavy tenant that was served most, until half the backlog had gone, was ahead of the one that was served least.
fn heavy_spread(report: &Report) -> f64 {
    let least = report.heavy_seconds.iter().copied().fold(f64::MAX, f64::min);
    report.heavy_seconds.iter().copied().fold(0.0, f64::max) / least - 1.0
}

fn write(scenario: &Scenario, report: &Report, figures: &Figures) {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/simulation");
    std::fs::create_dir_all(&directory).unwrap();
    let mut text = "hour,waiting,loads,evaluating\n".to_owned();
    for (hour, waiting, loads, evaluating) in &report.samples {
        writeln!(text, "{hour:.4},{waiting},{loads},{evaluating:.4}").unwrap();
    }
    std::fs::write(directory.join(format!("{}-samples.csv", scenario.name)), text).unwrap();
    let mut text = "ratio\n".to_owned();
    for ratio in &figures.ratios {
        writeln!(text, "{ratio:.4}").unwrap();
    }
    std::fs::write(directory.join(format!("{}-light.csv", scenario.name)), text).unwrap();
    let summary = serde_json::json!({
        "devices": scenario.devices, "models": scenario.models, "jobs": report.jobs, "hours": report.end_ms as f64 / 3.6e6,
        "backlog_end_hour": report.backlog_end_ms as f64 / 3.6e6, "utilisation": figures.utilisation,
        "loads": report.backlog_loads, "run_out_loads": report.loads - report.backlog_loads, "fewest_loads": figures.fewest,
        "light_ratio": figures.light_ratio, "heavy_seconds": report.heavy_seconds, "plans": report.plans,
        "plan_mean_us": report.plan_time.as_secs_f64() * 1e6 / report.plans as f64,
        "plan_longest_ms": report.longest_plan.as_secs_f64() * 1e3, "bytes_per_task": report.bytes_per_task,
        "wall_seconds": figures.wall.as_secs_f64(),
    });
    std::fs::write(directory.join(format!("{}.json", scenario.name)), summary.to_string()).unwrap();
}
