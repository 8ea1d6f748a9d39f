//! Which counters there are, in which window each counts, and how far it may go.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::window::Window;
use crate::domain::{CounterKey, Holder, JobKind, JobRequest, Meter, Quotas, Reservation, Spent, TenantPolicy, UnixMs};

/// The counters of a user or a project with their limits and the ends of their windows, sorted, each with an amount of 0: what a
/// report on the usage, or an estimate, shows.
pub fn meters(holder: &Holder, policy: &TenantPolicy, zone: &TimeZone, now: UnixMs) -> Vec<Reservation> {
    let (day, month) = (Window::day(zone, now), Window::month(zone, now));
    Meter::ALL.into_iter().map(|meter| counter(holder, policy, meter, window(meter, day, month), 0)).collect()
}

/// What a job of these takes from the counters of one holder. Device time and bytes are known only afterwards, so 0 is taken now: the
/// counter has to be below its limit, and one job may take it over. What a provider will bill is taken as it is estimated. Of a route's
/// targets the one that takes most of a counter is taken for all.
pub(super) fn of_request(
    holder: &Holder,
    policy: &TenantPolicy,
    day: Window,
    month: Window,
    request: &JobRequest,
) -> Vec<Reservation> {
    let mut most: BTreeMap<Meter, i64> = BTreeMap::new();
    for (meter, amount) in request.targets().iter().flat_map(amounts) {
        let known = most.entry(meter).or_insert(amount);
        *known = amount.max(*known);
    }
    most.into_iter().map(|(meter, amount)| counter(holder, policy, meter, window(meter, day, month), amount)).collect()
}

/// What one target takes.
fn amounts(target: &JobRequest) -> Vec<(Meter, i64)> {
    let film = |milliseconds| vec![(Meter::Videos, 1), (Meter::VideoMs, milliseconds)];
    let pictures = |count| vec![(Meter::Images, i64::from(count))];
    let mut amounts = match target {
        JobRequest::Image(request) => pictures(request.num_images),
        JobRequest::Film(film_request) => film(film_request.duration_ms()),
        JobRequest::Remote(request) => {
            let mut amounts = match request.output {
                JobKind::Image => pictures(request.count),
                JobKind::Film => film(request.duration_ms()),
            };
            amounts.push((Meter::CostMicros, request.estimated_cost_micros.max(0)));
            amounts.push((Meter::StorageBytes, 0));
            return amounts;
        }
        // Routes hold none.
        JobRequest::Routed(_) => Vec::new(),
    };
    amounts.extend([(Meter::GpuMs, 0), (Meter::StorageBytes, 0)]);
    amounts
}

/// What a job took in fact of what a meter counts.
pub fn spent_on(meter: Meter, spent: &Spent) -> i64 {
    match meter {
        Meter::Images => spent.images.max(0),
        Meter::GpuMs => spent.gpu_ms.max(0),
        Meter::StorageBytes => spent.storage_bytes.max(0),
        Meter::Videos => spent.videos.max(0),
        Meter::VideoMs => spent.video_ms.max(0),
        Meter::CostMicros => spent.cost_micros.max(0),
    }
}

/// How far a meter may go, in its own unit.
pub(super) fn limit(quotas: &Quotas, meter: Meter) -> Option<i64> {
    let in_milliseconds = |seconds: u64| seconds.saturating_mul(1000);
    match meter {
        Meter::Images => quotas.images_per_day,
        Meter::Videos => quotas.videos_per_day,
        Meter::VideoMs => quotas.video_seconds_per_day.map(in_milliseconds),
        Meter::GpuMs => quotas.gpu_seconds_per_day.map(in_milliseconds),
        Meter::CostMicros => quotas.cost_micros_per_month,
        Meter::StorageBytes => quotas.storage_bytes,
    }
    .map(|limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

fn window(meter: Meter, day: Window, month: Window) -> Option<Window> {
    match meter {
        Meter::Images | Meter::Videos | Meter::VideoMs | Meter::GpuMs => Some(day),
        Meter::CostMicros => Some(month),
        Meter::StorageBytes => None,
    }
}

fn counter(holder: &Holder, policy: &TenantPolicy, meter: Meter, window: Option<Window>, amount: i64) -> Reservation {
    Reservation {
        key: CounterKey { holder: holder.clone(), meter, window_start: window.map_or(UnixMs(0), |window| window.start) },
        amount,
        limit: limit(&policy.quotas, meter),
        resets: window.map(|window| window.end),
    }
}
