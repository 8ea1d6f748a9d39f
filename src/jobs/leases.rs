//! The claims that this server holds, and when each must be let go.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::store::{Fence, Renewal, Renewed};
use crate::domain::{JobId, Progress, TaskId};

/// A lease is taken to end this part of its length early: what is under way to the database must arrive in time, and no two machines
/// measure time alike.
const MARGIN: u32 = 5;

/// The newest progress of a task, shared by whoever runs it and whoever renews its lease.
#[derive(Clone, Debug, Default)]
pub(super) struct ProgressCell(Arc<AtomicU64>);

impl ProgressCell {
    pub(super) fn set(&self, progress: Progress) {
        self.0.store(u64::from(progress.step) << 32 | u64::from(progress.steps), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Progress {
        let packed = self.0.load(Ordering::Relaxed);
        Progress { step: (packed >> 32) as u32, steps: packed as u32 }
    }
}

/// A claim that is held.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) fence: Fence,
    pub(super) progress: ProgressCell,
    /// Cancelled when a user asks the job to stop.
    pub(super) stop: CancellationToken,
    /// Cancelled when the claim is lost.
    pub(super) lost: CancellationToken,
    /// On the monotonic clock: nothing may be done for the task after this moment.
    pub(super) deadline: Instant,
}

/// All claims that are held. The deadlines are monotonic, so a step of the wall clock neither lengthens nor shortens a lease.
#[derive(Debug, Default)]
pub(super) struct Leases {
    held: Mutex<HashMap<TaskId, Held>>,
}

/// What renewals came to, beside those that went well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answers {
    /// Claims that turned out to be lost, of tasks that nobody had asked to stop.
    pub(super) lost: u64,
    /// Claims that are to be renewed again soon.
    pub(super) busy: u64,
}

/// The last moment of a lease of length `lease` that was asked for at `asked`, whenever the answer came.
pub(super) fn deadline(asked: Instant, lease: Duration) -> Instant {
    asked + lease - lease / MARGIN
}

impl Leases {
    /// Holds claims.
    pub(super) fn hold(&self, claims: impl IntoIterator<Item = Held>) {
        self.held.lock().extend(claims.into_iter().map(|held| (held.fence.task, held)));
    }

    /// Lets one go: it is finished, released or lost.
    pub(super) fn let_go(&self, fence: &Fence) {
        let mut held = self.held.lock();
        if held.get(&fence.task).is_some_and(|held| held.fence.attempt == fence.attempt) {
            held.remove(&fence.task);
        }
    }

    /// Whether this task is held.
    pub(super) fn holds(&self, task: TaskId) -> bool {
        self.held.lock().contains_key(&task)
    }

    /// Whether any task of this job is held.
    pub(super) fn holds_job(&self, job: JobId) -> bool {
        self.held.lock().values().any(|held| held.fence.job == job)
    }

    /// What to renew, and the earliest deadline.
    pub(super) fn due(&self) -> (Vec<Renewal>, Option<Instant>) {
        let held = self.held.lock();
        let renewals = held.values().map(|held| Renewal { fence: held.fence.clone(), progress: held.progress.get() }).collect();
        (renewals, held.values().map(|held| held.deadline).min())
    }

    /// Takes the answers to renewals that were asked for at `asked`.
    pub(super) fn renewed(&self, renewals: &[Renewal], answers: &[Renewed], asked: Instant, lease: Duration) -> Answers {
        let mut count = Answers::default();
        let mut all = self.held.lock();
        for (renewal, answer) in renewals.iter().zip(answers) {
            let task = renewal.fence.task;
            // It may have been finished, or claimed again, while the answer was on its way.
            let Some(held) = all.get_mut(&task).filter(|held| held.fence.attempt == renewal.fence.attempt) else { continue };
            match answer {
                Renewed::Held { cancel_requested } => {
                    held.deadline = deadline(asked, lease);
                    if *cancel_requested {
                        held.stop.cancel();
                    }
                }
                Renewed::Busy => count.busy += 1,
                Renewed::Lost => {
                    held.lost.cancel();
                    // The other tasks of a job that was cancelled end with the first one that stops: that is no loss.
                    count.lost += u64::from(!held.stop.is_cancelled());
                    all.remove(&task);
                }
            }
        }
        count
    }

    /// Gives up every claim on a task of this job, which has ended.
    pub(super) fn give_up_job(&self, job: JobId) {
        self.held.lock().retain(|_, held| {
            let is_over = held.fence.job == job;
            if is_over {
                held.lost.cancel();
            }
            !is_over
        });
    }

