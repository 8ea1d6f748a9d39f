//! How long a tenant's own caps have held its tasks up, which is no fault of their provider. Pure.

use crate::domain::UnixMs;

/// The time so far, as of the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CapTime {
    past_ms: i64,
    /// Since when they are held up, if they are.
    since: Option<UnixMs>,
}

impl CapTime {
    /// Notes whether they are held up from now on.
    pub(super) fn note(&mut self, is_held_up: bool, now: UnixMs) {
        *self = Self { past_ms: self.until_ms(now), since: is_held_up.then_some(now) };
    }

    /// Milliseconds until a time; one before the last look counts as then.
    pub(super) fn until_ms(&self, at: UnixMs) -> i64 {
        let current_ms = self.since.map_or(0, |since| at.0.saturating_sub(since.0).max(0));
        self.past_ms.saturating_add(current_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_time_in_which_they_were_held_up_counts() {
        let mut time = CapTime::default();
        assert_eq!(time.until_ms(UnixMs(1_000)), 0);
        for (at, is_held_up, until_ms) in [
            (1_000, false, 0),
            (2_000, true, 0),
            (2_500, true, 500),
            (2_400, true, 500),
            (3_400, false, 1_500),
            (9_000, true, 1_500),
        ] {
            time.note(is_held_up, UnixMs(at));
            assert_eq!(time.until_ms(UnixMs(at)), until_ms, "at {at}");
        }
        assert_eq!(time.until_ms(UnixMs(9_070)), 1_570);
        assert_eq!(time.until_ms(UnixMs(8_000)), 1_500);
    }
}
