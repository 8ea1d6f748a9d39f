//! The queue as this server knows it.

use std::sync::Arc;

use super::fleet::Shares;
use super::queue_view::QueueView;
use crate::jobs::QueueChange;

/// What waits.
#[derive(Debug)]
pub(super) struct WaitingTasks {
    /// What decisions read.
    pub(super) view: QueueView,
}

impl WaitingTasks {
    /// An empty queue.
    pub(super) fn new(shares: Arc<dyn Shares + Send + Sync>) -> Self {
        Self { view: QueueView::new(shares) }
    }

    /// Takes a change over. One that is late or known already changes nothing that a claim would not put right.
    pub(super) fn apply(&mut self, change: QueueChange) {
        match change {
            QueueChange::Arrived(task) => {
                self.view.insert(task);
            }
            QueueChange::Left(job) => {
                if let Some(task) = self.view.of_job(job).map(|waiting| waiting.task) {
                    self.view.remove(task);
                }
            }
            QueueChange::Gone(task) => {
                self.view.remove(task);
            }
            QueueChange::Reprioritized(job, priority) => self.view.set_priority(job, priority),
        }
    }
}
