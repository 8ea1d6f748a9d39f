//! What changed in the queue, told to the scheduler as it happens, so that it need not read the queue again.

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::store::QueuedTask;
use crate::domain::{JobId, TaskId};

/// A change of the queue. A change may come late or twice; a claim is what decides.
#[derive(Clone, Debug, PartialEq)]
pub enum QueueChange {
    /// A task waits.
    Arrived(QueuedTask),
    /// A job waits no more: it was cancelled.
    Left(JobId),
    /// A task was found to wait no more.
    Gone(TaskId),
    /// A waiting job has another priority.
    Reprioritized(JobId, i32),
}

/// Changes on their way to the scheduler. Without a scheduler nothing is kept.
#[derive(Debug, Default)]
pub(super) struct QueueFeed {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    is_attached: bool,
    changes: Vec<QueueChange>,
}

impl QueueFeed {
    /// Keeps changes from now on.
    pub(super) fn attach(&self) {
        self.waiting.lock().is_attached = true;
    }

    /// Keeps none any more.
    pub(super) fn detach(&self) {
        *self.waiting.lock() = Waiting::default();
    }

    /// Tells the scheduler of a change.
    pub(super) fn push(&self, change: QueueChange) {
        self.extend(std::iter::once(change));
    }

    /// Tells the scheduler of several.
    pub(super) fn extend(&self, changes: impl IntoIterator<Item = QueueChange>) {
        {
            let mut waiting = self.waiting.lock();
            if !waiting.is_attached {
                return;
            }
            waiting.changes.extend(changes);
        }
        self.arrived.notify_one();
    }

    /// What has changed since the last call, in order.
    pub(super) fn take(&self) -> Vec<QueueChange> {
        std::mem::take(&mut self.waiting.lock().changes)
    }

    /// Completes when something changed after this call, or one permit is left from before.
    pub(super) fn arrived(&self) -> Notified<'_> {
        self.arrived.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_are_kept_in_order_while_somebody_takes_them() {
        let feed = QueueFeed::default();
        let jobs = [JobId::generate(), JobId::generate()];
        feed.push(QueueChange::Left(jobs[0]));
        assert!(feed.take().is_empty(), "nobody is there");
        feed.attach();
        feed.push(QueueChange::Left(jobs[0]));
        feed.push(QueueChange::Reprioritized(jobs[1], 3));
        feed.arrived().await;
        assert_eq!(feed.take(), [QueueChange::Left(jobs[0]), QueueChange::Reprioritized(jobs[1], 3)]);
        assert!(feed.take().is_empty());
        feed.push(QueueChange::Left(jobs[0]));
        feed.detach();
        assert!(feed.take().is_empty());
    }
}
