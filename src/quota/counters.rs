//! Which counters there are, in which window each counts, and how far it may go.

use jiff::tz::TimeZone;

use super::window::Window;
use crate::domain::{CounterKey, Holder, JobRequest, Meter, Quotas, Reservation, Spent, TenantPolicy, UnixMs};

/// The counters of a user or a project with their limits and the ends of their windows, sorted, each with an amount of 0: what a
/// report on the usage, or an estimate, shows.
pub fn meters(holder: &Holder, policy: &TenantPolicy, zone: &TimeZone, now: UnixMs) -> Vec<Reservation> {
    let (day, month) = (Window::day(zone, now), Window::month(zone, now));
    Meter::ALL.into_iter().map(|meter| counter(holder, policy, meter, window(meter, day, month), 0)).collect()
}

/// What a job of these takes from the counters of one holder. Device time and bytes are known only afterwards, so 0 is taken now: the
/// counter has to be below its limit, and one job may take it over.
pub(super) fn of_request(
    holder: &Holder,
    policy: &TenantPolicy,
    day: Window,
    request: &JobRequest,
) -> impl Iterator<Item = Reservation> {
    let mut amounts = match request {
        JobRequest::Image(request) => vec![(Meter::Images, Some(day), i64::from(request.num_images))],
        JobRequest::Film(film) => vec![(Meter::Videos, Some(day), 1), (Meter::VideoMs, Some(day), film.duration_ms())],
    };
    amounts.extend([(Meter::GpuMs, Some(day), 0), (Meter::StorageBytes, None, 0)]);
    amounts.into_iter().map(|(meter, window, amount)| counter(holder, policy, meter, window, amount))
}

/// What a job took in fact of what a meter counts.
pub fn spent_on(meter: Meter, spent: &Spent) -> i64 {
    match meter {
        Meter::Images => spent.images.max(0),
        Meter::GpuMs => spent.gpu_ms.max(0),
        Meter::StorageBytes => spent.storage_bytes.max(0),
        Meter::Videos => spent.videos.max(0),
        Meter::VideoMs => spent.video_ms.max(0),
        Meter::CostMicros => 0,
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
