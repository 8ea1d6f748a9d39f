//! Who pays when a device worker dies. Pure.

use crate::domain::{ErrorCode, JobError, TaskId, UnixMs};
use crate::jobs::store::Release;

/// The charge that ends a task.
pub const MOST_FAILURES: u32 = 3;
/// The pause after the first charge; each further one is four times as long.
const FIRST_PAUSE_MS: i64 = 1_000;

/// A task that was on a worker when it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Casualty {
    /// Which.
    pub task: TaskId,
    /// How often it was charged before.
    pub failures: u32,
}

/// What happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It runs again.
    Again(Release),
    /// It has failed once too often.
    Fail(JobError),
}

/// Judges the tasks that were on a worker when it died for `reason`. One alone is charged: it runs again, alone, after 1 s, then 4 s, and
/// the third charge is its end. Several are each run again alone, uncharged and at once: only the one that kills its worker again pays.
pub fn judge(casualties: &[Casualty], reason: &str, now: UnixMs) -> Vec<(TaskId, Verdict)> {
    match casualties {
        [only] => vec![(only.task, charge(only.failures, reason, now))],
        several => several
            .iter()
            .map(|casualty| (casualty.task, Verdict::Again(Release { charged: false, alone: true, run_after: None })))
            .collect(),
    }
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

    fn casualty(failures: u32) -> Casualty {
        Casualty { task: TaskId::generate(), failures }
    }

    #[test]
    fn one_alone_is_charged_and_the_third_charge_is_its_end() {
        let now = UnixMs(10_000);
        for (failures, pause_ms) in [(0, 1_000), (1, 4_000)] {
            let verdicts = judge(&[casualty(failures)], "killed", now);
            let release = Release { charged: true, alone: true, run_after: Some(UnixMs(now.0 + pause_ms)) };
            assert_eq!(verdicts[0].1, Verdict::Again(release));
        }
        for failures in [2, 3, u32::MAX] {
            let Verdict::Fail(error) = judge(&[casualty(failures)], "killed by signal 9", now).remove(0).1 else { panic!() };
            assert_eq!(error.code, ErrorCode::WorkerLost);
            assert!(error.message.contains("killed by signal 9"), "{}", error.message);
        }
    }

    #[test]
    fn several_run_again_alone_and_nobody_pays() {
        let casualties = [casualty(0), casualty(2), casualty(7)];
        let verdicts = judge(&casualties, "killed", UnixMs(0));
        assert_eq!(verdicts.len(), 3);
        for (casualty, (task, verdict)) in casualties.iter().zip(verdicts) {
            assert_eq!(task, casualty.task);
            assert_eq!(verdict, Verdict::Again(Release { charged: false, alone: true, run_after: None }));
        }
        assert!(judge(&[], "killed", UnixMs(0)).is_empty());
    }
}
