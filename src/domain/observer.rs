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
    /// A call to a provider was answered, or could not be, after so long. The outcome is `ok`, or the class of its failure. What was broken
    /// off because somebody asked to stop is not told.
    fn provider_called(&self, _provider: &ProviderId, _call: WireCall, _outcome: &'static str, _seconds: f64) {}
    /// A provider's task gave its results, and they are here, so long after it was asked for.
    fn provider_task_finished(&self, _provider: &ProviderId, _seconds: f64) {}
    /// A task that a provider took, or may have taken, ended without results: `cancelled`, or the class of its failure.
    fn provider_task_failed(&self, _provider: &ProviderId, _outcome: &'static str) {}
    /// A provider failed so often that it is left alone for a while.
    fn provider_left_alone(&self, _provider: &ProviderId) {}
    /// A call to a provider has ended, and costs so many millionths of this currency.
    fn provider_settled(&self, _provider: &ProviderId, _currency: &str, _cost_micros: i64) {}
    /// What became of a request at a target of its route: `passed_on` (to the next one), or the state in which its job ended.
    fn route_stage_ended(&self, _stage: RouteStage<'_>, _result: &'static str) {}
    /// A step of the upkeep dealt with `count` things. Steps are few and named in the code.
    fn upkeep_done(&self, _step: &'static str, _count: u64) {}
    /// A callback was sent: `delivered`, `retried` (it will be sent again) or `given_up`.
    fn callback_tried(&self, _outcome: &'static str) {}
    /// A receiver answered a callback, or could not be reached, after so long.
    fn callback_answered(&self, _seconds: f64) {}
}

/// Nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl JobObserver for Unobserved {}
