//! Who pays when a device worker dies. Pure.

use crate::domain::{ErrorCode, JobError, UnixMs};
use crate::jobs::store::Release;

/// The charge that ends a task.
pub const MOST_FAILURES: u32 = 3;
/// The pause after the first charge; each further one is four times as long.
const FIRST_PAUSE_MS: i64 = 1_000;

/// What happens to a task that was on a worker when it died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It runs again.
    Again(Release),
    /// It has failed once too often.
    Fail(JobError),
}

/// Judges a task that was on a worker, with `companions` others, when it died for `reason`; `failures` is how often the task was charged
/// before. One alone is charged: it runs again, alone, after 1 s, then 4 s, and the third charge is its end. Several are each run again
/// alone, uncharged and at once: only the one that kills its worker again pays.
pub fn judge(failures: u32, companions: u32, reason: &str, now: UnixMs) -> Verdict {
    if companions > 0 {
        return Verdict::Again(Release { charged: false, alone: true, run_after: None });
    }
    charge(failures, reason, now)
}

fn charge(failures_before: u32, reason: &str, now: UnixMs) -> Verdict {
    let failures = failures_before.saturating_add(1);
    if failures >= MOST_FAILURES {
        return Verdict::Fail(JobError {
            code: ErrorCode::WorkerLost,
            message: format!("its device worker was lost {failures} times while it ran; the last time: {reason}"),
        });
    }
    let pause_ms = FIRST_PAUSE_MS << (2 * failures_before);
    Verdict::Again(Release { charged: true, alone: true, run_after: Some(UnixMs(now.0.saturating_add(pause_ms))) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alone_is_charged_and_the_third_charge_is_its_end() {
        let now = UnixMs(10_000);
        for (failures, pause_ms) in [(0, 1_000), (1, 4_000)] {
            let release = Release { charged: true, alone: true, run_after: Some(UnixMs(now.0 + pause_ms)) };
            assert_eq!(judge(failures, 0, "killed", now), Verdict::Again(release));
        }
        for failures in [2, 3, u32::MAX] {
            let Verdict::Fail(error) = judge(failures, 0, "killed by signal 9", now) else { panic!() };
            assert_eq!(error.code, ErrorCode::WorkerLost);
            assert!(error.message.contains("killed by signal 9"), "{}", error.message);
        }
    }

    #[test]
    fn several_run_again_alone_and_nobody_pays() {
        for failures in [0, 2, 7] {
            let again = Verdict::Again(Release { charged: false, alone: true, run_after: None });
            assert_eq!(judge(failures, 2, "killed", UnixMs(0)), again);
        }
    }
}
