//! When a provider that fails is left alone for a while. Pure: time is passed in.

use crate::domain::UnixMs;

/// Failures in a row after which it opens.
const MOST_FAILURES: u32 = 5;
/// The first pause, milliseconds; it doubles with every trial that fails.
const FIRST_PAUSE_MS: i64 = 30_000;
/// The longest pause, milliseconds: a trial is one task's create, and somebody waits for the provider to be well again.
const LONGEST_PAUSE_MS: i64 = 2 * 60_000;

/// Whether calls go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// They do.
    Closed,
    /// They do not, before this time.
    Open {
        /// Until when.
        until: UnixMs,
    },
    /// One goes out as a trial, and no other before it has ended.
    HalfOpen,
}

/// Counts a provider's failures that are nobody's fault but its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Breaker {
    failures: u32,
    /// When the pause ends, if there is one.
    until: Option<UnixMs>,
    /// Pauses in a row.
    pauses: u32,
    is_on_trial: bool,
}

impl Breaker {
    /// How it stands.
    pub fn state(&self, now: UnixMs) -> BreakerState {
        match self.until {
            None => BreakerState::Closed,
            Some(until) if until > now => BreakerState::Open { until },
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Whether a call may go out; if it is the trial, no other may before [`Self::succeeded`], [`Self::failed`] or [`Self::undecided`].
    pub fn admit(&mut self, now: UnixMs) -> bool {
        match self.state(now) {
            BreakerState::Closed => true,
            BreakerState::Open { .. } => false,
            BreakerState::HalfOpen => !std::mem::replace(&mut self.is_on_trial, true),
        }
    }

    /// Whether [`Self::admit`] would say yes.
    pub fn would_admit(&self, now: UnixMs) -> bool {
        match self.state(now) {
            BreakerState::Closed => true,
            BreakerState::Open { .. } => false,
            BreakerState::HalfOpen => !self.is_on_trial,
        }
    }

    /// A call was answered by a provider that works, be it with a refusal.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A call failed because the provider is in trouble. `true` where a pause begins with that.
    pub fn failed(&mut self, now: UnixMs) -> bool {
        self.failures = self.failures.saturating_add(1);
        let trial_failed = std::mem::take(&mut self.is_on_trial);
        let opens = trial_failed || (self.until.is_none() && self.failures >= MOST_FAILURES);
        if opens {
            let doubled = FIRST_PAUSE_MS.checked_shl(self.pauses.min(16)).unwrap_or(LONGEST_PAUSE_MS);
            self.until = Some(UnixMs(now.0.saturating_add(doubled.min(LONGEST_PAUSE_MS))));
            self.pauses = self.pauses.saturating_add(1);
        }
        opens
    }

    /// A call was not sent after all, or says nothing of the provider.
    pub fn undecided(&mut self) {
        self.is_on_trial = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_tries_one_call() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            assert!(!breaker.failed(UnixMs(0)));
        }
        assert!(breaker.admit(UnixMs(0)) && breaker.state(UnixMs(0)) == BreakerState::Closed);
        breaker.succeeded();
        for now in 1..=5 {
            assert!(breaker.admit(UnixMs(now)), "a success begins the count anew");
            assert_eq!(breaker.failed(UnixMs(now)), now == 5);
        }
        assert_eq!(breaker.state(UnixMs(5)), BreakerState::Open { until: UnixMs(30_005) });
        assert!(!breaker.admit(UnixMs(30_004)));
        assert!(breaker.would_admit(UnixMs(30_005)) && breaker.admit(UnixMs(30_005)));
        assert!(!breaker.would_admit(UnixMs(30_006)) && !breaker.admit(UnixMs(30_006)), "one trial at a time");
        // The trial fails: a pause twice as long.
        assert!(breaker.failed(UnixMs(30_010)));
        assert_eq!(breaker.state(UnixMs(30_010)), BreakerState::Open { until: UnixMs(90_010) });
        assert!(breaker.admit(UnixMs(90_010)));
        breaker.undecided();
        assert!(breaker.admit(UnixMs(90_011)), "a trial that said nothing is made again");
        breaker.succeeded();
        assert_eq!(breaker.state(UnixMs(90_012)), BreakerState::Closed);
    }

    #[test]
    fn what_fails_while_it_is_open_makes_no_pause_longer_and_pauses_are_bounded() {
        let mut breaker = Breaker::default();
        let openings = (0..50).filter(|_| breaker.failed(UnixMs(0))).count();
        assert_eq!(openings, 1);
        assert_eq!(breaker.state(UnixMs(0)), BreakerState::Open { until: UnixMs(30_000) });
        let mut now = UnixMs(0);
        for _ in 0..100 {
            let BreakerState::Open { until } = breaker.state(now) else { panic!("it is open") };
            assert!(until.0 - now.0 <= LONGEST_PAUSE_MS);
            now = until;
            assert!(breaker.admit(now));
            assert!(breaker.failed(now));
        }
    }
}
