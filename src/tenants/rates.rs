//! Requests a minute: one token bucket for each user and project that has a limit.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;

use crate::domain::{Clock, Holder, UnixMs};

/// Buckets that are kept at most; more than half of as many active users within a minute make all buckets start full again.
const MOST_BUCKETS: usize = 1 << 16;
/// A bucket fills up within a minute, and a full one equals a new one.
const FULL_AFTER: Duration = Duration::from_mins(1);

/// Whether a request may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateDecision {
    /// It may.
    pub allowed: bool,
    /// Requests a minute; absent without a limit.
    pub limit: Option<u32>,
    /// Requests left in the bucket; the largest number without a limit.
    pub remaining: u32,
    /// Seconds until one more is allowed (when refused), or until the bucket is full again.
    pub reset_seconds: u64,
}

impl RateDecision {
    const UNLIMITED: Self = Self { allowed: true, limit: None, remaining: u32::MAX, reset_seconds: 0 };
}

/// The buckets.
#[derive(Debug)]
pub(super) struct Rates {
    elapsed: Elapsed,
    buckets: Mutex<HashMap<Holder, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    limit: NonZeroU32,
    limiter: RateLimiter<NotKeyed, InMemoryState, Elapsed, StateInformationMiddleware>,
    last_used: Duration,
}

impl Rates {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let last = clock.now();
        let elapsed = Elapsed { clock, state: Arc::new(Mutex::new((last, Duration::ZERO))) };
        Self { elapsed, buckets: Mutex::new(HashMap::new()) }
    }

    /// Counts one request of `holder`, who may make `limit` a minute. A changed limit begins with a full bucket.
    pub(super) fn admit(&self, holder: &Holder, limit: Option<u32>) -> RateDecision {
        let Some(limit) = limit.and_then(NonZeroU32::new) else { return RateDecision::UNLIMITED };
        let now = self.elapsed.now();
        let mut buckets = self.buckets.lock();
        if let Some(bucket) = buckets.get_mut(holder).filter(|bucket| bucket.limit == limit) {
            return bucket.take(now);
        }
        if buckets.len() >= MOST_BUCKETS {
            buckets.retain(|_, bucket| now.saturating_sub(bucket.last_used) < FULL_AFTER);
            // Else the next new user would look through all of them again, and the one after.
            if buckets.len() > MOST_BUCKETS / 2 {
                buckets.clear();
            }
        }
        let mut bucket = Bucket::new(limit, self.elapsed.clone(), now);
        let decision = bucket.take(now);
        buckets.insert(holder.clone(), bucket);
        decision
    }
}

impl Bucket {
    fn new(limit: NonZeroU32, elapsed: Elapsed, now: Duration) -> Self {
        let limiter = RateLimiter::direct_with_clock(Quota::per_minute(limit), elapsed);
        Self { limit, limiter: limiter.with_middleware(), last_used: now }
    }

    fn take(&mut self, now: Duration) -> RateDecision {
        self.last_used = now;
        let limit = self.limit.get();
        match self.limiter.check() {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                let missing = u64::from(limit.saturating_sub(remaining));
                let reset_seconds = (missing * FULL_AFTER.as_secs()).div_ceil(u64::from(limit));
                RateDecision { allowed: true, limit: Some(limit), remaining, reset_seconds }
            }
            Err(refusal) => {
                let wait = refusal.wait_time_from(now);
                let reset_seconds = (wait.as_millis().div_ceil(1000) as u64).max(1);
                RateDecision { allowed: false, limit: Some(limit), remaining: 0, reset_seconds }
            }
        }
    }
}

/// Time that has passed, which never goes back: a wall clock that is put back must not shut everybody out until it has caught up. One
/// that is put forward fills the buckets, once.
#[derive(Clone, Debug)]
struct Elapsed {
    clock: Arc<dyn Clock>,
    /// What the clock showed last, and what had passed by then.
    state: Arc<Mutex<(UnixMs, Duration)>>,
}

impl GovernorClock for Elapsed {
    type Instant = Duration;

