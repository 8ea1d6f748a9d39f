//! Who is told how the work goes, in numbers.

use std::fmt;

use super::ids::ModelId;
use super::job::JobState;

/// Receives measurements of running jobs. Calls come from async tasks and must not block; each does nothing unless overridden.
pub trait JobObserver: Send + Sync + fmt::Debug {
    /// A job went to a device after waiting this long.
    fn job_started(&self, _model: &ModelId, _waited_seconds: f64) {}
    /// A job ended in `state` after running this long (0 when it never ran).
    fn job_finished(&self, _model: &ModelId, _state: JobState, _ran_seconds: f64) {}
    /// One model evaluation was done.
    fn step_done(&self, _device: &str, _seconds: f64) {}
    /// A model's weights were read and packed.
    fn model_loaded(&self, _model: &ModelId, _seconds: f64) {}
}

/// Nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl JobObserver for Unobserved {}
