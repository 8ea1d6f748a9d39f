//! Whether and when a request is sent again. Pure: time and chance are passed in.
//!
//! What is not idempotent is sent again only where the other side certainly did nothing with it: a job that was paid for twice is worse than
//! one that failed.

use std::time::Duration;

use crate::domain::UnixMs;

/// The longest pause that a server's `Retry-After` is followed to.
pub const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// What a second arrival of the same request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repetition {
    /// Nothing that the first did not: GET, or a POST with an id that its receiver knows again, such as a webhook's.
    Harmless,
    /// Another job, another charge: a POST.
    Harmful,
}

/// How a request failed, as far as sending it again is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It was refused before it was sent, by what it says; it would be again.
    Refused,
    /// It never left: no address that may be called, no connection, no TLS.
    NotSent,
    /// It left, wholly or in part, and nobody knows what became of it: the connection broke, or no answer came in time.
    OutcomeUnknown,
    /// It was answered.
    Answered {
        /// The HTTP status.
        status: u16,
    },
    /// It was answered with success, and the answer was not what it should be: too large, not JSON.
    Unusable,
}

impl Failure {
    /// Whether the same request may be sent once more.
    pub fn may_be_sent_again(self, repetition: Repetition) -> bool {
        let is_harmless = repetition == Repetition::Harmless;
        match self {
            // 425: not looked at on purpose. 429: turned away at the door.
            Self::NotSent | Self::Answered { status: 425 | 429 } => true,
            // 503, with `Retry-After` or without, is also what proxies make of a connection that broke behind them: the server may have
            // taken the request.
            Self::OutcomeUnknown | Self::Answered { status: 408 | 500 | 502 | 503 | 504 } => is_harmless,
            Self::Refused | Self::Unusable | Self::Answered { .. } => false,
        }
    }
}

/// Pauses that double up to a bound, each drawn anew between nothing and its length ("full jitter"), so that those who failed together do
/// not come again together.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The bound of the first pause.
    pub first: Duration,
    /// The bound of every pause.
    pub longest: Duration,
    /// How often a request is sent at most, the first time included.
    pub max_tries: u32,
}

impl Backoff {
    /// The pause after the try number `tries` (from 1) failed; `None`: give up. `chance` is in 0 to 1 (what is outside is brought to it).
    /// With `retry_after` it is at least that, and giving up if that is above [`MAX_RETRY_AFTER`]: asking sooner would be of no use.
    pub fn pause(&self, tries: u32, chance: f64, retry_after: Option<Duration>) -> Option<Duration> {
        if tries >= self.max_tries || retry_after.is_some_and(|least| least > MAX_RETRY_AFTER) {
            return None;
        }
        let doubled = 2_u32.checked_pow(tries.saturating_sub(1)).and_then(|factor| self.first.checked_mul(factor));
        let bound = doubled.map_or(self.longest, |bound| bound.min(self.longest));
        let chance = if chance.is_nan() { 1.0 } else { chance.clamp(0.0, 1.0) };
        Some(retry_after.unwrap_or_default().saturating_add(bound.mul_f64(chance)))
    }
}

/// What the header `Retry-After` asks for: seconds, or a date in one of HTTP's three forms. A date that is over asks for no pause.
pub fn retry_after(value: &str, now: UnixMs) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds is a long time all the same.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let since_epoch = date.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = Duration::from_millis(u64::try_from(now.0).unwrap_or(0));
    Some(since_epoch.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(30), max_tries: 8 };

    #[test]
    fn a_post_of_unknown_outcome_is_never_sent_again() {
        let answered = |status| Failure::Answered { status };
        for (failure, harmless, harmful) in [
            (Failure::Refused, false, false),
            (Failure::Unusable, false, false),
            (Failure::NotSent, true, true),
            (Failure::OutcomeUnknown, true, false),
            (answered(400), false, false),
            (answered(401), false, false),
            (answered(404), false, false),
            (answered(408), true, false),
            (answered(410), false, false),
            (answered(425), true, true),
            (answered(429), true, true),
            (answered(500), true, false),
            (answered(501), false, false),
            (answered(502), true, false),
            (answered(503), true, false),
            (answered(504), true, false),
            (answered(302), false, false),
        ] {
            assert_eq!(failure.may_be_sent_again(Repetition::Harmless), harmless, "{failure:?}");
            assert_eq!(failure.may_be_sent_again(Repetition::Harmful), harmful, "{failure:?}");
        }
    }

    #[test]
    fn pauses_double_up_to_their_bound() {
        let seconds: Vec<_> = (1..=8).map(|tries| BACKOFF.pause(tries, 1.0, None).map(|pause| pause.as_secs())).collect();
        assert_eq!(seconds, [Some(1), Some(2), Some(4), Some(8), Some(16), Some(30), Some(30), None]);
        assert_eq!(BACKOFF.pause(3, 0.5, None), Some(Duration::from_secs(2)));
        assert_eq!(BACKOFF.pause(3, 0.0, None), Some(Duration::ZERO));
        assert_eq!(BACKOFF.pause(1, 0.5, Some(Duration::from_secs(7))), Some(Duration::from_millis(7500)));
        assert_eq!(BACKOFF.pause(1, 0.5, Some(MAX_RETRY_AFTER)), Some(MAX_RETRY_AFTER + Duration::from_millis(500)));
        assert_eq!(BACKOFF.pause(1, 0.5, Some(MAX_RETRY_AFTER + Duration::from_secs(1))), None);
        assert_eq!(BACKOFF.pause(8, 0.5, Some(Duration::from_secs(1))), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = UnixMs(784_111_777_000);
        for (value, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("+5", None),
            ("soon", None),
            ("Sun, 06 Nov 1994", None),
            ("1994-11-06T08:50:37Z", None),
        ] {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:37 GMT", UnixMs(now.0 + 500)), Some(Duration::from_millis(59_500)));
    }

    proptest! {
        #[test]
        fn pauses_stay_in_their_bounds(
            first_ms in 0_u64..100_000, longest_ms in 0_u64..10_000_000, max_tries in any::<u32>(), tries in any::<u32>(),
            chance in any::<f64>(), least in prop::option::of(any::<u64>()),
        ) {
            let backoff = Backoff { first: Duration::from_millis(first_ms), longest: Duration::from_millis(longest_ms), max_tries };
            let least = least.map(Duration::from_secs);
            if let Some(pause) = backoff.pause(tries, chance, least) {
                let least = least.unwrap_or_default();
                prop_assert!(tries < max_tries && least <= MAX_RETRY_AFTER);
                prop_assert!(pause >= least && pause <= least + backoff.longest);
            }
        }

        #[test]
        fn no_header_panics(value in "\\PC{0,60}", now in any::<i64>()) {
            let _ = retry_after(&value, UnixMs(now));
        }
    }
}
