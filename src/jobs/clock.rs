//! The time that all servers of one store agree on.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use super::store::{JobStore, StoreError};
use crate::domain::{Clock, SystemClock, UnixMs};

/// A clock that runs on monotonic time and is set by the store now and then: a step of the machine's wall clock changes nothing until
/// [`StoreClock::synchronise`], and then only where no other server's database says better.
#[derive(Debug)]
pub struct StoreClock {
    begun: Instant,
    /// The shared time at `begun`, Unix milliseconds.
    shared_at_begin: AtomicI64,
    wall: Box<dyn Clock>,
}

impl Default for StoreClock {
    /// Set by the machine's wall clock.
    fn default() -> Self {
        Self::over(SystemClock)
    }
}

impl StoreClock {
    /// A clock that `wall` sets.
    pub fn over(wall: impl Clock + 'static) -> Self {
        let now = wall.now();
        Self { begun: Instant::now(), shared_at_begin: AtomicI64::new(now.0), wall: Box::new(wall) }
    }

    /// Sets the clock to the time of the store. Gives the correction, milliseconds: positive when the clock was behind.
    pub async fn synchronise(&self, store: &dyn JobStore) -> Result<i64, StoreError> {
        let asked = Instant::now();
        let wall = self.wall.now();
        let offset_ms = store.clock_offset_ms(wall).await?;
        let shared_at_begin = wall.0.saturating_add(offset_ms) - elapsed_ms(self.begun, asked);
        Ok(shared_at_begin - self.shared_at_begin.swap(shared_at_begin, Ordering::Relaxed))
    }
}

impl Clock for StoreClock {
    fn now(&self) -> UnixMs {
        UnixMs(self.shared_at_begin.load(Ordering::Relaxed) + elapsed_ms(self.begun, Instant::now()))
    }
}

fn elapsed_ms(from: Instant, to: Instant) -> i64 {
    i64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::database::Database;
    use crate::jobs::store;

    #[derive(Clone, Debug)]
    struct Wall(Arc<AtomicI64>);

    impl Clock for Wall {
        fn now(&self) -> UnixMs {
            UnixMs(self.0.load(Ordering::Relaxed))
        }
    }

    #[tokio::test]
    async fn a_step_of_the_wall_clock_counts_only_when_the_clock_is_set() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("jobs.db")).await.unwrap();
        let store = store::open(&database);
        let wall = Wall(Arc::new(AtomicI64::new(5_000_000)));
        let clock = StoreClock::over(wall.clone());
        let before = clock.now();
        assert!((5_000_000..5_060_000).contains(&before.0), "{before:?}");
        wall.0.store(1_000_000, Ordering::Relaxed);
        assert!(clock.now() >= before);
        assert!(clock.synchronise(&*store).await.unwrap() < -3_900_000);
        assert!((1_000_000..1_060_000).contains(&clock.now().0));
    }
}