    /// Gives up the claims whose deadline has come. Gives their number.
    pub(super) fn give_up_overdue(&self, now: Instant) -> u64 {
        let mut all = self.held.lock();
        let before = all.len();
        all.retain(|_, held| {
            let is_overdue = held.deadline <= now;
            if is_overdue {
                held.lost.cancel();
            }
            !is_overdue
        });
        (before - all.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    fn held(asked: Instant) -> Held {
        Held {
            fence: Fence { task: TaskId::generate(), job: JobId::generate(), attempt: 1, owner: "o".to_owned() },
            progress: ProgressCell::default(),
            stop: CancellationToken::new(),
            lost: CancellationToken::new(),
            deadline: deadline(asked, LEASE),
        }
    }

    #[test]
    fn progress_survives_packing() {
        let cell = ProgressCell::default();
        for progress in [Progress::default(), Progress { step: 3, steps: 40 }, Progress { step: u32::MAX, steps: u32::MAX }] {
            cell.set(progress);
            assert_eq!(cell.get(), progress);
        }
    }

    #[test]
    fn answers_reach_the_tasks_they_are_for() {
        let (leases, asked) = (Leases::default(), Instant::now());
        let claims = [held(asked), held(asked), held(asked), held(asked), held(asked)];
        leases.hold(claims.clone());
        let renewals: Vec<Renewal> =
            claims.iter().map(|held| Renewal { fence: held.fence.clone(), progress: Progress::default() }).collect();
        leases.let_go(&claims[3].fence);
        let (no, yes) = (Renewed::Held { cancel_requested: false }, Renewed::Held { cancel_requested: true });
        let later = asked + LEASE / 3;
        let answers = [no, yes, Renewed::Lost, Renewed::Lost, Renewed::Busy];
        assert_eq!(leases.renewed(&renewals, &answers, later, LEASE), Answers { lost: 1, busy: 1 });
        assert_eq!(claims.each_ref().map(|held| held.stop.is_cancelled()), [false, true, false, false, false]);
        assert_eq!(claims.each_ref().map(|held| held.lost.is_cancelled()), [false, false, true, false, false]);
        assert_eq!(leases.due().0.len(), 3);
        assert_eq!(leases.due().1, Some(deadline(asked, LEASE)), "nobody knows whether this one could be renewed");
        leases.let_go(&claims[4].fence);
        assert_eq!(leases.due().1, Some(deadline(later, LEASE)));
    }

    #[test]
    fn what_was_asked_to_stop_is_given_up_without_a_complaint() {
        let (leases, asked) = (Leases::default(), Instant::now());
        let claim = held(asked);
        leases.hold([claim.clone()]);
        claim.stop.cancel();
        let renewal = Renewal { fence: claim.fence.clone(), progress: Progress::default() };
        assert_eq!(leases.renewed(&[renewal], &[Renewed::Lost], asked, LEASE), Answers::default());
        assert!(claim.lost.is_cancelled() && !leases.holds(claim.fence.task));
    }

    #[test]
    fn an_answer_for_an_earlier_attempt_changes_nothing() {
        let (leases, asked) = (Leases::default(), Instant::now());
        let mut claim = held(asked);
        let earlier = Renewal { fence: claim.fence.clone(), progress: Progress::default() };
        claim.fence.attempt = 2;
        leases.hold([claim.clone()]);
        assert_eq!(leases.renewed(std::slice::from_ref(&earlier), &[Renewed::Lost], asked, LEASE), Answers::default());
        leases.let_go(&earlier.fence);
        assert!(leases.holds(claim.fence.task) && !claim.lost.is_cancelled());
    }

    #[test]
    fn with_a_job_go_the_claims_on_its_tasks_and_no_others() {
        let (leases, asked) = (Leases::default(), Instant::now());
        let mut claims = [held(asked), held(asked), held(asked)];
        claims[1].fence.job = claims[0].fence.job;
        leases.hold(claims.clone());
        leases.give_up_job(claims[0].fence.job);
        assert_eq!(claims.each_ref().map(|held| held.lost.is_cancelled()), [true, true, false]);
        assert_eq!(claims.each_ref().map(|held| leases.holds(held.fence.task)), [false, false, true]);
    }

    #[test]
    fn what_was_not_renewed_in_time_is_given_up_before_the_lease_ends() {
        let (leases, asked) = (Leases::default(), Instant::now());
        let claim = held(asked);
        leases.hold([claim.clone()]);
        assert_eq!(leases.give_up_overdue(asked + LEASE / 2), 0);
        assert_eq!(leases.give_up_overdue(asked + LEASE - Duration::from_secs(2)), 1);
        assert!(claim.lost.is_cancelled() && !leases.holds(claim.fence.task));
    }
}
