//! Days and months of a time zone, as instants.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::domain::UnixMs;

/// The last millisecond that is looked up in a time zone: the end of the year 9998. A clock that is further off is taken for this.
const LAST_MS: i64 = 253_370_764_799_999;

/// A span of time that something is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first instant.
    pub start: UnixMs,
    /// The first instant after it.
    pub end: UnixMs,
}

impl Window {
    /// The calendar day that `now` lies in: from midnight (or the first instant after it, where a change of the clocks skips midnight)
    /// to the next, which is 23 or 25 hours on the days of such a change.
    pub fn day(zone: &TimeZone, now: UnixMs) -> Self {
        let today = date(zone, now);
        Self::between(zone, today, today.tomorrow().unwrap_or(Date::MAX))
    }

    /// The calendar month that `now` lies in.
    pub fn month(zone: &TimeZone, now: UnixMs) -> Self {
        let today = date(zone, now);
        Self::between(zone, today.first_of_month(), today.last_of_month().tomorrow().unwrap_or(Date::MAX))
    }

    fn between(zone: &TimeZone, first: Date, after: Date) -> Self {
        Self { start: first_instant(zone, first), end: first_instant(zone, after) }
    }
}

fn date(zone: &TimeZone, now: UnixMs) -> Date {
    let timestamp = Timestamp::from_millisecond(now.0.clamp(0, LAST_MS)).unwrap_or(Timestamp::UNIX_EPOCH);
    zone.to_datetime(timestamp).date()
}

/// When a date begins. Midnight that the clocks skip becomes the instant after the gap; midnight that comes twice, the first of the two.
fn first_instant(zone: &TimeZone, date: Date) -> UnixMs {
    let midnight = date.to_datetime(jiff::civil::Time::midnight());
    let instant = zone.to_ambiguous_timestamp(midnight).compatible();
    UnixMs(instant.unwrap_or(Timestamp::MAX).as_millisecond())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> UnixMs {
        UnixMs(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    #[test]
    fn days_follow_the_clocks_on_the_wall() {
        for (name, now, start, end) in [
            ("UTC", "2026-11-20T14:00:00Z", "2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z"),
            ("UTC", "2026-11-20T00:00:00Z", "2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z"),
            ("UTC", "2026-11-20T23:59:59.999Z", "2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z"),
            ("Europe/Berlin", "2026-11-20T23:30:00Z", "2026-11-20T23:00:00Z", "2026-11-21T23:00:00Z"),
            // 23 hours: the clocks go forward.
            ("Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            // 25 hours: the clocks go back.
            ("Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
            // There is no midnight: the day begins at 01:00.
            ("America/Santiago", "2026-09-06T12:00:00Z", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"),
            // Midnight comes twice; the day begins with the first.
            ("America/Havana", "2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"),
            ("Asia/Kathmandu", "2026-11-20T18:15:00Z", "2026-11-20T18:15:00Z", "2026-11-21T18:15:00Z"),
            // A whole day is left out of the calendar.
            ("Pacific/Apia", "2011-12-30T09:00:00Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"),
        ] {
            assert_eq!(Window::day(&zone(name), at(now)), Window { start: at(start), end: at(end) }, "{name} {now}");
        }
    }

    #[test]
    fn months_have_their_lengths() {
        for (name, now, start, end) in [
            ("UTC", "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("UTC", "2028-02-29T00:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            ("Europe/Berlin", "2026-10-31T23:00:00Z", "2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z"),
            ("Europe/Berlin", "2026-10-15T00:00:00Z", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"),
        ] {
            assert_eq!(Window::month(&zone(name), at(now)), Window { start: at(start), end: at(end) }, "{name} {now}");
        }
    }

    #[test]
    fn a_clock_that_is_far_off_still_has_a_window() {
        for now in [i64::MIN, -1, 0, i64::MAX] {
            for window in [Window::day(&TimeZone::UTC, UnixMs(now)), Window::month(&TimeZone::UTC, UnixMs(now))] {
                assert!(window.start < window.end, "{now}: {window:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn windows_hold_now_and_follow_each_other(
            name in prop::sample::select(vec![
                "UTC", "Europe/Berlin", "America/Havana", "America/Santiago", "Asia/Beirut", "Africa/Cairo", "Australia/Lord_Howe",
                "Pacific/Kiritimati", "Asia/Kathmandu",
            ]),
            // 2020 to 2060
            now in 1_577_836_800_000_i64..2_840_140_800_000,
        ) {
            let zone = zone(name);
            for window_of in [Window::day as fn(&TimeZone, UnixMs) -> Window, Window::month] {
                let window = window_of(&zone, UnixMs(now));
                prop_assert!(window.start.0 <= now && now < window.end.0, "{window:?}");
                prop_assert_eq!(window_of(&zone, window.start), window);
                prop_assert_eq!(window_of(&zone, UnixMs(window.end.0 - 1)), window);
                prop_assert_eq!(window_of(&zone, window.end).start, window.end);
            }
        }
    }
}
