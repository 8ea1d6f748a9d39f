//! The queue as this server knows it.

use std::sync::Arc;

use super::fleet::Shares;
use super::lane_queue::LaneQueue;
use super::queue_view::QueueView;
use super::remote_queue::RemoteQueue;
use crate::domain::plan::Lane;
use crate::domain::{TaskId, UnixMs};
use crate::jobs::QueueChange;

/// What waits.
#[derive(Debug)]
pub(super) struct WaitingTasks {
    /// What devices run: decisions read this.
    pub(super) view: QueueView,
    /// What this server's own processor runs.
    pub(super) host: LaneQueue,
    /// What providers fulfil.
    pub(super) remote: RemoteQueue,
}

impl WaitingTasks {
    /// An empty queue of a server that begins now.
    pub(super) fn new(shares: Arc<dyn Shares + Send + Sync>, now: UnixMs) -> Self {
        Self { view: QueueView::new(shares.clone()), host: LaneQueue::default(), remote: RemoteQueue::new(shares, now) }
    }

    /// Takes a change over. One that is late or known already changes nothing that a claim would not put right.
    pub(super) fn apply(&mut self, change: QueueChange) {
        match change {
            QueueChange::Arrived(task) if task.lane == Lane::Host => self.host.insert(task),
            QueueChange::Arrived(task) if task.lane == Lane::Remote => self.remote.insert(task),
            QueueChange::Arrived(task) => {
                // Another server may have moved it, or given it back with other conditions: it has joined the queue anew then.
                if self.view.queued(task.task).is_some_and(|known| known < task.queued) {
                    self.view.remove(task.task);
                }
                self.view.insert(task);
            }
            QueueChange::Left(job) => {
                for waiting in self.view.of_job(job) {
                    self.view.remove(waiting.task);
                }
                self.host.remove_job(job);
                self.remote.remove_job(job);
            }
            QueueChange::Gone(task) => {
                self.view.remove(task);
                self.host.remove(task);
                self.remote.remove(task);
            }
            QueueChange::Reprioritized(job, priority) => {
                self.view.set_priority(job, priority);
                self.host.set_priority(job, priority);
                self.remote.set_priority(job, priority);
            }
        }
    }

    /// Every waiting task in no order, with the time at which it joined the queue.
    pub(super) fn tasks(&self) -> impl Iterator<Item = (TaskId, UnixMs)> {
        self.view.tasks().chain(self.host.tasks()).chain(self.remote.tasks())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{BatchKey, JobId, ProjectId, TaskId, UnixMs, UserId};
    use crate::jobs::store::QueuedTask;
    use crate::scheduler::fair_share::EqualShares;

    fn task(user: &str) -> QueuedTask {
        QueuedTask {
            task: TaskId::generate(),
            job: JobId::generate(),
            user: user.parse().unwrap(),
            project: None,
            position: 0,
            lane: Lane::Device,
            batch: BatchKey { model: "m".parse().unwrap(), width: 8, height: 8 },
            rows: 1,
            work: 1.0,
            priority: 0,
            created: UnixMs(5),
            queued: UnixMs(5),
            run_after: None,
            alone: false,
            has_next_target: false,
            has_open_call: false,
        }
    }

    /// Whose turn it is.
    fn first(view: &QueueView) -> String {
        let lane = view.lane_of(&task("ann").batch).and_then(|lane| view.lane(lane)).unwrap();
        view.fair().tenant(lane.order.first().unwrap().1).unwrap().user.to_string()
    }

    #[test]
    fn a_task_that_joined_anew_is_taken_over_and_an_older_word_is_not() {
        let mut waiting = WaitingTasks::new(Arc::new(EqualShares), UnixMs(0));
        let first = task("ann");
        waiting.apply(QueueChange::Arrived(first.clone()));
        let newer = QueuedTask { priority: 7, alone: true, run_after: Some(UnixMs(99)), queued: UnixMs(6), ..first.clone() };
        waiting.apply(QueueChange::Arrived(newer.clone()));
        assert_eq!(waiting.view.get(first.task), Some(newer.clone()));
        waiting.apply(QueueChange::Arrived(first.clone()));
        assert_eq!(waiting.view.get(first.task), Some(newer));
        assert_eq!(waiting.view.len(), 1);
    }

    #[test]
    fn what_goes_back_uncharged_leaves_the_turn_where_it_was() {
        let mut view = QueueView::default();
        let (taken, rest, other) = (task("ann"), task("ann"), task("bob"));
        for task in [&taken, &rest, &other] {
            view.insert(task.clone());
        }
        assert_eq!(first(&view), "ann");
        view.take(taken.task, 10.0).unwrap();
        assert_eq!(first(&view), "bob");
        view.refund(&taken, 10.0);
        view.insert(taken.clone());
        assert_eq!(first(&view), "ann");
        view.refund(&task("eve"), 10.0);
        view.refund(&taken, f64::NAN);
        assert_eq!(first(&view), "ann");
    }

    #[test]
    fn a_tenant_that_waits_gets_its_new_weight() {
        #[derive(Default)]
        struct Set(parking_lot::Mutex<f64>);
        impl Shares for Set {
            fn user_weight(&self, user: &UserId) -> f64 {
                if user.as_str() == "bob" { *self.0.lock() } else { 1.0 }
            }
            fn project_weight(&self, _: Option<&ProjectId>) -> f64 {
                1.0
            }
            fn user_concurrency(&self, _: &UserId) -> Option<u32> {
                None
            }
            fn project_concurrency(&self, _: &ProjectId) -> Option<u32> {
                None
            }
        }
        let weight_of_bob = Arc::new(Set::default());
        *weight_of_bob.0.lock() = 1.0;
        let mut view = QueueView::new(weight_of_bob.clone());
        // A level of priority is worth seconds of a tenant's own share.
        view.insert(QueuedTask { priority: 5, ..task("ann") });
        view.insert(QueuedTask { priority: 10, ..task("bob") });
        assert_eq!(first(&view), "bob");
        *weight_of_bob.0.lock() = 100.0;
        view.reweigh();
        assert_eq!(first(&view), "ann");
        let shares: Vec<f64> = view.fair().by_tag().map(|tenant| view.fair().share(tenant)).collect();
        assert!(shares.iter().any(|share| (share - 100.0 / 101.0).abs() < 1e-9), "{shares:?}");
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{shares:?}");
    }
}
