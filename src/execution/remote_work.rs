//! What the scheduler asks of whoever speaks with providers.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::futures::Notified;
use tokio_util::sync::CancellationToken;

use super::results::Attempt;
use crate::domain::{Job, JobError, JobId, JobResult, ProviderId, RemoteRequest, TaskId, UnixMs};
use crate::ledger::{CallEnding, ProviderCall};

pub use crate::ledger::TaskHold;

/// A task that a provider fulfils.
#[derive(Clone)]
pub struct RemoteWork {
    /// Which: a task that runs again, after a server's end, is the same one, and goes on with what its provider already has.
    pub task: TaskId,
    /// Its job.
    pub job: Job,
    /// What is asked for.
    pub request: RemoteRequest,
    /// Where its results are stored.
    pub attempt: Attempt,
    /// By which claim it is this server's; absent where no other server could have it.
    pub hold: Option<TaskHold>,
    /// Another target of its job's route waits for it to fail: nothing that has failed is waited for.
    pub has_next_target: bool,
    /// Since when it waits for its turn, as in [`WaitingWork::since`].
    pub waiting_since: UnixMs,
    /// Somebody wants it to stop: at the provider too, as far as that can be.
    pub stop: CancellationToken,
    /// This server ends, or has lost the task: nothing is cancelled at the provider, and the next attempt goes on.
    pub leave: CancellationToken,
    /// Hears how far it is, percent.
    pub progress: Arc<dyn Fn(u32) + Send + Sync>,
}

impl fmt::Debug for RemoteWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteWork").field("task", &self.task).field("job", &self.job.id).finish_non_exhaustive()
    }
}

/// A provider's task that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingWork {
    /// Whose.
    pub provider: ProviderId,
    /// When it joined the queue.
    pub queued: UnixMs,
    /// Since when it waits for its provider: later by the time in which its user's or project's own caps held it up.
    pub since: UnixMs,
    /// Another target of its job's route waits for it to fail.
    pub has_next_target: bool,
    /// Its provider may work for it already: whatever place it takes was its own before.
    pub has_open_call: bool,
    /// Another server may take it.
    pub has_peers: bool,
}

/// How a provider's task ended.
#[derive(Clone, Debug, PartialEq)]
pub enum RemoteEnding {
    /// Its results are stored.
    Completed {
        /// They.
        result: JobResult,
        /// What it cost, millionths of the currency that providers bill in.
        cost_micros: i64,
    },
    /// It failed; nothing of it is stored.
    Failed {
        /// Why.
        error: JobError,
        /// What it may cost all the same.
        cost_micros: i64,
    },
    /// It was stopped.
    Cancelled {
        /// What it may cost all the same.
        cost_micros: i64,
    },
    /// It was left, for the next attempt to go on with.
    Left,
}

/// A call to a provider whose task has ended without it. It is this server's for a few minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbandonedCall {
    /// The task that it was made for.
    pub task: TaskId,
    /// The task's job.
    pub job: JobId,
    /// The call, as the ledger has it.
    pub call: ProviderCall,
}

/// Whoever speaks with providers.
#[async_trait]
pub trait RemoteExecution: Send + Sync + fmt::Debug {
    /// Whether a waiting task is to begin now: there is room for it, or it has waited long enough to fail or to be passed on, or its provider
    /// works for it already.
    fn admits(&self, task: &WaitingWork) -> bool;

    /// Why a waiting task does not begin, in one line; nothing where it is about to.
    fn waits_for(&self, task: &WaitingWork) -> Option<String>;

    /// Completes when [`Self::admits`] may say something else than when this was called.
    fn room_changed(&self) -> Notified<'_>;

    /// Has a provider fulfil a task, to its end.
    async fn run(&self, work: RemoteWork) -> RemoteEnding;

    /// Takes calls that are open though their tasks have ended: a few, and no other server gets them for a while.
    async fn abandoned(&self) -> Vec<AbandonedCall>;

    /// Cancels a call at its provider, as far as that can be, and says how it ended; nothing where that cannot be said yet. `work` is the
    /// task that it was made for, where that is still there. Whoever asks writes it down, with the charge.
    async fn wind_up(&self, call: &AbandonedCall, work: Option<&RemoteWork>) -> Option<CallEnding>;

    /// Notes that such a call has ended so.
    fn settled(&self, call: &AbandonedCall, ending: &CallEnding);
}
