//! How long a task waits for a key of its provider. Pure.

use crate::domain::UnixMs;

/// How long a task waits for which there is another target, milliseconds; and the longest rest that is waited for.
pub const SHORT_MS: i64 = 120_000;

/// How long a task waits for a server that knows its provider, milliseconds: longer than one that does lets any task wait, so that nobody
/// fails what a busy one would still take.
pub const STRANGER_MS: i64 = 25 * 3_600_000;

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
}
