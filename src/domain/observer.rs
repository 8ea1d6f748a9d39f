//! Who is told how the work goes, in numbers.

use std::fmt;

use super::ids::{ModelId, ProviderId};
use super::job::JobState;
use super::quota::Meter;

/// Where weights take room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WeightsTier {
    /// A device's memory.
    Device,
    /// Packed weights, ready to be mapped.
    Packed,
    /// Files that were fetched.
    Disk,
}

impl WeightsTier {
    /// Every tier.
    pub const ALL: [Self; 3] = [Self::Device, Self::Packed, Self::Disk];

    /// The word that metrics use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Packed => "packed",
            Self::Disk => "disk",
        }
    }
}

/// What a call to a provider is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WireCall {
    /// It has something made.
    Create,
    /// It looks how far a task is.
    Poll,
    /// It asks for the link of a result.
    Fetch,
    /// It brings a result here, from wherever the provider keeps it.
    Download,
    /// It ends a task.
    Cancel,
}

impl WireCall {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Create, Self::Poll, Self::Fetch, Self::Download, Self::Cancel];

    /// The word that metrics use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Poll => "poll",
            Self::Fetch => "fetch",
            Self::Download => "download",
            Self::Cancel => "cancel",
        }
    }
}

/// What became of a call to a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// It was answered as it should be.
    Answered,
    /// It failed; the word of the failure's class.
    Failed(&'static str),
}

impl CallOutcome {
    /// The word that metrics use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "ok",
            Self::Failed(class) => class,
        }
    }
}

/// How a task ended that a provider took, or may have taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderTaskEnd {
    /// It gave its results, and they are here.
    Finished,
    /// Somebody cancelled it.
    Cancelled,
    /// It failed; the word of the failure's class.
    Failed(&'static str),
}

impl ProviderTaskEnd {
    /// The word that metrics use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::Failed(class) => class,
        }
    }
}

/// What became of a request at a target of its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteStageResult {
    /// The target failed, and the next one is tried.
    PassedOn,
    /// The job ended there, in this state.
    Ended(JobState),
}

impl RouteStageResult {
    /// Every one.
    pub fn all() -> impl Iterator<Item = Self> {
        JobState::ALL.into_iter().filter(|state| state.is_terminal()).map(Self::Ended).chain([Self::PassedOn])
    }

    /// The word that metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PassedOn => "passed_on",
            Self::Ended(state) => state.as_str(),
        }
    }
}

/// What became of a try to deliver a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallbackOutcome {
    /// Its receiver has it.
    Delivered,
    /// It will be sent again.
    Retried,
    /// It will not.
    GivenUp,
}

impl CallbackOutcome {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Delivered, Self::Retried, Self::GivenUp];

    /// The word that metrics use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retried => "retried",
            Self::GivenUp => "given_up",
        }
    }
}

/// A target of a route that a request went to, as operators know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteStage<'a> {
    /// The route's name.
    pub route: &'a ModelId,
    /// Whose model; none: this server's.
    pub provider: Option<&'a ProviderId>,
    /// The model, as clients name it.
    pub model: &'a ModelId,
}

/// Receives measurements of running jobs. Calls come from async tasks and must not block; each does nothing unless overridden.
pub trait JobObserver: Send + Sync + fmt::Debug {
    /// A job went to a device after waiting this long.
    fn job_started(&self, _model: &ModelId, _waited_seconds: f64) {}
    /// A job ended in `state` after running this long (0 when it never ran).
    fn job_finished(&self, _model: &ModelId, _state: JobState, _ran_seconds: f64) {}
    /// A job's task went back to the queue: its worker or its server died, or the server stops.
    fn job_returned(&self, _model: &ModelId) {}
    /// Tasks began on a device, which now has this many that share evaluations.
    fn batch_formed(&self, _tasks: usize) {}
    /// One model evaluation was done.
    fn step_done(&self, _device: &str, _seconds: f64) {}
    /// A model's weights were read and packed.
    fn model_loaded(&self, _model: &ModelId, _seconds: f64) {}
    /// A task came to a device that had its model (a hit), or that must load it.
    fn model_wanted(&self, _is_hit: bool) {}
    /// A model made room, or was idle for too long.
    fn model_evicted(&self, _tier: WeightsTier) {}
    /// A task turned out to be somebody else's: what was done for it is thrown away.
    fn lease_lost(&self) {}
    /// A request was refused because a quota has not enough left.
    fn quota_refused(&self, _meter: Meter) {}
    /// A call to a provider was answered, or could not be, after so long. What was broken off because somebody asked to stop is not told.
    fn provider_called(&self, _provider: &ProviderId, _call: WireCall, _outcome: CallOutcome, _seconds: f64) {}
    /// A task that a provider took, or may have taken, ended so long after it was asked for.
    fn provider_task_ended(&self, _provider: &ProviderId, _end: ProviderTaskEnd, _seconds: f64) {}
    /// A provider failed so often that it is left alone for a while.
    fn provider_left_alone(&self, _provider: &ProviderId) {}
    /// A call to a provider has ended, and costs so many millionths of this currency.
    fn provider_settled(&self, _provider: &ProviderId, _currency: &str, _cost_micros: i64) {}
    /// A request is done with at a target of its route.
    fn route_stage_ended(&self, _stage: RouteStage<'_>, _result: RouteStageResult) {}
    /// A step of the upkeep dealt with `count` things. Steps are few and named in the code.
    fn upkeep_done(&self, _step: &'static str, _count: u64) {}
    /// It was tried to deliver a callback.
    fn callback_tried(&self, _outcome: CallbackOutcome) {}
    /// A receiver answered a callback, or could not be reached, after so long.
    fn callback_answered(&self, _seconds: f64) {}
}

/// Nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl JobObserver for Unobserved {}
