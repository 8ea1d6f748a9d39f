//! Where a job calls back, and of what it tells there.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::ids::{IdError, JobId};
use super::job::JobState;

/// What is told of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallbackEvent {
    /// It was accepted.
    Accepted,
    /// It began to run; told once, however often it begins.
    Started,
    /// It completed.
    Completed,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl CallbackEvent {
    /// Every event.
    pub const ALL: [Self; 5] = [Self::Accepted, Self::Started, Self::Completed, Self::Failed, Self::Cancelled];
    /// Those after which nothing follows: what is told unless somebody asks for more or less.
    pub const TERMINAL: [Self; 3] = [Self::Completed, Self::Failed, Self::Cancelled];

    /// The word that the APIs and the database use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Started => "started",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The event of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == word)
    }

    /// The state that the job changed to.
    pub const fn state(self) -> JobState {
        match self {
            Self::Accepted => JobState::Queued,
            Self::Started => JobState::Running,
            Self::Completed => JobState::Completed,
            Self::Failed => JobState::Failed,
            Self::Cancelled => JobState::Cancelled,
        }
    }
}

/// In whose words it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CallbackFormat {
    /// Our own, signed as Standard Webhooks has it.
    #[default]
    Standard,
    /// MiniMax's: `task_id`, `status`, `file_id`, `base_resp`; signed too.
    Minimax,
}

impl CallbackFormat {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::Standard, Self::Minimax];

    /// The word that the database uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Minimax => "minimax",
        }
    }
}

/// Which words MiniMax's dialect has for states in callbacks. Those of its query begin with capitals; its own callbacks have other ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MinimaxWords {
    /// The query's: `Processing`, `Success`, `Fail`.
    #[default]
    Query,
    /// Those of MiniMax's own callbacks: `processing`, `success`, `failed`.
    LowerCase,
}

/// Where a job calls back.
#[derive(Clone, PartialEq, Eq)]
pub struct Callback {
    /// The link, as it was judged when the job was submitted. It may hold a secret.
    pub url: String,
    /// Its host.
    pub host: String,
    /// Of what it is told.
    pub events: Vec<CallbackEvent>,
    /// In whose words.
    pub format: CallbackFormat,
    /// Beginning of links to results; absent: none are given.
    pub base_url: Option<String>,
}

impl fmt::Debug for Callback {
    /// Without path and query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Callback({:?} to {} of {:?})", self.format, self.host, self.events)
    }
}

/// What is told once: an event of a job. The same for every try, also after a restart and when it is sent again by hand.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeliveryId {
    /// The job.
    pub job: JobId,
    /// What is told of it.
    pub event: CallbackEvent,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let job = self.job.to_string();
        write!(f, "msg_{}_{}", job.strip_prefix("job_").unwrap_or(&job), self.event.as_str())
    }
}

impl fmt::Debug for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DeliveryId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let read = || {
            let (job, event) = text.strip_prefix("msg_")?.split_once('_')?;
            let id = Self { job: format!("job_{job}").parse().ok()?, event: CallbackEvent::parse(event)? };
            (id.to_string() == text).then_some(id)
        };
        read().ok_or_else(|| {
            let shown: String = text.chars().take(64).collect();
            IdError(format!("'{shown}' is not an id of the form msg_<32 hex digits>_<event>"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delivery_ids_say_job_and_event() {
        let job = JobId::generate();
        for event in CallbackEvent::ALL {
            let id = DeliveryId { job, event };
            assert_eq!(id.to_string().parse(), Ok(id));
            assert!(!id.to_string().contains('.'), "a signature takes it");
        }
        let hex = &job.to_string()[4..];
        for other in
            ["", "msg_", "msg__completed", &format!("msg_{hex}"), &format!("msg_{hex}_paused"), &format!("job_{hex}_failed")]
        {
            assert!(other.parse::<DeliveryId>().is_err(), "{other}");
        }
        assert!(format!("msg_{}_failed", hex.to_uppercase()).parse::<DeliveryId>().is_err(), "one text for an id");
    }
}
