//! In which order one tenant's own tasks go.
//!
//! A task's urgency is `priority + age / AGEING_LEVEL_MS`. All tasks age alike, so the order of two tasks never changes with time, and it
//! is that of their [`rank`]: `created - priority × AGEING_LEVEL_MS`, smallest first. A task of priority `p` is therefore overtaken, by a
//! task of the same tenant and priority `q > p`, only when that one comes within `(q - p) × AGEING_LEVEL_MS` after it.

use crate::domain::UnixMs;
use crate::jobs::store::LONGEST_PAUSE_MS;

/// The age that is worth one level of priority.
pub const AGEING_LEVEL_MS: i64 = 60_000;
/// Levels beyond this count as this one.
const MOST_LEVELS: i32 = 1_000;

/// A task's place among its tenant's: smaller goes first.
pub fn rank(created: UnixMs, priority: i32) -> i64 {
    let levels = i64::from(priority.clamp(-MOST_LEVELS, MOST_LEVELS));
    created.0.saturating_sub(levels * AGEING_LEVEL_MS)
}

/// Whether a task that is not to start before `run_after` may start: as the store's claims have it ([`LONGEST_PAUSE_MS`]).
pub fn is_due(run_after: Option<UnixMs>, now: UnixMs) -> bool {
    run_after.is_none_or(|at| at <= now || at.0.saturating_sub(now.0) > LONGEST_PAUSE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_of_priority_is_worth_a_minute_of_age() {
        let old = rank(UnixMs(0), 0);
        assert!(rank(UnixMs(59_999), 1) < old);
        assert!(rank(UnixMs(60_001), 1) > old);
        assert!(rank(UnixMs(1), -1) > rank(UnixMs(60_000), 0));
        for created in [i64::MIN, 0, i64::MAX] {
            assert!(rank(UnixMs(created), i32::MAX) <= rank(UnixMs(created), i32::MIN));
        }
    }

    #[test]
    fn a_start_far_ahead_is_a_clock_that_jumped() {
        let now = UnixMs(1_000_000);
        assert!(is_due(None, now));
        assert!(is_due(Some(now), now));
        assert!(!is_due(Some(UnixMs(now.0 + 1)), now));
        assert!(!is_due(Some(UnixMs(now.0 + LONGEST_PAUSE_MS)), now));
        assert!(is_due(Some(UnixMs(now.0 + LONGEST_PAUSE_MS + 1)), now));
        assert!(is_due(Some(UnixMs(i64::MAX)), UnixMs(i64::MIN)));
    }
}
