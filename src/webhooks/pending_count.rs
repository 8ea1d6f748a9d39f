//! Counts what is pending, now and then.
//!
//! Whoever looks at the numbers is shown what was counted last, so that nobody who asks often makes the database count, or waits for one that
//! has vanished. It is counted beside the sender, which no slow count holds up.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::sender::Shared;

/// The shortest pause between two counts.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest: what is shown is no older.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The part of the time that is spent at most on counting, unless that made the pause too long: one in so many.
const SHARE: u32 = 20;

/// Until the server stops.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        let begun = Instant::now();
        let counted = tokio::select! {
            () = shared.stop.cancelled() => return,
            counted = shared.parts.store.backlog() => counted,
        };
        let pause = pause_after(begun.elapsed(), counted.is_ok());
        *shared.backlog.lock() = counted
            .inspect_err(|error| {
                tracing::debug!(error = error as &dyn Error, "Cannot count the callbacks that wait: {error}");
            })
            .ok();
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// The pause after a count that took so long. A database that cannot answer is not asked sooner than one that is slow.
fn pause_after(took: Duration, is_counted: bool) -> Duration {
    if is_counted { took.saturating_mul(SHARE).clamp(SHORTEST_PAUSE, LONGEST_PAUSE) } else { LONGEST_PAUSE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_hides_the_numbers_for_no_longer_than_the_longest_pause() {
        for (took_ms, is_counted, pause_ms) in [
            (0, true, 1_000),
            (50, true, 1_000),
            (100, true, 2_000),
            (1_500, true, 30_000),
            (20_000, true, 30_000),
            (u64::MAX, true, 30_000),
            (0, false, 30_000),
            (20_000, false, 30_000),
        ] {
            let pause = pause_after(Duration::from_millis(took_ms), is_counted);
            assert_eq!(pause, Duration::from_millis(pause_ms), "{took_ms} {is_counted}");
        }
    }
}