    fn now(&self) -> Duration {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let passed = u64::try_from(now.0.saturating_sub(state.0.0)).unwrap_or(0);
        // A minute fills every bucket; more would only bring the sum nearer to its end.
        *state = (now, state.1 + Duration::from_millis(passed).min(FULL_AFTER));
        state.1
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Hands(AtomicI64);

    impl Clock for Hands {
        fn now(&self) -> UnixMs {
            UnixMs(self.0.load(Ordering::Relaxed))
        }
    }

    fn rates() -> (Arc<Hands>, Rates) {
        let hands = Arc::new(Hands(AtomicI64::new(1_795_000_000_000)));
        (hands.clone(), Rates::new(hands))
    }

    fn user(name: &str) -> Holder {
        Holder::User(name.parse().unwrap())
    }

    fn decision(allowed: bool, limit: u32, remaining: u32, reset_seconds: u64) -> RateDecision {
        RateDecision { allowed, limit: Some(limit), remaining, reset_seconds }
    }

    #[test]
    fn a_bucket_empties_and_fills_evenly() {
        let (hands, rates) = rates();
        let anna = user("anna");
        assert_eq!(rates.admit(&anna, Some(3)), decision(true, 3, 2, 20));
        assert_eq!(rates.admit(&anna, Some(3)), decision(true, 3, 1, 40));
        assert_eq!(rates.admit(&anna, Some(3)), decision(true, 3, 0, 60));
        assert_eq!(rates.admit(&anna, Some(3)), decision(false, 3, 0, 20));
        assert_eq!(rates.admit(&user("ben"), Some(3)), decision(true, 3, 2, 20), "everybody has a bucket of their own");
        let same_name = Holder::Project("anna".parse().unwrap());
        assert_eq!(rates.admit(&same_name, Some(3)), decision(true, 3, 2, 20), "a project's is not a user's");
        hands.0.fetch_add(19_500, Ordering::Relaxed);
        assert_eq!(rates.admit(&anna, Some(3)), decision(false, 3, 0, 1));
        hands.0.fetch_add(500, Ordering::Relaxed);
        assert_eq!(rates.admit(&anna, Some(3)), decision(true, 3, 0, 60));
        hands.0.fetch_add(600_000, Ordering::Relaxed);
        assert_eq!(rates.admit(&anna, Some(3)), decision(true, 3, 2, 20), "never fuller than full");
    }

    #[test]
    fn a_new_limit_holds_at_once_and_none_is_none() {
        let (_, rates) = rates();
        let anna = user("anna");
        assert!(rates.admit(&anna, Some(1)).allowed);
        assert!(!rates.admit(&anna, Some(1)).allowed);
        assert_eq!(rates.admit(&anna, Some(2)), decision(true, 2, 1, 30));
        assert_eq!(rates.admit(&anna, None), RateDecision::UNLIMITED);
        assert_eq!(rates.buckets.lock().len(), 1);
    }

    #[test]
    fn a_clock_that_jumps_shuts_nobody_out() {
        let (hands, rates) = rates();
        let anna = user("anna");
        assert!(rates.admit(&anna, Some(1)).allowed);
        hands.0.fetch_sub(86_400_000, Ordering::Relaxed);
        assert_eq!(rates.admit(&anna, Some(1)), decision(false, 1, 0, 60));
        hands.0.fetch_add(60_000, Ordering::Relaxed);
        assert!(rates.admit(&anna, Some(1)).allowed, "a minute later, by whatever the clock shows");
        for jump in [i64::MAX, i64::MIN, 0] {
            hands.0.store(jump, Ordering::Relaxed);
            rates.admit(&anna, Some(1));
        }
    }

    #[test]
    fn a_flood_of_users_is_bounded() {
        let (hands, rates) = rates();
        for number in 0..=MOST_BUCKETS {
            rates.admit(&user(&format!("user-{number}")), Some(10));
            if number == MOST_BUCKETS - 10 {
                hands.0.fetch_add(60_000, Ordering::Relaxed);
            }
        }
        assert_eq!(rates.buckets.lock().len(), 10, "those of the last minute are kept");
        for number in 0..=MOST_BUCKETS {
            rates.admit(&user(&format!("other-{number}")), Some(10));
            assert!(rates.buckets.lock().len() <= MOST_BUCKETS);
        }
    }
}
