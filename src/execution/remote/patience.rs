//! How long a task waits for a key of its provider. Pure.

use crate::domain::UnixMs;

/// How long a task waits for which there is another target, milliseconds; and the longest rest that is waited for.
pub const SHORT_MS: i64 = 120_000;

/// How long a task waits for a server that knows its provider, milliseconds: longer than the settings can say, so that nobody fails what a
/// busy one would still take.
const STRANGER_MS: i64 = 25 * 3_600_000;

/// The same where another target could be tried instead: longer than a server that knows the provider waits.
const ROUTED_STRANGER_MS: i64 = 2 * SHORT_MS;

/// Whether a task that joined the queue then, and waits since then, waits on for a server that knows its provider.
pub fn waits_for_acquaintance(now: UnixMs, queued: UnixMs, since: UnixMs, can_be_passed_on: bool) -> bool {
    let (from, most_ms) = if can_be_passed_on { (since, ROUTED_STRANGER_MS) } else { (queued, STRANGER_MS) };
    now.0.saturating_sub(from.0) < most_ms
}

/// How long a provider lets tasks wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitRule {
    /// As the settings say; absent: keys that are merely busy are waited for as long as it takes.
    pub start_within_ms: Option<i64>,
    /// How long it may be unusable before tasks that wait for it fail, where the settings do not say, milliseconds.
    pub unusable_ms: i64,
}

impl WaitRule {
    /// The wait of a task at a provider that cannot be used since then: every key rests, or it fails.
    pub fn patience(&self, since: UnixMs, has_next_target: bool, unusable_since: Option<UnixMs>) -> Patience {
        let usual = Patience { since, most_ms: self.start_within_ms.unwrap_or(i64::MAX), has_next_target };
        match unusable_since {
            Some(from) if self.start_within_ms.is_none() && !has_next_target => {
                Patience { since: since.max(from), most_ms: self.unusable_ms, ..usual }
            }
            _ => usual,
        }
    }
}

/// A task's wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Since when it waits.
    pub since: UnixMs,
    /// How long it may wait at most, milliseconds.
    pub most_ms: i64,
    /// Whether another target can be tried instead.
    pub has_next_target: bool,
}

impl Patience {
    /// Whether it waits on, where room may come at this time, or nobody knows when.
    pub fn waits(&self, now: UnixMs, until: Option<UnixMs>) -> bool {
        let waited_ms = now.0.saturating_sub(self.since.0);
        if self.has_next_target {
            return waited_ms < self.most_ms.min(SHORT_MS) && is_short(now, until);
        }
        waited_ms < self.most_ms
    }

    /// Whether it has waited as long as it may.
    pub fn is_over(&self, now: UnixMs) -> bool {
        now.0.saturating_sub(self.since.0) >= self.most_ms
    }
}

/// Whether what comes at this time, or at any, is soon.
pub fn is_short(now: UnixMs, until: Option<UnixMs>) -> bool {
    until.is_none_or(|until| until.0.saturating_sub(now.0) <= SHORT_MS)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// How long it has waited, how much longer it must (nothing: nobody knows), and whether it waits.
    #[rstest]
    #[case::of_a_route_for_a_short_rest(true, 0, Some(120_000), true)]
    #[case::of_a_route_for_a_long_rest(true, 0, Some(120_001), false)]
    #[case::of_a_route_for_a_place(true, 119_999, None, true)]
    #[case::of_a_route_for_a_place_too_long(true, 120_000, None, false)]
    #[case::of_a_route_for_one_short_rest_after_the_other(true, 120_000, Some(1_000), false)]
    #[case::alone_for_a_long_rest(false, 0, Some(3_600_000), true)]
    #[case::alone_for_a_place(false, 599_999, None, true)]
    #[case::alone_too_long(false, 600_000, None, false)]
    #[case::alone_too_long_for_a_rest(false, 600_000, Some(1), false)]
    fn how_long_a_task_waits(
        #[case] has_next_target: bool,
        #[case] waited_ms: i64,
        #[case] rest_ms: Option<i64>,
        #[case] waits: bool,
    ) {
        let patience = Patience { since: UnixMs(5_000), most_ms: 600_000, has_next_target };
        let now = UnixMs(5_000 + waited_ms);
        assert_eq!(patience.waits(now, rest_ms.map(|ms| UnixMs(now.0 + ms))), waits);
        assert_eq!(patience.is_over(now), waited_ms >= 600_000);
        let impatient = Patience { most_ms: 0, ..patience };
        assert!(!impatient.waits(now, None));
    }

    /// What the settings say, whether there is another target, since when the provider cannot be used, and for how many seconds from its
    /// beginning a task waits that began at 100 s; none: for ever.
    #[rstest]
    #[case::as_the_settings_say(Some(300), false, None, Some(300))]
    #[case::as_the_settings_say_whatever_rests(Some(300), false, Some(200), Some(300))]
    #[case::merely_busy(None, false, None, None)]
    #[case::of_a_route_and_merely_busy(None, true, None, Some(120))]
    #[case::of_a_route_and_resting(None, true, Some(200), Some(120))]
    #[case::unusable_before_it_came(None, false, Some(0), Some(1_800))]
    #[case::unusable_since_it_waits(None, false, Some(200), Some(1_900))]
    fn busy_keys_alone_fail_nobody(
        #[case] start_within_seconds: Option<i64>,
        #[case] has_next_target: bool,
        #[case] unusable_since_seconds: Option<i64>,
        #[case] expected_seconds: Option<i64>,
    ) {
        let at = |seconds: i64| UnixMs(seconds * 1000);
        let rule = WaitRule { start_within_ms: start_within_seconds.map(|seconds| seconds * 1000), unusable_ms: 1_800_000 };
        let patience = rule.patience(at(100), has_next_target, unusable_since_seconds.map(at));
        match expected_seconds {
            Some(seconds) => {
                let end = UnixMs(at(100 + seconds).0 - 1);
                assert!(patience.waits(end, None) && !patience.waits(at(100 + seconds), None));
            }
            None => assert!(patience.waits(at(1_000_000_000), None)),
        }
    }

    #[test]
    fn a_stranger_passes_a_task_on_long_before_it_fails_one() {
        let (queued, since) = (UnixMs(0), UnixMs(50_000));
        let waits = |ms, can_be_passed_on| waits_for_acquaintance(UnixMs(ms), queued, since, can_be_passed_on);
        assert!(waits(289_999, true) && !waits(290_000, true));
        assert!(waits(25 * 3_600_000 - 1, false) && !waits(25 * 3_600_000, false));
    }
}
