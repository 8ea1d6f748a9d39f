//! A call, as the ledger has it.

use std::fmt;

use crate::domain::{AccountKeyId, CallId, JobId, Micros, ProjectId, ProviderId, TaskId, UnixMs, UserId};

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallState {
    /// It is about to be sent, or was, and no answer has come.
    Sending,
    /// The provider has taken it.
    Running,
    /// It gave results.
    Finished,
    /// The provider refused it, or failed.
    Failed,
    /// Nobody knows what became of it; it may be billed.
    Unknown,
    /// Somebody cancelled it.
    Cancelled,
}

impl CallState {
    /// Every state.
    pub const ALL: [Self; 6] = [Self::Sending, Self::Running, Self::Finished, Self::Failed, Self::Unknown, Self::Cancelled];

    /// The word that the APIs and the database use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing follows.
    pub const fn is_ended(self) -> bool {
        !matches!(self, Self::Sending | Self::Running)
    }
}

/// A call that is about to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCall {
    /// Its identifier.
    pub id: CallId,
    /// The task that it is for.
    pub task: TaskId,
    /// The task's job.
    pub job: JobId,
    /// Whose job it is.
    pub user: UserId,
    /// The project that it belongs to.
    pub project: Option<ProjectId>,
    /// Who is called.
    pub provider: ProviderId,
    /// The model, as the provider calls it.
    pub model: String,
    /// The key that it is sent with, by its name.
    pub key: AccountKeyId,
    /// Our id, by which some providers know it again.
    pub our_id: String,
    /// What it will probably cost.
    pub estimated: Micros,
    /// When it is sent.
    pub created: UnixMs,
}

/// A server's hold on a task: which claim of it this is, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskHold {
    /// Which claim.
    pub attempt: i64,
    /// Who claimed it.
    pub owner: String,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallEnding {
    /// An ended state.
    pub state: CallState,
    /// What it costs.
    pub settled: Micros,
    /// The class of its failure, and one line.
    pub failure: Option<(String, String)>,
}

/// What a provider answered to a call that it fulfilled at once. It may hold links that open for whoever has them, so it does not show
/// itself.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptAnswer(String);

impl KeptAnswer {
    /// An answer, as whoever keeps it writes it.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Its text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeptAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeptAnswer({} bytes)", self.0.len())
    }
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderCall {
    /// What was known when it was sent.
    pub call: NewCall,
    /// How far it is.
    pub state: CallState,
    /// The provider's id of the task that it made.
    pub remote_id: Option<String>,
    /// Where its results are, if they came with the answer.
    pub answer: Option<KeptAnswer>,
    /// What it costs, once that is known.
    pub settled: Option<Micros>,
    /// The class of its failure, and one line.
    pub failure: Option<(String, String)>,
    /// When it last changed.
    pub updated: UnixMs,
    /// When it ended.
    pub ended: Option<UnixMs>,
}

impl ProviderCall {
    /// What it costs, as far as that is known: what was settled, else the estimate.
    pub fn cost(&self) -> Micros {
        self.settled.unwrap_or(self.call.estimated)
    }
}

/// Which calls are asked for: those that fulfil all that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFilter {
    /// A user's.
    pub user: Option<UserId>,
    /// A project's.
    pub project: Option<ProjectId>,
    /// A provider's.
    pub provider: Option<ProviderId>,
    /// A job's.
    pub job: Option<JobId>,
    /// In this state.
    pub state: Option<CallState>,
}

/// Which calls are taken whose tasks have ended without them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbandonedFilter {
    /// Those to these providers, …
    pub providers: Vec<ProviderId>,
    /// … and those to any that were begun before.
    pub or_begun_before: UnixMs,
    /// One that was not answered only if it was begun before: an answer may still be on its way.
    pub unanswered_before: UnixMs,
    /// The time.
    pub now: UnixMs,
}
