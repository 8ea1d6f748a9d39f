//! Counters and refusals in the words of the configuration.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::domain::{Holder, Meter, QuotaRefusal, UnixMs};

/// The setting that limits a meter.
pub const fn setting(meter: Meter) -> &'static str {
    match meter {
        Meter::Images => "images_per_day",
        Meter::Videos => "videos_per_day",
        Meter::VideoMs => "video_seconds_per_day",
        Meter::GpuMs => "gpu_seconds_per_day",
        Meter::CostMicros => "cost_per_month",
        Meter::StorageBytes => "storage_gb",
    }
}

/// An amount in the unit that its [`setting`] is written in: pieces, seconds, gigabytes (10⁹ bytes), units of the currency.
pub fn in_units(meter: Meter, amount: i64) -> f64 {
    amount as f64 / units(meter).0 as f64
}

/// Seconds until a refused request may succeed, at least 1; `None` where no window ends, because only what is removed makes room.
pub fn wait_seconds(refusal: &QuotaRefusal, now: UnixMs) -> Option<u64> {
    let milliseconds = refusal.reservation.resets?.0.saturating_sub(now.0);
    Some(u64::try_from(milliseconds).unwrap_or(0).div_ceil(1000).max(1))
}

/// One line for the user: the limit, the usage, and when it resets.
pub fn explain(refusal: &QuotaRefusal, zone: &TimeZone) -> String {
    let reservation = &refusal.reservation;
    let meter = reservation.key.meter;
    let limit = reservation.limit.map_or_else(|| "no limit".to_owned(), |limit| amount(meter, limit));
    let used = amount(meter, refusal.used);
    let needed = if reservation.amount > 0 { format!(", {} needed", amount(meter, reservation.amount)) } else { String::new() };
    let remedy = match reservation.resets {
        Some(at) => format!("resets {}", instant(at, zone)),
        None => "room comes back when results are removed".to_owned(),
    };
    format!("{}{}: {used} of {limit} used{needed}; {remedy}", setting(meter), whose(&reservation.key.holder))
}

/// The project's name where a setting is a project's; a user knows who it is.
pub(super) fn whose(holder: &Holder) -> String {
    match holder {
        Holder::User(_) => String::new(),
        Holder::Project(project) => format!(" of project '{project}'"),
    }
}

/// An amount in the setting's unit, with as many decimals as make sense of it.
pub(super) fn amount(meter: Meter, amount: i64) -> String {
    let (unit, decimals) = units(meter);
    if amount % unit == 0 {
        return (amount / unit).to_string();
    }
    let text = format!("{:.decimals$}", in_units(meter, amount));
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What one unit of the setting is in the meter's own, and the decimals that are shown.
const fn units(meter: Meter) -> (i64, usize) {
    match meter {
        Meter::Images | Meter::Videos => (1, 0),
        Meter::VideoMs | Meter::GpuMs => (1000, 1),
        Meter::CostMicros => (1_000_000, 2),
        Meter::StorageBytes => (1_000_000_000, 3),
    }
}

/// RFC 3339 to the minute, with the zone's own offset.
fn instant(at: UnixMs, zone: &TimeZone) -> String {
    match Timestamp::from_millisecond(at.0) {
        Ok(timestamp) => timestamp.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M%:z").to_string(),
        Err(_) => at.to_string(),
    }
}
